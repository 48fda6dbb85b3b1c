package stats

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/monohull/monohull/internal/kubelet/machine"
)

func stamp(ns int64) metav1.Time { return metav1.NewTime(time.Unix(0, ns)) }

func value(v *runtimeapi.UInt64Value) *uint64 {
	if v == nil {
		return nil
	}
	n := v.GetValue()
	return &n
}

func psi(p *runtimeapi.PsiStats) *statsapi.PSIStats {
	if p == nil {
		return nil
	}
	one := func(d *runtimeapi.PsiData) statsapi.PSIData {
		return statsapi.PSIData{Total: d.GetTotal(), Avg10: d.GetAvg10(), Avg60: d.GetAvg60(), Avg300: d.GetAvg300()}
	}
	return &statsapi.PSIStats{Full: one(p.GetFull()), Some: one(p.GetSome())}
}

func cpu(c *runtimeapi.CpuUsage) *statsapi.CPUStats {
	if c == nil {
		return nil
	}
	return &statsapi.CPUStats{Time: stamp(c.GetTimestamp()), UsageNanoCores: value(c.GetUsageNanoCores()), UsageCoreNanoSeconds: value(c.GetUsageCoreNanoSeconds()), PSI: psi(c.GetPsi())}
}

func memory(m *runtimeapi.MemoryUsage) *statsapi.MemoryStats {
	if m == nil {
		return nil
	}
	return &statsapi.MemoryStats{
		Time: stamp(m.GetTimestamp()), AvailableBytes: value(m.GetAvailableBytes()), UsageBytes: value(m.GetUsageBytes()),
		WorkingSetBytes: value(m.GetWorkingSetBytes()), RSSBytes: value(m.GetRssBytes()),
		PageFaults: value(m.GetPageFaults()), MajorPageFaults: value(m.GetMajorPageFaults()), PSI: psi(m.GetPsi()),
	}
}

func swap(s *runtimeapi.SwapUsage) *statsapi.SwapStats {
	if s == nil {
		return nil
	}
	return &statsapi.SwapStats{Time: stamp(s.GetTimestamp()), SwapAvailableBytes: value(s.GetSwapAvailableBytes()), SwapUsageBytes: value(s.GetSwapUsageBytes())}
}

func network(n *runtimeapi.NetworkUsage) *statsapi.NetworkStats {
	if n == nil {
		return nil
	}
	one := func(i *runtimeapi.NetworkInterfaceUsage) statsapi.InterfaceStats {
		return statsapi.InterfaceStats{Name: i.GetName(), RxBytes: value(i.GetRxBytes()), RxErrors: value(i.GetRxErrors()), TxBytes: value(i.GetTxBytes()), TxErrors: value(i.GetTxErrors())}
	}
	out := &statsapi.NetworkStats{Time: stamp(n.GetTimestamp())}
	if d := n.GetDefaultInterface(); d != nil {
		out.InterfaceStats = one(d)
		out.Interfaces = append(out.Interfaces, one(d))
	}
	for _, i := range n.GetInterfaces() {
		out.Interfaces = append(out.Interfaces, one(i))
	}
	return out
}

// container is a container's share of the summary; fs is the disk its layer is on.
func container(name string, started time.Time, c *runtimeapi.ContainerStats, fs *statsapi.FsStats, logs *statsapi.FsStats) statsapi.ContainerStats {
	out := statsapi.ContainerStats{Name: name, StartTime: metav1.NewTime(started), CPU: cpu(c.GetCpu()), Memory: memory(c.GetMemory()), Swap: swap(c.GetSwap()), Logs: logs}
	if io := c.GetIo(); io != nil {
		out.IO = &statsapi.IOStats{Time: stamp(io.GetTimestamp()), PSI: psi(io.GetPsi())}
	}
	if w := c.GetWritableLayer(); w != nil {
		out.Rootfs = onDisk(fs, value(w.GetUsedBytes()), value(w.GetInodesUsed()), stamp(w.GetTimestamp()))
	}
	return out
}

// onDisk is something's use of a disk.
func onDisk(disk *statsapi.FsStats, bytes, inodes *uint64, at metav1.Time) *statsapi.FsStats {
	out := &statsapi.FsStats{Time: at, UsedBytes: bytes, InodesUsed: inodes}
	if disk != nil {
		out.AvailableBytes, out.CapacityBytes, out.InodesFree, out.Inodes = disk.AvailableBytes, disk.CapacityBytes, disk.InodesFree, disk.Inodes
	}
	return out
}

// disk is a whole one.
func disk(u machine.Usage, at metav1.Time) *statsapi.FsStats {
	n := func(v int64) *uint64 {
		p := uint64(max(0, v))
		return &p
	}
	return &statsapi.FsStats{Time: at, AvailableBytes: n(u.DiskAvailable), CapacityBytes: n(u.DiskBytes), UsedBytes: n(u.DiskBytes - u.DiskAvailable),
		InodesFree: n(u.InodesFree), Inodes: n(u.Inodes), InodesUsed: n(u.Inodes - u.InodesFree)}
}

// group is a control group's memory; capacity 0 is one without a bound.
func group(u machine.GroupUsage, capacity uint64, at metav1.Time) *statsapi.MemoryStats {
	m := &statsapi.MemoryStats{Time: at, UsageBytes: &u.Memory, WorkingSetBytes: &u.WorkingSet, RSSBytes: &u.RSS, PageFaults: &u.Faults, MajorPageFaults: &u.MajorFaults}
	if capacity > 0 {
		free := uint64(0)
		if capacity > u.WorkingSet {
			free = capacity - u.WorkingSet
		}
		m.AvailableBytes = &free
	}
	return m
}
