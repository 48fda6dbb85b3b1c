package runtime

import (
	"testing"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestParseSignal(t *testing.T) {
	for name, want := range map[string]unix.Signal{
		"15": unix.SIGTERM, "SIGTERM": unix.SIGTERM, "quit": unix.SIGQUIT, "SIGRTMIN": 34, "SIGRTMIN+3": 37, "SIGRTMINPLUS3": 37,
		"RTMAX-1": 63, "SIGRTMAXMINUS14": 50, "SIGUSR1": unix.SIGUSR1,
	} {
		if got, ok := parseSignal(name); !ok || got != want {
			t.Errorf("%s: got %d, %v; want %d", name, got, ok, want)
		}
	}
	for _, name := range []string{"", "NOSUCH", "0", "65", "SIGRTMIN+99", "SIGRTMIN+x"} {
		if got, ok := parseSignal(name); ok {
			t.Errorf("%q was read as %d", name, got)
		}
	}
}

func TestStopSignalOfThePod(t *testing.T) {
	n := newNode(t)
	podID, pod := n.pod()
	id := n.run(podID, pod, "main", []string{"/bin/sh", "-c", "trap 'exit 11' USR1; echo ready; while :; do sleep 0.05; done"}, func(c *runtimeapi.ContainerConfig) {
		c.StopSignal = runtimeapi.Signal_SIGUSR1
	})
	waitFile(t, n.status(id).GetLogPath(), "ready")
	if _, err := n.StopContainer(n.context(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: 10}); err != nil {
		t.Fatal(err)
	}
	if st := n.status(id); st.GetExitCode() != 11 || st.GetStopSignal() != runtimeapi.Signal_SIGUSR1 {
		t.Errorf("status: %v", st)
	}
}

func TestMountPropagation(t *testing.T) {
	n := newNode(t)
	host := t.TempDir()
	if err := unix.Mount(host, host, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(host, unix.MNT_DETACH) }()
	if err := unix.Mount("", host, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	podID, pod := n.pod(func(p *runtimeapi.PodSandboxConfig) { p.Linux.SecurityContext.Privileged = true })
	with := func(p runtimeapi.MountPropagation) containerOption {
		return func(c *runtimeapi.ContainerConfig) {
			c.Linux.SecurityContext.Privileged = true
			c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/vol", HostPath: host, Propagation: p}}
		}
	}
	master := n.run(podID, pod, "master", []string{"/bin/sleep", "1000"}, with(runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL))
	slave := n.run(podID, pod, "slave", []string{"/bin/sleep", "1000"}, with(runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER))
	private := n.run(podID, pod, "private", []string{"/bin/sleep", "1000"}, with(runtimeapi.MountPropagation_PROPAGATION_PRIVATE))
	if out, code := n.exec(master, "mkdir /vol/m && mount -t tmpfs t /vol/m && touch /vol/m/seen"); code != 0 {
		t.Fatalf("mount: %s", out)
	}
	defer func() { _ = unix.Unmount(host+"/m", unix.MNT_DETACH) }()
	out, _ := n.exec(slave, "ls /vol/m")
	expect(t, "mount of another container, seen as a slave", out, "seen\n")
	out, _ = n.exec(private, "ls /vol/m")
	expect(t, "the same, seen privately", out, "")
}
