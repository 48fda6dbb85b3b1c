package main

import (
	"strconv"

	"github.com/spf13/pflag"

	"github.com/monohull/monohull/internal/cluster"
)

// identityFlags are upstream's API server's and controller manager's flags on
// who comes in and what they may do.
func identityFlags(f *pflag.FlagSet, c *cluster.Identity) {
	f.StringVar(&c.TokenFile, "token-auth-file", "", "CSV `file` of fixed tokens: token,user,uid,\"groups\"")
	f.StringVar(&c.AuthenticationConfig, "authentication-config", "", "`file` with an AuthenticationConfiguration: JWT issuers, anonymous access; followed as it changes")
	negated(f, &c.RefuseAnonymous, "anonymous-auth", "take requests without credentials as system:anonymous")
	f.StringSliceVar(&c.APIAudiences, "api-audiences", nil, "`audiences` that tokens for this API name (default: the issuers of service account tokens)")
	f.StringVar(&c.OIDC.IssuerURL, "oidc-issuer-url", "", "`URL` of an OpenID Connect issuer")
	f.StringVar(&c.OIDC.ClientID, "oidc-client-id", "", "client `ID` that its tokens must be for")
	f.StringVar(&c.OIDC.CAFile, "oidc-ca-file", "", "`file` of the authorities of the issuer's certificate")
	f.StringVar(&c.OIDC.UsernameClaim, "oidc-username-claim", "", "`claim` that names the user (default sub)")
	f.StringVar(&c.OIDC.UsernamePrefix, "oidc-username-prefix", "", "`prefix` of the user names; - for none")
	f.StringVar(&c.OIDC.GroupsClaim, "oidc-groups-claim", "", "`claim` that lists the groups")
	f.StringVar(&c.OIDC.GroupsPrefix, "oidc-groups-prefix", "", "`prefix` of the groups")
	f.StringSliceVar(&c.OIDC.SigningAlgs, "oidc-signing-algs", nil, "signing `algorithms` that are taken (default RS256)")
	f.StringToStringVar(&c.OIDC.RequiredClaims, "oidc-required-claim", nil, "`claim=value` that a token must have")
	f.StringVar(&c.TokenWebhook.File, "authentication-token-webhook-config-file", "", "kubeconfig `file` of a service that is asked about bearer tokens")
	f.StringVar(&c.TokenWebhook.Version, "authentication-token-webhook-version", "v1beta1", "`version` of the TokenReview it speaks")
	f.DurationVar(&c.TokenWebhook.CacheTTL, "authentication-token-webhook-cache-ttl", cluster.DefaultTokenWebhookTTL, "how long its answers count")
	f.StringVar(&c.ClientCAFile, "client-ca-file", "", "`file` of further authorities of client certificates")
	f.StringVar(&c.RequestHeader.ClientCAFile, "requestheader-client-ca-file", "", "`file` of the authorities of front proxies")
	f.StringSliceVar(&c.RequestHeader.AllowedNames, "requestheader-allowed-names", nil, "common `names` that front proxies may have (default: any)")
	f.StringSliceVar(&c.RequestHeader.User, "requestheader-username-headers", []string{"X-Remote-User"}, "`headers` in which they name the user")
	f.StringSliceVar(&c.RequestHeader.UID, "requestheader-uid-headers", nil, "`headers` in which they give the user's uid")
	f.StringSliceVar(&c.RequestHeader.Group, "requestheader-group-headers", []string{"X-Remote-Group"}, "`headers` in which they list the groups")
	f.StringSliceVar(&c.RequestHeader.Extras, "requestheader-extra-headers-prefix", []string{"X-Remote-Extra-"}, "`prefixes` of the headers with anything else")

	f.StringSliceVar(&c.Authorization.Modes, "authorization-mode", cluster.DefaultAuthorizationModes(), "`modes` in order: Node, RBAC, ABAC, Webhook, AlwaysAllow, AlwaysDeny")
	f.StringVar(&c.AuthorizationConfig, "authorization-config", "", "`file` with an AuthorizationConfiguration, instead of the mode; followed as it changes")
	f.StringVar(&c.Authorization.PolicyFile, "authorization-policy-file", "", "`file` of the mode ABAC")
	f.StringVar(&c.Authorization.WebhookFile, "authorization-webhook-config-file", "", "kubeconfig `file` of the mode Webhook")
	f.StringVar(&c.Authorization.WebhookVersion, "authorization-webhook-version", "v1beta1", "`version` of the SubjectAccessReview it speaks")
	f.DurationVar(&c.Authorization.AuthorizedTTL, "authorization-webhook-cache-authorized-ttl", cluster.DefaultAuthorizedTTL, "how long it is believed when it allows")
	f.DurationVar(&c.Authorization.UnauthorizedTTL, "authorization-webhook-cache-unauthorized-ttl", cluster.DefaultUnauthorizedTTL, "how long it is believed when it does not")

	f.StringSliceVar(&c.ServiceAccount.Issuers, "service-account-issuer", nil, "`URL` that service account tokens name as their issuer; further ones are accepted (default https://kubernetes.default.svc.DOMAIN)")
	f.StringSliceVar(&c.ServiceAccount.KeyFiles, "service-account-key-file", nil, "`files` of further public keys of service account tokens")
	f.StringVar(&c.ServiceAccount.SigningKeyFile, "service-account-signing-key-file", "", "`file` of the private key that signs them (default: one of the data directory)")
	f.StringVar(&c.ServiceAccount.JWKSURI, "service-account-jwks-uri", "", "`URI` of the keys in the issuer's discovery document")
	negated(f, &c.ServiceAccount.KeepExpiration, "service-account-extend-token-expiration", "let the tokens of pods last a year, and say when they are used past an hour")
	f.DurationVar(&c.ServiceAccount.MaxExpiration, "service-account-max-token-expiration", 0, "the longest a service account token may be asked for")
	f.DurationVar(&c.LegacyCleanUp, "legacy-service-account-token-clean-up-period", cluster.DefaultCleanUpPeriod, "after how long without use the Secret of a service account token is cleaned up")
	f.StringVar(&c.SigningCert, "cluster-signing-cert-file", "", "certificate `file` of the authority that signs CertificateSigningRequests (default: the cluster's)")
	f.StringVar(&c.SigningKey, "cluster-signing-key-file", "", "its key `file`")
	f.DurationVar(&c.SigningDuration, "cluster-signing-duration", cluster.DefaultSigningDuration, "the longest a signed certificate lasts")
}

// negation is a flag that is true unless said otherwise, kept as its opposite so
// that a zero configuration is the default one.
type negation struct{ not *bool }

func negated(f *pflag.FlagSet, not *bool, name, usage string) {
	f.VarPF(negation{not}, name, "", usage).NoOptDefVal = "true"
}

func (n negation) String() string {
	return strconv.FormatBool(n.not == nil || !*n.not)
}

func (n negation) Set(s string) error {
	v, err := strconv.ParseBool(s)
	*n.not = !v
	return err
}

func (negation) Type() string { return "bool" }
