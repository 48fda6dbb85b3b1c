package runtime

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestSecurityContext(t *testing.T) {
	n := newNode(t)
	for _, tc := range []struct {
		name, cmd, want string
		change          containerOption
	}{
		{"image defaults", "id; pwd; echo $FROM_IMAGE", "stdout F uid=0(root) gid=0(root) groups=0(root)\nstdout F /work\nstdout F yes\n", nil},
		{"user by number has its groups", "id", "stdout F uid=1000(app) gid=1000(app) groups=1000(app),2000(extra),3000\n", func(c *runtimeapi.ContainerConfig) {
			c.Linux.SecurityContext.RunAsUser = &runtimeapi.Int64Value{Value: 1000}
			c.Linux.SecurityContext.SupplementalGroups = []int64{3000}
		}},
		{"strict groups", "id", "stdout F uid=1000(app) gid=7 groups=7,3000\n", func(c *runtimeapi.ContainerConfig) {
			c.Linux.SecurityContext.RunAsUser = &runtimeapi.Int64Value{Value: 1000}
			c.Linux.SecurityContext.RunAsGroup = &runtimeapi.Int64Value{Value: 7}
			c.Linux.SecurityContext.SupplementalGroups = []int64{3000}
			c.Linux.SecurityContext.SupplementalGroupsPolicy = runtimeapi.SupplementalGroupsPolicy_Strict
		}},
		{"default capabilities", "grep CapEff /proc/self/status", "stdout F CapEff:\t00000000a80425fb\n", nil},
		{"dropped and added", "grep CapEff /proc/self/status", "stdout F CapEff:\t0000000000001000\n", func(c *runtimeapi.ContainerConfig) {
			c.Linux.SecurityContext.Capabilities = &runtimeapi.Capability{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"NET_ADMIN"}}
		}},
		{"read-only root", "touch /x 2>/dev/null || echo refused", "stdout F refused\n", func(c *runtimeapi.ContainerConfig) {
			c.Linux.SecurityContext.ReadonlyRootfs = true
		}},
		{"no new privileges", "grep NoNewPrivs /proc/self/status", "stdout F NoNewPrivs:\t1\n", func(c *runtimeapi.ContainerConfig) {
			c.Linux.SecurityContext.NoNewPrivs = true
		}},
		{"seccomp on by default", "grep Seccomp: /proc/self/status", "stdout F Seccomp:\t2\n", nil},
		{"seccomp unconfined", "grep Seccomp: /proc/self/status", "stdout F Seccomp:\t0\n", func(c *runtimeapi.ContainerConfig) {
			c.Linux.SecurityContext.Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
		}},
		{"masked path", "ls /proc/sys >/dev/null && cat /proc/timer_list | head -c 1", "", func(c *runtimeapi.ContainerConfig) {
			c.Linux.SecurityContext.MaskedPaths = []string{"/proc/timer_list"}
		}},
		{"environment", "echo $A $HOSTNAME", "", func(c *runtimeapi.ContainerConfig) {
			c.Envs = []*runtimeapi.KeyValue{{Key: "A", Value: []byte("b c")}, {Key: "HOSTNAME", Value: []byte("mine")}}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := tc.want
			if tc.name == "environment" {
				want = "stdout F b c mine\n"
			}
			change := tc.change
			if change == nil {
				change = func(*runtimeapi.ContainerConfig) {}
			}
			expect(t, tc.cmd, n.output(tc.cmd, change), want)
		})
	}
}

func TestLocalhostSeccomp(t *testing.T) {
	n := newNode(t)
	profile := filepath.Join(t.TempDir(), "profile.json")
	text := `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}`
	if err := os.WriteFile(profile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out := n.output("mkdir /made 2>/dev/null || echo refused", func(c *runtimeapi.ContainerConfig) {
		c.Linux.SecurityContext.Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: profile}
	})
	expect(t, "log", out, "stdout F refused\n")
}

func TestMounts(t *testing.T) {
	n := newNode(t)
	host := t.TempDir()
	if err := os.WriteFile(filepath.Join(host, "file"), []byte("from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := n.output("cat /a/file; echo no > /a/file; echo yes > /b/sub/new; cat /etc/hostname; ls -A /b /dev/shm", func(c *runtimeapi.ContainerConfig) {
		c.Mounts = []*runtimeapi.Mount{
			{ContainerPath: "/b/sub", HostPath: filepath.Join(host, "made")},
			{ContainerPath: "/b", HostPath: filepath.Join(host, "other")},
			{ContainerPath: "/a", HostPath: host, Readonly: true},
		}
	})
	if !strings.Contains(out, "stdout F from the host\n") || !strings.Contains(out, "Read-only file system") || !strings.Contains(out, "stdout F sub\n") {
		t.Errorf("log: %q", out)
	}
	if body, err := os.ReadFile(filepath.Join(host, "made", "new")); err != nil || string(body) != "yes\n" {
		t.Errorf("written file: %q, %v", body, err)
	}
}

func TestProcessNamespaces(t *testing.T) {
	n := newNode(t)
	shared := func(p *runtimeapi.PodSandboxConfig) {
		p.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
	}
	podID, pod := n.pod(shared)
	a := n.run(podID, pod, "a", []string{"/bin/sleep", "1001"})
	b := n.run(podID, pod, "b", []string{"/bin/sleep", "1002"})
	out, _ := n.exec(a, "cat /proc/[0-9]*/cmdline | grep -c -a -e 1001 -e 1002; grep -a -c pause /proc/1/cmdline")
	expect(t, "processes seen in a pod that shares them", out, "1\n1\n")

	// An orphan's end is noticed by the pod's init.
	out, _ = n.exec(a, "sh -c 'sleep 0.01 &' ; sleep 0.1; cat /proc/[0-9]*/status | grep -c 'State:.Z'")
	expect(t, "zombies", out, "0\n")

	if _, err := n.StopContainer(n.context(), &runtimeapi.StopContainerRequest{ContainerId: b, Timeout: 0}); err != nil {
		t.Errorf("stop: %v", err)
	}

	private, privatePod := n.pod()
	c := n.run(private, privatePod, "c", []string{"/bin/sleep", "1003"})
	out, _ = n.exec(c, "grep -a -c 1003 /proc/1/cmdline")
	expect(t, "PID 1 of a container with processes of its own", out, "1\n")

	// A debugger joins the processes of the container it is to look at.
	d := n.run(private, privatePod, "d", []string{"/bin/sleep", "1004"}, func(cc *runtimeapi.ContainerConfig) {
		cc.Linux.SecurityContext.NamespaceOptions = &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_TARGET, TargetId: c}
	})
	out, _ = n.exec(d, "grep -a -c 1003 /proc/1/cmdline")
	expect(t, "PID 1 seen by a debugger", out, "1\n")

	node, nodePod := n.pod(func(p *runtimeapi.PodSandboxConfig) {
		o := p.Linux.SecurityContext.NamespaceOptions
		o.Pid, o.Network, o.Ipc = runtimeapi.NamespaceMode_NODE, runtimeapi.NamespaceMode_NODE, runtimeapi.NamespaceMode_NODE
		p.Hostname = ""
	})
	e := n.run(node, nodePod, "e", []string{"/bin/sh", "-c", "sleep 1005 & sleep 1006"})
	out, _ = n.exec(e, "readlink /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/pid /proc/self/ns/uts")
	var want strings.Builder
	for _, ns := range []string{"net", "ipc", "pid", "uts"} {
		link, _ := os.Readlink("/proc/self/ns/" + ns)
		want.WriteString(link + "\n")
	}
	expect(t, "namespaces of a pod on the host's", out, want.String())
	ce, _ := n.lookup(e)
	if _, err := n.StopContainer(n.context(), &runtimeapi.StopContainerRequest{ContainerId: e}); err != nil {
		t.Errorf("stop: %v", err)
	}
	if pids := n.groups.Pids(ce.rec.Cgroup); len(pids) > 0 {
		t.Errorf("processes %v outlive their container on the host's PID namespace", pids)
	}
}

func TestPrivileged(t *testing.T) {
	n := newNode(t)
	podID, pod := n.pod(func(p *runtimeapi.PodSandboxConfig) { p.Linux.SecurityContext.Privileged = true })
	id := n.run(podID, pod, "main", []string{"/bin/sh", "-c", "mkdir /m && mount -t tmpfs none /m && echo mounted; ls /dev/kmsg"}, func(c *runtimeapi.ContainerConfig) {
		c.Linux.SecurityContext.Privileged = true
	})
	n.ended(id)
	if log := n.log(id); !strings.HasPrefix(log, "stdout F mounted\n") {
		t.Errorf("log: %q", log)
	}
	plain, plainPod := n.pod()
	_, err := n.CreateContainer(n.context(), &runtimeapi.CreateContainerRequest{PodSandboxId: plain, SandboxConfig: plainPod, Config: &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "p"}, Image: &runtimeapi.ImageSpec{Image: "tools"},
		Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{Privileged: true}},
	}})
	if err == nil {
		t.Error("a privileged container was created in a sandbox that is not")
	}
}

func TestUpdateResourcesAndStats(t *testing.T) {
	n := newNode(t)
	podID, pod := n.pod()
	id := n.run(podID, pod, "main", []string{"/bin/sleep", "1000"}, func(c *runtimeapi.ContainerConfig) {
		c.Linux.Resources.MemoryLimitInBytes = 64 << 20
	})
	_, err := n.UpdateContainerResources(n.context(), &runtimeapi.UpdateContainerResourcesRequest{
		ContainerId: id, Linux: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 128 << 20, CpuShares: 512},
	})
	if err != nil {
		t.Fatalf("update: %v", err)
	}
	c, _ := n.lookup(id)
	u, err := n.groups.Read(c.rec.Cgroup)
	if err != nil || u.MemoryLimit != 128<<20 {
		t.Errorf("limit after update: %+v, %v", u, err)
	}
	if got := n.status(id).GetResources().GetLinux(); got.GetMemoryLimitInBytes() != 128<<20 || got.GetCpuShares() != 512 {
		t.Errorf("status after update: %v", got)
	}
	res, err := n.ContainerStats(n.context(), &runtimeapi.ContainerStatsRequest{ContainerId: id})
	if err != nil {
		t.Fatalf("stats: %v", err)
	}
	st := res.GetStats()
	if st.GetCpu().GetUsageCoreNanoSeconds().GetValue() == 0 || st.GetMemory().GetUsageBytes().GetValue() == 0 || st.GetWritableLayer().GetInodesUsed().GetValue() == 0 {
		t.Errorf("stats: %v", st)
	}
}
