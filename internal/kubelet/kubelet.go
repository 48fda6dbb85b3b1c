package kubelet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/kubelet/config"
	"github.com/monohull/monohull/internal/kubelet/criconfig"
	"github.com/monohull/monohull/internal/kubelet/events"
	"github.com/monohull/monohull/internal/kubelet/imagegc"
	"github.com/monohull/monohull/internal/kubelet/machine"
	"github.com/monohull/monohull/internal/kubelet/server"
	"github.com/monohull/monohull/internal/kubelet/stats"
	"github.com/monohull/monohull/internal/kubelet/volumes"
)

// Config is what a kubelet is told.
type Config struct {
	NodeName string
	NodeIPs  []string
	// DataDir holds pods/<uid>/…; LogDir the logs of pods, by default the sibling logs/pods.
	DataDir, LogDir string
	ClusterDNS      []string
	ClusterDomain   string
	// CgroupRoot is the group below which kubepods is made; "" is the root.
	CgroupRoot string
	// MaxPods overrides the options'; 0 does not.
	MaxPods int
	Labels  map[string]string // of the node, besides the well-known ones
	Taints  []corev1.Taint    // of a node that registers anew
	// Version is what the node says it runs, like v1.36.3.
	Version string
	// ResolvConf is the host's, "/etc/resolv.conf" by default.
	ResolvConf string
	// Options are the configuration file's; nil is none.
	Options *config.Options
	// Port is where the kubelet's own endpoint is, for the node's status; 0 for none.
	Port   int32
	Logger *slog.Logger
	// Now is the clock for decisions; time.Now by default. Timers are the process's.
	Now func() time.Time
}

// TokenSource issues a token of a service account, bound to a pod.
type TokenSource func(ctx context.Context, namespace, serviceAccount string, pod *corev1.Pod, audience string, ttl time.Duration) (token string, expiry time.Time, err error)

// Deps is what a kubelet uses.
type Deps struct {
	// Client writes as system:node:<name> of the group system:nodes.
	Client  *client.Client
	Runtime Runtime
	Images  Images
	Streams Streams
	Tokens  TokenSource
	Host    Host
	// Drain, where set, returns when this node sends no new connections of
	// Services to a pod that is being deleted, or when ctx ends. Containers are
	// told to stop after it, so that none is refused on their account.
	Drain func(ctx context.Context, pod *corev1.Pod)
}

// Kubelet runs this node's pods.
type Kubelet struct {
	cfg  Config
	deps Deps
	log  *slog.Logger

	pods       client.Kind[*corev1.Pod]
	nodes      client.Kind[*corev1.Node]
	configMaps client.Kind[*corev1.ConfigMap]
	secrets    client.Kind[*corev1.Secret]
	services   client.Kind[*corev1.Service]
	leases     client.Kind[*coordinationv1.Lease]
	rec        *events.Recorder
	vols       *volumes.Volumes
	pulls      *puller
	opts       config.Options
	stats      *stats.Stats
	metrics    *metrics
	pressure   pressure
	nodeNews   chan struct{} // holds one

	facts       machine.Facts
	capacity    corev1.ResourceList
	allocatable corev1.ResourceList
	version     string // of the runtime
	networkErr  atomic.Pointer[error]
	ready       chan struct{}
	readyOnce   sync.Once

	// admitMu makes admissions one after another.
	admitMu sync.Mutex

	weightMu sync.Mutex
	weight   int64 // guarded by weightMu: CPU requests of burstable pods

	// collectMu is held through a collection of images, so that there is one.
	collectMu   sync.Mutex
	imageMemory imagegc.Memory    // guarded by collectMu
	logPaths    map[string]string // of keepLogs alone

	probeMu     sync.Mutex
	probeCounts map[server.ProbeCount]*float64 // guarded by probeMu

	mu        sync.Mutex // guards what follows
	static    *statics
	workers   map[types.UID]*worker
	sandboxes map[string]*worker       // by sandbox ID
	ended     map[string]chan struct{} // by container ID; closed when it exits
	tasks     sync.WaitGroup           // workers
}

// New makes a kubelet.
func New(cfg Config, deps Deps) (*Kubelet, error) {
	if cfg.NodeName == "" || cfg.DataDir == "" {
		return nil, errors.New("kubelet: a node name and a data directory are needed")
	}
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("kubelet: data directory: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "pods"), 0o750); err != nil {
		return nil, fmt.Errorf("kubelet: data directory: %w", err)
	}
	// Mounts are listed by their real path.
	if cfg.DataDir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("kubelet: data directory: %w", err)
	}
	if cfg.LogDir == "" {
		cfg.LogDir = filepath.Join(filepath.Dir(cfg.DataDir), "logs", "pods")
	}
	if cfg.Options == nil {
		o := config.Default()
		cfg.Options = &o
	}
	if cfg.MaxPods == 0 {
		cfg.MaxPods = int(cfg.Options.Kubelet.MaxPods)
	}
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = *cfg.Options.Kubelet.ResolverConfig
	}
	cfg.Taints = append(slices.Clone(cfg.Taints), cfg.Options.Kubelet.RegisterWithTaints...)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	k := &Kubelet{
		cfg: cfg, deps: deps, log: cfg.Logger, opts: *cfg.Options,
		nodeNews: make(chan struct{}, 1), logPaths: map[string]string{}, probeCounts: map[server.ProbeCount]*float64{},
		pods: client.Of[*corev1.Pod](deps.Client), nodes: client.Of[*corev1.Node](deps.Client),
		configMaps: client.Of[*corev1.ConfigMap](deps.Client), secrets: client.Of[*corev1.Secret](deps.Client),
		services: client.Of[*corev1.Service](deps.Client), leases: client.Of[*coordinationv1.Lease](deps.Client),
		ready:   make(chan struct{}),
		workers: map[types.UID]*worker{}, sandboxes: map[string]*worker{}, ended: map[string]chan struct{}{},
	}
	k.rec = events.New(client.Of[*corev1.Event](deps.Client), "kubelet", cfg.NodeName, cfg.Logger)
	sources := 0
	for _, s := range []string{k.opts.Kubelet.StaticPodPath, k.opts.Kubelet.StaticPodURL} {
		if s != "" {
			sources++
		}
	}
	k.static = newStatics(sources)
	k.metrics = newMetrics(k)
	k.stats = k.newStats()
	k.pulls = newPuller(deps.Images, k.opts.MaxPulls, float64(*k.opts.Kubelet.RegistryPullQPS), int(k.opts.Kubelet.RegistryBurst), cfg.Now)
	k.vols = volumes.New(volumes.Config{
		Dir: cfg.DataDir, Mounter: deps.Host, Now: cfg.Now,
		ConfigMap: k.configMaps.Get, Secret: k.secrets.Get,
		Allocatable: func() corev1.ResourceList { return k.allocatable },
		Token: func(ctx context.Context, pod *corev1.Pod, audience string, ttl time.Duration) (string, time.Time, error) {
			return deps.Tokens(ctx, pod.Namespace, pod.Spec.ServiceAccountName, pod, audience, ttl)
		},
	})
	return k, nil
}

// Ready closes when the node was first written as ready.
func (k *Kubelet) Ready() <-chan struct{} { return k.ready }

// Run runs pods until ctx ends. Pods go on after it.
func (k *Kubelet) Run(ctx context.Context) error {
	if err := k.measure(); err != nil {
		return err
	}
	k.setupCgroups()
	for _, warning := range k.opts.Warnings {
		k.log.Warn("kubelet: configuration: " + warning)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer k.tasks.Wait()
	loop := func(what string, run func(context.Context) error) {
		wg.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				k.log.Error("kubelet: a part of it ended", "part", what, "error", err)
			}
		})
	}
	k.rec.Event(events.NodeRef(k.cfg.NodeName), corev1.EventTypeNormal, "Starting", "Starting kubelet.")
	// Subscribed before anything is listed, so that nothing falls between.
	news := k.deps.Streams.Events(ctx)
	loop("events", k.rec.Run)
	loop("node", k.keepNode)
	loop("lease", k.keepLease)
	loop("runtime events", func(ctx context.Context) error { return k.listen(ctx, news) })
	if s := k.staticSource(ctx); s != nil {
		loop("static pods", s.Run)
	}
	loop("mirror pods", k.keepMirrors)
	loop("pods", k.followPods)
	loop("pressure", k.keepPressure)
	loop("images", k.keepImages)
	loop("logs", k.keepLogs)
	loop("config maps", func(ctx context.Context) error { return followSource(ctx, k, k.configMaps, "ConfigMap") })
	loop("secrets", func(ctx context.Context) error { return followSource(ctx, k, k.secrets, "Secret") })
	<-ctx.Done()
	return nil
}

// podLogDir is where a pod's containers log.
func (k *Kubelet) podLogDir(namespace, name, uid string) string {
	return filepath.Join(k.cfg.LogDir, criconfig.LogDirName(namespace, name, uid))
}
