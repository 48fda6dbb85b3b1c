package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/monohull/monohull/internal/runtime/cgroup"
	"github.com/monohull/monohull/internal/runtime/rootfs"
)

// resetPatience bounds the wait for a killed shim to be gone.
const resetPatience = 5 * time.Second

// Reset removes every trace of a runtime that is not running: shims, containers,
// mounts, namespaces, control groups and its own files. The data directory itself
// stays, with what others keep in it.
func Reset(dataDir string) error {
	dir, err := filepath.EvalSymlinks(dataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	groups, err := cgroup.Detect()
	if err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	var errs []error
	// Shims first: they are the containers' parents and would write into what is
	// being removed.
	if err := killShims(dir); err != nil {
		errs = append(errs, err)
	}
	for _, group := range recordedGroups(dir) {
		errs = append(errs, groups.Kill(group), groups.Remove(group))
	}
	var s settings
	if err := readJSON(filepath.Join(dir, "runtime.json"), &s); err == nil && strings.Trim(s.CgroupParent, "/") != "" {
		errs = append(errs, groups.Kill(s.CgroupParent), groups.Remove(s.CgroupParent))
	}
	ours := []string{"sandboxes", "containers", "netns", "images", "bin"}
	for _, sub := range ours {
		errs = append(errs, rootfs.UnmountBelow(filepath.Join(dir, sub)))
	}
	if err := errors.Join(errs...); err != nil {
		// Removing files below a mount that is still there would empty what is mounted.
		return fmt.Errorf("reset: %w", err)
	}
	for _, sub := range append(ours, "runtime.json") {
		errs = append(errs, removeDir(filepath.Join(dir, sub)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	return nil
}

// recordedGroups are the groups that sandboxes and containers on disk name.
func recordedGroups(dir string) []string {
	var groups []string
	for _, id := range list(filepath.Join(dir, "sandboxes")) {
		var rec sandboxRecord
		if readJSON(filepath.Join(dir, "sandboxes", id, "sandbox.json"), &rec) == nil && rec.Cgroup != "" {
			groups = append(groups, filepath.Join(rec.Cgroup, id))
		}
	}
	for _, id := range list(filepath.Join(dir, "containers")) {
		var rec containerRecord
		if readJSON(filepath.Join(dir, "containers", id, "container.json"), &rec) == nil && rec.Cgroup != "" {
			groups = append(groups, rec.Cgroup)
		}
	}
	return groups
}

// killShims ends the helpers that were started from this data directory, known by
// the file they execute.
func killShims(dir string) error {
	bin := filepath.Join(dir, "bin") + "/"
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("look for shims: %w", err)
	}
	var fds []unix.PollFd
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		exe, err := os.Readlink("/proc/" + e.Name() + "/exe")
		if err != nil || !strings.HasPrefix(exe, bin) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		defer unix.Close(fd)
		// Asked again under the pidfd, so that no reused pid is hit.
		if exe, err = os.Readlink("/proc/" + e.Name() + "/exe"); err != nil || !strings.HasPrefix(exe, bin) {
			continue
		}
		if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err == nil {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	deadline := time.Now().Add(resetPatience)
	for len(fds) > 0 {
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("kill shims: %d do not end", len(fds))
		}
		if n, err := unix.Poll(fds[:1], int(left.Milliseconds())+1); err == nil && n > 0 {
			fds = fds[1:]
		}
	}
	return nil
}
