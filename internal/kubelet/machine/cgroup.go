package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/monohull/monohull/internal/kubelet/criconfig"
)

const cgroupMount = "/sys/fs/cgroup"

// groups is how control groups are mounted.
type groups struct {
	unified bool
	mounts  map[string]string // version 1: controller → mount point
}

func detect() (groups, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(cgroupMount, &st); err != nil {
		return groups{}, fmt.Errorf("look for control groups: %w", err)
	}
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		return groups{unified: true}, nil
	}
	body, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return groups{}, fmt.Errorf("look for control groups: %w", err)
	}
	return groups{mounts: controllers(string(body))}, nil
}

func controllers(mountinfo string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 || right[0] != "cgroup" {
			continue
		}
		for o := range strings.SplitSeq(right[2], ",") {
			if o != "rw" && o != "ro" && o != "xattr" {
				out[o] = unescape(left[4])
			}
		}
	}
	return out
}

// SetCgroup makes a control group and sets its limits.
func (m *Machine) SetCgroup(g criconfig.Cgroup) error {
	if m.groups.unified {
		return m.setUnified(g)
	}
	cpu, memory := m.groups.mounts["cpu"], m.groups.mounts["memory"]
	for _, mount := range []string{cpu, memory} {
		if mount == "" {
			continue
		}
		if err := os.MkdirAll(filepath.Join(mount, g.Path), 0o755); err != nil {
			return fmt.Errorf("make control group %s: %w", g.Path, err)
		}
	}
	var errs []error
	if cpu != "" {
		dir := filepath.Join(cpu, g.Path)
		if g.Shares > 0 {
			errs = append(errs, put(dir, "cpu.shares", g.Shares))
		}
		if g.Quota > 0 {
			errs = append(errs, put(dir, "cpu.cfs_period_us", 100000), put(dir, "cpu.cfs_quota_us", g.Quota))
		}
	}
	if memory != "" && g.MemoryLimit > 0 {
		errs = append(errs, put(filepath.Join(memory, g.Path), "memory.limit_in_bytes", g.MemoryLimit))
	}
	if pids := m.groups.mounts["pids"]; pids != "" && g.Processes > 0 {
		dir := filepath.Join(pids, g.Path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make control group %s: %w", g.Path, err)
		}
		errs = append(errs, put(dir, "pids.max", g.Processes))
	}
	return errors.Join(errs...)
}

func (m *Machine) setUnified(g criconfig.Cgroup) error {
	at := cgroupMount
	for part := range strings.SplitSeq(strings.Trim(g.Path, "/"), "/") {
		// A group's controllers are there when its parent hands them down.
		body, err := os.ReadFile(filepath.Join(at, "cgroup.controllers"))
		if err != nil {
			return fmt.Errorf("make control group %s: %w", g.Path, err)
		}
		for _, c := range strings.Fields(string(body)) {
			// One that cannot be handed down is missed when it is needed.
			_ = os.WriteFile(filepath.Join(at, "cgroup.subtree_control"), []byte("+"+c), 0)
		}
		at = filepath.Join(at, part)
		if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make control group %s: %w", g.Path, err)
		}
	}
	var errs []error
	if g.Shares > 0 {
		errs = append(errs, put(at, "cpu.weight", 1+(g.Shares-2)*9999/262142))
	}
	if g.Quota > 0 {
		errs = append(errs, write(at, "cpu.max", fmt.Sprintf("%d 100000", g.Quota)))
	}
	if g.MemoryLimit > 0 {
		errs = append(errs, put(at, "memory.max", g.MemoryLimit))
	}
	if g.Processes > 0 {
		errs = append(errs, put(at, "pids.max", g.Processes))
	}
	return errors.Join(errs...)
}

func put(dir, name string, v int64) error { return write(dir, name, strconv.FormatInt(v, 10)) }

func write(dir, name, v string) error {
	if err := os.WriteFile(filepath.Join(dir, name), []byte(v), 0); err != nil {
		return fmt.Errorf("set %s of a control group: %w", name, err)
	}
	return nil
}

// RemoveCgroup removes a control group and those below it. Processes in it are an error.
func (m *Machine) RemoveCgroup(path string) error {
	var roots []string
	if m.groups.unified {
		roots = []string{cgroupMount}
	}
	for _, mount := range m.groups.mounts {
		roots = append(roots, mount)
	}
	if !m.groups.unified {
		roots = append(roots, filepath.Join(cgroupMount, "unified"))
	}
	var errs []error
	for _, root := range roots {
		errs = append(errs, removeTree(filepath.Join(root, path)))
	}
	return errors.Join(errs...)
}

func removeTree(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if d.IsDir() {
			dirs = append(dirs, p)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove control group: %w", err)
	}
	slices.Reverse(dirs)
	for _, d := range dirs {
		if err := unix.Rmdir(d); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove control group %s: %w", d, err)
		}
	}
	return nil
}
