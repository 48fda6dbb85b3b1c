package runtime

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/host/netns"
	"github.com/monohull/monohull/internal/runtime/protocol"
	"github.com/monohull/monohull/internal/runtime/rootfs"
	"github.com/monohull/monohull/internal/runtime/spec"
)

// shmSize is the size of a pod's shared memory, as other runtimes have it.
const shmSize = "65536k"

// sandbox is one pod's frame:
//
//	creating ──► ready ──► dead ──► stopped
//	    └──────────┴─────────────────►┘
//
// Creating lasts as long as RunPodSandbox; dead is a sandbox whose shim or init
// ended by itself and that was not stopped yet. Only ready is READY to the CRI.
type sandbox struct {
	id     string
	dir    string
	config *runtimeapi.PodSandboxConfig // shared, never written

	op sync.Mutex // held through run, stop and remove

	mu       sync.Mutex // guards what follows
	rec      sandboxRecord
	dead     bool
	stopping bool
	pausePid int
}

func newSandbox(rec sandboxRecord, config *runtimeapi.PodSandboxConfig, dir string) *sandbox {
	return &sandbox{id: rec.ID, dir: dir, config: config, rec: rec}
}

func (sb *sandbox) record() sandboxRecord {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.rec
}

// expectsEnd says that a death of the shim is what somebody asked for.
func (sb *sandbox) expectsEnd() bool {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.stopping || sb.rec.Stopped
}

func (sb *sandbox) setPause(pid int) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	sb.pausePid = pid
}

// becomeDead reports whether the state changed.
func (sb *sandbox) becomeDead() bool {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	was := sb.dead
	sb.dead = true
	return !was
}

func (sb *sandbox) ready() bool {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.rec.Ready && !sb.rec.Stopped && !sb.dead && !sb.stopping
}

// cgroup is the group of the sandbox's own init.
func (sb *sandbox) cgroup() string { return filepath.Join(sb.record().Cgroup, sb.id) }

func (sb *sandbox) options() *runtimeapi.NamespaceOption {
	return sb.config.GetLinux().GetSecurityContext().GetNamespaceOptions()
}

func (sb *sandbox) hostNetwork() bool {
	return sb.options().GetNetwork() == runtimeapi.NamespaceMode_NODE
}

func (sb *sandbox) hostIPC() bool { return sb.options().GetIpc() == runtimeapi.NamespaceMode_NODE }

func (sb *sandbox) sharedPID() bool { return sb.options().GetPid() == runtimeapi.NamespaceMode_POD }

// namespaces are the paths of what the pod's containers join.
func (sb *sandbox) namespaces() spec.Namespaces {
	var ns spec.Namespaces
	if !sb.hostNetwork() {
		ns.Net = sb.record().Netns
		ns.UTS = filepath.Join(sb.dir, "uts")
	}
	if !sb.hostIPC() {
		ns.IPC = filepath.Join(sb.dir, "ipc")
	}
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.pausePid > 0 {
		ns.PID = fmt.Sprintf("/proc/%d/ns/pid", sb.pausePid)
	}
	return ns
}

func (sb *sandbox) save() error {
	if err := writeJSON(filepath.Join(sb.dir, "sandbox.json"), sb.record()); err != nil {
		return fmt.Errorf("write sandbox record: %w", err)
	}
	return nil
}

func sandboxName(m *runtimeapi.PodSandboxMetadata) string {
	return fmt.Sprintf("%s_%s_%s_%d", m.GetName(), m.GetNamespace(), m.GetUid(), m.GetAttempt())
}

// RunPodSandbox makes a pod's frame: namespaces, address, shim.
func (r *Runtime) RunPodSandbox(ctx context.Context, req *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	config := req.GetConfig()
	if config.GetMetadata() == nil {
		return nil, errors.New("sandbox config must include metadata")
	}
	if handler := req.GetRuntimeHandler(); handler != "" {
		return nil, fmt.Errorf("failed to get sandbox runtime: no runtime for %q is configured", handler)
	}
	if config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetUsernsOptions().GetMode() == runtimeapi.NamespaceMode_POD &&
		config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetUsernsOptions() != nil {
		return nil, errors.New("user namespaces are not supported by this runtime")
	}
	raw, err := proto.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("encode sandbox config: %w", err)
	}
	id := newID()
	name := sandboxName(config.GetMetadata())
	if err := r.reserve(name, id); err != nil {
		return nil, fmt.Errorf("failed to reserve sandbox name %q: %w", name, err)
	}
	rec := sandboxRecord{ID: id, Config: raw, CreatedAt: time.Now(), Cgroup: config.GetLinux().GetCgroupParent()}
	if rec.Cgroup == "" {
		rec.Cgroup = r.cfg.CgroupParent
	}
	own := proto.Clone(config).(*runtimeapi.PodSandboxConfig)
	sb := newSandbox(rec, own, r.sandboxDir(id))
	if !sb.hostNetwork() {
		sb.rec.Netns = filepath.Join(r.cfg.DataDir, "netns", id)
	}
	sb.op.Lock()
	defer sb.op.Unlock()
	if err := r.runSandbox(ctx, sb); err != nil {
		// The caller's patience may be what ended; cleaning up has its own.
		if cleanErr := r.stopSandbox(context.WithoutCancel(ctx), sb); cleanErr != nil {
			r.log.Warn("cannot clean up after a failed sandbox", "sandbox", id, "error", cleanErr)
		}
		_ = removeDir(sb.dir)
		r.mu.Lock()
		delete(r.sandboxes, id)
		r.mu.Unlock()
		r.release(name, id)
		return nil, err
	}
	r.log.Info("sandbox is running", "sandbox", id, "pod", config.GetMetadata().GetNamespace()+"/"+config.GetMetadata().GetName(), "ips", sb.record().IPs)
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: id}, nil
}

func (r *Runtime) runSandbox(ctx context.Context, sb *sandbox) error {
	if err := os.MkdirAll(filepath.Join(sb.dir, protocol.StateDir), 0o711); err != nil {
		return fmt.Errorf("create sandbox directory: %w", err)
	}
	if err := os.Chmod(sb.dir, 0o711); err != nil {
		return fmt.Errorf("create sandbox directory: %w", err)
	}
	// First the record: whatever a crash leaves from here on can be found again.
	if err := sb.save(); err != nil {
		return err
	}
	if dir := sb.config.GetLogDirectory(); dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("create log directory: %w", err)
		}
	}
	var shim sync.WaitGroup
	var shimPid int
	var shimErr error
	shim.Go(func() { shimPid, shimErr = r.startShim(sb.dir, sb.id) })
	err := r.prepareSandbox(ctx, sb)
	shim.Wait()
	sb.mu.Lock()
	sb.rec.ShimPid = shimPid
	sb.mu.Unlock()
	if err := errors.Join(err, shimErr); err != nil {
		return err
	}
	r.mu.Lock()
	r.sandboxes[sb.id] = sb
	subscribed := make(chan struct{})
	r.followLocked(sb, func() { close(subscribed) })
	r.mu.Unlock()
	if sb.sharedPID() {
		if err := r.startPause(ctx, sb); err != nil {
			return fmt.Errorf("start the pod's init: %w", err)
		}
	}
	select {
	case <-subscribed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	sb.mu.Lock()
	sb.rec.Ready = true
	sb.mu.Unlock()
	return sb.save()
}

// podSysctls are what every pod with a network of its own starts with: low ports and
// ping need no privilege in a namespace that nobody else shares.
var podSysctls = map[string]string{
	"net.ipv4.ip_unprivileged_port_start": "0",
	"net.ipv4.ping_group_range":           "0 2147483647",
}

// prepareSandbox makes namespaces, files and addresses.
func (r *Runtime) prepareSandbox(ctx context.Context, sb *sandbox) error {
	ns := sb.namespaces()
	hostname := sb.config.GetHostname()
	if hostname == "" {
		hostname = r.host.Hostname
	}
	err := netns.Create(netns.Config{
		Net: ns.Net, IPC: ns.IPC, UTS: ns.UTS, Hostname: hostname,
		Sysctls: sb.config.GetLinux().GetSysctls(), Defaults: podSysctls,
	})
	if err != nil {
		return fmt.Errorf("failed to create the pod's namespaces: %w", err)
	}
	if err := writePodFiles(sb, hostname); err != nil {
		return err
	}
	if !sb.hostIPC() {
		shm := filepath.Join(sb.dir, "shm")
		if err := os.MkdirAll(shm, 0o700); err != nil {
			return fmt.Errorf("create shared memory: %w", err)
		}
		if err := unix.Mount("shm", shm, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, "mode=1777,size="+shmSize); err != nil {
			return fmt.Errorf("mount shared memory: %w", err)
		}
	}
	if sb.hostNetwork() || r.cfg.Network == nil {
		return nil
	}
	m := sb.config.GetMetadata()
	ips, err := r.cfg.Network.Attach(ctx, m.GetNamespace(), m.GetName(), sb.id, ns.Net, sb.config.GetPortMappings())
	if err != nil {
		return fmt.Errorf("failed to setup network for sandbox %q: %w", sb.id, err)
	}
	for _, ip := range ips {
		if net.ParseIP(ip) == nil {
			return fmt.Errorf("failed to setup network for sandbox %q: %q is no address", sb.id, ip)
		}
	}
	sb.mu.Lock()
	sb.rec.IPs = ips
	sb.mu.Unlock()
	return nil
}

// writePodFiles writes what containers find in /etc.
func writePodFiles(sb *sandbox, hostname string) error {
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil {
		hosts = []byte("127.0.0.1\tlocalhost\n::1\tlocalhost\n")
	}
	var resolv strings.Builder
	if dns := sb.config.GetDnsConfig(); dns != nil && len(dns.GetServers())+len(dns.GetSearches())+len(dns.GetOptions()) > 0 {
		if len(dns.GetSearches()) > 0 {
			fmt.Fprintf(&resolv, "search %s\n", strings.Join(dns.GetSearches(), " "))
		}
		for _, s := range dns.GetServers() {
			fmt.Fprintf(&resolv, "nameserver %s\n", s)
		}
		if len(dns.GetOptions()) > 0 {
			fmt.Fprintf(&resolv, "options %s\n", strings.Join(dns.GetOptions(), " "))
		}
	} else if body, err := os.ReadFile("/etc/resolv.conf"); err == nil {
		resolv.Write(body)
	}
	for name, body := range map[string]string{"hosts": string(hosts), "hostname": hostname + "\n", "resolv.conf": resolv.String()} {
		if err := os.WriteFile(filepath.Join(sb.dir, name), []byte(body), 0o644); err != nil {
			return fmt.Errorf("write pod's %s: %w", name, err)
		}
	}
	return nil
}

// startPause starts the process that holds a shared PID namespace.
func (r *Runtime) startPause(ctx context.Context, sb *sandbox) error {
	dir := filepath.Join(sb.dir, "pause")
	root := filepath.Join(dir, "rootfs")
	for _, d := range []string{"proc", "sys", "dev"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(root, "pause"), nil, 0o755); err != nil {
		return err
	}
	s := spec.Pause(root, r.shim, sb.cgroup(), sb.namespaces(), sb.hostNetwork(), sb.hostIPC())
	if err := writeJSON(filepath.Join(dir, protocol.SpecFile), s); err != nil {
		return err
	}
	res, err := callShim(ctx, sb.dir, &protocol.Request{
		Op: protocol.OpStart, ID: sb.id, Start: &protocol.Start{Dir: dir, Pause: true},
	})
	if err != nil {
		return err
	}
	sb.setPause(res.Pid)
	return nil
}

// StopPodSandbox ends everything in the pod and gives its address back. It may be
// repeated, and a sandbox that is not there is stopped.
func (r *Runtime) StopPodSandbox(ctx context.Context, req *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	sb, err := r.sandbox(req.GetPodSandboxId())
	if isNotFound(err) {
		return &runtimeapi.StopPodSandboxResponse{}, nil
	} else if err != nil {
		return nil, err
	}
	sb.op.Lock()
	defer sb.op.Unlock()
	if err := r.stopSandbox(ctx, sb); err != nil {
		return nil, fmt.Errorf("failed to stop sandbox %q: %w", sb.id, err)
	}
	return &runtimeapi.StopPodSandboxResponse{}, nil
}

// stopSandbox does it, under sb.op.
func (r *Runtime) stopSandbox(ctx context.Context, sb *sandbox) error {
	if sb.record().Stopped {
		return nil
	}
	// From here on no container is created or started any more.
	sb.mu.Lock()
	sb.stopping = true
	sb.mu.Unlock()
	containers := r.containersOf(sb.id)
	var wg sync.WaitGroup
	errs := make([]error, len(containers))
	for i, c := range containers {
		wg.Go(func() {
			c.op.Lock() // a start under way comes to its end first
			defer c.op.Unlock()
			errs[i] = r.killContainer(ctx, c)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := r.endShim(ctx, sb); err != nil {
		return err
	}
	rec := sb.record()
	if !sb.hostNetwork() && r.cfg.Network != nil {
		if err := r.cfg.Network.Detach(ctx, sb.id, rec.Netns); err != nil {
			return fmt.Errorf("failed to destroy network for sandbox %q: %w", sb.id, err)
		}
	}
	err := netns.Remove(rec.Netns, filepath.Join(sb.dir, "ipc"), filepath.Join(sb.dir, "uts"))
	err = errors.Join(err, rootfs.Unmount(filepath.Join(sb.dir, "shm")))
	if err != nil {
		return err
	}
	sb.mu.Lock()
	sb.rec.Stopped = true
	sb.mu.Unlock()
	r.log.Info("sandbox stopped", "sandbox", sb.id)
	if _, err := os.Stat(sb.dir); err != nil {
		return nil
	}
	return sb.save()
}

// endShim stops the pod's init and then the shim itself.
func (r *Runtime) endShim(ctx context.Context, sb *sandbox) error {
	if sb.sharedPID() {
		conn, res, _, err := converse(ctx, sb.dir, &protocol.Request{Op: protocol.OpSubscribe})
		if errors.Is(err, errShimGone) {
			return nil
		} else if err != nil {
			return err
		}
		defer conn.Close()
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		defer stop()
		alive := false
		for _, cs := range res.State.Containers {
			alive = alive || (cs.Pause && cs.Status == protocol.StatusRunning)
		}
		if alive {
			_, err := callShim(ctx, sb.dir, &protocol.Request{Op: protocol.OpKill, ID: sb.id, Signal: int(unix.SIGKILL)})
			if err != nil && protocol.CodeOf(err) != protocol.CodeNotRunning {
				return err
			}
		}
		for alive {
			var next protocol.Response
			if _, err := protocol.Read(conn, &next); err != nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				break
			}
			alive = next.Event == nil || !next.Event.Pause || next.Event.Type != protocol.EventExited
		}
	}
	_, err := callShim(ctx, sb.dir, &protocol.Request{Op: protocol.OpShutdown})
	if errors.Is(err, errShimGone) {
		return nil
	}
	return err
}

// RemovePodSandbox removes the sandbox and its containers; running ones are killed.
func (r *Runtime) RemovePodSandbox(ctx context.Context, req *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	sb, err := r.sandbox(req.GetPodSandboxId())
	if isNotFound(err) {
		return &runtimeapi.RemovePodSandboxResponse{}, nil
	} else if err != nil {
		return nil, err
	}
	sb.op.Lock()
	defer sb.op.Unlock()
	if err := r.stopSandbox(ctx, sb); err != nil {
		return nil, fmt.Errorf("failed to stop sandbox %q: %w", sb.id, err)
	}
	for _, c := range r.containersOf(sb.id) {
		if err := r.removeContainer(ctx, c); err != nil {
			return nil, fmt.Errorf("failed to remove container %q: %w", c.id, err)
		}
	}
	if err := r.groups.Remove(sb.cgroup()); err != nil {
		return nil, err
	}
	if err := removeDir(sb.dir); err != nil {
		return nil, err
	}
	r.mu.Lock()
	delete(r.sandboxes, sb.id)
	r.mu.Unlock()
	r.release(sandboxName(sb.config.GetMetadata()), sb.id)
	r.log.Info("sandbox removed", "sandbox", sb.id)
	return &runtimeapi.RemovePodSandboxResponse{}, nil
}

// discard clears away what belongs to an unreadable record.
func (r *Runtime) discard(dir, netnsFile string) {
	if err := errors.Join(rootfs.UnmountBelow(dir), netns.Remove(netnsFile), removeDir(dir)); err != nil {
		r.log.Warn("cannot remove leftovers", "directory", dir, "error", err)
	}
}
