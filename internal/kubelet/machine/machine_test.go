package machine

import (
	"slices"
	"testing"
)

func TestMountinfoIsRead(t *testing.T) {
	const info = "36 35 98:0 / /data/pods/u/volumes/a rw - tmpfs tmpfs rw\n" +
		"37 35 98:0 / /data/pods/u2 rw - tmpfs tmpfs rw\n38 35 98:0 / /data/pods/u/b\\040c rw shared:1 - ext4 /dev/x rw\n" +
		"39 35 0:1 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
	if got := below(info, "/data/pods/u"); !slices.Equal(got, []string{"/data/pods/u/volumes/a", "/data/pods/u/b c"}) {
		t.Errorf("%q", got)
	}
	if got := controllers(info); len(got) != 2 || got["cpu"] != "/sys/fs/cgroup/cpu,cpuacct" {
		t.Errorf("%v", got)
	}
}

func TestMeminfoIsRead(t *testing.T) {
	got := meminfo("MemTotal:       16 kB\nHugePages_Total:       3\nbroken\n")
	if got["MemTotal"] != 16384 || got["HugePages_Total"] != 3 {
		t.Errorf("%v", got)
	}
}

func TestBusyTimeLeavesIdleOut(t *testing.T) {
	if got := busy("cpu  1 2 3 1000 1000 4 5 6 700 0\ncpu0 9 9 9\n"); got != 21*tick {
		t.Errorf("%d ticks, want 21", got/tick)
	}
}
