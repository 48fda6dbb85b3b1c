package stats

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/monohull/monohull/internal/kubelet/machine"
)

// minRate is the shortest time over which a rate of CPU use means anything.
const minRate = 500 * time.Millisecond

// Runtime measures pods and images.
type Runtime interface {
	ListPodSandboxStats(context.Context, *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error)
	ImageFsInfo(context.Context, *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error)
}

// Host measures the machine.
type Host interface {
	Usage(dir string) (machine.Usage, error)
	GroupUsage(path string) (machine.GroupUsage, error)
	DirUsage(dir string) (bytes, inodes uint64, err error)
}

// Pod is a pod to measure.
type Pod struct {
	Pod     *corev1.Pod // as it is known to users, with its status
	UID     string      // by which the runtime knows it
	LogDir  string
	Volumes map[string]string // name → path
	Started map[string]time.Time
}

// Config is what is measured.
type Config struct {
	NodeName string
	Dir      string // the kubelet's
	PodGroup string // control group of all pods
	Booted   time.Time
	// KeepVolumes is how long figures of volumes and logs are kept.
	KeepVolumes time.Duration
	Now         func() time.Time
	// Allocatable is what pods together may use of memory; 0 is no bound.
	Allocatable func() int64
	Pods        func() []Pod
	// UIDLabel is the label by which the runtime's sandboxes name their pod; NameLabel
	// names containers.
	UIDLabel, NameLabel string
}

// Stats measures.
type Stats struct {
	cfg  Config
	rt   Runtime
	host Host

	mu    sync.Mutex // guards what follows; held through a measurement, so that there is one
	rates map[string]sample
	walks map[string]walk // by directory
	last  *statsapi.Summary
	at    time.Time
	// What images hold is found by walking them.
	images   *runtimeapi.FilesystemUsage
	imagesAt time.Time
}

type sample struct {
	at    time.Time
	nanos uint64
	rate  uint64
}

type walk struct {
	at            time.Time
	bytes, inodes uint64
}

// New makes a measurer.
func New(cfg Config, rt Runtime, host Host) *Stats {
	return &Stats{cfg: cfg, rt: rt, host: host, rates: map[string]sample{}, walks: map[string]walk{}}
}

// Summary measures all. Figures not older than fresh do; they are shared: whoever
// asks does not write to them.
func (s *Stats) Summary(ctx context.Context, fresh time.Duration) (*statsapi.Summary, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil && fresh > 0 && s.cfg.Now().Sub(s.at) < fresh {
		return s.last, nil
	}
	out, err := s.measure(ctx)
	if err == nil {
		s.last, s.at = out, s.cfg.Now()
	}
	return out, err
}

func (s *Stats) measure(ctx context.Context) (*statsapi.Summary, error) {
	now := s.cfg.Now()
	at := metav1.NewTime(now)
	use, err := s.host.Usage(s.cfg.Dir)
	if err != nil {
		return nil, err
	}
	node := disk(use, at)
	all, err := s.host.GroupUsage("/")
	if err != nil {
		return nil, err
	}
	out := &statsapi.Summary{Node: statsapi.NodeStats{
		NodeName: s.cfg.NodeName, StartTime: metav1.NewTime(s.cfg.Booted),
		CPU: s.cpuLocked("/", all.CPUNanos, now), Memory: group(all, all.MemoryLimit, at), Fs: node,
		Swap: &statsapi.SwapStats{Time: at, SwapUsageBytes: &all.Swap},
	}}
	if use.MaxPIDs > 0 {
		out.Node.Rlimit = &statsapi.RlimitStats{Time: at, MaxPID: &use.MaxPIDs, NumOfRunningProcesses: &use.PIDs}
	}
	if pods, err := s.host.GroupUsage(s.cfg.PodGroup); err == nil {
		out.Node.SystemContainers = append(out.Node.SystemContainers, statsapi.ContainerStats{Name: statsapi.SystemContainerPods,
			StartTime: metav1.NewTime(s.cfg.Booted), CPU: s.cpuLocked(s.cfg.PodGroup, pods.CPUNanos, now), Memory: group(pods, uint64(max(0, s.cfg.Allocatable())), at)})
	}
	images := s.imageDiskLocked(ctx, node, now)
	out.Node.Runtime = &statsapi.RuntimeStats{ImageFs: images, ContainerFs: images}
	res, err := s.rt.ListPodSandboxStats(ctx, &runtimeapi.ListPodSandboxStatsRequest{})
	if err != nil {
		return nil, fmt.Errorf("measure pods: %w", err)
	}
	bySandbox := map[string]*runtimeapi.PodSandboxStats{}
	for _, sb := range res.GetStats() {
		bySandbox[sb.GetAttributes().GetLabels()[s.cfg.UIDLabel]] = sb
	}
	walked := map[string]bool{}
	for _, p := range s.cfg.Pods() {
		if sb := bySandbox[p.UID]; sb != nil {
			out.Pods = append(out.Pods, s.podLocked(p, sb, node, images, now, walked))
		}
	}
	for dir := range s.walks {
		if !walked[dir] {
			delete(s.walks, dir)
		}
	}
	for key, r := range s.rates {
		if now.Sub(r.at) > time.Hour {
			delete(s.rates, key)
		}
	}
	slices.SortFunc(out.Pods, func(a, b statsapi.PodStats) int {
		return strings.Compare(a.PodRef.Namespace+"/"+a.PodRef.Name, b.PodRef.Namespace+"/"+b.PodRef.Name)
	})
	return out, nil
}

func (s *Stats) imageDiskLocked(ctx context.Context, node *statsapi.FsStats, now time.Time) *statsapi.FsStats {
	if s.images == nil || now.Sub(s.imagesAt) >= s.cfg.KeepVolumes {
		res, err := s.rt.ImageFsInfo(ctx, &runtimeapi.ImageFsInfoRequest{})
		if err != nil || len(res.GetImageFilesystems()) == 0 {
			return node
		}
		s.images, s.imagesAt = res.GetImageFilesystems()[0], now
	}
	base, at := node, metav1.NewTime(now)
	if u, err := s.host.Usage(s.images.GetFsId().GetMountpoint()); err == nil {
		base = disk(u, at)
	}
	return onDisk(base, value(s.images.GetUsedBytes()), value(s.images.GetInodesUsed()), at)
}

func (s *Stats) cpuLocked(key string, nanos uint64, now time.Time) *statsapi.CPUStats {
	was, known := s.rates[key]
	if !known || now.Sub(was.at) >= minRate {
		next := sample{at: now, nanos: nanos, rate: was.rate}
		if known && nanos >= was.nanos {
			next.rate = uint64(float64(nanos-was.nanos) / now.Sub(was.at).Seconds())
		}
		s.rates[key], was = next, next
	}
	rate := was.rate
	return &statsapi.CPUStats{Time: metav1.NewTime(now), UsageNanoCores: &rate, UsageCoreNanoSeconds: &nanos}
}

func (s *Stats) podLocked(p Pod, sb *runtimeapi.PodSandboxStats, node, images *statsapi.FsStats, now time.Time, walked map[string]bool) statsapi.PodStats {
	at := metav1.NewTime(now)
	l := sb.GetLinux()
	out := statsapi.PodStats{
		PodRef: statsapi.PodReference{Name: p.Pod.Name, Namespace: p.Pod.Namespace, UID: string(p.Pod.UID)},
		CPU:    cpu(l.GetCpu()), Memory: memory(l.GetMemory()), Network: network(l.GetNetwork()),
	}
	if t := p.Pod.Status.StartTime; t != nil {
		out.StartTime = *t
	}
	if io := l.GetIo(); io != nil {
		out.IO = &statsapi.IOStats{Time: stamp(io.GetTimestamp()), PSI: psi(io.GetPsi())}
	}
	if n := value(l.GetProcess().GetProcessCount()); n != nil {
		out.ProcessStats = &statsapi.ProcessStats{ProcessCount: n}
	}
	var bytes, inodes uint64
	add := func(b, i *uint64) {
		if b != nil {
			bytes += *b
		}
		if i != nil {
			inodes += *i
		}
	}
	var swapped uint64
	for _, c := range l.GetContainers() {
		name := c.GetAttributes().GetLabels()[s.cfg.NameLabel]
		var logs *statsapi.FsStats
		if dir := filepath.Join(p.LogDir, name); p.LogDir != "" {
			if w, ok := s.walkLocked(dir, now, walked); ok {
				logs = onDisk(node, &w.bytes, &w.inodes, metav1.NewTime(w.at))
				add(&w.bytes, &w.inodes)
			}
		}
		cs := container(name, p.Started[name], c, images, logs)
		if cs.Rootfs != nil {
			add(cs.Rootfs.UsedBytes, cs.Rootfs.InodesUsed)
		}
		if cs.Swap != nil && cs.Swap.SwapUsageBytes != nil {
			swapped += *cs.Swap.SwapUsageBytes
			out.Swap = &statsapi.SwapStats{Time: cs.Swap.Time, SwapUsageBytes: &swapped}
		}
		out.Containers = append(out.Containers, cs)
	}
	for i := range p.Pod.Spec.Volumes {
		v := &p.Pod.Spec.Volumes[i]
		dir := p.Volumes[v.Name]
		if dir == "" || v.HostPath != nil {
			continue
		}
		w, ok := s.walkLocked(dir, now, walked)
		if !ok {
			continue
		}
		base := node
		own := v.EmptyDir != nil && v.EmptyDir.Medium != corev1.StorageMediumDefault || v.Secret != nil || v.Projected != nil || v.DownwardAPI != nil || v.PersistentVolumeClaim != nil
		if own { // a filesystem of its own
			if u, err := s.host.Usage(dir); err == nil {
				base = disk(u, at)
			}
		}
		vs := statsapi.VolumeStats{Name: v.Name, FsStats: *onDisk(base, &w.bytes, &w.inodes, metav1.NewTime(w.at))}
		if c := v.PersistentVolumeClaim; c != nil {
			vs.PVCRef = &statsapi.PVCReference{Name: c.ClaimName, Namespace: p.Pod.Namespace}
		} else if v.EmptyDir == nil || v.EmptyDir.Medium == corev1.StorageMediumDefault {
			add(&w.bytes, &w.inodes)
		}
		out.VolumeStats = append(out.VolumeStats, vs)
	}
	out.EphemeralStorage = onDisk(node, &bytes, &inodes, at)
	return out
}

func (s *Stats) walkLocked(dir string, now time.Time, walked map[string]bool) (walk, bool) {
	walked[dir] = true
	if w, ok := s.walks[dir]; ok && now.Sub(w.at) < s.cfg.KeepVolumes {
		return w, true
	}
	b, i, err := s.host.DirUsage(dir)
	if err != nil {
		return walk{}, false
	}
	w := walk{now, b, i}
	s.walks[dir] = w
	return w, true
}
