// Package netns makes namespaces without a process to hold them, and runs
// functions in them. A namespace is bound to a file, and lasts as long as that
// mount.
//
// The runtime makes pods' namespaces with it; the network, the proxy and DNS
// open their sockets and write their sysctls through it, so that one process, or
// one test, can serve a namespace other than its own. It touches the mount table
// at the paths it is given and the sysctls of the namespaces it makes. Needs
// root; its tests are those of the rooms that use it.
package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Config says which namespaces a pod gets of its own: those with a path.
type Config struct {
	Net, IPC, UTS string            // files to bind to; empty: the host's
	Hostname      string            // in UTS
	Sysctls       map[string]string // of Net and IPC, dots or slashes
	// Defaults are set first if there is a Net; one the kernel does not know is no error.
	Defaults map[string]string
}

// Create makes the namespaces, with loopback up.
func Create(cfg Config) error {
	flags := 0
	kinds := []struct {
		path, file string
		flag       int
	}{{cfg.Net, "net", unix.CLONE_NEWNET}, {cfg.IPC, "ipc", unix.CLONE_NEWIPC}, {cfg.UTS, "uts", unix.CLONE_NEWUTS}}
	for _, k := range kinds {
		if k.path == "" {
			continue
		}
		flags |= k.flag
		if err := touch(k.path); err != nil {
			return fmt.Errorf("create namespace file: %w", err)
		}
	}
	if flags == 0 {
		return applySysctls(cfg.Sysctls)
	}
	err := onThread(func() error {
		if err := unix.Unshare(flags); err != nil {
			return fmt.Errorf("create namespaces: %w", err)
		}
		if cfg.UTS != "" && cfg.Hostname != "" {
			if err := unix.Sethostname([]byte(cfg.Hostname)); err != nil {
				return fmt.Errorf("set hostname %q: %w", cfg.Hostname, err)
			}
		}
		if cfg.Net != "" {
			if err := loopbackUp(); err != nil {
				return err
			}
			for name, value := range cfg.Defaults {
				_ = applySysctls(map[string]string{name: value})
			}
		}
		if err := applySysctls(cfg.Sysctls); err != nil {
			return err
		}
		for _, k := range kinds {
			if k.path == "" {
				continue
			}
			source := fmt.Sprintf("/proc/self/task/%d/ns/%s", unix.Gettid(), k.file)
			if err := unix.Mount(source, k.path, "", unix.MS_BIND, ""); err != nil {
				return fmt.Errorf("bind %s namespace: %w", k.file, err)
			}
		}
		return nil
	})
	if err != nil {
		return errors.Join(err, Remove(cfg.Net, cfg.IPC, cfg.UTS))
	}
	return nil
}

// Remove lets go of namespaces bound to these files. What is not there is no error.
func Remove(paths ...string) error {
	var errs []error
	for _, p := range paths {
		if p == "" {
			continue
		}
		if err := unix.Unmount(p, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("unmount namespace %s: %w", p, err))
		}
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove namespace %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

// Do runs f on a thread in the network namespace bound to path and returns f's
// error. An empty path is the process's own namespace: f then runs where it is.
func Do(path string, f func() error) error {
	if path == "" {
		return f()
	}
	ns, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer ns.Close()
	return onThread(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", path, err)
		}
		return f()
	})
}

// onThread runs f on a thread that ends with it: namespaces belong to a thread, and
// nobody else may run in those that f enters. The process's first thread cannot
// end, and what /proc/self tells is told of it, so it is never used.
func onThread(f func() error) error {
	done := make(chan error, 1)
	var run func()
	run = func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			other := make(chan struct{})
			go func() {
				defer close(other)
				run()
			}()
			<-other // holding this thread, so that the other goroutine is on another one
			runtime.UnlockOSThread()
			return
		}
		done <- f()
	}
	go run()
	return <-done
}

func touch(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	return f.Close()
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	return nil
}

func applySysctls(sysctls map[string]string) error {
	for name, value := range sysctls {
		path := filepath.Join("/proc/sys", sysctlPath(name))
		if !strings.HasPrefix(path, "/proc/sys/") {
			return fmt.Errorf("set sysctl %q: not a sysctl", name)
		}
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			return fmt.Errorf("set sysctl %s=%s: %w", name, value, err)
		}
	}
	return nil
}

// sysctlPath follows sysctl(8): whichever of dot and slash comes first separates,
// the other one is part of a name.
func sysctlPath(name string) string {
	i := strings.IndexAny(name, "./")
	if i < 0 || name[i] == '/' {
		return name
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, name)
}
