package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

func TestParseMountsFindsBothGenerations(t *testing.T) {
	got, second := parseMounts(`25 1 0:21 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
26 1 0:22 / /sys/fs/cgroup/memory rw,relatime shared:1 - cgroup cgroup rw,memory
27 1 0:23 / /sys/fs/cgroup/net rw - cgroup none rw,net_cls,net_prio
28 1 0:24 / /sys/fs/cgroup/systemd rw - cgroup none rw,name=systemd
29 1 0:25 / /sys/fs/cgroup/unified rw - cgroup2 none rw
`)
	want := map[string]string{
		"cpu": "/sys/fs/cgroup/cpu", "memory": "/sys/fs/cgroup/memory", "net_cls": "/sys/fs/cgroup/net",
		"net_prio": "/sys/fs/cgroup/net", "name=systemd": "/sys/fs/cgroup/systemd",
	}
	if len(got) != len(want) || second != "/sys/fs/cgroup/unified" {
		t.Errorf("got %v and %q", got, second)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is at %q, want %q", k, got[k], v)
		}
	}
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadUnified(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "pod"), map[string]string{
		"cpu.stat": "usage_usec 5000\nuser_usec 1\n", "memory.current": "1000\n", "memory.max": "max\n",
		"memory.stat": "anon 300\ninactive_file 400\npgfault 7\npgmajfault 2\n", "pids.current": "3\n",
		"memory.pressure": "some avg10=1.50 avg60=0.00 avg300=0.00 total=42\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
	})
	u, err := (&Hierarchy{Unified: true, Root: root}).Read("/pod")
	if err != nil {
		t.Fatal(err)
	}
	if u.CPUNanos != 5000000 || u.WorkingSet != 600 || u.RSS != 300 || u.MemoryLimit != 0 || u.Processes != 3 || u.PageFaults != 7 {
		t.Errorf("usage: %+v", u)
	}
	if u.MemPressure == nil || u.MemPressure.Some.Total != 42 || u.MemPressure.Some.Avg10 != 1.5 || u.CPUPressure != nil {
		t.Errorf("pressure: %+v %+v", u.MemPressure, u.CPUPressure)
	}
}

func TestReadControllers(t *testing.T) {
	root := t.TempDir()
	h := &Hierarchy{Mounts: map[string]string{}}
	for controller, files := range map[string]map[string]string{
		"cpuacct": {"cpuacct.usage": "123\n"},
		"memory": {
			"memory.usage_in_bytes": "1000\n", "memory.limit_in_bytes": "2000\n",
			"memory.stat":                 "rss 1\ntotal_rss 300\ntotal_inactive_file 2000\n",
			"memory.memsw.usage_in_bytes": "1500\n", "memory.memsw.limit_in_bytes": "9223372036854771712\n",
		},
		"pids": {"pids.current": "4\n"},
	} {
		h.Mounts[controller] = filepath.Join(root, controller)
		write(t, filepath.Join(root, controller, "pod"), files)
	}
	u, err := h.Read("/pod")
	if err != nil {
		t.Fatal(err)
	}
	if u.CPUNanos != 123 || u.WorkingSet != 0 || u.RSS != 300 || u.MemoryLimit != 2000 || u.Swap != 500 || u.Processes != 4 {
		t.Errorf("usage: %+v", u)
	}
	if _, err := h.Read("/gone"); !os.IsNotExist(err) {
		t.Errorf("a group that is not there: %v", err)
	}
}
