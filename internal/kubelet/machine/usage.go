package machine

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// GroupUsage is what a control group's processes use.
type GroupUsage struct {
	CPUNanos                uint64
	Memory, WorkingSet, RSS uint64
	MemoryLimit             uint64 // 0: none
	Faults, MajorFaults     uint64
	Swap                    uint64
}

// GroupUsage reads a control group; "/" is the machine.
func (m *Machine) GroupUsage(path string) (GroupUsage, error) {
	if path == "/" {
		return machineUsage()
	}
	var u GroupUsage
	if m.groups.unified {
		dir := filepath.Join(cgroupMount, path)
		cpu, err := keys(filepath.Join(dir, "cpu.stat"))
		if err != nil {
			return u, fmt.Errorf("read control group %s: %w", path, err)
		}
		u.CPUNanos = cpu["usage_usec"] * 1000
		u.Memory = number(filepath.Join(dir, "memory.current"))
		u.MemoryLimit = number(filepath.Join(dir, "memory.max"))
		u.Swap = number(filepath.Join(dir, "memory.swap.current"))
		if stat, err := keys(filepath.Join(dir, "memory.stat")); err == nil {
			u.WorkingSet, u.RSS = less(u.Memory, stat["inactive_file"]), stat["anon"]
			u.Faults, u.MajorFaults = stat["pgfault"], stat["pgmajfault"]
		}
		return u, nil
	}
	if dir := m.groups.mounts["cpuacct"]; dir != "" {
		u.CPUNanos = number(filepath.Join(dir, path, "cpuacct.usage"))
	}
	mount := m.groups.mounts["memory"]
	if mount == "" {
		return u, nil
	}
	dir := filepath.Join(mount, path)
	stat, err := keys(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return u, fmt.Errorf("read control group %s: %w", path, err)
	}
	u.Memory = number(filepath.Join(dir, "memory.usage_in_bytes"))
	if limit := number(filepath.Join(dir, "memory.limit_in_bytes")); limit < 1<<60 {
		u.MemoryLimit = limit
	}
	u.WorkingSet, u.RSS = less(u.Memory, stat["total_inactive_file"]), stat["total_rss"]
	u.Faults, u.MajorFaults, u.Swap = stat["total_pgfault"], stat["total_pgmajfault"], stat["total_swap"]
	return u, nil
}

// machineUsage is the whole machine's, from /proc: no version of control groups
// counts all of it.
func machineUsage() (GroupUsage, error) {
	var u GroupUsage
	body, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return u, fmt.Errorf("read the machine's memory: %w", err)
	}
	mem := meminfo(string(body))
	u.Memory = uint64(max(0, mem["MemTotal"]-mem["MemFree"]))
	u.WorkingSet = less(u.Memory, uint64(mem["Inactive(file)"]))
	u.RSS = uint64(mem["AnonPages"])
	u.MemoryLimit = uint64(mem["MemTotal"])
	u.Swap = uint64(max(0, mem["SwapTotal"]-mem["SwapFree"]))
	if vm, err := keys("/proc/vmstat"); err == nil {
		u.Faults, u.MajorFaults = vm["pgfault"], vm["pgmajfault"]
	}
	if stat, err := os.ReadFile("/proc/stat"); err == nil {
		u.CPUNanos = busy(string(stat))
	}
	return u, nil
}

// tick is the unit of /proc/stat, which is the same on every Linux there is.
const tick = 10_000_000 // ns

// busy reads the time all CPUs have worked off /proc/stat.
func busy(stat string) uint64 {
	line, _, _ := strings.Cut(stat, "\n")
	f := strings.Fields(line)
	total := uint64(0)
	for i, v := range f {
		// name user nice system idle iowait irq softirq steal; what guests use is in user.
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue
		}
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			return 0
		}
		total += n
	}
	return total * tick
}

func less(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}

// number reads one; what is not there, or says "max", is 0.
func number(path string) uint64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func keys(path string) (map[string]uint64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := map[string]uint64{}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(v, 10, 64); err == nil {
			out[k] = n
		}
	}
	return out, nil
}

// DirUsage adds up what lies below a directory, on its filesystem, a file of several
// names once.
func (m *Machine) DirUsage(dir string) (bytes, inodes uint64, err error) {
	var top unix.Stat_t
	if err := unix.Lstat(dir, &top); err != nil {
		return 0, 0, fmt.Errorf("measure %s: %w", dir, err)
	}
	seen := map[uint64]bool{}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it went meanwhile
		}
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil {
			return nil
		}
		if st.Dev != top.Dev {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if st.Nlink > 1 && !d.IsDir() {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		bytes += uint64(st.Blocks) * 512
		inodes++
		return nil
	})
	return bytes, inodes, err
}
