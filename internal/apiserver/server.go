package apiserver

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/clock"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/apiserver/streams"
	"github.com/monohull/monohull/internal/audit"
	"github.com/monohull/monohull/internal/auth"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/fairness"
	"github.com/monohull/monohull/internal/schema/openapi"
	"github.com/monohull/monohull/internal/version"
)

// Bounds of one request.
const (
	maxBodyBytes   = 3 << 20
	maxHeaderBytes = 1 << 20
	requestTimeout = 60 * time.Second
	headerTimeout  = 32 * time.Second
	// idleTimeout ends connections that nothing comes through, upstream's.
	idleTimeout   = 90 * time.Second
	shutdownGrace = 2 * time.Second
)

// Config is what a server is made of.
type Config struct {
	// KubeletTLS is how kubelets are spoken to; nil: as anybody.
	KubeletTLS    *tls.Config
	Table         *api.Table
	Caches        *cache.Set
	Writer        client.Writer
	Authenticator *auth.Authenticator
	Authorizer    authorizer.Authorizer
	Rules         authorizer.RuleResolver
	Streams       func(pod *corev1.Pod) (streams.Backend, error)
	// Connect, where set, takes a request that opens a connection through
	// admission.
	Connect func(ctx context.Context, r client.Request) error
	// Computed are objects of the core group that are made when they are read,
	// by resource.
	Computed map[string]func(context.Context) []api.Object
	// Checks are the parts that /livez, /readyz and /healthz report on.
	Checks  []Check
	Metrics http.Handler
	// Issuer documents, served as they are; empty for none.
	OIDCDiscovery, OIDCKeys []byte
	Address                 string // of this server, as clients reach it: host:port
	// ListOldVersions shows API versions that upstream has ceased to serve in
	// discovery like the others.
	ListOldVersions bool
	// HideOldVersions leaves them out of discovery.
	HideOldVersions bool
	// RefuseOldVersions does not serve them at all.
	RefuseOldVersions bool
	// Fairness decides who is served first; without it, Inflight how many are
	// served at all. Both may be nil.
	Fairness *fairness.Fairness
	Inflight *fairness.Inflight
	// Audit writes requests down; nil does not.
	Audit *audit.Log
	// RequestTimeout bounds requests that are not long-running; 0 is a minute.
	RequestTimeout time.Duration
	// MinWatch is how long a watch lasts at least, and half of how long at most,
	// when its client does not say; 0 is half an hour.
	MinWatch time.Duration
	// GoawayChance is how often an HTTP/2 client is asked to connect anew.
	GoawayChance float64
	Clock        clock.PassiveClock
	Logger       *slog.Logger
}

// Check is one line of a health report.
type Check struct {
	Name string
	// Ready only: a server that lives may still fail it.
	ReadyOnly bool
	Probe     func(ctx context.Context) error
}

// Server answers the API.
type Server struct {
	Config
	impersonator auth.Impersonator
	reviews      map[string]review
	discovery    *discovery
	openapi      *openapi.Documents
	pages        *pages
	stats        *stats
	crowds       sync.Map // *api.Kind to *atomic.Int64
	proxied      *http.Transport
	kubelets     *http.Transport
	draining     context.Context // ends when the server begins to stop
	drain        context.CancelFunc
}

// New makes a server; Handler or Run serve it.
func New(c Config) *Server {
	c.RequestTimeout = cmp.Or(c.RequestTimeout, requestTimeout)
	c.MinWatch = cmp.Or(c.MinWatch, defaultMinWatch)
	boundCopies()
	s := &Server{Config: c, pages: newPages(c.Clock), stats: newStats(), proxied: newProxyTransport(nil), kubelets: newProxyTransport(c.KubeletTLS)}
	s.draining, s.drain = context.WithCancel(context.Background())
	s.impersonator = auth.Impersonator{Authorizer: c.Authorizer}
	s.reviews = s.reviewKinds()
	s.discovery = newDiscovery(c.Table, s.reviews, c.Address, c.ListOldVersions, c.HideOldVersions || c.RefuseOldVersions)
	s.openapi = openapi.New(c.Table, s.virtual(), version.GitVersion())
	return s
}

// Run serves TLS on a listener until ctx ends: then it stops taking requests,
// ends the watches, and waits for the others a little.
func (s *Server) Run(ctx context.Context, l net.Listener, conf *tls.Config) error {
	conf = conf.Clone()
	conf.NextProtos = []string{"h2", "http/1.1"}
	srv := &http.Server{
		Handler: s, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, TLSConfig: conf,
		ErrorLog:    slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx },
		HTTP2:       &http.HTTP2Config{MaxConcurrentStreams: 1000},
	}
	done := make(chan error, 1)
	go func() { done <- srv.ServeTLS(l, "", "") }()
	select {
	case err := <-done:
		return fmt.Errorf("apiserver: serving: %w", err)
	case <-ctx.Done():
	}
	s.drain()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		_ = srv.Close()
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("apiserver: serving: %w", err)
	}
	return nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	info := parse(req)
	start := s.Clock.Now()
	rec := &recorder{ResponseWriter: w}
	id := req.Header.Get(audit.Header)
	if id == "" {
		id = audit.NewID()
	}
	w.Header()[audit.Header] = []string{id}
	s.farewell(w, req)
	ctx, cancel, err := s.deadline(req.Context(), info)
	defer cancel()
	if s.Audit != nil {
		ctx, rec.record = s.Audit.Begin(ctx, id, start)
	}
	if ctx != req.Context() {
		req = req.WithContext(ctx)
	}
	defer boundBody(rec, req, info, s.RequestTimeout)()
	defer func() {
		v := recover()
		switch {
		case v == nil:
			rec.complete(req, info)
		case v == http.ErrAbortHandler:
			rec.record.Panic(v)
			panic(v)
		default:
			s.Logger.Error("apiserver: a request made the server panic", "path", info.path, "panic", fmt.Sprint(v), "stack", stack())
			if rec.code == 0 {
				s.fail(rec, req, fmt.Errorf("the server met an unexpected condition while it answered %s %s", req.Method, info.path))
			}
			rec.record.Panic(v)
		}
		if info.resource {
			if k := s.Table.ByResource(info.gv.WithResource(info.plural)); k != nil {
				s.stats.observe(k, info, rec.code, s.Clock.Since(start))
			}
		}
	}()
	s.serve(rec, req, info, err)
}

// serve finds the sender, asks whether it may, waits for its turn, and answers.
// refused is why the request is not served, whoever sent it.
func (s *Server) serve(w *recorder, req *http.Request, info *requestInfo, refused error) {
	sender, err := s.authenticate(req)
	if err != nil {
		w.record.Refuse(req, info.attributes(nil))
		w.long = true // the event of such a refusal is that of its answer's beginning
		s.fail(w, req, err)
		w.record = nil
		return
	}
	if w.record != nil {
		if err := w.record.Receive(req, info.attributes(sender)); err != nil {
			s.fail(w, req, apierrors.NewInternalError(err))
			return
		}
		w.listen(req, info)
	}
	if refused != nil {
		s.fail(w, req, refused)
		return
	}
	u, err := s.impersonate(w, req, info, sender)
	if err != nil {
		s.fail(w, req, err)
		return
	}
	end, ok := s.admitted(w, req, info, u)
	if !ok {
		return
	}
	defer end()
	authz := s.Authorizer
	if w.record != nil {
		authz = noting{authz, w.record}
	}
	if err := auth.Check(req.Context(), authz, info.attributes(u)); err != nil {
		s.fail(w, req, timely(req.Context(), err))
		return
	}
	if s.Fairness != nil && strings.HasPrefix(info.path, fairness.DebugPath) {
		s.Fairness.ServeHTTP(w, req)
		return
	}
	if !info.resource {
		s.servePath(w, req, info)
		return
	}
	if err := s.serveResource(w, req, info, u); err != nil {
		s.fail(w, req, timely(req.Context(), err))
	}
}
