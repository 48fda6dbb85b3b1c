package modes

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"
)

// The modes of --authorization-mode, and the types of a file.
const (
	AlwaysAllow = "AlwaysAllow"
	AlwaysDeny  = "AlwaysDeny"
	ABAC        = "ABAC"
	Webhook     = "Webhook"
	RBAC        = "RBAC"
	Node        = "Node"
)

func allModes() []string { return []string{AlwaysAllow, AlwaysDeny, ABAC, Webhook, RBAC, Node} }

// Defaults of the flags.
const (
	DefaultWebhookVersion  = "v1beta1"
	DefaultAuthorizedTTL   = 5 * time.Minute
	DefaultUnauthorizedTTL = 30 * time.Second

	// flagWebhook is the name of the webhook that flags configure, and its limit.
	flagWebhook        = "default"
	flagWebhookTimeout = 30 * time.Second
)

// Flags are those of kube-apiserver.
type Flags struct {
	Modes           []string      // --authorization-mode; empty: Node,RBAC
	PolicyFile      string        // --authorization-policy-file
	WebhookFile     string        // --authorization-webhook-config-file
	WebhookVersion  string        // --authorization-webhook-version; empty: v1beta1
	AuthorizedTTL   time.Duration // --authorization-webhook-cache-authorized-ttl; zero: nothing is remembered
	UnauthorizedTTL time.Duration // --authorization-webhook-cache-unauthorized-ttl; zero: nothing is remembered
}

// check refuses flags that do not go together.
func (f *Flags) check() error {
	var errs []error
	seen := map[string]bool{}
	for _, mode := range f.Modes {
		switch {
		case !slices.Contains(allModes(), mode):
			errs = append(errs, fmt.Errorf("authorization-mode %q is not a valid mode", mode))
		case mode == ABAC && f.PolicyFile == "":
			errs = append(errs, errors.New("authorization-mode ABAC's authorization policy file not passed"))
		case mode == Webhook && f.WebhookFile == "":
			errs = append(errs, errors.New("authorization-mode Webhook's authorization config file not passed"))
		}
		seen[mode] = true
	}
	if f.PolicyFile != "" && !seen[ABAC] {
		errs = append(errs, errors.New("cannot specify --authorization-policy-file without mode ABAC"))
	}
	if f.WebhookFile != "" && !seen[Webhook] {
		errs = append(errs, errors.New("cannot specify --authorization-webhook-config-file without mode Webhook"))
	}
	if len(seen) != len(f.Modes) {
		errs = append(errs, fmt.Errorf("authorization-mode %q has mode specified more than once", f.Modes))
	}
	return utilerrors.NewAggregate(errs)
}

// configuration is what the flags mean in the words of the file.
func (f *Flags) configuration() *apiserver.AuthorizationConfiguration {
	out := &apiserver.AuthorizationConfiguration{}
	for _, mode := range f.Modes {
		a := apiserver.AuthorizerConfiguration{Type: apiserver.AuthorizerType(mode), Name: nameOf(mode)}
		if mode == Webhook {
			a.Name = flagWebhook
			a.Webhook = &apiserver.WebhookConfiguration{
				AuthorizedTTL: metav1.Duration{Duration: f.AuthorizedTTL}, CacheAuthorizedRequests: f.AuthorizedTTL != 0,
				UnauthorizedTTL: metav1.Duration{Duration: f.UnauthorizedTTL}, CacheUnauthorizedRequests: f.UnauthorizedTTL != 0,
				Timeout: metav1.Duration{Duration: flagWebhookTimeout}, FailurePolicy: apiserver.FailurePolicyNoOpinion,
				SubjectAccessReviewVersion: f.WebhookVersion,
				ConnectionInfo: apiserver.WebhookConnectionInfo{
					Type: apiserver.AuthorizationWebhookConnectionInfoTypeKubeConfigFile, KubeConfigFile: &f.WebhookFile,
				},
			}
		}
		out.Authorizers = append(out.Authorizers, a)
	}
	return out
}

// nameOf is what a mode that there is once must be called.
func nameOf(mode string) string { return strings.ToLower(mode) }

// decoder knows the versions an AuthorizationConfiguration may be written in, and no field twice or unknown.
var decoder = sync.OnceValue(func() runtime.Decoder {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder()
})

// compiler is made once: an environment for expressions takes long to make and much memory.
var compiler = sync.OnceValue(authorizationcel.NewDefaultCompiler)

// parse reads and checks a file. needed are the types it must speak of.
func parse(data []byte, needed []string) (*apiserver.AuthorizationConfiguration, error) {
	obj, err := runtime.Decode(decoder(), data)
	if err != nil {
		return nil, fmt.Errorf("failed to load AuthorizationConfiguration from file: %w", err)
	}
	conf, ok := obj.(*apiserver.AuthorizationConfiguration)
	if !ok {
		return nil, fmt.Errorf("failed to load AuthorizationConfiguration from file: expected AuthorizationConfiguration, got %T", obj)
	}
	if err := validation.ValidateAuthorizationConfiguration(compiler(), nil, conf, sets.New(allModes()...), sets.New(Webhook)).ToAggregate(); err != nil {
		return nil, err
	}
	var errs []error
	seen := map[string]bool{}
	for _, a := range conf.Authorizers {
		mode := string(a.Type)
		seen[mode] = true
		if want := nameOf(mode); mode != Webhook && a.Name != want {
			errs = append(errs, fmt.Errorf("expected name %s for authorizer %s instead of %s", want, mode, a.Name))
		}
	}
	var missing []string
	for _, mode := range needed {
		if !seen[mode] {
			missing = append(missing, mode)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		errs = append(errs, fmt.Errorf("missing required types: %v", missing))
	}
	return conf, utilerrors.NewAggregate(errs)
}

// parseFile is parse of what a file holds.
func parseFile(path string, needed []string) (*apiserver.AuthorizationConfiguration, []byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	conf, err := parse(data, needed)
	return conf, data, err
}
