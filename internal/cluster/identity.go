package cluster

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/monohull/monohull/internal/audit"
	"github.com/monohull/monohull/internal/auth"
	"github.com/monohull/monohull/internal/auth/issuers"
	"github.com/monohull/monohull/internal/auth/modes"
	"github.com/monohull/monohull/internal/auth/reload"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers/certificates"
	"github.com/monohull/monohull/internal/controllers/identity"
	"github.com/monohull/monohull/internal/pki"
)

// proxyName is the common name of the certificate with which the server itself
// is a front proxy of extension API servers.
const proxyName = "front-proxy-client"

// Defaults of the flags.
const (
	DefaultTokenWebhookTTL = issuers.DefaultWebhookTTL
	DefaultAuthorizedTTL   = modes.DefaultAuthorizedTTL
	DefaultUnauthorizedTTL = modes.DefaultUnauthorizedTTL
	DefaultCleanUpPeriod   = identity.DefaultCleanUpPeriod
	DefaultSigningDuration = certificates.DefaultLife
)

// DefaultAuthorizationModes are those of --authorization-mode.
func DefaultAuthorizationModes() []string { return []string{modes.Node, modes.RBAC} }

// Identity is what the command line says of who may come in and what they may
// do. Flag names are kube-apiserver's and kube-controller-manager's.
type Identity struct {
	TokenFile            string // --token-auth-file
	AuthenticationConfig string // --authentication-config
	OIDC                 issuers.Flags
	RefuseAnonymous      bool // --anonymous-auth=false
	AnonymousGiven       bool // and whether it was said
	APIAudiences         []string
	TokenWebhook         issuers.Webhook
	ClientCAFile         string
	RequestHeader        RequestHeader

	Authorization       modes.Flags
	AuthorizationConfig string
	AuthorizationGiven  bool // whether any flag of Authorization but the policy file was said

	ServiceAccount ServiceAccount
	LegacyCleanUp  time.Duration // --legacy-service-account-token-clean-up-period

	SigningCert, SigningKey string        // --cluster-signing-cert-file, -key-file
	SigningDuration         time.Duration // --cluster-signing-duration
}

// RequestHeader is how front proxies of others say for whom they speak.
type RequestHeader struct {
	ClientCAFile             string
	AllowedNames             []string
	User, UID, Group, Extras []string
}

// ServiceAccount is about the tokens of service accounts.
type ServiceAccount struct {
	Issuers        []string
	KeyFiles       []string
	SigningKeyFile string
	JWKSURI        string
	KeepExpiration bool          // --service-account-extend-token-expiration=false
	MaxExpiration  time.Duration // --service-account-max-token-expiration
}

// identities is what the API server knows people by.
type identities struct {
	authn  *auth.Authenticator
	authz  *modes.Chain
	rbac   *auth.RBAC
	tokens *auth.TokenIssuer
	// issuer documents
	discovery, keys []byte
	trust           func() identity.Trust
	trustChanges    bool
	signer          certificates.Signer
}

// newIdentities reads the configuration and starts what follows its files.
func (c *cluster) newIdentities(ctx context.Context, reader *client.Client, address string) (*identities, error) {
	cfg := &c.cfg.Identity
	view := lookup{reader}
	out := &identities{signer: c.certs.CA}

	accountIssuers := cfg.ServiceAccount.Issuers
	if len(accountIssuers) == 0 {
		accountIssuers = []string{"https://kubernetes.default.svc." + c.cfg.ClusterDomain}
	}
	audiences := cfg.APIAudiences
	if len(audiences) == 0 {
		audiences = accountIssuers
	}
	var signing = c.certs.AccountKey
	public := c.certs.AccountPublicKeys
	if f := cfg.ServiceAccount.SigningKeyFile; f != "" {
		key, err := pki.ReadKey(f)
		if err != nil {
			return nil, fmt.Errorf("--service-account-signing-key-file: %w", err)
		}
		signing, public = key, append([]crypto.PublicKey{key.Public()}, public...)
	}
	for _, f := range cfg.ServiceAccount.KeyFiles {
		keys, err := pki.ReadPublicKeys(f)
		if err != nil {
			return nil, fmt.Errorf("--service-account-key-file: %w", err)
		}
		public = append(public, keys...)
	}
	var err error
	out.tokens, err = auth.NewTokenIssuer(auth.IssuerConfig{
		Issuer: accountIssuers[0], Audiences: audiences, Key: signing,
		MaxExpiration: cfg.ServiceAccount.MaxExpiration, KeepExpiration: cfg.ServiceAccount.KeepExpiration,
	}, view)
	if err != nil {
		return nil, err
	}
	if out.discovery, err = auth.DiscoveryJSON(accountIssuers[0], cfg.ServiceAccount.JWKSURI, address, public); err != nil {
		return nil, err
	}
	if out.keys, err = auth.KeySetJSON(public); err != nil {
		return nil, err
	}

	outside, err := issuers.Load(issuers.Config{
		File: cfg.AuthenticationConfig, Flags: cfg.OIDC, AnonymousFlag: cfg.AnonymousGiven, OwnIssuers: accountIssuers, Audiences: audiences,
		ServerID: c.cfg.NodeName, Clock: c.clock, Log: c.cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	var others []authenticator.Token
	if outside != nil {
		others = append(others, outside)
		c.run("issuers", func() error { return outside.Run(ctx) })
	}
	if w := cfg.TokenWebhook; w.File != "" {
		w.Audiences = audiences
		hook, err := issuers.WebhookTokens(w)
		if err != nil {
			return nil, err
		}
		others = append(others, hook)
	}

	out.rbac = auth.NewRBAC(newRules(reader))
	if out.authz, err = modes.New(modes.Config{
		Flags: cfg.Authorization, File: cfg.AuthorizationConfig, FlagsGiven: cfg.AuthorizationGiven,
		RBAC: out.rbac, Node: auth.NewNodeAuthorizer(view), Clock: c.clock, Log: c.cfg.Logger,
	}); err != nil {
		return nil, err
	}
	c.run("authorization", func() error { return out.authz.Run(ctx) })

	clientCA, err := c.authorities(ctx, cfg.ClientCAFile, c.certs.CA)
	if err != nil {
		return nil, fmt.Errorf("--client-ca-file: %w", err)
	}
	proxyCA, err := c.authorities(ctx, cfg.RequestHeader.ClientCAFile, c.certs.ProxyCA)
	if err != nil {
		return nil, fmt.Errorf("--requestheader-client-ca-file: %w", err)
	}
	headers := auth.DefaultProxyHeaders()
	names := []string{proxyName}
	if h := cfg.RequestHeader; h.ClientCAFile != "" {
		names = h.AllowedNames
		headers = auth.ProxyHeaders{User: h.User, UID: h.UID, Group: h.Group, ExtraPrefixes: h.Extras}
	}
	out.trustChanges = cfg.ClientCAFile != "" || cfg.RequestHeader.ClientCAFile != ""
	out.trust = func() identity.Trust {
		return identity.Trust{
			ClientCA: clientCA.PEM(), ProxyCA: proxyCA.PEM(), ProxyNames: names,
			User: headers.User, UID: headers.UID, Group: headers.Group, ExtraPrefixes: headers.ExtraPrefixes,
		}
	}
	var static map[string]*user.DefaultInfo
	if cfg.TokenFile != "" {
		if static, err = auth.ReadTokenFile(cfg.TokenFile); err != nil {
			return nil, fmt.Errorf("--token-auth-file: %w", err)
		}
	}
	if cfg.SigningCert != "" || cfg.SigningKey != "" {
		if out.signer, err = pki.LoadAuthority(cfg.SigningCert, cfg.SigningKey, c.clock.Now); err != nil {
			return nil, fmt.Errorf("--cluster-signing-cert-file: %w", err)
		}
	}
	anonymous, paths, said := outside.Anonymous()
	out.authn, err = auth.NewAuthenticator(auth.Config{
		ClientCA: clientCA.Pool, ProxyCA: proxyCA.Pool, ProxyNames: names, ProxyHeaders: headers,
		Issuers: accountIssuers, Audiences: audiences, TokenKeys: public, BootstrapTokens: true, StaticTokens: static, Others: others,
		// who may do anything without a name may do it as anybody: then there are no strangers
		RefuseAnonymous: said && !anonymous || !said && cfg.RefuseAnonymous || out.authz.Has(modes.AlwaysAllow),
		AnonymousPaths:  paths,
		Annotate:        audit.Annotate,
		UsedToken:       identity.TrackUse(func() *client.Client { return c.admin }, c.clock, c.cfg.Logger),
	}, view)
	return out, err
}

// trusted are the authorities of certificates, as they are now.
type trusted interface {
	Pool() *x509.CertPool
	PEM() []byte
}

// authorities are those of a file, followed as it changes, beside our own; our
// own alone without one.
func (c *cluster) authorities(ctx context.Context, file string, own *pki.Authority) (trusted, error) {
	if file == "" {
		return own, nil
	}
	a, err := reload.LoadAuthorities(file, c.cfg.Logger, own.Certificate())
	if err != nil {
		return nil, err
	}
	c.run("authorities", func() error { return a.Run(ctx, c.clock) })
	return a, nil
}
