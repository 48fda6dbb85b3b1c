package runtime

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// victimEnv makes the test binary a process that runs a container in that data
// directory, says its ids and waits to be killed.
const victimEnv = "MONOHULL_TEST_VICTIM"

func victim(dir string) {
	fail := func(err error) {
		fmt.Println("error", err)
		os.Exit(1)
	}
	r, err := New(Config{DataDir: dir, CgroupParent: "/monohull-test-victim"})
	if err != nil {
		fail(err)
	}
	ctx := context.Background()
	go func() { _ = r.Run(ctx) }()
	image, err := buildToolsImage("tools:latest")
	if err != nil {
		fail(err)
	}
	if _, err := r.Images().Import(ctx, bytes.NewReader(image)); err != nil {
		fail(err)
	}
	pod := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "p", Namespace: "default", Uid: "u"}, LogDirectory: filepath.Join(dir, "logs"),
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}}},
	}
	sb, err := r.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: pod})
	if err != nil {
		fail(err)
	}
	c, err := r.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: sb.GetPodSandboxId(), SandboxConfig: pod, Config: &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "c"}, Image: &runtimeapi.ImageSpec{Image: "tools"}, LogPath: "c.log",
		Command: []string{"/bin/sh", "-c", "n=0; while :; do n=$((n+1)); echo $n; sleep 0.05; done"},
		Linux:   &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{NamespaceOptions: pod.Linux.SecurityContext.NamespaceOptions}},
	}})
	if err != nil {
		fail(err)
	}
	if _, err := r.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: c.GetContainerId()}); err != nil {
		fail(err)
	}
	fmt.Println("running", c.GetContainerId())
	select {}
}

func TestContainersOutliveAKilledProcess(t *testing.T) {
	n := &node{t: t, dir: t.TempDir(), logs: t.TempDir()}
	t.Cleanup(func() {
		n.stop()
		if err := Reset(n.dir); err != nil {
			t.Errorf("reset: %v", err)
		}
	})
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimEnv+"="+n.dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	id, ok := strings.CutPrefix(strings.TrimSpace(line), "running ")
	if !ok {
		t.Fatalf("the process to be killed says %q", line)
	}
	n.startUnder("/monohull-test-victim")
	st := n.status(id)
	if st.GetState() != runtimeapi.ContainerState_CONTAINER_RUNNING {
		t.Fatalf("container after its runtime was killed: %v", st)
	}
	before := strings.Count(n.log(id), "\n")
	waitFile(t, st.GetLogPath(), fmt.Sprintf("F %d\n", before+3)) // it still writes its log
	if out, _ := n.exec(id, "echo alive"); out != "alive\n" {
		t.Errorf("exec: %q", out)
	}
	if _, err := n.StopContainer(n.context(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil {
		t.Error(err)
	}
	if st := n.status(id); st.GetExitCode() != 137 {
		t.Errorf("status after stop: %v", st)
	}
}
