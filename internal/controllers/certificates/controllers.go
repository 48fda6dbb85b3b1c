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
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/monohull/monohull/internal/api"
	apicertificates "github.com/monohull/monohull/internal/api/certificates"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

const (
	clientName = "certificate-controller"

	// DefaultLife is how long certificates last at most: --cluster-signing-duration.
	DefaultLife = 365 * 24 * time.Hour

	signWorkers = 5
	// cleanInterval is how often a request is looked at that is kept.
	cleanInterval = time.Hour
)

// Signer signs with the key of an authority, which it may not have.
type Signer interface {
	CanSign() bool
	SignRequest(request *x509.CertificateRequest, usage x509.KeyUsage, extended []x509.ExtKeyUsage, life time.Duration) ([]byte, error)
}

// Config says who signs and who may be approved.
type Config struct {
	// Signers are by signer name. What is not in it is left to somebody else.
	Signers map[string]Signer
	Life    time.Duration // --cluster-signing-duration; zero: DefaultLife
	// Authorizer answers who may be approved unseen.
	Authorizer authorizer.Authorizer
}

// BuiltIn has one authority sign for all of the built-in signers: --cluster-signing-cert-file and
// --cluster-signing-key-file. One without its key signs nothing.
func BuiltIn(authority Signer) map[string]Signer {
	if !authority.CanSign() {
		return nil
	}
	return map[string]Signer{
		certificatesv1.KubeAPIServerClientSignerName:        authority,
		certificatesv1.KubeAPIServerClientKubeletSignerName: authority,
		certificatesv1.KubeletServingSignerName:             authority,
		legacyUnknown:                                       authority,
	}
}

// Controllers are the control loops of this area.
func Controllers(deps controllers.Deps, config Config) []*controllers.Controller {
	if config.Life == 0 {
		config.Life = DefaultLife
	}
	list := []*controllers.Controller{approve(deps, config.Authorizer), clean(deps)}
	if len(config.Signers) > 0 {
		list = append(list, sign(deps, config))
	}
	return list
}

// sign issues the certificates of requests that were approved.
func sign(deps controllers.Deps, config Config) *controllers.Controller {
	c := deps.Client(clientName)
	requests := client.Of[*certificatesv1.CertificateSigningRequest](c)
	update := func(ctx context.Context, name string, change func(*certificatesv1.CertificateSigningRequest)) error {
		_, err := requests.Modify(ctx, "", name, "status", func(m *certificatesv1.CertificateSigningRequest) error {
			if len(m.Status.Certificate) == 0 {
				change(m)
			}
			return nil
		})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	return &controllers.Controller{
		Name: "certificatesigningrequest-signing-controller", Client: c, Workers: signWorkers,
		Inputs:  []controllers.Input{controllers.On[*certificatesv1.CertificateSigningRequest](nil)},
		Outputs: []controllers.Output{{Kind: api.For[*certificatesv1.CertificateSigningRequest], Field: "status.certificate"}},
		Reconcile: func(ctx context.Context, key controllers.Key) (time.Duration, error) {
			r, ok := requests.Get("", key.Name)
			if !ok || len(r.Status.Certificate) > 0 {
				return 0, nil
			}
			signer := config.Signers[r.Spec.SignerName]
			approved, denied, failed := decided(r)
			if signer == nil || !approved || denied || failed {
				return 0, nil
			}
			request, err := apicertificates.ParseRequest(r.Spec.Request)
			if err != nil {
				return 0, fmt.Errorf("unable to parse csr %q: %w", r.Name, err)
			}
			known, reason := fits(r.Spec.SignerName, request, r.Spec.Usages)
			if !known {
				return 0, nil
			}
			if reason != nil {
				err := update(ctx, r.Name, func(m *certificatesv1.CertificateSigningRequest) {
					now := metav1.NewTime(deps.Clock.Now())
					m.Status.Conditions = append(m.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
						Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue,
						Reason: "SignerValidationFailure", Message: reason.Error(), LastUpdateTime: now, LastTransitionTime: now,
					})
				})
				if err != nil {
					return 0, fmt.Errorf("error adding failure condition for csr: %w", err)
				}
				return 0, nil
			}
			usage, extended, err := keyUsages(r.Spec.Usages)
			if err != nil {
				return 0, fmt.Errorf("error auto signing csr: %w", err)
			}
			cert, err := signer.SignRequest(request, usage, extended, life(r.Spec.ExpirationSeconds, config.Life))
			if err != nil {
				return 0, fmt.Errorf("error auto signing csr: %w", err)
			}
			if err := update(ctx, r.Name, func(m *certificatesv1.CertificateSigningRequest) { m.Status.Certificate = cert }); err != nil {
				return 0, fmt.Errorf("error updating signature for csr: %w", err)
			}
			return 0, nil
		},
	}
}

// clean deletes requests that are over.
func clean(deps controllers.Deps) *controllers.Controller {
	c := deps.Client(clientName)
	requests := client.Of[*certificatesv1.CertificateSigningRequest](c)
	return &controllers.Controller{
		Name: "certificatesigningrequest-cleaner-controller", Client: c, Workers: 1,
		Inputs:  []controllers.Input{controllers.On[*certificatesv1.CertificateSigningRequest](nil)},
		Outputs: []controllers.Output{{Kind: api.For[*certificatesv1.CertificateSigningRequest]}},
		Reconcile: func(ctx context.Context, key controllers.Key) (time.Duration, error) {
			r, ok := requests.Get("", key.Name)
			if !ok || r.DeletionTimestamp != nil {
				return 0, nil
			}
			reason := stale(r, deps.Clock.Now())
			if reason == "" {
				return cleanInterval, nil
			}
			if err := requests.Delete(ctx, "", key.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(r.UID))}); err != nil && !apierrors.IsConflict(err) {
				return 0, fmt.Errorf("unable to delete CSR %q: %w", r.Name, err)
			}
			deps.Log.Info("certificates: a signing request was deleted", "name", r.Name, "reason", reason)
			return 0, nil
		},
	}
}
