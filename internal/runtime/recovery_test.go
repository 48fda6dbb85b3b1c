package runtime

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/runtime/rootfs"
)

func TestRestartFindsWhatRuns(t *testing.T) {
	n := newNode(t)
	podID, pod := n.pod(func(p *runtimeapi.PodSandboxConfig) {
		p.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
	})
	stays := n.run(podID, pod, "stays", []string{"/bin/sh", "-c", "while :; do sleep 1; done"})
	ends := n.run(podID, pod, "ends", []string{"/bin/sh", "-c", "read x; echo while away; exit 9"}, func(c *runtimeapi.ContainerConfig) { c.Stdin = true })
	ended := n.run(podID, pod, "ended", []string{"/bin/sh", "-c", "exit 8"})
	n.ended(ended)
	created := n.create(podID, pod, "created", []string{"/bin/sleep", "1000"})
	dir := n.sandboxDir(podID)
	exitFile := filepath.Join(n.containerDir(ends), "exit.json")
	before := n.status(stays)
	n.stop()

	// The container ends while nobody but its shim is there.
	feedStdin(t, dir, ends, "\n")
	waitFile(t, exitFile, "code")

	n.start()
	after := n.status(stays)
	if after.GetState() != runtimeapi.ContainerState_CONTAINER_RUNNING || after.GetId() != before.GetId() {
		t.Errorf("running container after restart: %v", after)
	}
	if st := n.ended(ends); st.GetExitCode() != 9 || st.GetReason() != "Error" {
		t.Errorf("container that ended meanwhile: %v", st)
	}
	if log := n.log(ends); log != "stdout F while away\n" {
		t.Errorf("its log: %q", log)
	}
	if st := n.status(ended); st.GetExitCode() != 8 {
		t.Errorf("container that had ended before: %v", st)
	}
	if st := n.status(created); st.GetState() != runtimeapi.ContainerState_CONTAINER_CREATED {
		t.Errorf("container that was created only: %v", st)
	}
	res, err := n.PodSandboxStatus(n.context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: podID})
	if err != nil || res.GetStatus().GetState() != runtimeapi.PodSandboxState_SANDBOX_READY {
		t.Errorf("sandbox after restart: %v, %v", res, err)
	}
	out, _ := n.exec(stays, "echo alive")
	expect(t, "exec after restart", out, "alive\n")
	if _, err := n.StartContainer(n.context(), &runtimeapi.StartContainerRequest{ContainerId: created}); err != nil {
		t.Errorf("start after restart: %v", err)
	}
	events := n.Events(n.context())
	if _, err := n.StopContainer(n.context(), &runtimeapi.StopContainerRequest{ContainerId: stays}); err != nil {
		t.Errorf("stop after restart: %v", err)
	}
	if ev := <-events; ev.Type != ContainerExited || ev.ContainerID != stays {
		t.Errorf("event after restart: %+v", ev)
	}
}

func TestDeathOfTheShim(t *testing.T) {
	n := newNode(t)
	podID, pod := n.pod()
	id := n.run(podID, pod, "main", []string{"/bin/sleep", "1000"})
	c, _ := n.lookup(id)
	pids := n.groups.Pids(c.rec.Cgroup)
	if len(pids) == 0 {
		t.Fatal("no process in the container's group")
	}
	sb, _ := n.sandbox(podID)
	events := n.Events(n.context())
	if err := unix.Kill(sb.record().ShimPid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for ev := range events {
		if ev.Type == SandboxDied {
			break
		}
	}
	st := n.ended(id)
	if st.GetExitCode() != 255 || st.GetReason() != "Unknown" {
		t.Errorf("container of a dead shim: %v", st)
	}
	if left := n.groups.Pids(c.rec.Cgroup); len(left) > 0 {
		t.Errorf("processes %v outlive their shim", left)
	}
	res, err := n.PodSandboxStatus(n.context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: podID})
	if err != nil || res.GetStatus().GetState() != runtimeapi.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("sandbox of a dead shim: %v, %v", res, err)
	}
	if _, err := n.StopPodSandbox(n.context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: podID}); err != nil {
		t.Errorf("stop: %v", err)
	}
	if _, err := n.RemovePodSandbox(n.context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: podID}); err != nil {
		t.Errorf("remove: %v", err)
	}
}

func TestReboot(t *testing.T) {
	n := newNode(t)
	podID, pod := n.pod()
	id := n.run(podID, pod, "main", []string{"/bin/sleep", "1000"})
	c, _ := n.lookup(id)
	sb, _ := n.sandbox(podID)
	n.stop()
	// What a reboot leaves: the disk, and neither processes nor mounts.
	if err := unix.Kill(sb.record().ShimPid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := n.groups.Kill(c.rec.Cgroup); err != nil {
		t.Fatal(err)
	}
	if err := rootfs.UnmountBelow(n.dir); err != nil {
		t.Fatal(err)
	}
	n.start()
	if st := n.ended(id); st.GetState() != runtimeapi.ContainerState_CONTAINER_EXITED || st.GetExitCode() != 255 {
		t.Errorf("container after a reboot: %v", st)
	}
	if _, err := n.RemovePodSandbox(n.context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: podID}); err != nil {
		t.Errorf("remove: %v", err)
	}
	if left := list(filepath.Join(n.dir, "containers")); len(left) > 0 {
		t.Errorf("containers left on disk: %v", left)
	}
}

func TestResetLeavesNothing(t *testing.T) {
	n := newNode(t)
	podID, pod := n.pod(func(p *runtimeapi.PodSandboxConfig) {
		p.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
		p.Linux.CgroupParent = n.cfg.CgroupParent + "/kubepods/pod1"
	})
	id := n.run(podID, pod, "main", []string{"/bin/sleep", "1000"})
	c, _ := n.lookup(id)
	sb, _ := n.sandbox(podID)
	n.stop()
	if err := Reset(n.dir); err != nil {
		t.Fatalf("reset: %v", err)
	}
	if err := unix.Kill(sb.record().ShimPid, 0); err == nil {
		stat, _ := os.ReadFile("/proc/" + strconv.Itoa(sb.record().ShimPid) + "/stat")
		if !strings.Contains(string(stat), ") Z ") {
			t.Error("the shim outlives a reset")
		}
	}
	if pids := n.groups.Pids(c.rec.Cgroup); len(pids) > 0 {
		t.Errorf("processes outlive a reset: %v", pids)
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), n.dir) {
		t.Error("mounts outlive a reset")
	}
	entries, _ := os.ReadDir(n.dir)
	if len(entries) > 0 {
		t.Errorf("files outlive a reset: %v", entries)
	}
}
