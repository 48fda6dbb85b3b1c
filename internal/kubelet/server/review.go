package server

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apiserver/pkg/authentication/user"
	v1beta1 "k8s.io/kubelet/config/v1beta1"
)

// maxReviews bounds the answers that are kept.
const maxReviews = 4096

// Reviewer asks an API server who a token belongs to, and what a user may.
type Reviewer interface {
	TokenReview(context.Context, *authenticationv1.TokenReview) (*authenticationv1.TokenReview, error)
	SubjectAccessReview(context.Context, *authorizationv1.SubjectAccessReview) (*authorizationv1.SubjectAccessReview, error)
}

// Reviewed is an Authenticator and an Authorizer that asks an API server, for a
// kubelet that is not in one process with it.
type Reviewed struct {
	reviewer Reviewer
	clients  func() *x509.CertPool // nil: no certificates are taken
	cfg      *v1beta1.KubeletConfiguration
	tokens   *cache.LRUExpireCache
	accesses *cache.LRUExpireCache
}

// NewReviewed makes one. clients are the authorities of client certificates.
func NewReviewed(cfg *v1beta1.KubeletConfiguration, clients func() *x509.CertPool, r Reviewer) *Reviewed {
	return &Reviewed{reviewer: r, clients: clients, cfg: cfg, tokens: cache.NewLRUExpireCache(maxReviews), accesses: cache.NewLRUExpireCache(maxReviews)}
}

// Authenticate tells who sends a request, by its certificate or its token.
func (a *Reviewed) Authenticate(r *http.Request) (user.Info, bool, error) {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 && a.clients != nil {
		o := x509.VerifyOptions{Roots: a.clients(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, Intermediates: x509.NewCertPool()}
		for _, c := range r.TLS.PeerCertificates[1:] {
			o.Intermediates.AddCert(c)
		}
		cert := r.TLS.PeerCertificates[0]
		if _, err := cert.Verify(o); err != nil {
			return nil, false, fmt.Errorf("verify a client certificate: %w", err)
		}
		if cert.Subject.CommonName != "" {
			return &user.DefaultInfo{Name: cert.Subject.CommonName, Groups: append([]string{user.AllAuthenticated}, cert.Subject.Organization...)}, true, nil
		}
	}
	scheme, token, ok := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	if token = strings.TrimSpace(token); !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || !*a.cfg.Authentication.Webhook.Enabled {
		return nil, false, nil
	}
	key := sha256.Sum256([]byte(token))
	if who, ok := a.tokens.Get(key); ok {
		return who.(user.Info), true, nil
	}
	res, err := a.reviewer.TokenReview(r.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}})
	if err != nil {
		return nil, false, fmt.Errorf("review a token: %w", err)
	}
	if !res.Status.Authenticated {
		if res.Status.Error != "" {
			err = errors.New(res.Status.Error)
		}
		return nil, false, err
	}
	who := &user.DefaultInfo{Name: res.Status.User.Username, UID: res.Status.User.UID, Groups: res.Status.User.Groups}
	for k, v := range res.Status.User.Extra {
		if who.Extra == nil {
			who.Extra = map[string][]string{}
		}
		who.Extra[k] = v
	}
	a.tokens.Add(key, who, a.cfg.Authentication.Webhook.CacheTTL.Duration)
	return who, true, nil
}

// Authorize tells whether a user may.
func (a *Reviewed) Authorize(ctx context.Context, who user.Info, want Access) (bool, string, error) {
	spec := authorizationv1.SubjectAccessReviewSpec{
		User: who.GetName(), UID: who.GetUID(), Groups: who.GetGroups(),
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: want.Verb, Version: "v1", Resource: "nodes", Subresource: want.Subresource, Name: want.Node},
	}
	for k, v := range who.GetExtra() {
		if spec.Extra == nil {
			spec.Extra = map[string]authorizationv1.ExtraValue{}
		}
		spec.Extra[k] = v
	}
	key := spec.String()
	if st, ok := a.accesses.Get(key); ok {
		s := st.(authorizationv1.SubjectAccessReviewStatus)
		return s.Allowed, s.Reason, nil
	}
	res, err := a.reviewer.SubjectAccessReview(ctx, &authorizationv1.SubjectAccessReview{Spec: spec})
	if err != nil {
		return false, "", fmt.Errorf("review an access: %w", err)
	}
	keep := a.cfg.Authorization.Webhook.CacheUnauthorizedTTL.Duration
	if res.Status.Allowed {
		keep = a.cfg.Authorization.Webhook.CacheAuthorizedTTL.Duration
	}
	a.accesses.Add(key, res.Status, max(keep, time.Nanosecond))
	return res.Status.Allowed, res.Status.Reason, nil
}
