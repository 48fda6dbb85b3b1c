package issuers

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
)

// Flags are those of kube-apiserver that configure one issuer: --oidc-issuer-url and so on.
type Flags struct {
	IssuerURL      string            // --oidc-issuer-url
	ClientID       string            // --oidc-client-id: the audience
	CAFile         string            // --oidc-ca-file
	UsernameClaim  string            // --oidc-username-claim; empty: sub
	UsernamePrefix string            // --oidc-username-prefix
	GroupsClaim    string            // --oidc-groups-claim
	GroupsPrefix   string            // --oidc-groups-prefix
	SigningAlgs    []string          // --oidc-signing-algs; empty: RS256
	RequiredClaims map[string]string // --oidc-required-claim
}

func (f *Flags) any() bool {
	return f.IssuerURL != "" || f.ClientID != "" || f.CAFile != "" || f.UsernameClaim != "" || f.UsernamePrefix != "" ||
		f.GroupsClaim != "" || f.GroupsPrefix != "" || len(f.SigningAlgs) > 0 || len(f.RequiredClaims) > 0
}

// noPrefix is how the flag says that user names are to stay as they are.
const noPrefix = "-"

// issuer is what the flags mean in the words of the configuration file.
func (f *Flags) issuer() (apiserver.JWTAuthenticator, error) {
	claim := f.UsernameClaim
	if claim == "" {
		claim = "sub"
	}
	prefix := f.UsernamePrefix
	switch {
	case prefix == noPrefix:
		prefix = ""
	case prefix == "" && claim != "email":
		// Only an e-mail address is no name of somebody else's at another issuer.
		prefix = f.IssuerURL + "#"
	}
	out := apiserver.JWTAuthenticator{
		Issuer: apiserver.Issuer{URL: f.IssuerURL, Audiences: []string{f.ClientID}},
		ClaimMappings: apiserver.ClaimMappings{
			Username: apiserver.PrefixedClaimOrExpression{Claim: claim, Prefix: &prefix},
		},
	}
	if f.GroupsClaim != "" {
		groupsPrefix := f.GroupsPrefix
		out.ClaimMappings.Groups = apiserver.PrefixedClaimOrExpression{Claim: f.GroupsClaim, Prefix: &groupsPrefix}
	}
	if f.CAFile != "" {
		pem, err := os.ReadFile(f.CAFile)
		if err != nil {
			return out, fmt.Errorf("read --oidc-ca-file: %w", err)
		}
		out.Issuer.CertificateAuthority = string(pem)
	}
	for _, claim := range slices.Sorted(maps.Keys(f.RequiredClaims)) {
		out.ClaimValidationRules = append(out.ClaimValidationRules, apiserver.ClaimValidationRule{Claim: claim, RequiredValue: f.RequiredClaims[claim]})
	}
	return out, nil
}

// decoder knows the versions an AuthenticationConfiguration may be written in, and no field twice or unknown.
var decoder = sync.OnceValue(func() runtime.Decoder {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder()
})

// compiler is made once: an environment for expressions takes long to make and much memory.
var compiler = sync.OnceValue(authenticationcel.NewDefaultCompiler)

func parse(data []byte) (*apiserver.AuthenticationConfiguration, error) {
	if len(data) == 0 {
		return nil, errors.New("empty config data")
	}
	obj, err := runtime.Decode(decoder(), data)
	if err != nil {
		return nil, err
	}
	conf, ok := obj.(*apiserver.AuthenticationConfiguration)
	if !ok {
		return nil, fmt.Errorf("expected AuthenticationConfiguration, got %T", obj)
	}
	return conf, nil
}

func validate(conf *apiserver.AuthenticationConfiguration, ours []string) field.ErrorList {
	return validation.ValidateAuthenticationConfiguration(compiler(), conf, ours)
}

// algorithms are those the issuers of a file may sign with: all that are safe, since a key of theirs says its own.
func algorithms() []string { return oidc.AllValidSigningAlgorithms() }
