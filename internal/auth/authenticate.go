package auth

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/user"
)

// Config says which credentials are good. What is left empty is not accepted.
type Config struct {
	// ClientCA gives the authorities of client certificates as they are now; the pool must be another one when
	// they change.
	ClientCA func() *x509.CertPool
	// ProxyCA gives the authorities of front proxies, which may speak for any user through X-Remote-* headers.
	// Their certificates must carry one of ProxyNames as common name, or any if the list is empty.
	ProxyCA    func() *x509.CertPool
	ProxyNames []string
	// ProxyHeaders are where they say for whom; the zero value means DefaultProxyHeaders.
	ProxyHeaders ProxyHeaders

	// Issuers are the iss claims that are ours; the first is the one new tokens get.
	Issuers []string
	// Audiences are the API server's own; a token must be for one of them.
	Audiences []string
	// TokenKeys verify service account tokens.
	TokenKeys []crypto.PublicKey
	// BootstrapTokens accepts the tokens that machines join with, kept as Secrets in kube-system.
	BootstrapTokens bool
	// StaticTokens are fixed users by token, as ParseTokenFile reads them.
	StaticTokens map[string]*user.DefaultInfo
	// Others know further kinds of bearer tokens, those of outside issuers and of webhooks. They are asked last and in
	// turn, since they may ask over the network.
	Others []authenticator.Token

	// RefuseAnonymous turns requests without credentials away; by default they are system:anonymous.
	RefuseAnonymous bool
	// AnonymousPaths, if there are any, are the only paths for which anonymous requests are taken.
	AnonymousPaths []string
	Now            func() time.Time // nil: time.Now
	// UsedToken, if set, hears of each use of a token that lives in a Secret, to label the Secret with the date.
	// It is called while the request waits.
	UsedToken func(context.Context, *corev1.Secret)
	// Annotate, if set, adds to the request's audit event what is worth knowing about its token.
	Annotate func(ctx context.Context, key, value string)
}

// Authenticator says who sends a request. It is safe for concurrent use.
type Authenticator struct {
	config    Config
	audiences authenticator.Audiences
	clients   *certVerifier
	proxies   *certVerifier
	accounts  *tokenVerifier
	lookup    Lookup
	bearer    *bearertoken.Authenticator
	anonymous user.Info
}

var (
	_ authenticator.Request = (*Authenticator)(nil)
	_ authenticator.Token   = (*Authenticator)(nil)
)

// NewAuthenticator makes an authenticator; it needs lookup for service account and bootstrap tokens only.
func NewAuthenticator(config Config, lookup Lookup) (*Authenticator, error) {
	if config.Now == nil {
		config.Now = time.Now
	}
	keys, err := namedKeys(config.TokenKeys)
	if err != nil {
		return nil, fmt.Errorf("make authenticator: %w", err)
	}
	if (len(keys) > 0 || config.BootstrapTokens) && lookup == nil {
		return nil, errors.New("make authenticator: tokens are accepted but there is no place to look up what they are bound to")
	}
	a := &Authenticator{
		config:    config,
		audiences: config.Audiences,
		lookup:    lookup,
		anonymous: &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}},
	}
	if err := a.config.ProxyHeaders.complete(); err != nil {
		return nil, fmt.Errorf("make authenticator: %w", err)
	}
	if config.Annotate == nil {
		config.Annotate = func(context.Context, string, string) {}
	}
	if config.ClientCA != nil {
		a.clients = newCertVerifier(config.ClientCA, config.Now)
	}
	if config.ProxyCA != nil {
		a.proxies = newCertVerifier(config.ProxyCA, config.Now)
	}
	if len(keys) > 0 {
		a.accounts = &tokenVerifier{
			issuers: config.Issuers, audiences: a.audiences, keys: keys, lookup: lookup, now: config.Now,
			usedToken: config.UsedToken, annotate: config.Annotate,
			verified: newBounded[[32]byte, *verifiedToken](tokenCacheEntries),
		}
	}
	a.bearer = bearertoken.New(a)
	return a, nil
}

// Authenticate gives the sender, or an *Unauthorized. Credentials that were used are taken from the request's
// headers, so that nothing behind can use them again. A bad credential is refused even where none would do.
func (a *Authenticator) Authenticate(req *http.Request) (*authenticator.Response, error) {
	resp, ok, err := a.AuthenticateRequest(req)
	if !ok {
		return nil, &Unauthorized{Cause: err}
	}
	return resp, nil
}

// AuthenticateRequest is Authenticate in upstream's form; the error is for the log.
func (a *Authenticator) AuthenticateRequest(req *http.Request) (*authenticator.Response, bool, error) {
	var errs []error
	for _, try := range []func(*http.Request) (*authenticator.Response, bool, error){
		a.proxied, a.certificate, a.bearer.AuthenticateRequest, a.websocketToken,
	} {
		resp, ok, err := try(req)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if ok {
			a.config.ProxyHeaders.clear(req.Header)
			return resp, true, nil
		}
	}
	if len(errs) > 0 {
		return nil, false, utilerrors.NewAggregate(errs)
	}
	if a.config.RefuseAnonymous || len(a.config.AnonymousPaths) > 0 && !has(a.config.AnonymousPaths, req.URL.Path) {
		return nil, false, nil
	}
	a.config.ProxyHeaders.clear(req.Header)
	audiences, _ := authenticator.AudiencesFrom(req.Context())
	return &authenticator.Response{User: a.anonymous, Audiences: audiences}, true, nil
}

// AuthenticateToken knows all kinds of bearer tokens. Without an answer and without an error it is a token of no
// kind we know. The audiences asked for are read from the context.
func (a *Authenticator) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	var errs []error
	if who, ok := a.config.StaticTokens[token]; ok {
		if resp, ok := a.forAnyAudience(ctx, authenticated(who)); ok {
			return resp, true, nil
		}
	}
	if a.accounts != nil {
		resp, err := a.accounts.verify(ctx, token)
		if resp != nil {
			return resp, true, nil
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	if a.config.BootstrapTokens {
		if who := checkBootstrapToken(a.lookup, token, a.config.Now()); who != nil {
			if resp, ok := a.forAnyAudience(ctx, authenticated(who)); ok {
				return resp, true, nil
			}
		}
	}
	for _, other := range a.config.Others {
		resp, ok, err := a.askOther(ctx, other, token)
		if ok {
			return resp, true, nil
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return nil, false, utilerrors.NewAggregate(errs)
}

// askOther asks for the API server's own audiences where the caller named none, and holds the answer to them.
func (a *Authenticator) askOther(ctx context.Context, other authenticator.Token, token string) (*authenticator.Response, bool, error) {
	wanted, ok := authenticator.AudiencesFrom(ctx)
	if !ok && len(a.audiences) > 0 {
		wanted = a.audiences
		ctx = authenticator.WithAudiences(ctx, wanted)
	}
	resp, ok, err := other.AuthenticateToken(ctx, token)
	if !ok || err != nil {
		return nil, false, err
	}
	if len(wanted) > 0 && len(wanted.Intersect(resp.Audiences)) == 0 {
		return nil, false, fmt.Errorf("unable to match the audience: %v", resp.Audiences)
	}
	return &authenticator.Response{User: authenticated(resp.User), Audiences: resp.Audiences}, true, nil
}

// forAnyAudience answers for credentials that know nothing of audiences: they are good for the API server's own.
func (a *Authenticator) forAnyAudience(ctx context.Context, who user.Info) (*authenticator.Response, bool) {
	wanted, ok := authenticator.AudiencesFrom(ctx)
	if !ok {
		return &authenticator.Response{User: who}, true
	}
	both := a.audiences.Intersect(wanted)
	if len(both) == 0 {
		return nil, false
	}
	return &authenticator.Response{User: who, Audiences: both}, true
}

// authenticated adds the group of all who have shown who they are.
func authenticated(who user.Info) user.Info {
	groups := who.GetGroups()
	if who.GetName() == user.Anonymous || has(groups, user.AllAuthenticated) || has(groups, user.AllUnauthenticated) {
		return who
	}
	return &user.DefaultInfo{
		Name:   who.GetName(),
		UID:    who.GetUID(),
		Groups: append(append(make([]string, 0, len(groups)+1), groups...), user.AllAuthenticated),
		Extra:  who.GetExtra(),
	}
}

// Unauthorized is a 401. It tells the client nothing; the cause is for the log.
type Unauthorized struct {
	Cause error // may be nil: no credentials, and anonymous requests are refused
}

func (u *Unauthorized) Error() string { return "Unauthorized" }
func (u *Unauthorized) Unwrap() error { return u.Cause }

// Status is the answer to the client.
func (u *Unauthorized) Status() metav1.Status {
	return metav1.Status{
		Status:  metav1.StatusFailure,
		Code:    http.StatusUnauthorized,
		Reason:  metav1.StatusReasonUnauthorized,
		Message: "Unauthorized",
	}
}
