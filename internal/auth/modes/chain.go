package modes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/authorizer/webhook"
	"k8s.io/apiserver/plugin/pkg/authorizer/webhook/metrics"
	"k8s.io/utils/clock"

	"github.com/monohull/monohull/internal/auth"
	"github.com/monohull/monohull/internal/auth/reload"
)

// webhookTries bounds how often a webhook that fails is asked about one request.
const webhookTries = 5

// Config says who decides, and in which order.
type Config struct {
	Flags Flags
	File  string // --authorization-config: instead of the flags
	// FlagsGiven is whether any of the flags but the policy file's was on the command line: then File may not be.
	FlagsGiven bool

	RBAC  authorizer.Authorizer // the mode RBAC
	Node  authorizer.Authorizer // the mode Node
	Clock clock.WithTicker
	Log   *slog.Logger
}

// Chain asks the authorizers in their order. It is safe for concurrent use.
type Chain struct {
	config  Config
	abac    abacRules
	needed  []string // types that a changed file may not leave out
	read    []byte   // what the file held last; only Run writes it
	loaded  *apiserver.AuthorizationConfiguration
	current atomic.Pointer[auth.Union]
}

var (
	_ authorizer.Authorizer   = (*Chain)(nil)
	_ authorizer.RuleResolver = (*Chain)(nil)
)

// New reads the configuration and makes what it names.
func New(config Config) (*Chain, error) {
	c := &Chain{config: config}
	if config.File != "" {
		if config.FlagsGiven {
			return nil, errors.New("--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined")
		}
		var err error
		if c.loaded, c.read, err = parseFile(config.File, nil); err != nil {
			return nil, fmt.Errorf("read --authorization-config: %w", err)
		}
	} else {
		flags := config.Flags
		if len(flags.Modes) == 0 {
			flags.Modes = []string{Node, RBAC}
		}
		if flags.WebhookVersion == "" {
			flags.WebhookVersion = DefaultWebhookVersion
		}
		if err := flags.check(); err != nil {
			return nil, err
		}
		c.loaded = flags.configuration()
	}
	for _, a := range c.loaded.Authorizers {
		if a.Type == apiserver.TypeWebhook {
			continue
		}
		c.needed = append(c.needed, string(a.Type))
		if a.Type == ABAC {
			var err error
			if c.abac, err = readABAC(config.Flags.PolicyFile); err != nil {
				return nil, err
			}
		}
	}
	order, err := c.order(c.loaded)
	if err != nil {
		return nil, err
	}
	c.current.Store(&order)
	return c, nil
}

// Has says whether a mode is in force. That of a server with AlwaysAllow must not take anonymous requests.
func (c *Chain) Has(mode string) bool {
	for _, needed := range c.needed {
		if needed == mode {
			return true
		}
	}
	return false
}

// Authorize asks those in force now.
func (c *Chain) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	return c.current.Load().Authorize(ctx, a)
}

// RulesFor lists what those in force now can list.
func (c *Chain) RulesFor(ctx context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	return c.current.Load().RulesFor(ctx, u, namespace)
}

// order makes the authorizers of a configuration.
func (c *Chain) order(conf *apiserver.AuthorizationConfiguration) (auth.Union, error) {
	order := auth.Union{auth.Masters}
	for i := range conf.Authorizers {
		a := &conf.Authorizers[i]
		if a.Type != apiserver.TypeWebhook && !c.Has(string(a.Type)) {
			return nil, fmt.Errorf("authorizer type %s is not allowed if it was not enabled at initial server startup", a.Type)
		}
		var each authorizer.Authorizer
		switch a.Type {
		case AlwaysAllow:
			each = allowAll{}
		case AlwaysDeny:
			each = denyAll{}
		case ABAC:
			each = c.abac
		case RBAC:
			each = c.config.RBAC
		case Node:
			each = c.config.Node
		case Webhook:
			var err error
			if each, err = newWebhook(a.Name, a.Webhook); err != nil {
				return nil, fmt.Errorf("make authorization webhook %s: %w", a.Name, err)
			}
		default:
			return nil, fmt.Errorf("unknown authorization mode %s specified", a.Type)
		}
		if each == nil {
			return nil, fmt.Errorf("authorization mode %s: there is no authorizer of it", a.Type)
		}
		order = append(order, each)
	}
	return order, nil
}

// webhookMetrics counts calls and match conditions, as kube-apiserver does.
type webhookMetrics struct {
	metrics.NoopRequestMetrics
	metrics.WebhookMetrics
	authorizationcel.MatcherMetrics
}

func newWebhook(name string, conf *apiserver.WebhookConfiguration) (authorizer.Authorizer, error) {
	// The other kind of connection is for API servers that run as pods.
	if conf.ConnectionInfo.KubeConfigFile == nil {
		return nil, errors.New("its connection names no kubeconfig file")
	}
	client, err := webhookutil.LoadKubeconfig(*conf.ConnectionInfo.KubeConfigFile, nil)
	if err != nil {
		return nil, err
	}
	if conf.Timeout.Duration != 0 {
		client.Timeout = conf.Timeout.Duration
	}
	onError := authorizer.DecisionNoOpinion
	switch conf.FailurePolicy {
	case apiserver.FailurePolicyNoOpinion:
	case apiserver.FailurePolicyDeny:
		onError = authorizer.DecisionDeny
	default:
		return nil, fmt.Errorf("unknown failurePolicy %q", conf.FailurePolicy)
	}
	remember := func(yes bool, ttl time.Duration) time.Duration {
		if !yes {
			return 0
		}
		return ttl
	}
	backoff := wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: webhookTries}
	return webhook.New(client, conf.SubjectAccessReviewVersion,
		remember(conf.CacheAuthorizedRequests, conf.AuthorizedTTL.Duration), remember(conf.CacheUnauthorizedRequests, conf.UnauthorizedTTL.Duration),
		backoff, onError, conf.MatchConditions, name,
		webhookMetrics{WebhookMetrics: metrics.NewWebhookMetrics(), MatcherMetrics: authorizationcel.NewMatcherMetrics()}, compiler())
}

// Run follows the file, if there is one, until ctx ends.
func (c *Chain) Run(ctx context.Context) error {
	if c.config.File == "" {
		<-ctx.Done()
		return nil
	}
	return reload.Watch(ctx, c.config.File, c.config.Clock, func(context.Context) {
		if changed, err := c.look(); err != nil {
			c.config.Log.Error("auth: the authorization configuration was not taken; the one before stays in force", "path", c.config.File, "error", err)
		} else if changed {
			c.config.Log.Info("auth: the authorization configuration was read again", "path", c.config.File)
		}
	})
}

// look takes over what the file holds now if it is good. What is there is judged once.
func (c *Chain) look() (changed bool, err error) {
	data, err := os.ReadFile(c.config.File)
	if err != nil {
		return false, err
	}
	if bytes.Equal(data, c.read) {
		return false, nil
	}
	c.read = data
	conf, err := parse(data, c.needed)
	if err != nil || reflect.DeepEqual(conf, c.loaded) {
		return false, err
	}
	order, err := c.order(conf)
	if err != nil {
		return false, err
	}
	c.loaded = conf
	c.current.Store(&order)
	return true, nil
}
