package certificates

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/monohull/monohull/internal/api"
	apicertificates "github.com/monohull/monohull/internal/api/certificates"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

// A request that is refused for now is looked at again after about its age, within these bounds: the right to be
// approved may still be given.
const (
	minRetry = 200 * time.Millisecond
	maxRetry = 1000 * time.Second
)

// kubeletRight is a right to be approved unseen, by the subresource it is written as.
type kubeletRight struct {
	subresource, message string
}

// kubeletRights are those that a request may be approved by: that of a kubelet to renew its own certificate, and that
// to get one for any node, which bootstrap tokens have.
func kubeletRights(r *certificatesv1.CertificateSigningRequest, request *x509.CertificateRequest) []kubeletRight {
	if r.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName || fitsKubeletClient(request, r.Spec.Usages) != nil {
		return nil
	}
	rights := []kubeletRight{{"nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."}}
	if r.Spec.Username == request.Subject.CommonName {
		own := kubeletRight{"selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."}
		rights = append([]kubeletRight{own}, rights...)
	}
	return rights
}

// approve approves the requests of kubelets for their client certificates.
func approve(deps controllers.Deps, authz authorizer.Authorizer) *controllers.Controller {
	c := deps.Client(clientName)
	requests := client.Of[*certificatesv1.CertificateSigningRequest](c)
	return &controllers.Controller{
		Name: "certificatesigningrequest-approving-controller", Client: c,
		Inputs:  []controllers.Input{controllers.On[*certificatesv1.CertificateSigningRequest](nil)},
		Outputs: []controllers.Output{{Kind: api.For[*certificatesv1.CertificateSigningRequest], Field: "status.conditions"}},
		Reconcile: func(ctx context.Context, key controllers.Key) (time.Duration, error) {
			r, ok := requests.Get("", key.Name)
			if !ok || len(r.Status.Certificate) > 0 {
				return 0, nil
			}
			if approved, denied, _ := decided(r); approved || denied {
				return 0, nil
			}
			request, err := apicertificates.ParseRequest(r.Spec.Request)
			if err != nil {
				return 0, fmt.Errorf("unable to parse csr %q: %w", r.Name, err)
			}
			rights := kubeletRights(r, request)
			for _, right := range rights {
				decision, _, err := authz.Authorize(ctx, authorizer.AttributesRecord{
					User: requester(r), Verb: "create", APIGroup: certificatesv1.GroupName, APIVersion: "*",
					Resource: "certificatesigningrequests", Subresource: right.subresource, ResourceRequest: true,
				})
				if decision != authorizer.DecisionAllow {
					if err != nil {
						return 0, fmt.Errorf("asking whether %s may be approved: %w", r.Spec.Username, err)
					}
					continue
				}
				_, err = requests.Modify(ctx, "", r.Name, "approval", func(m *certificatesv1.CertificateSigningRequest) error {
					if approved, denied, _ := decided(m); approved || denied {
						return nil // somebody was faster
					}
					now := metav1.NewTime(deps.Clock.Now())
					m.Status.Conditions = append(m.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
						Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue,
						Reason: "AutoApproved", Message: right.message, LastUpdateTime: now, LastTransitionTime: now,
					})
					return nil
				})
				if err != nil && !apierrors.IsNotFound(err) {
					return 0, fmt.Errorf("error updating approval for csr: %w", err)
				}
				return 0, nil
			}
			if len(rights) == 0 {
				return 0, nil // for people to decide
			}
			return min(max(deps.Clock.Since(r.CreationTimestamp.Time), minRetry), maxRetry), nil
		},
	}
}

// requester is who the API server saw ask.
func requester(r *certificatesv1.CertificateSigningRequest) user.Info {
	u := &user.DefaultInfo{Name: r.Spec.Username, UID: r.Spec.UID, Groups: r.Spec.Groups, Extra: map[string][]string{}}
	for key, values := range r.Spec.Extra {
		u.Extra[key] = values
	}
	return u
}
