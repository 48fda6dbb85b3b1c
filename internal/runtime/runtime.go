package runtime

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/runtime/cgroup"
	"github.com/monohull/monohull/internal/runtime/image"
	"github.com/monohull/monohull/internal/runtime/shimbin"
	"github.com/monohull/monohull/internal/runtime/spec"
)

// DefaultCgroupParent is where pods go whose sandbox configuration names no parent.
const DefaultCgroupParent = "/monohull"

// NetworkPlugin gives pods their addresses. Pods on the host's network never reach it.
type NetworkPlugin interface {
	// Attach connects the network namespace and returns the pod's addresses, the
	// primary one first. It is safe to repeat.
	Attach(ctx context.Context, podNamespace, podName, sandboxID, netnsPath string, portMappings []*runtimeapi.PortMapping) (ips []string, err error)
	// Detach takes everything back; a namespace that is gone already is no error.
	Detach(ctx context.Context, sandboxID, netnsPath string) error
}

// Config is what a Runtime is told.
type Config struct {
	DataDir string
	// CgroupParent is the group below which everything of this runtime lies; pods
	// whose sandbox configuration names a parent of their own are put there, which
	// should be below this one.
	CgroupParent string
	Logger       *slog.Logger
	// Network may be nil: then pods have loopback only.
	Network NetworkPlugin
	// NetworkReady says why the network is not ready; nil: it always is.
	NetworkReady func() error
	// InsecureRegistries are registry hosts to speak plain HTTP with. Those on
	// loopback always may.
	InsecureRegistries []string
	// Version is reported to CRI clients.
	Version string
}

// Runtime serves the CRI.
type Runtime struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	runtimeapi.UnimplementedImageServiceServer

	cfg    Config
	log    *slog.Logger
	shim   string // path of the helper
	groups *cgroup.Hierarchy
	host   spec.Host
	images *image.Store
	events broadcaster
	warned sync.Map // warnings told already; as many as there are kinds of refusal

	ready chan struct{}  // closed when every sandbox of an earlier run is accounted for
	wg    sync.WaitGroup // followers

	mu         sync.Mutex // guards what follows
	running    context.Context
	sandboxes  map[string]*sandbox
	containers map[string]*container
	names      map[string]string // reserved name → id
}

// New opens the data directory and reads what an earlier run left there.
func New(cfg Config) (*Runtime, error) {
	if cfg.DataDir == "" {
		return nil, errors.New("runtime: no data directory")
	}
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("runtime: data directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("runtime: data directory: %w", err)
	}
	// Mounts are listed by their real path.
	if cfg.DataDir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("runtime: data directory: %w", err)
	}
	if cfg.CgroupParent == "" {
		cfg.CgroupParent = DefaultCgroupParent
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Runtime{
		cfg: cfg, log: cfg.Logger,
		ready:     make(chan struct{}),
		sandboxes: map[string]*sandbox{}, containers: map[string]*container{}, names: map[string]string{},
	}
	for _, sub := range []string{"sandboxes", "containers", "netns"} {
		if err := os.MkdirAll(filepath.Join(cfg.DataDir, sub), 0o711); err != nil {
			return nil, fmt.Errorf("runtime: data directory: %w", err)
		}
	}
	if r.shim, err = shimbin.Install(filepath.Join(cfg.DataDir, "bin")); err != nil {
		return nil, fmt.Errorf("runtime: %w", err)
	}
	if r.groups, err = cgroup.Detect(); err != nil {
		return nil, fmt.Errorf("runtime: %w", err)
	}
	if r.host, err = describeHost(r.groups); err != nil {
		return nil, fmt.Errorf("runtime: %w", err)
	}
	r.images, err = image.New(image.Config{
		Dir: filepath.Join(cfg.DataDir, "images"), Logger: cfg.Logger,
		LayersInUse: r.layersInUse, InsecureRegistries: cfg.InsecureRegistries,
	})
	if err != nil {
		return nil, fmt.Errorf("runtime: %w", err)
	}
	if err := r.load(); err != nil {
		_ = r.images.Close()
		return nil, fmt.Errorf("runtime: %w", err)
	}
	if err := saveSettings(cfg.DataDir, settings{CgroupParent: cfg.CgroupParent}); err != nil {
		_ = r.images.Close()
		return nil, fmt.Errorf("runtime: %w", err)
	}
	return r, nil
}

// Images is the image store, for those who import or list without the CRI.
func (r *Runtime) Images() *image.Store { return r.images }

// Run accounts for the sandboxes of an earlier run, then follows every shim until
// ctx ends. Pods go on running after it.
func (r *Runtime) Run(ctx context.Context) error {
	r.mu.Lock()
	if r.running != nil {
		r.mu.Unlock()
		return errors.New("runtime: is running already")
	}
	r.running = ctx
	var found sync.WaitGroup
	for _, sb := range r.sandboxes {
		if sb.record().Stopped {
			continue
		}
		found.Add(1)
		r.followLocked(sb, found.Done)
	}
	r.mu.Unlock()
	found.Wait()
	close(r.ready)
	<-ctx.Done()
	r.wg.Wait()
	return r.images.Close()
}

// await blocks until Run has accounted for an earlier run's sandboxes: before that
// no answer would be true.
func (r *Runtime) await(ctx context.Context) error {
	select {
	case <-r.ready:
		return nil
	default:
	}
	select {
	case <-r.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("runtime is not ready yet: %w", context.Cause(ctx))
	}
}

func (r *Runtime) layersInUse() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	used := map[string]bool{}
	for _, c := range r.containers {
		for _, id := range c.rec.Layers {
			used[id] = true
		}
	}
	return used
}

// reserve takes a name for an id, as long as nobody else has it.
func (r *Runtime) reserve(name, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if owner, taken := r.names[name]; taken && owner != id {
		return fmt.Errorf("name %q is reserved for %q", name, owner)
	}
	r.names[name] = id
	return nil
}

func (r *Runtime) release(name, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.names[name] == id {
		delete(r.names, name)
	}
}

func newID() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// describeHost collects the facts that specs depend on.
func describeHost(groups *cgroup.Hierarchy) (spec.Host, error) {
	h := spec.Host{Unified: groups.Unified, Swap: groups.Swap(), HugePages: groups.HugePages()}
	var err error
	if h.Hostname, err = os.Hostname(); err != nil {
		return h, fmt.Errorf("read hostname: %w", err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return h, fmt.Errorf("read own capabilities: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "CapPrm:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			if err != nil {
				return h, fmt.Errorf("read own capabilities: %w", err)
			}
			h.Capabilities = spec.CapabilitiesOf(mask)
		}
	}
	if groups.Unified {
		h.CgroupMount = cgroupMountOptions()
	}
	return h, nil
}

// cgroupMountOptions returns the options of the cgroup2 superblock that a container
// sharing it must not strip.
func cgroupMountOptions() []string {
	body, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var keep []string
	for line := range strings.Lines(string(body)) {
		before, after, ok := strings.Cut(line, " - cgroup2 ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 || fields[4] != "/sys/fs/cgroup" {
			continue
		}
		super := strings.Fields(after)
		for option := range strings.SplitSeq(super[len(super)-1], ",") {
			if option == "nsdelegate" || option == "memory_recursiveprot" {
				keep = append(keep, option)
			}
		}
	}
	return keep
}

// removeDir removes a directory of ours; mounts in it must be gone.
func removeDir(dir string) error {
	if err := os.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
