package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Facts are what a machine is.
type Facts struct {
	MachineID, SystemUUID, BootID string
	Kernel, OSImage               string
	OS, Architecture              string
	Hostname                      string
	CPUs                          int
	MemoryBytes, SwapBytes        int64
	HugePages                     map[string]int64 // "2Mi" → bytes set aside
}

// Facts reads them.
func (m *Machine) Facts() (Facts, error) {
	f := Facts{OS: runtime.GOOS, Architecture: runtime.GOARCH, CPUs: runtime.NumCPU(), HugePages: hugePages()}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return f, fmt.Errorf("read the kernel's version: %w", err)
	}
	f.Kernel = unix.ByteSliceToString(u.Release[:])
	f.Hostname = unix.ByteSliceToString(u.Nodename[:])
	f.MachineID = firstOf("/etc/machine-id", "/var/lib/dbus/machine-id")
	f.SystemUUID = firstOf("/sys/class/dmi/id/product_uuid", "/proc/device-tree/vm,uuid", "/etc/machine-id")
	f.BootID = firstOf("/proc/sys/kernel/random/boot_id")
	f.OSImage = osImage()
	body, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return f, fmt.Errorf("read the machine's memory: %w", err)
	}
	info := meminfo(string(body))
	f.MemoryBytes, f.SwapBytes = info["MemTotal"], info["SwapTotal"]
	return f, nil
}

func firstOf(paths ...string) string {
	for _, p := range paths {
		if b, err := os.ReadFile(p); err == nil {
			if s := strings.TrimSpace(strings.TrimRight(string(b), "\x00")); s != "" {
				return s
			}
		}
	}
	return ""
}

func osImage() string {
	for _, p := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		b, err := os.ReadFile(p)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
				return strings.Trim(v, `"'`)
			}
		}
	}
	return "Linux"
}

// meminfo reads /proc/meminfo into bytes.
func meminfo(body string) map[string]int64 {
	out := map[string]int64{}
	for line := range strings.Lines(body) {
		name, rest, ok := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if !ok || len(f) == 0 {
			continue
		}
		n, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			continue
		}
		if len(f) > 1 && f[1] == "kB" {
			n *= 1024
		}
		out[name] = n
	}
	return out
}

func hugePages() map[string]int64 {
	out := map[string]int64{}
	dirs, err := filepath.Glob("/sys/kernel/mm/hugepages/hugepages-*kB")
	if err != nil {
		return out
	}
	for _, d := range dirs {
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(d), "hugepages-"), "kB"), 10, 64)
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(firstOf(filepath.Join(d, "nr_hugepages")), 10, 64)
		if err != nil {
			continue
		}
		name := strconv.FormatInt(kb, 10) + "Ki"
		switch {
		case kb%(1<<20) == 0:
			name = strconv.FormatInt(kb>>20, 10) + "Gi"
		case kb%(1<<10) == 0:
			name = strconv.FormatInt(kb>>10, 10) + "Mi"
		}
		out[name] = n * kb * 1024
	}
	return out
}

// Usage is what a machine has left.
type Usage struct {
	MemoryAvailable int64
	DiskBytes       int64
	DiskAvailable   int64
	Inodes          int64
	InodesFree      int64
	PIDs, MaxPIDs   int64
}

// Usage reads it; the disk is the one that holds dir.
func (m *Machine) Usage(dir string) (Usage, error) {
	var u Usage
	body, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return u, fmt.Errorf("read the machine's memory: %w", err)
	}
	u.MemoryAvailable = meminfo(string(body))["MemAvailable"]
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return u, fmt.Errorf("read the disk of %s: %w", dir, err)
	}
	size := st.Bsize
	u.DiskBytes, u.DiskAvailable = int64(st.Blocks)*size, int64(st.Bavail)*size
	u.Inodes, u.InodesFree = int64(st.Files), int64(st.Ffree)
	u.MaxPIDs, _ = strconv.ParseInt(firstOf("/proc/sys/kernel/pid_max"), 10, 64) // 0: not known
	// "0.20 0.18 0.12 1/80 11206": running and existing tasks
	if f := strings.Fields(firstOf("/proc/loadavg")); len(f) > 3 {
		_, tasks, _ := strings.Cut(f[3], "/")
		u.PIDs, _ = strconv.ParseInt(tasks, 10, 64)
	}
	return u, nil
}
