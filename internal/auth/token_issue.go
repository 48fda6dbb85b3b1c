package auth

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
)

const (
	defaultTokenSeconds = 60 * 60
	minTokenSeconds     = 10 * 60
	maxTokenSeconds     = 1 << 32
	// warnTokenSeconds is the odd lifetime that the kubelet asks for on behalf of pods which did not ask for a token
	// themselves. Old clients read such a token once and keep it, so it is made to last longer than it says.
	warnTokenSeconds = 60*60 + 7
	// extendedTokenSeconds is how long.
	extendedTokenSeconds = 365 * 24 * 60 * 60
)

// IssuerConfig says how tokens are made.
type IssuerConfig struct {
	Issuer    string        // the iss claim: the server's public https URL
	Audiences []string      // those of the API server: what a token is for if the request names nothing
	Key       crypto.Signer // RSA, or ECDSA on a NIST curve
	// MaxExpiration shortens what is asked for; zero does not.
	MaxExpiration time.Duration
	// MaxExtended is how long a token lasts that is extended; zero: a year.
	MaxExtended time.Duration
	// KeepExpiration turns off the extension of tokens that the kubelet makes for pods
	// (--service-account-extend-token-expiration=false).
	KeepExpiration bool
	Now            func() time.Time // nil: time.Now
}

// TokenIssuer makes service account tokens.
type TokenIssuer struct {
	config IssuerConfig
	lookup Lookup
	signer jose.Signer
}

// NewTokenIssuer makes an issuer that reads accounts and bound objects from lookup.
func NewTokenIssuer(config IssuerConfig, lookup Lookup) (*TokenIssuer, error) {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Issuer == "" {
		return nil, errors.New("make token issuer: the issuer URL is empty")
	}
	algorithm, err := algorithmOf(config.Key.Public())
	if err != nil {
		return nil, fmt.Errorf("make token issuer: %w", err)
	}
	id, err := KeyID(config.Key.Public())
	if err != nil {
		return nil, fmt.Errorf("make token issuer: %w", err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: algorithm,
		Key:       &jose.JSONWebKey{Algorithm: string(algorithm), Key: config.Key, KeyID: id, Use: "sig"},
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("make token issuer: %w", err)
	}
	return &TokenIssuer{config: config, lookup: lookup, signer: signer}, nil
}

// Issued is a token made by Request.
type Issued struct {
	Response *authenticationv1.TokenRequest
	// Warnings are for the Warning headers of the response.
	Warnings []string
	// CredentialID belongs in the audit event, as annotation authentication.kubernetes.io/issued-credential-id.
	CredentialID string
}

// Request answers a POST to serviceaccounts/<name>/token. The request is not changed. validate, which may be nil, is
// validating admission; it sees the request as completed. Errors are ready for the client.
func (t *TokenIssuer) Request(ctx context.Context, namespace, name string, request *authenticationv1.TokenRequest, validate func(context.Context, *authenticationv1.TokenRequest) error) (*Issued, error) {
	gvk := authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")
	req := request.DeepCopy()
	if req.Name != "" && req.Name != name {
		return nil, apierrors.NewInvalid(gvk.GroupKind(), name, field.ErrorList{
			field.Invalid(field.NewPath("metadata", "name"), req.Name, "must match the service account name if specified")})
	}
	if req.Namespace != "" && req.Namespace != namespace {
		return nil, apierrors.NewInvalid(gvk.GroupKind(), name, field.ErrorList{
			field.Invalid(field.NewPath("metadata", "namespace"), req.Namespace, "must match the service account namespace if specified")})
	}
	account := t.lookup.ServiceAccount(namespace, name)
	if account == nil {
		return nil, apierrors.NewNotFound(corev1.Resource("serviceaccounts"), name)
	}
	if req.UID != "" && req.UID != account.UID {
		return nil, apierrors.NewConflict(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, name,
			fmt.Errorf("the UID in the token request (%s) does not match the UID of the service account (%s)", req.UID, account.UID))
	}
	now := t.config.Now()
	req.Name, req.Namespace, req.UID = account.Name, account.Namespace, account.UID
	req.CreationTimestamp = metav1.NewTime(now)
	req.Status = authenticationv1.TokenRequestStatus{}
	if len(req.Spec.Audiences) == 0 {
		req.Spec.Audiences = t.config.Audiences
	}
	if req.Spec.ExpirationSeconds == nil {
		seconds := int64(defaultTokenSeconds)
		req.Spec.ExpirationSeconds = &seconds
	}
	if errs := validateTokenRequest(req); len(errs) > 0 {
		return nil, apierrors.NewInvalid(gvk.GroupKind(), "", errs)
	}
	if validate != nil {
		if err := validate(ctx, req.DeepCopy()); err != nil {
			return nil, err
		}
	}
	bound, err := t.boundObjects(account, req.Spec.BoundObjectRef)
	if err != nil {
		return nil, err
	}

	out := &Issued{Response: req}
	seconds := *req.Spec.ExpirationSeconds
	if most := int64(t.config.MaxExpiration.Seconds()); most > 0 && seconds > most {
		out.Warnings = append(out.Warnings, fmt.Sprintf("requested expiration of %d seconds shortened to %d seconds", seconds, most))
		seconds = most
		req.Spec.ExpirationSeconds = &seconds
	}
	lasts, warnAfter := seconds, int64(0)
	if !t.config.KeepExpiration && bound.pod != nil && seconds == warnTokenSeconds && t.forUs(req.Spec.Audiences) {
		lasts, warnAfter = extendedTokenSeconds, seconds
		if t.config.MaxExtended > 0 {
			lasts = int64(t.config.MaxExtended.Seconds())
		}
	}
	claims := t.claims(account, bound, req.Spec.Audiences, now, lasts, warnAfter)
	token, err := t.sign(claims, &claims.privateClaims)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("failed to generate token: %w", err))
	}
	req.Status = authenticationv1.TokenRequestStatus{
		Token: token,
		// What the client is told is what it asked for: it should renew by then, even if the token lasts longer.
		ExpirationTimestamp: metav1.Time{Time: now.Add(time.Duration(seconds) * time.Second)},
	}
	out.CredentialID = "JTI=" + claims.ID
	return out, nil
}

func validateTokenRequest(req *authenticationv1.TokenRequest) field.ErrorList {
	var errs field.ErrorList
	path, seconds := field.NewPath("spec", "expirationSeconds"), *req.Spec.ExpirationSeconds
	if seconds < minTokenSeconds {
		errs = append(errs, field.Invalid(path, seconds, "may not specify a duration less than 10 minutes"))
	}
	if seconds > maxTokenSeconds {
		errs = append(errs, field.Invalid(path, seconds, "may not specify a duration larger than 2^32 seconds"))
	}
	return errs
}

// boundTo is what a token ends with.
type boundTo struct {
	pod, secret, node *reference
}

func (t *TokenIssuer) boundObjects(account *corev1.ServiceAccount, ref *authenticationv1.BoundObjectReference) (boundTo, error) {
	var out boundTo
	if ref == nil {
		return out, nil
	}
	var uid types.UID
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	switch gvk.GroupKind() {
	case schema.GroupKind{Kind: "Pod"}:
		pod := t.lookup.Pod(account.Namespace, ref.Name)
		if pod == nil {
			return out, apierrors.NewNotFound(corev1.Resource("pods"), ref.Name)
		}
		if pod.Spec.ServiceAccountName != account.Name {
			return out, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", account.Name))
		}
		uid = pod.UID
		out.pod = &reference{pod.Name, string(pod.UID)}
		if pod.Spec.NodeName != "" {
			// A node that is not there is still named: whoever inspects the token learns where the pod runs.
			out.node = &reference{Name: pod.Spec.NodeName}
			if node := t.lookup.Node(pod.Spec.NodeName); node != nil {
				out.node.UID = string(node.UID)
			}
		}
	case schema.GroupKind{Kind: "Node"}:
		node := t.lookup.Node(ref.Name)
		if node == nil {
			return out, apierrors.NewNotFound(corev1.Resource("nodes"), ref.Name)
		}
		uid = node.UID
		out.node = &reference{node.Name, string(node.UID)}
	case schema.GroupKind{Kind: "Secret"}:
		secret := t.lookup.Secret(account.Namespace, ref.Name)
		if secret == nil {
			return out, apierrors.NewNotFound(corev1.Resource("secrets"), ref.Name)
		}
		uid = secret.UID
		out.secret = &reference{secret.Name, string(secret.UID)}
	default:
		return out, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk.String()))
	}
	if ref.UID != "" && uid != ref.UID {
		return out, apierrors.NewConflict(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, ref.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	return out, nil
}

// forUs says that every audience is one of the API server's own.
func (t *TokenIssuer) forUs(audiences []string) bool {
	for _, audience := range audiences {
		if !has(t.config.Audiences, audience) {
			return false
		}
	}
	return true
}

func (t *TokenIssuer) claims(account *corev1.ServiceAccount, bound boundTo, audiences []string, now time.Time, seconds, warnAfter int64) *tokenClaims {
	c := &tokenClaims{
		Claims: jwt.Claims{
			ID:        uuid.NewString(),
			Issuer:    t.config.Issuer,
			Subject:   serviceaccount.MakeUsername(account.Namespace, account.Name),
			Audience:  audiences,
			IssuedAt:  jwt.NewNumericDate(now),
			NotBefore: jwt.NewNumericDate(now),
			Expiry:    jwt.NewNumericDate(now.Add(time.Duration(seconds) * time.Second)),
		},
		privateClaims: privateClaims{Kubernetes: kubernetesClaims{
			Namespace:      account.Namespace,
			ServiceAccount: reference{account.Name, string(account.UID)},
			Pod:            bound.pod,
			Secret:         bound.secret,
			Node:           bound.node,
		}},
	}
	if warnAfter != 0 {
		c.Kubernetes.WarnAfter = jwt.NewNumericDate(now.Add(time.Duration(warnAfter) * time.Second))
	}
	return c
}

func (t *TokenIssuer) sign(claims *tokenClaims, private any) (string, error) {
	// The library writes one audience as a string. Upstream always writes a list, and some readers know only that.
	audience := struct {
		Audience []string `json:"aud,omitempty"`
	}{claims.Audience}
	return jwt.Signed(t.signer).Claims(private).Claims(&claims.Claims).Claims(audience).Serialize()
}

// LegacyToken makes the token that a Secret of type kubernetes.io/service-account-token holds. It never expires and is
// good for as long as the Secret holds it.
func (t *TokenIssuer) LegacyToken(account *corev1.ServiceAccount, secret *corev1.Secret) (string, error) {
	claims := &tokenClaims{Claims: jwt.Claims{
		Issuer:  legacyIssuer,
		Subject: serviceaccount.MakeUsername(account.Namespace, account.Name),
	}}
	token, err := t.sign(claims, &legacyClaims{
		Namespace:          account.Namespace,
		ServiceAccountName: account.Name,
		ServiceAccountUID:  string(account.UID),
		SecretName:         secret.Name,
	})
	if err != nil {
		return "", fmt.Errorf("make token of service account %s/%s for secret %s: %w", account.Namespace, account.Name, secret.Name, err)
	}
	return token, nil
}
