package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	v1beta1 "k8s.io/kubelet/config/v1beta1"
)

const (
	headerTimeout = 10 * time.Second
	// shutdownTimeout bounds the wait for requests under way at the end.
	shutdownTimeout = 2 * time.Second
	maxHeaderBytes  = 1 << 20
)

// Server is the kubelet's API.
type Server struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	handler http.Handler
}

// New makes a server.
func New(cfg Config, deps Deps) (*Server, error) {
	switch {
	case cfg.Kubelet == nil || cfg.NodeName == "":
		return nil, errors.New("kubelet server: a configuration and a node name are needed")
	case deps.Node == nil || deps.Stats == nil || deps.Authenticator == nil || deps.Authorizer == nil:
		return nil, errors.New("kubelet server: a node, its stats, an authenticator and an authorizer are needed")
	}
	if cfg.LogDir == "" {
		cfg.LogDir = "/var/log"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{cfg: cfg, deps: deps, log: cfg.Logger}
	s.handler = s.guarded(s.routes())
	return s, nil
}

// Handler is the API with its guard.
func (s *Server) Handler() http.Handler { return s.handler }

// Run serves until ctx ends. tlsConfig asks for client certificates and does not
// need them; HTTP/2 is not offered, since streams are upgraded connections.
func (s *Server) Run(ctx context.Context, l net.Listener, tlsConfig *tls.Config) error {
	tlsConfig = tlsConfig.Clone()
	tlsConfig.NextProtos = []string{"http/1.1"}
	srv := &http.Server{
		Handler: s.handler, ReadHeaderTimeout: headerTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // handshakes of strangers
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(tls.NewListener(l, tlsConfig)) }()
	select {
	case err := <-done:
		return fmt.Errorf("kubelet server: serving: %w", err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if srv.Shutdown(end) != nil {
		srv.Close() // streams end with their context
	}
	<-done
	return nil
}

func on(b *bool) bool { return b != nil && *b }

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	get := func(path string, h http.HandlerFunc) {
		mux.HandleFunc("GET "+path, h)
	}
	both := func(path string, h http.HandlerFunc) {
		mux.HandleFunc("GET "+path, h)
		mux.HandleFunc("POST "+path, h)
	}
	get("/pods", s.pods)
	get("/pods/{$}", s.pods)
	get("/healthz", s.healthz)
	get("/healthz/{check}", s.healthz)
	for _, p := range []string{"/stats/summary", "/stats/summary/{$}"} {
		mux.HandleFunc(p, s.summary) // heapster posted
	}
	own := prometheus.Gatherers{prometheus.DefaultGatherer}
	if s.deps.Metrics != nil {
		own = append(own, s.deps.Metrics)
	}
	get("/metrics", promhttp.HandlerFor(own, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}).ServeHTTP)
	get("/metrics/cadvisor", s.collected(s.cadvisor))
	get("/metrics/resource", s.collected(s.resource))
	get("/metrics/probes", s.collected(s.probes))
	mux.HandleFunc("/checkpoint/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "checkpointing containers is not supported by the container runtime", http.StatusNotImplemented)
	})
	disabled := func(words string, paths ...string) {
		for _, p := range paths {
			mux.HandleFunc(p, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, words, http.StatusMethodNotAllowed) })
		}
	}
	if !on(s.cfg.Kubelet.EnableDebuggingHandlers) {
		disabled("Debug endpoints are disabled.", "/run/", "/exec/", "/attach/", "/portForward/", "/containerLogs/", "/runningpods/", "/debug/pprof/", "/logs/")
		return mux
	}
	get("/configz", s.configz)
	get("/runningpods", s.runningPods)
	get("/runningpods/{$}", s.runningPods)
	get("/containerLogs/{namespace}/{pod}/{container}", s.containerLogs)
	for _, path := range []string{"/{namespace}/{pod}/{container}", "/{namespace}/{pod}/{uid}/{container}"} {
		both("/exec"+path, s.exec)
		both("/attach"+path, s.attach)
		mux.HandleFunc("POST /run"+path, s.run)
	}
	both("/portForward/{namespace}/{pod}", s.portForward)
	both("/portForward/{namespace}/{pod}/{uid}", s.portForward)
	if on(s.cfg.Kubelet.EnableSystemLogHandler) {
		get("/logs/", s.logs)
	} else {
		disabled("logs endpoint is disabled.", "/logs/")
	}
	if on(s.cfg.Kubelet.EnableProfilingHandler) {
		get("/debug/pprof/", pprof.Index)
		get("/debug/pprof/cmdline", pprof.Cmdline)
		get("/debug/pprof/profile", pprof.Profile)
		get("/debug/pprof/symbol", pprof.Symbol)
		get("/debug/pprof/trace", pprof.Trace)
	} else {
		disabled("profiling endpoint is disabled.", "/debug/pprof/")
	}
	return mux
}

func writeJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // who went away needs no answer
}

func podList(pods []*corev1.Pod) *corev1.PodList {
	l := &corev1.PodList{Items: make([]corev1.Pod, 0, len(pods))}
	l.Kind, l.APIVersion = "PodList", "v1"
	for _, p := range pods {
		l.Items = append(l.Items, *p)
	}
	return l
}

func (s *Server) pods(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, podList(s.deps.Node.Pods()))
}

func (s *Server) runningPods(w http.ResponseWriter, r *http.Request) {
	pods, err := s.deps.Node.RunningPods(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, podList(pods))
}

// healthz reports as every component does: "ok", or each check with ?verbose.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	checks := []struct {
		name  string
		probe func() error
	}{{"ping", func() error { return nil }}, {"log", func() error { return nil }}, {"syncloop", s.deps.Node.Healthy}}
	only, failed, found := r.PathValue("check"), false, false
	var out bytes.Buffer
	for _, c := range checks {
		if only != "" && c.name != only {
			continue
		}
		found = true
		if err := c.probe(); err != nil {
			failed = true
			s.log.Warn("kubelet: a health check failed", "check", c.name, "error", err)
			fmt.Fprintf(&out, "[-]%s failed: reason withheld\n", c.name)
			continue
		}
		fmt.Fprintf(&out, "[+]%s ok\n", c.name)
	}
	_, verbose := r.URL.Query()["verbose"]
	switch {
	case !found:
		http.NotFound(w, r)
	case failed:
		http.Error(w, out.String()+"healthz check failed", http.StatusInternalServerError)
	case verbose:
		fmt.Fprintf(w, "%shealthz check passed\n", out.String())
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, "ok")
	}
}

func (s *Server) configz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, map[string]*v1beta1.KubeletConfiguration{"kubeletconfig": s.cfg.Kubelet})
}

func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	sum, err := s.deps.Stats.Summary(r.Context(), summaryAge)
	if err != nil {
		http.Error(w, "Internal Error: "+err.Error(), http.StatusInternalServerError)
		return
	}
	if cpuOnly := r.FormValue("only_cpu_and_memory"); strings.EqualFold(cpuOnly, "true") {
		slim := *sum
		slim.Node.Fs, slim.Node.Runtime, slim.Node.Network, slim.Node.Rlimit = nil, nil, nil, nil
		slim.Pods = append(slim.Pods[:0:0], slim.Pods...)
		for i := range slim.Pods {
			p := &slim.Pods[i]
			p.Network, p.VolumeStats, p.EphemeralStorage = nil, nil, nil
			p.Containers = append(p.Containers[:0:0], p.Containers...)
			for j := range p.Containers {
				p.Containers[j].Rootfs, p.Containers[j].Logs = nil, nil
			}
		}
		sum = &slim
	}
	body, err := json.MarshalIndent(sum, "", " ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}
