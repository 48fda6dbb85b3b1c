package issuers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
	"k8s.io/utils/clock"

	"github.com/monohull/monohull/internal/auth/reload"
)

const (
	// readyWithin is how long the issuers of a changed file have to answer before the change counts.
	readyWithin = time.Minute
	readyPoll   = 10 * time.Second
	// retireAfter is how long issuers that a change took away are heard yet.
	retireAfter = time.Minute
	// forgetAfter is when nothing of theirs can be counted any more.
	forgetAfter = 30 * time.Second
)

// Config says which issuers are trusted.
type Config struct {
	File  string // --authentication-config
	Flags Flags  // --oidc-*
	// AnonymousFlag is whether --anonymous-auth was given: then the file may not speak of it.
	AnonymousFlag bool
	// OwnIssuers are those of service account tokens, which no outside issuer may pass itself off as.
	OwnIssuers []string
	// Audiences are the API server's own: the tokens accepted are good for them.
	Audiences []string
	// ServerID names this server in metrics.
	ServerID string
	Clock    clock.WithTicker
	Log      *slog.Logger
}

// Issuers knows the tokens of the configured issuers. It is safe for concurrent use.
type Issuers struct {
	config     Config
	algorithms []string
	anonymous  *apiserver.AnonymousAuthConfig
	first      *apiserver.AuthenticationConfiguration
	poll       time.Duration
	read       []byte // what the file held when it was last judged; only Run writes it

	current atomic.Pointer[trusted]
	retired sync.WaitGroup
}

// trusted is what one configuration gives.
type trusted struct {
	tokens  authenticator.Token
	healthy []func() error
	urls    []string
	end     context.CancelFunc
}

// Load reads and checks the configuration: nil if there is none.
func Load(config Config) (*Issuers, error) {
	i := &Issuers{config: config, first: &apiserver.AuthenticationConfiguration{}, poll: readyPoll}
	switch {
	case config.File != "" && config.Flags.any():
		return nil, errors.New("authentication-config file and oidc-* flags are mutually exclusive")
	case config.File != "":
		var err error
		if i.read, err = os.ReadFile(config.File); err != nil {
			return nil, fmt.Errorf("read --authentication-config: %w", err)
		}
		if i.first, err = parse(i.read); err != nil {
			return nil, fmt.Errorf("read --authentication-config %s: %w", config.File, err)
		}
		i.algorithms = algorithms()
	case config.Flags.any():
		if config.Flags.IssuerURL == "" || config.Flags.ClientID == "" {
			return nil, errors.New("oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set")
		}
		issuer, err := config.Flags.issuer()
		if err != nil {
			return nil, err
		}
		i.first.JWT = []apiserver.JWTAuthenticator{issuer}
		if i.algorithms = config.Flags.SigningAlgs; len(i.algorithms) == 0 {
			i.algorithms = []string{"RS256"}
		}
		for _, algorithm := range i.algorithms {
			if !slices.Contains(algorithms(), algorithm) {
				return nil, fmt.Errorf("oidc: unsupported signing alg: %q", algorithm)
			}
		}
	default:
		return nil, nil
	}
	i.anonymous = i.first.Anonymous.DeepCopy()
	if i.anonymous != nil && config.AnonymousFlag {
		return nil, field.Forbidden(field.NewPath("anonymous"), "--anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file")
	}
	if err := validate(i.first, config.OwnIssuers).ToAggregate(); err != nil {
		return nil, fmt.Errorf("invalid authentication configuration: %w", err)
	}
	return i, nil
}

// Anonymous is what the file says of requests without credentials; said is false if it says nothing.
func (i *Issuers) Anonymous() (allowed bool, paths []string, said bool) {
	if i == nil || i.anonymous == nil {
		return false, nil, false
	}
	for _, condition := range i.anonymous.Conditions {
		paths = append(paths, condition.Path)
	}
	return i.anonymous.Enabled, paths, true
}

// AuthenticateToken knows the tokens of the issuers as they are now; with no answer and no error it is nobody's.
func (i *Issuers) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	t := i.current.Load()
	if t == nil {
		return nil, false, errors.New("oidc: authenticator not initialized")
	}
	return t.tokens.AuthenticateToken(ctx, token)
}

// Healthy says whether all issuers have answered with their keys.
func (i *Issuers) Healthy() error {
	t := i.current.Load()
	if t == nil {
		return errors.New("oidc: authenticator not initialized")
	}
	return t.health()
}

func (t *trusted) health() error {
	var errs []error
	for _, healthy := range t.healthy {
		errs = append(errs, healthy())
	}
	return utilerrors.NewAggregate(errs)
}

// Run begins to speak with the issuers, and follows the file until ctx ends.
func (i *Issuers) Run(ctx context.Context) error {
	t, err := i.trust(ctx, i.first)
	if err != nil {
		return fmt.Errorf("trust the configured issuers: %w", err)
	}
	i.current.Store(t)
	defer i.retired.Wait()
	defer func() { i.current.Load().end() }()
	if i.config.File == "" {
		<-ctx.Done()
		return nil
	}
	return reload.Watch(ctx, i.config.File, i.config.Clock, func(ctx context.Context) {
		if changed, err := i.look(ctx); err != nil {
			i.config.Log.Error("auth: the authentication configuration was not taken; the one before stays in force", "path", i.config.File, "error", err)
		} else if changed {
			i.config.Log.Info("auth: the authentication configuration was read again", "path", i.config.File)
		}
	})
}

// trust makes the authenticators of a configuration. They fetch the issuers' keys on their own until end is called.
func (i *Issuers) trust(ctx context.Context, conf *apiserver.AuthenticationConfiguration) (*trusted, error) {
	t := &trusted{}
	ctx, t.end = context.WithCancel(ctx)
	var each []authenticator.Token
	for _, jwt := range conf.JWT {
		options := oidc.Options{
			JWTAuthenticator: jwt, SupportedSigningAlgs: i.algorithms, DisallowedIssuers: i.config.OwnIssuers,
			APIServerID: i.config.ServerID, Compiler: compiler(),
		}
		if jwt.Issuer.CertificateAuthority != "" {
			options.CAContentProvider = authority(jwt.Issuer.CertificateAuthority)
		}
		one, err := oidc.New(ctx, options)
		if err != nil {
			t.end()
			return nil, err
		}
		each = append(each, one)
		t.healthy = append(t.healthy, one.HealthCheck)
		t.urls = append(t.urls, jwt.Issuer.URL)
	}
	t.tokens = authenticator.WrapAudienceAgnosticToken(i.config.Audiences, tokenunion.NewFailOnError(each...))
	return t, nil
}

type authority string

func (a authority) CurrentCABundleContent() []byte { return []byte(a) }

// look takes over what the file holds now if it is good. What can never become good is not tried again.
func (i *Issuers) look(ctx context.Context) (changed bool, err error) {
	data, err := os.ReadFile(i.config.File)
	if err != nil {
		return false, err
	}
	if string(data) == string(i.read) {
		return false, nil
	}
	conf, err := parse(data)
	if err != nil {
		i.read = data
		return false, err
	}
	errs := validate(conf, i.config.OwnIssuers)
	if !reflect.DeepEqual(i.anonymous, conf.Anonymous) {
		errs = append(errs, field.Forbidden(field.NewPath("anonymous"), "changed from initial configuration file"))
	}
	if err := errs.ToAggregate(); err != nil {
		i.read = data
		return false, err
	}
	next, err := i.trust(ctx, conf)
	if err != nil {
		return false, err
	}
	if err := i.ready(ctx, next); err != nil {
		next.end()
		return false, err
	}
	i.read = data
	i.retire(ctx, i.current.Swap(next), next)
	return true, nil
}

// ready waits for the issuers to answer.
func (i *Issuers) ready(ctx context.Context, t *trusted) error {
	deadline := i.config.Clock.NewTimer(readyWithin)
	defer deadline.Stop()
	poll := i.config.Clock.NewTicker(i.poll)
	defer poll.Stop()
	for {
		err := t.health()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-deadline.C():
			return errors.Join(err, context.DeadlineExceeded)
		case <-poll.C():
		}
	}
}

// retire ends the old issuers when no request can be waiting for them, and forgets the metrics of those that are gone.
func (i *Issuers) retire(ctx context.Context, old, next *trusted) {
	i.retired.Go(func() {
		defer old.end()
		if !i.after(ctx, retireAfter) {
			return
		}
		old.end()
		if !i.after(ctx, forgetAfter) {
			return
		}
		for _, url := range old.urls {
			if !slices.Contains(next.urls, url) {
				oidc.DeleteJWKSFetchMetrics(url, i.config.ServerID)
			}
		}
	})
}

func (i *Issuers) after(ctx context.Context, d time.Duration) bool {
	timer := i.config.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
		return true
	}
}
