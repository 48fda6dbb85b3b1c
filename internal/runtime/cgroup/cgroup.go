// Package cgroup reads and clears control groups of either generation.
//
// It finds out how the machine's hierarchies are mounted (version 1 with one mount
// per controller, version 2 alone, or both, where version 1 holds the controllers),
// reads the usage the CRI asks for, and kills and removes whole subtrees. It does
// not create groups or set limits: the shim's libcontainer does that.
//
// Paths are absolute within the hierarchy, as in /proc/<pid>/cgroup. It touches
// cgroupfs only; tested on a directory tree that looks like one.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Hierarchy is where the controllers are.
type Hierarchy struct {
	Unified bool              // version 2 alone
	Root    string            // the cgroup2 mount, if Unified
	Mounts  map[string]string // version 1: controller → mount point
	Empty   string            // version 1: where version 2 is mounted too, without controllers
}

// Detect looks at the machine's mounts.
func Detect() (*Hierarchy, error) {
	var st unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &st); err != nil {
		return nil, fmt.Errorf("look for control groups: %w", err)
	}
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		return &Hierarchy{Unified: true, Root: "/sys/fs/cgroup"}, nil
	}
	body, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("look for control groups: %w", err)
	}
	h := &Hierarchy{}
	h.Mounts, h.Empty = parseMounts(string(body))
	if len(h.Mounts) == 0 {
		return nil, errors.New("look for control groups: none are mounted below /sys/fs/cgroup")
	}
	return h, nil
}

// parseMounts finds version 1 controllers in a mountinfo, and version 2 beside them.
func parseMounts(mountinfo string) (found map[string]string, second string) {
	found = map[string]string{}
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		if right[0] == "cgroup2" {
			second = left[4]
		}
		if right[0] != "cgroup" {
			continue
		}
		for option := range strings.SplitSeq(right[2], ",") {
			switch option {
			case "rw", "ro", "xattr", "none", "clone_children", "noprefix":
				continue
			}
			if _, taken := found[option]; !taken {
				found[option] = left[4]
			}
		}
	}
	return found, second
}

// dirs returns the group's directory in every hierarchy.
func (h *Hierarchy) dirs(path string) []string {
	if h.Unified {
		return []string{filepath.Join(h.Root, path)}
	}
	var dirs []string
	for _, mount := range h.Mounts {
		if dir := filepath.Join(mount, path); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	if h.Empty != "" {
		dirs = append(dirs, filepath.Join(h.Empty, path))
	}
	slices.Sort(dirs)
	return dirs
}

func (h *Hierarchy) file(controller, path, name string) string {
	if h.Unified {
		return filepath.Join(h.Root, path, name)
	}
	mount := h.Mounts[controller]
	if mount == "" {
		return ""
	}
	return filepath.Join(mount, path, name)
}

// Swap reports whether the memory controller accounts swap.
func (h *Hierarchy) Swap() bool {
	if h.Unified {
		// The root has no such file; any group below it tells.
		found, _ := filepath.Glob(filepath.Join(h.Root, "*", "memory.swap.max"))
		return len(found) > 0
	}
	_, err := os.Stat(h.file("memory", "", "memory.memsw.limit_in_bytes"))
	return err == nil
}

// HugePages returns the page sizes the hugetlb controller knows, as Kubernetes
// writes them (2MB, 1GB); nil if there is no such controller.
func (h *Hierarchy) HugePages() []string {
	if h.Unified {
		body, err := os.ReadFile(filepath.Join(h.Root, "cgroup.controllers"))
		if err != nil || !slices.Contains(strings.Fields(string(body)), "hugetlb") {
			return nil
		}
	} else if h.Mounts["hugetlb"] == "" {
		return nil
	}
	entries, err := os.ReadDir("/sys/kernel/mm/hugepages")
	if err != nil {
		return nil
	}
	var sizes []string
	for _, e := range entries {
		kb, ok := strings.CutSuffix(strings.TrimPrefix(e.Name(), "hugepages-"), "kB")
		n, err := strconv.Atoi(kb)
		switch {
		case !ok || err != nil:
		case n >= 1<<20:
			sizes = append(sizes, strconv.Itoa(n>>20)+"GB")
		case n >= 1<<10:
			sizes = append(sizes, strconv.Itoa(n>>10)+"MB")
		default:
			sizes = append(sizes, strconv.Itoa(n)+"KB")
		}
	}
	return sizes
}

// Pids returns every process in the group and below.
func (h *Hierarchy) Pids(path string) []int {
	var pids []int
	for _, dir := range h.dirs(path) {
		_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return nil
			}
			body, err := os.ReadFile(filepath.Join(p, "cgroup.procs"))
			if err != nil {
				return nil
			}
			for _, f := range strings.Fields(string(body)) {
				if pid, err := strconv.Atoi(f); err == nil && pid > 0 && !slices.Contains(pids, pid) {
					pids = append(pids, pid)
				}
			}
			return nil
		})
	}
	return pids
}

// Bounds of a kill: processes in an uninterruptible sleep are left to the kernel.
const (
	killRounds = 50
	killPause  = 10 * time.Millisecond
)

// Kill ends every process in the group and below, and waits a bounded time for
// them to be gone.
func (h *Hierarchy) Kill(path string) error {
	if h.Unified {
		_ = os.WriteFile(filepath.Join(h.Root, path, "cgroup.kill"), []byte("1"), 0)
	}
	for range killRounds {
		pids := h.Pids(path)
		alive := 0
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err == nil && !zombie(pid) {
				alive++
			}
		}
		if alive == 0 {
			return nil
		}
		time.Sleep(killPause)
	}
	return fmt.Errorf("kill processes in %s: some do not end", path)
}

func zombie(pid int) bool {
	body, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	i := strings.LastIndexByte(string(body), ')')
	return i > 0 && i+2 < len(body) && (body[i+2] == 'Z' || body[i+2] == 'X')
}

// Remove removes the group and all below it; one that is not there is no error.
func (h *Hierarchy) Remove(path string) error {
	if filepath.Clean("/"+path) == "/" {
		return errors.New("remove control group: refusing the root")
	}
	var errs []error
	for _, dir := range h.dirs(path) {
		if err := removeTree(dir); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("remove control group: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	for range killRounds {
		err = unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(killPause) // a process that just died is still accounted
	}
	return fmt.Errorf("remove control group %s: %w", dir, err)
}

// Usage is what a group consumes.
type Usage struct {
	CPUNanos                              uint64
	Memory, WorkingSet, RSS, MemoryLimit  uint64 // MemoryLimit 0: none
	PageFaults, MajorPageFaults           uint64
	Swap, SwapLimit                       uint64
	Processes                             uint64
	CPUPressure, MemPressure, IOPressure  *Pressure // nil: the kernel does not say
	HaveCPU, HaveMemory, HavePids, NoSwap bool
}

// Pressure is one resource's stall information.
type Pressure struct{ Some, Full Stall }

// Stall is a line of it: the total in microseconds, averages in percent.
type Stall struct {
	Total                uint64
	Avg10, Avg60, Avg300 float64
}

// unlimited is above any limit a kernel reports as none.
const unlimited = 1 << 60

// Read measures a group. It returns fs.ErrNotExist if there is none.
func (h *Hierarchy) Read(path string) (*Usage, error) {
	u := &Usage{}
	if h.Unified {
		return u, h.readUnified(path, u)
	}
	return u, h.readControllers(path, u)
}

func (h *Hierarchy) readUnified(path string, u *Usage) error {
	dir := filepath.Join(h.Root, path)
	cpu, err := readKeys(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		return err
	}
	u.CPUNanos, u.HaveCPU = cpu["usage_usec"]*1000, true
	if v, err := readNumber(filepath.Join(dir, "memory.current")); err == nil {
		stat, _ := readKeys(filepath.Join(dir, "memory.stat"))
		u.Memory, u.HaveMemory = v, true
		u.WorkingSet = subtract(v, stat["inactive_file"])
		u.RSS = stat["anon"]
		u.PageFaults, u.MajorPageFaults = stat["pgfault"], stat["pgmajfault"]
		u.MemoryLimit = limit(filepath.Join(dir, "memory.max"))
		if u.Swap, err = readNumber(filepath.Join(dir, "memory.swap.current")); err != nil {
			u.NoSwap = true
		}
		u.SwapLimit = limit(filepath.Join(dir, "memory.swap.max"))
	}
	if u.Processes, err = readNumber(filepath.Join(dir, "pids.current")); err == nil {
		u.HavePids = true
	}
	u.CPUPressure = readPressure(filepath.Join(dir, "cpu.pressure"))
	u.MemPressure = readPressure(filepath.Join(dir, "memory.pressure"))
	u.IOPressure = readPressure(filepath.Join(dir, "io.pressure"))
	return nil
}

func (h *Hierarchy) readControllers(path string, u *Usage) error {
	cpu, err := readNumber(h.file("cpuacct", path, "cpuacct.usage"))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) && h.Mounts["cpuacct"] != "" {
			return err
		}
	} else {
		u.CPUNanos, u.HaveCPU = cpu, true
	}
	if v, err := readNumber(h.file("memory", path, "memory.usage_in_bytes")); err == nil {
		stat, _ := readKeys(h.file("memory", path, "memory.stat"))
		u.Memory, u.HaveMemory = v, true
		u.WorkingSet = subtract(v, stat["total_inactive_file"])
		u.RSS = stat["total_rss"]
		u.PageFaults, u.MajorPageFaults = stat["total_pgfault"], stat["total_pgmajfault"]
		u.MemoryLimit = limit(h.file("memory", path, "memory.limit_in_bytes"))
		if both, err := readNumber(h.file("memory", path, "memory.memsw.usage_in_bytes")); err == nil {
			u.Swap = subtract(both, v)
			if l := limit(h.file("memory", path, "memory.memsw.limit_in_bytes")); l > 0 {
				u.SwapLimit = subtract(l, u.MemoryLimit)
			}
		} else {
			u.NoSwap = true
		}
	}
	if u.Processes, err = readNumber(h.file("pids", path, "pids.current")); err == nil {
		u.HavePids = true
	}
	return nil
}

func subtract(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}

func readNumber(path string) (uint64, error) {
	if path == "" {
		return 0, fs.ErrNotExist
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(body)), 10, 64)
}

func limit(path string) uint64 {
	v, err := readNumber(path) // "max" is no number
	if err != nil || v >= unlimited {
		return 0
	}
	return v
}

func readKeys(path string) (map[string]uint64, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := map[string]uint64{}
	for line := range strings.Lines(string(body)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			out[key] = n
		}
	}
	return out, nil
}

func readPressure(path string) *Pressure {
	body, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	p := &Pressure{}
	for line := range strings.Lines(string(body)) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		var s Stall
		for _, f := range fields[1:] {
			key, value, _ := strings.Cut(f, "=")
			switch key {
			case "avg10":
				s.Avg10, _ = strconv.ParseFloat(value, 64)
			case "avg60":
				s.Avg60, _ = strconv.ParseFloat(value, 64)
			case "avg300":
				s.Avg300, _ = strconv.ParseFloat(value, 64)
			case "total":
				s.Total, _ = strconv.ParseUint(value, 10, 64)
			}
		}
		if fields[0] == "some" {
			p.Some = s
		} else {
			p.Full = s
		}
	}
	return p
}
