package spec

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var allOfThem = slices.Clone(AllCapabilities)

func TestCommand(t *testing.T) {
	image := ImageConfig{Entrypoint: []string{"entry"}, Cmd: []string{"cmd"}}
	for _, tc := range []struct {
		cmd, args []string
		image     ImageConfig
		want      string
	}{
		{nil, nil, image, "entry cmd"},
		{[]string{"c"}, nil, image, "c"},
		{nil, []string{"a"}, image, "entry a"},
		{[]string{"c"}, []string{"a"}, image, "c a"},
		{nil, []string{"a"}, ImageConfig{}, "a"},
		{nil, nil, ImageConfig{}, ""},
	} {
		got, err := command(&runtimeapi.ContainerConfig{Command: tc.cmd, Args: tc.args}, tc.image)
		if strings.Join(got, " ") != tc.want || (err != nil) != (tc.want == "") {
			t.Errorf("command %v args %v: got %v, %v; want %q", tc.cmd, tc.args, got, err, tc.want)
		}
	}
}

func TestCapabilities(t *testing.T) {
	for _, tc := range []struct {
		name string
		sc   *runtimeapi.LinuxContainerSecurityContext
		have []string
		want []string
		warn int
	}{
		{"default", nil, allOfThem, defaultCapabilities, 0},
		{"add", &runtimeapi.LinuxContainerSecurityContext{Capabilities: &runtimeapi.Capability{AddCapabilities: []string{"net_admin"}}}, allOfThem, append(slices.Clone(defaultCapabilities), "CAP_NET_ADMIN"), 0},
		{"drop all, add one", &runtimeapi.LinuxContainerSecurityContext{Capabilities: &runtimeapi.Capability{AddCapabilities: []string{"CHOWN"}, DropCapabilities: []string{"ALL"}}}, allOfThem, []string{"CAP_CHOWN"}, 0},
		{"add all, drop one", &runtimeapi.LinuxContainerSecurityContext{Capabilities: &runtimeapi.Capability{AddCapabilities: []string{"ALL"}, DropCapabilities: []string{"KILL"}}}, []string{"CAP_KILL", "CAP_CHOWN"}, []string{"CAP_CHOWN"}, 0},
		{"privileged is what root here has", &runtimeapi.LinuxContainerSecurityContext{Privileged: true}, []string{"CAP_CHOWN"}, []string{"CAP_CHOWN"}, 0},
		{"one that root here lacks", &runtimeapi.LinuxContainerSecurityContext{Capabilities: &runtimeapi.Capability{AddCapabilities: []string{"SYS_RESOURCE"}, DropCapabilities: []string{"ALL"}}}, []string{"CAP_CHOWN"}, nil, 1},
	} {
		got, warnings, err := capabilities(tc.sc, tc.have)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if !slices.Equal(got.Bounding, tc.want) || len(got.Ambient) > 0 || len(warnings) != tc.warn {
			t.Errorf("%s: got %v, warnings %v; want %v", tc.name, got.Bounding, warnings, tc.want)
		}
	}
	if _, _, err := capabilities(&runtimeapi.LinuxContainerSecurityContext{Capabilities: &runtimeapi.Capability{AddCapabilities: []string{"NO_SUCH"}}}, allOfThem); err == nil {
		t.Error("a capability that does not exist was accepted")
	}
}

func TestResolveUser(t *testing.T) {
	const passwd = "root:x:0:0::/root:/bin/sh\n# comment\nbroken\napp:x:1000:1001::/home/app:/bin/sh\n"
	const group = "root:x:0:\nstaff:x:50:app,other\nusers:x:60:other\n"
	id := func(n int64) *runtimeapi.Int64Value { return &runtimeapi.Int64Value{Value: n} }
	for _, tc := range []struct {
		name, image string
		sc          *runtimeapi.LinuxContainerSecurityContext
		uid, gid    uint32
		groups      []uint32
		fails       bool
	}{
		{name: "nothing said", uid: 0, gid: 0, groups: []uint32{0}},
		{name: "image's name", image: "app", uid: 1000, gid: 1001, groups: []uint32{1001, 50}},
		{name: "image's name and group", image: "app:users", uid: 1000, gid: 60, groups: []uint32{60, 50}},
		{name: "image's numbers", image: "7:8", uid: 7, gid: 8, groups: []uint32{8}},
		{name: "number known in passwd", sc: &runtimeapi.LinuxContainerSecurityContext{RunAsUser: id(1000)}, image: "7:8", uid: 1000, gid: 1001, groups: []uint32{1001, 50}},
		{name: "number not known", sc: &runtimeapi.LinuxContainerSecurityContext{RunAsUser: id(42)}, uid: 42, gid: 0, groups: []uint32{0}},
		{name: "user and group", sc: &runtimeapi.LinuxContainerSecurityContext{RunAsUser: id(42), RunAsGroup: id(43), SupplementalGroups: []int64{44, 43}}, uid: 42, gid: 43, groups: []uint32{43, 44}},
		{name: "strict", sc: &runtimeapi.LinuxContainerSecurityContext{RunAsUser: id(1000), SupplementalGroups: []int64{44}, SupplementalGroupsPolicy: runtimeapi.SupplementalGroupsPolicy_Strict}, uid: 1000, gid: 1001, groups: []uint32{1001, 44}},
		{name: "name unknown", image: "nobody", fails: true},
		{name: "group unknown", image: "app:nobody", fails: true},
	} {
		got, err := ResolveUser(tc.sc, tc.image, passwd, group)
		if (err != nil) != tc.fails {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if !tc.fails && (got.UID != tc.uid || got.GID != tc.gid || !slices.Equal(got.Groups, tc.groups)) {
			t.Errorf("%s: got %+v", tc.name, got)
		}
	}
}

func build(t *testing.T, change func(*Input)) *specs.Spec {
	t.Helper()
	in := Input{
		Container: &runtimeapi.ContainerConfig{Command: []string{"/x"}, Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{}}}},
		Sandbox:   &runtimeapi.PodSandboxConfig{Hostname: "pod", Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{}}},
		Rootfs:    "/root", Namespaces: Namespaces{Net: "/n", IPC: "/i", UTS: "/u", PID: "/p"}, Host: Host{Capabilities: allOfThem},
	}
	change(&in)
	s, _, err := Build(in)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNamespaces(t *testing.T) {
	text := func(s *specs.Spec) string {
		var out []string
		for _, ns := range s.Linux.Namespaces {
			out = append(out, string(ns.Type)+"="+ns.Path)
		}
		return strings.Join(out, " ")
	}
	for _, tc := range []struct {
		opts    *runtimeapi.NamespaceOption
		unified bool
		want    string
	}{
		{&runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}, false, "mount= network=/n uts=/u ipc=/i pid="},
		{&runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_POD}, true, "mount= network=/n uts=/u ipc=/i pid=/p cgroup="},
		{&runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_NODE, Network: runtimeapi.NamespaceMode_NODE, Ipc: runtimeapi.NamespaceMode_NODE}, false, "mount="},
	} {
		s := build(t, func(in *Input) {
			o := in.Container.Linux.SecurityContext.NamespaceOptions
			o.Pid, o.Network, o.Ipc = tc.opts.Pid, tc.opts.Network, tc.opts.Ipc
			in.Host.Unified = tc.unified
		})
		if got := text(s); got != tc.want {
			t.Errorf("got %s\nwant %s", got, tc.want)
		}
	}
}

func TestMountsAreOrderedAndReplaced(t *testing.T) {
	m := func(target string) Mount {
		return Mount{Mount: &runtimeapi.Mount{ContainerPath: target}, Source: "/src" + target}
	}
	s := build(t, func(in *Input) {
		in.Mounts = []Mount{m("/a/b/c"), m("/etc/hosts"), m("/a"), m("/dev/shm"), m("/sys")}
		in.PodFiles = []Mount{m("/etc/hosts"), m("/etc/hostname"), m("/dev/shm")}
	})
	var got []string
	for _, x := range s.Mounts {
		got = append(got, x.Destination)
	}
	want := "/proc /dev /dev/pts /dev/mqueue /sys/fs/cgroup /a /sys /etc/hosts /dev/shm /etc/hostname /a/b/c"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
	s = build(t, func(in *Input) { in.Mounts = []Mount{m("/dev")} })
	for _, x := range s.Mounts {
		if strings.HasPrefix(x.Destination, "/dev/") {
			t.Errorf("%s is mounted over a /dev of the container's own", x.Destination)
		}
	}
}

func TestMountOptions(t *testing.T) {
	for _, tc := range []struct {
		m    *runtimeapi.Mount
		want string
		root string
	}{
		{&runtimeapi.Mount{}, "rbind rprivate rw", ""},
		{&runtimeapi.Mount{Readonly: true}, "rbind rprivate ro", ""},
		{&runtimeapi.Mount{Readonly: true, RecursiveReadOnly: true}, "rbind rprivate rro", ""},
		{&runtimeapi.Mount{Propagation: runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL}, "rbind rshared rw", "rshared"},
		{&runtimeapi.Mount{Propagation: runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER}, "rbind rslave rw", "rslave"},
	} {
		tc.m.ContainerPath = "/x"
		s := build(t, func(in *Input) { in.Mounts = []Mount{{Mount: tc.m, Source: "/s"}} })
		last := s.Mounts[len(s.Mounts)-1]
		if got := strings.Join(last.Options, " "); got != tc.want || s.Linux.RootfsPropagation != tc.root {
			t.Errorf("got %q, root %q; want %q, %q", got, s.Linux.RootfsPropagation, tc.want, tc.root)
		}
	}
	in := Input{Container: &runtimeapi.ContainerConfig{Command: []string{"x"}}, Mounts: []Mount{{Mount: &runtimeapi.Mount{RecursiveReadOnly: true}}}}
	if _, _, err := Build(in); err == nil {
		t.Error("a recursively read-only mount that may be written to was accepted")
	}
}

func TestResources(t *testing.T) {
	r := Resources(&runtimeapi.LinuxContainerResources{
		CpuShares: 512, CpuQuota: 50000, CpuPeriod: 100000, MemoryLimitInBytes: 100, CpusetCpus: "0",
		HugepageLimits: []*runtimeapi.HugepageLimit{{PageSize: "2MB", Limit: 1}, {PageSize: "1GB", Limit: 2}},
		Unified:        map[string]string{"memory.high": "50"},
	}, Host{Swap: true, HugePages: []string{"2MB"}})
	if *r.CPU.Shares != 512 || *r.CPU.Quota != 50000 || *r.CPU.Period != 100000 || r.CPU.Cpus != "0" {
		t.Errorf("cpu: %+v", r.CPU)
	}
	if *r.Memory.Limit != 100 || *r.Memory.Swap != 100 {
		t.Errorf("memory: %+v", r.Memory)
	}
	if len(r.HugepageLimits) != 1 || r.HugepageLimits[0].Pagesize != "2MB" {
		t.Errorf("huge pages: %+v", r.HugepageLimits)
	}
	if r.Unified != nil {
		t.Error("settings of cgroup v2 are passed on a machine without")
	}
	if r := Resources(&runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 100}, Host{}); r.Memory.Swap != nil {
		t.Error("swap is limited where it is not accounted")
	}
}

func TestDefaultSeccomp(t *testing.T) {
	allowed := func(s *specs.LinuxSeccomp, name string) bool {
		return slices.ContainsFunc(s.Syscalls, func(r specs.LinuxSyscall) bool {
			return r.Action == specs.ActAllow && len(r.Args) == 0 && slices.Contains(r.Names, name)
		})
	}
	plain := DefaultSeccomp(defaultCapabilities)
	admin := DefaultSeccomp([]string{"CAP_SYS_ADMIN"})
	for name, want := range map[string][2]bool{
		"read": {true, true}, "mount": {false, true}, "unshare": {false, true}, "clone3": {false, true}, "chroot": {true, false},
		"kexec_load": {false, false}, "add_key": {false, false}, "ptrace": {true, true}, "io_uring_setup": {false, false},
	} {
		if got := [2]bool{allowed(plain, name), allowed(admin, name)}; got != want {
			t.Errorf("%s: allowed by default %v, with CAP_SYS_ADMIN %v; want %v", name, got[0], got[1], want)
		}
	}
	if plain.DefaultAction != specs.ActErrno {
		t.Errorf("default action %s", plain.DefaultAction)
	}
}
