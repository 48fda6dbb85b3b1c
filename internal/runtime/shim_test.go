package runtime

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What a container's process is given must be a fresh process's, not the shim's.
func TestProcessesInheritNothingOfTheShim(t *testing.T) {
	n := newNode(t)
	podID, pod := n.pod()
	id := n.run(podID, pod, "main", []string{"/bin/sleep", "1000"})
	const show = "grep -e SigIgn -e SigBlk /proc/self/status; ls /proc/self/fd | grep -v -e 0 -e 1 -e 2 -e 3; cat /proc/self/oom_score_adj"
	out, _ := n.exec(id, show)
	want := "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n1000\n"
	expect(t, "a command's signals, descriptors and score", out, want)
	c := n.run(podID, pod, "second", []string{"/bin/sh", "-c", show})
	n.ended(c)
	expect(t, "a container's", strings.ReplaceAll(n.log(c), "stdout F ", ""), want)
}

func TestShimStaysOutOfTheContainers(t *testing.T) {
	n := newNode(t)
	podID, pod := n.pod()
	for i := range 5 {
		id := n.run(podID, pod, fmt.Sprint("c", i), []string{"/bin/true"})
		n.ended(id)
	}
	sb, _ := n.sandbox(podID)
	pid := sb.record().ShimPid
	ours, _ := os.Readlink("/proc/self/ns/mnt")
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, task := range tasks {
		if theirs, _ := os.Readlink(fmt.Sprintf("/proc/%d/task/%s/ns/mnt", pid, task.Name())); theirs != "" && theirs != ours {
			t.Errorf("thread %s of shim %d is in a container's mount namespace", task.Name(), pid)
		}
	}
	// A stray signal does not end it.
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	id := n.run(podID, pod, "after", []string{"/bin/true"})
	if st := n.ended(id); st.GetExitCode() != 0 {
		t.Errorf("container after a stray signal: %v", st)
	}
	if _, err := n.RemoveContainer(n.context(), &runtimeapi.RemoveContainerRequest{ContainerId: id}); err != nil {
		t.Error(err)
	}
}
