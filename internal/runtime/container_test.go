package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/host/netns"
)

func TestContainerRunsLogsExecsAndStops(t *testing.T) {
	n := newNode(t)
	podID, pod := n.pod()
	id := n.run(podID, pod, "main", []string{"/bin/sh", "-c", "echo out; echo err >&2; trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"})
	if st := n.status(id); st.GetState() != runtimeapi.ContainerState_CONTAINER_RUNNING || st.GetStartedAt() == 0 {
		t.Errorf("status after start: %v", st)
	}
	out, code := n.exec(id, "echo hello; hostname; pwd; exit 3")
	expect(t, "exec output", out, "hello\n"+pod.GetHostname()+"\n/work\n")
	if code != 3 {
		t.Errorf("exec exit code %d, want 3", code)
	}
	waitFile(t, n.status(id).GetLogPath(), "ready")
	if _, err := n.StopContainer(n.context(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: 10}); err != nil {
		t.Fatalf("stop: %v", err)
	}
	st := n.status(id)
	if st.GetState() != runtimeapi.ContainerState_CONTAINER_EXITED || st.GetExitCode() != 7 || st.GetReason() != "Error" || st.GetFinishedAt() < st.GetStartedAt() {
		t.Errorf("status after stop: %v", st)
	}
	log := n.log(id)
	if !strings.Contains(log, "stdout F out\n") || !strings.Contains(log, "stderr F err\n") {
		t.Errorf("log: %q", log)
	}
	if _, err := n.StopPodSandbox(n.context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: podID}); err != nil {
		t.Fatalf("stop sandbox: %v", err)
	}
	if _, err := n.RemovePodSandbox(n.context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: podID}); err != nil {
		t.Fatalf("remove sandbox: %v", err)
	}
}

func TestExitCodesAndReasons(t *testing.T) {
	n := newNode(t)
	podID, pod := n.pod()
	for _, tc := range []struct {
		name, cmd, reason string
		code              int32
	}{
		{"ok", "exit 0", "Completed", 0},
		{"failed", "exit 42", "Error", 42},
		{"killed-by-itself", "kill -9 $$", "Completed", 0}, // PID 1 does not hear its own KILL
	} {
		id := n.run(podID, pod, tc.name, []string{"/bin/sh", "-c", tc.cmd})
		st := n.ended(id)
		if st.GetExitCode() != tc.code || st.GetReason() != tc.reason {
			t.Errorf("%s: exit code %d, reason %s; want %d, %s", tc.name, st.GetExitCode(), st.GetReason(), tc.code, tc.reason)
		}
	}
	id := n.run(podID, pod, "stubborn", []string{"/bin/sh", "-c", "trap '' TERM; echo ready; sleep 1000"})
	waitFile(t, n.status(id).GetLogPath(), "ready") // a signal before that ends the init that is to become the shell
	if _, err := n.StopContainer(n.context(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: 1}); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if st := n.status(id); st.GetExitCode() != 137 || st.GetReason() != "Error" {
		t.Errorf("stubborn container: exit code %d, reason %s; want 137, Error", st.GetExitCode(), st.GetReason())
	}
}

func TestCommandThatDoesNotExist(t *testing.T) {
	n := newNode(t)
	podID, pod := n.pod()
	id := n.create(podID, pod, "main", []string{"nosuch"})
	_, err := n.StartContainer(n.context(), &runtimeapi.StartContainerRequest{ContainerId: id})
	want := `exec: "nosuch": executable file not found in $PATH`
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("start: error %v, want one with %s", err, want)
	}
	st := n.status(id)
	if st.GetState() != runtimeapi.ContainerState_CONTAINER_EXITED || st.GetExitCode() != 128 || st.GetReason() != "StartError" || !strings.Contains(st.GetMessage(), want) {
		t.Errorf("status: %v", st)
	}
	ok := n.run(podID, pod, "ok", []string{"/bin/sleep", "1000"})
	_, err = n.ExecSync(n.context(), &runtimeapi.ExecSyncRequest{ContainerId: ok, Cmd: []string{"nosuch"}})
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("exec: error %v, want one with %s", err, want)
	}
}

func TestExecTimeoutKillsTheCommand(t *testing.T) {
	n := newNode(t)
	podID, pod := n.pod()
	id := n.run(podID, pod, "main", []string{"/bin/sleep", "1000"})
	_, err := n.ExecSync(n.context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"/bin/sleep", "100"}, Timeout: 1})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("exec: error %v, want a deadline exceeded", err)
	}
}

func TestExecStreams(t *testing.T) {
	n := newNode(t)
	podID, pod := n.pod()
	id := n.run(podID, pod, "main", []string{"/bin/sleep", "1000"})
	var out, errOut bytes.Buffer
	code, err := n.Streams().Exec(n.context(), id, []string{"/bin/sh", "-c", "cat; echo bad >&2; exit 5"}, false, strings.NewReader("typed\n"), &out, &errOut, nil)
	if err != nil || code != 5 {
		t.Errorf("exec: code %d, error %v", code, err)
	}
	expect(t, "stdout", out.String(), "typed\n")
	expect(t, "stderr", errOut.String(), "bad\n")

	// What a command leaves in the background does not hold the call.
	out.Reset()
	if _, err := n.Streams().Exec(n.context(), id, []string{"/bin/sh", "-c", "sleep 100 & echo done"}, false, nil, &out, nil, nil); err != nil {
		t.Errorf("exec with a background process: %v", err)
	}
	expect(t, "stdout", out.String(), "done\n")

	// Much output arrives whole.
	big := &capped{max: 64 << 20}
	if _, err := n.Streams().Exec(n.context(), id, []string{"/bin/sh", "-c", "head -c 5000000 /dev/zero"}, false, nil, big, nil, nil); err != nil {
		t.Errorf("exec with much output: %v", err)
	}
	if got := len(big.bytes()); got != 5000000 {
		t.Errorf("%d bytes of 5000000 arrived", got)
	}
}

func TestExecTerminal(t *testing.T) {
	n := newNode(t)
	podID, pod := n.pod()
	id := n.run(podID, pod, "main", []string{"/bin/sleep", "1000"})
	in, typed := io.Pipe()
	screen := newScreen()
	resize := make(chan Size, 1)
	done := make(chan error, 1)
	go func() {
		code, err := n.Streams().Exec(n.context(), id, []string{"/bin/sh"}, true, in, screen, nil, resize)
		if err == nil && code != 4 {
			err = fmt.Errorf("exit code %d, want 4", code)
		}
		done <- err
	}()
	resize <- Size{Width: 101, Height: 37}
	fmt.Fprintln(typed, "while [ \"$(stty size)\" != '37 101' ]; do :; done; echo resi''zed")
	screen.waitFor(t, "resized")
	fmt.Fprintln(typed, "exit 4")
	if err := <-done; err != nil {
		t.Errorf("exec: %v", err)
	}
	typed.Close()
}

// screen collects what a terminal shows.
type screen struct {
	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{}
}

func newScreen() *screen { return &screen{changed: make(chan struct{}, 1)} }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	s.text.Write(p)
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *screen) waitFor(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(patience)
	for !strings.Contains(s.String(), text) {
		select {
		case <-s.changed:
		case <-deadline:
			t.Fatalf("screen never shows %q: %q", text, s.String())
		}
	}
}

func TestAttach(t *testing.T) {
	for _, tty := range []bool{false, true} {
		t.Run(fmt.Sprintf("tty=%v", tty), func(t *testing.T) {
			n := newNode(t)
			podID, pod := n.pod()
			id := n.run(podID, pod, "main", []string{"/bin/sh", "-c", "(while :; do echo tick; sleep 0.05; done) & read line; echo got $line; read line; exit 6"}, func(c *runtimeapi.ContainerConfig) {
				c.Stdin, c.Tty = true, tty
			})
			in, typed := io.Pipe()
			one, two := newScreen(), newScreen()
			done := make(chan error, 2)
			ctx, cancel := context.WithCancel(n.context())
			go func() { done <- n.Streams().Attach(n.context(), id, in, one, nil, nil) }()
			go func() { done <- n.Streams().Attach(ctx, id, nil, two, nil, nil) }()
			one.waitFor(t, "tick")
			two.waitFor(t, "tick")
			fmt.Fprintln(typed, "hello")
			one.waitFor(t, "got hello")
			two.waitFor(t, "got hello")
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("detached client: %v", err)
			}
			fmt.Fprintln(typed, "end")
			if err := <-done; err != nil {
				t.Errorf("attached client: %v", err)
			}
			typed.Close()
			if st := n.ended(id); st.GetExitCode() != 6 {
				t.Errorf("exit code %d, want 6", st.GetExitCode())
			}
			if log := n.log(id); !strings.Contains(log, "stdout F got hello") {
				t.Errorf("log: %q", log)
			}
		})
	}
}

func TestLogs(t *testing.T) {
	n := newNode(t)
	podID, pod := n.pod()
	id := n.run(podID, pod, "main", []string{"/bin/sh", "-c", "echo first; read x; printf tail"}, func(c *runtimeapi.ContainerConfig) {
		c.Stdin = true
	})
	path := n.status(id).GetLogPath()
	waitFile(t, path, "first")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.ReopenContainerLog(n.context(), &runtimeapi.ReopenContainerLogRequest{ContainerId: id}); err != nil {
		t.Fatalf("reopen: %v", err)
	}
	if err := n.Streams().Attach(n.context(), id, strings.NewReader("\n"), nil, nil, nil); err != nil {
		t.Fatalf("attach: %v", err)
	}
	n.ended(id)
	if log := n.log(id); !strings.HasSuffix(log, "stdout P tail\n") || strings.Contains(log, "first") {
		t.Errorf("log after rotation: %q", log)
	}
	long := n.run(podID, pod, "long", []string{"/bin/sh", "-c", "a=aaaaaaaaaaaaaaaa; for i in 1 2 3 4 5 6 7 8 9 10 11; do a=$a$a; done; echo $a"})
	n.ended(long)
	lines := strings.Split(strings.TrimSpace(n.log(long)), "\n")
	if len(lines) != 2 || len(lines[0]) != len("stdout P ")+16384 || !strings.HasPrefix(lines[1], "stdout F ") {
		t.Errorf("a line of 32 KiB was written as %d lines, the first of %d bytes", len(lines), len(lines[0]))
	}
}

func TestOutOfMemory(t *testing.T) {
	n := newNode(t)
	podID, pod := n.pod()
	id := n.run(podID, pod, "main", []string{"/bin/sh", "-c", "a=aaaaaaaaaaaaaaaa; while :; do a=$a$a; done"}, func(c *runtimeapi.ContainerConfig) {
		c.Linux.Resources.MemoryLimitInBytes = 32 << 20
	})
	if st := n.ended(id); st.GetReason() != "OOMKilled" || st.GetExitCode() != 137 {
		t.Errorf("reason %s, exit code %d; want OOMKilled, 137", st.GetReason(), st.GetExitCode())
	}
}

func TestPortForward(t *testing.T) {
	n := newNode(t)
	podID, _ := n.pod()
	sb, _ := n.sandbox(podID)
	var listener net.Listener
	err := netns.Do(sb.record().Netns, func() error {
		var err error
		listener, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}
	}()
	port := int32(listener.Addr().(*net.TCPAddr).Port)
	ours, theirs := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- n.Streams().PortForward(n.context(), podID, port, theirs) }()
	go fmt.Fprint(ours, "ping")
	buf := make([]byte, 4)
	if _, err := io.ReadFull(ours, buf); err != nil || string(buf) != "ping" {
		t.Errorf("read %q, %v", buf, err)
	}
	_ = ours.Close()
	if err := <-done; err != nil {
		t.Errorf("port forward: %v", err)
	}
	if err := n.Streams().PortForward(n.context(), podID, 1, theirs); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("closed port: %v", err)
	}
}

func waitFile(t *testing.T, path, text string) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_MODIFY|unix.IN_CREATE); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for {
		if body, err := os.ReadFile(path); err == nil && strings.Contains(string(body), text) {
			return
		}
		left := time.Until(deadline)
		if left <= 0 {
			t.Fatalf("%s never holds %q", path, text)
		}
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		_, _ = unix.Poll(poll, int(left.Milliseconds())+1)
		var buf [4096]byte
		_, _ = unix.Read(fd, buf[:])
	}
}

func TestRefusedScoreIsAWarning(t *testing.T) {
	n := newNode(t)
	podID, pod := n.pod()
	id := n.run(podID, pod, "main", []string{"/bin/sh", "-c", "cat /proc/self/oom_score_adj"}, func(c *runtimeapi.ContainerConfig) {
		c.Linux.Resources.OomScoreAdj = -998
	})
	if st := n.ended(id); st.GetExitCode() != 0 {
		t.Errorf("status: %v, log %q", st, n.log(id))
	}
}

func TestImageVolume(t *testing.T) {
	n := newNode(t)
	out := n.output("ls /vol; cat /vol/etc/group | head -1; touch /vol/x || echo refused; cat /sub/passwd | head -n 1", func(c *runtimeapi.ContainerConfig) {
		c.Mounts = []*runtimeapi.Mount{
			{ContainerPath: "/vol", Image: &runtimeapi.ImageSpec{Image: "tools"}},
			{ContainerPath: "/sub", Image: &runtimeapi.ImageSpec{Image: "tools"}, ImageSubPath: "etc"},
		}
	})
	for _, want := range []string{"stdout F bin\n", "stdout F root:x:0:\n", "stdout F refused\n", "stdout F root:x:0:0:root:/root:/bin/sh\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("log lacks %q: %q", want, out)
		}
	}
}

func TestManyPodsAtOnce(t *testing.T) {
	n := newNode(t)
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			podID, pod := n.pod(func(p *runtimeapi.PodSandboxConfig) {
				if i%2 == 0 {
					p.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
				}
			})
			a := n.run(podID, pod, "a", []string{"/bin/sleep", "1000"})
			b := n.run(podID, pod, "b", []string{"/bin/sh", "-c", "exit 3"})
			if st := n.ended(b); st.GetExitCode() != 3 {
				t.Errorf("exit code %d, want 3", st.GetExitCode())
			}
			if out, code := n.exec(a, "hostname"); out != pod.GetHostname()+"\n" || code != 0 {
				t.Errorf("exec: %q, %d", out, code)
			}
			if _, err := n.RemovePodSandbox(n.context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: podID}); err != nil {
				t.Errorf("remove: %v", err)
			}
		})
	}
	wg.Wait()
	for _, sub := range []string{"sandboxes", "containers", "netns"} {
		if left := list(filepath.Join(n.dir, sub)); len(left) > 0 {
			t.Errorf("left in %s: %v", sub, left)
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), n.dir) {
		t.Error("mounts are left")
	}
}

func TestServesTheCRI(t *testing.T) {
	n := newNode(t)
	socket := filepath.Join(t.TempDir(), "cri.sock")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Serve(ctx, socket) }()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := runtimeapi.NewRuntimeServiceClient(conn)
	version, err := client.Version(n.context(), &runtimeapi.VersionRequest{}, grpc.WaitForReady(true))
	if err != nil || version.GetRuntimeName() != "monohull" {
		t.Errorf("version: %v, %v", version, err)
	}
	st, err := client.Status(n.context(), &runtimeapi.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range st.GetStatus().GetConditions() {
		if !c.GetStatus() {
			t.Errorf("condition %v", c)
		}
	}
	if _, err := client.ContainerStatus(n.context(), &runtimeapi.ContainerStatusRequest{ContainerId: "nosuch"}); status.Code(err) != codes.NotFound {
		t.Errorf("a container that is not there: %v", err)
	}
	events, err := client.GetContainerEvents(n.context(), &runtimeapi.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	podID, pod := n.pod()
	seen := make(chan runtimeapi.ContainerEventType, 10)
	go func() {
		for {
			ev, err := events.Recv()
			if err != nil {
				return
			}
			seen <- ev.GetContainerEventType()
		}
	}()
	// The stream may begin a moment after the call: make events until one is seen.
	for i := 0; ; i++ {
		id := n.create(podID, pod, fmt.Sprint("c", i), []string{"/bin/true"})
		if _, err := client.RemoveContainer(n.context(), &runtimeapi.RemoveContainerRequest{ContainerId: id}); err != nil {
			t.Fatal(err)
		}
		if len(seen) > 0 {
			break
		}
	}
	images, err := runtimeapi.NewImageServiceClient(conn).ListImages(n.context(), &runtimeapi.ListImagesRequest{})
	if err != nil || len(images.GetImages()) != 1 {
		t.Errorf("images: %v, %v", images, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
}
