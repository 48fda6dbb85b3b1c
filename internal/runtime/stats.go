package runtime

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/host/netns"
	"github.com/monohull/monohull/internal/runtime/cgroup"
)

// minRateInterval is the shortest time over which a CPU rate means anything; asked
// again sooner, the last one is told.
const minRateInterval = 500 * time.Millisecond

// ContainerStats measures one container.
func (r *Runtime) ContainerStats(ctx context.Context, req *runtimeapi.ContainerStatsRequest) (*runtimeapi.ContainerStatsResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	c, err := r.lookup(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ContainerStatsResponse{Stats: r.containerStats(c)}, nil
}

// ListContainerStats measures the containers that match and are running.
func (r *Runtime) ListContainerStats(ctx context.Context, req *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	f := req.GetFilter()
	res := &runtimeapi.ListContainerStatsResponse{}
	for _, c := range r.filter(f.GetId(), f.GetPodSandboxId(), f.GetLabelSelector()) {
		if c.state() == stateRunning {
			res.Stats = append(res.Stats, r.containerStats(c))
		}
	}
	return res, nil
}

func (r *Runtime) containerStats(c *container) *runtimeapi.ContainerStats {
	st := &runtimeapi.ContainerStats{Attributes: &runtimeapi.ContainerAttributes{
		Id: c.id, Metadata: c.config.GetMetadata(), Labels: c.config.GetLabels(), Annotations: c.config.GetAnnotations(),
	}}
	now := time.Now()
	bytes, inodes := diskUsage(filepath.Join(c.dir, "upper"))
	st.WritableLayer = &runtimeapi.FilesystemUsage{
		Timestamp: now.UnixNano(), FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: filepath.Join(r.cfg.DataDir, "containers")},
		UsedBytes: value(bytes), InodesUsed: value(inodes),
	}
	u, err := r.groups.Read(c.rec.Cgroup)
	if err != nil {
		return st // not running
	}
	c.mu.Lock()
	rate := c.cpu.update(now, u.CPUNanos)
	c.mu.Unlock()
	st.Cpu, st.Memory = cpuUsage(u, now, rate), memoryUsage(u, now)
	st.Swap = swapUsage(u, now)
	if u.IOPressure != nil {
		st.Io = &runtimeapi.IoUsage{Timestamp: now.UnixNano(), Psi: psi(u.IOPressure)}
	}
	return st
}

// update takes a reading and returns the rate in nanocores.
func (s *cpuSample) update(now time.Time, nanos uint64) uint64 {
	if !s.at.IsZero() && now.Sub(s.at) < minRateInterval {
		return s.rate
	}
	if !s.at.IsZero() && nanos >= s.nanos {
		s.rate = uint64(float64(nanos-s.nanos) / now.Sub(s.at).Seconds())
	}
	s.at, s.nanos = now, nanos
	return s.rate
}

func value(v uint64) *runtimeapi.UInt64Value { return &runtimeapi.UInt64Value{Value: v} }

func cpuUsage(u *cgroup.Usage, now time.Time, rate uint64) *runtimeapi.CpuUsage {
	if !u.HaveCPU {
		return nil
	}
	return &runtimeapi.CpuUsage{
		Timestamp: now.UnixNano(), UsageCoreNanoSeconds: value(u.CPUNanos), UsageNanoCores: value(rate), Psi: psi(u.CPUPressure),
	}
}

func memoryUsage(u *cgroup.Usage, now time.Time) *runtimeapi.MemoryUsage {
	if !u.HaveMemory {
		return nil
	}
	m := &runtimeapi.MemoryUsage{
		Timestamp: now.UnixNano(), UsageBytes: value(u.Memory), WorkingSetBytes: value(u.WorkingSet), RssBytes: value(u.RSS),
		PageFaults: value(u.PageFaults), MajorPageFaults: value(u.MajorPageFaults), Psi: psi(u.MemPressure),
	}
	if u.MemoryLimit > 0 {
		available := uint64(0)
		if u.MemoryLimit > u.WorkingSet {
			available = u.MemoryLimit - u.WorkingSet
		}
		m.AvailableBytes = value(available)
	}
	return m
}

func swapUsage(u *cgroup.Usage, now time.Time) *runtimeapi.SwapUsage {
	if !u.HaveMemory || u.NoSwap {
		return nil
	}
	s := &runtimeapi.SwapUsage{Timestamp: now.UnixNano(), SwapUsageBytes: value(u.Swap)}
	if u.SwapLimit >= u.Swap {
		s.SwapAvailableBytes = value(u.SwapLimit - u.Swap)
	}
	return s
}

func psi(p *cgroup.Pressure) *runtimeapi.PsiStats {
	if p == nil {
		return nil
	}
	data := func(s cgroup.Stall) *runtimeapi.PsiData {
		return &runtimeapi.PsiData{Total: s.Total, Avg10: s.Avg10, Avg60: s.Avg60, Avg300: s.Avg300}
	}
	return &runtimeapi.PsiStats{Full: data(p.Full), Some: data(p.Some)}
}

// diskUsage adds up a directory tree, hard links once.
func diskUsage(dir string) (bytes, inodes uint64) {
	linked := map[uint64]bool{}
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil {
			return nil
		}
		if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if linked[st.Ino] {
				return nil
			}
			linked[st.Ino] = true
		}
		bytes += uint64(st.Blocks) * 512
		inodes++
		return nil
	})
	return bytes, inodes
}

// PodSandboxStats measures one pod.
func (r *Runtime) PodSandboxStats(ctx context.Context, req *runtimeapi.PodSandboxStatsRequest) (*runtimeapi.PodSandboxStatsResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	sb, err := r.sandbox(req.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	return &runtimeapi.PodSandboxStatsResponse{Stats: r.sandboxStats(sb)}, nil
}

// ListPodSandboxStats measures the pods that match and are ready.
func (r *Runtime) ListPodSandboxStats(ctx context.Context, req *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	f := req.GetFilter()
	r.mu.Lock()
	var all []*sandbox
	for _, sb := range r.sandboxes {
		if strings.HasPrefix(sb.id, f.GetId()) && matches(sb.config.GetLabels(), f.GetLabelSelector()) && sb.ready() {
			all = append(all, sb)
		}
	}
	r.mu.Unlock()
	res := &runtimeapi.ListPodSandboxStatsResponse{}
	for _, sb := range all {
		res.Stats = append(res.Stats, r.sandboxStats(sb))
	}
	return res, nil
}

func (r *Runtime) sandboxStats(sb *sandbox) *runtimeapi.PodSandboxStats {
	now := time.Now()
	st := &runtimeapi.PodSandboxStats{
		Attributes: &runtimeapi.PodSandboxAttributes{
			Id: sb.id, Metadata: sb.config.GetMetadata(), Labels: sb.config.GetLabels(), Annotations: sb.config.GetAnnotations(),
		},
		Linux: &runtimeapi.LinuxPodSandboxStats{},
	}
	for _, c := range r.filter("", sb.id, nil) {
		if c.state() == stateRunning {
			st.Linux.Containers = append(st.Linux.Containers, r.containerStats(c))
		}
	}
	// A parent of its own is the pod's group; without one there is nothing that
	// stands for the whole pod but the sum of its containers.
	if parent := sb.record().Cgroup; parent != r.cfg.CgroupParent {
		if u, err := r.groups.Read(parent); err == nil {
			var rate uint64
			for _, c := range st.Linux.Containers {
				rate += c.GetCpu().GetUsageNanoCores().GetValue()
			}
			st.Linux.Cpu, st.Linux.Memory = cpuUsage(u, now, rate), memoryUsage(u, now)
			if u.HavePids {
				st.Linux.Process = &runtimeapi.ProcessUsage{Timestamp: now.UnixNano(), ProcessCount: value(uint64(len(r.groups.Pids(parent))))}
			}
			if u.IOPressure != nil {
				st.Linux.Io = &runtimeapi.IoUsage{Timestamp: now.UnixNano(), Psi: psi(u.IOPressure)}
			}
		}
	}
	if !sb.hostNetwork() {
		if usage, err := networkUsage(sb.record().Netns, now); err == nil {
			st.Linux.Network = usage
		}
	}
	return st
}

// networkUsage reads the counters of a pod's interfaces in its namespace.
func networkUsage(path string, now time.Time) (*runtimeapi.NetworkUsage, error) {
	var body []byte
	err := netns.Do(path, func() error {
		var err error
		body, err = os.ReadFile("/proc/thread-self/net/dev")
		return err
	})
	if err != nil {
		return nil, err
	}
	usage := &runtimeapi.NetworkUsage{Timestamp: now.UnixNano()}
	s := bufio.NewScanner(strings.NewReader(string(body)))
	for s.Scan() {
		name, rest, ok := strings.Cut(s.Text(), ":")
		fields := strings.Fields(rest)
		if name = strings.TrimSpace(name); !ok || name == "lo" || len(fields) < 16 {
			continue
		}
		number := func(i int) *runtimeapi.UInt64Value {
			n, _ := strconv.ParseUint(fields[i], 10, 64)
			return value(n)
		}
		i := &runtimeapi.NetworkInterfaceUsage{Name: name, RxBytes: number(0), RxErrors: number(2), TxBytes: number(8), TxErrors: number(10)}
		if name == "eth0" {
			usage.DefaultInterface = i
		} else {
			usage.Interfaces = append(usage.Interfaces, i)
		}
	}
	if usage.DefaultInterface == nil && len(usage.Interfaces) == 0 {
		return nil, errors.New("no interfaces")
	}
	return usage, nil
}

// ImageFsInfo tells what images and containers occupy.
func (r *Runtime) ImageFsInfo(ctx context.Context, _ *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	bytes, inodes, err := r.images.Usage()
	if err != nil {
		return nil, fmt.Errorf("measure images: %w", err)
	}
	info := &runtimeapi.FilesystemUsage{
		Timestamp: time.Now().UnixNano(), FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: r.images.Dir()},
		UsedBytes: value(bytes), InodesUsed: value(inodes),
	}
	return &runtimeapi.ImageFsInfoResponse{
		ImageFilesystems: []*runtimeapi.FilesystemUsage{info}, ContainerFilesystems: []*runtimeapi.FilesystemUsage{info},
	}, nil
}
