package runtime

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/runtime/shimbin"
)

// patience is the longest any test waits for something that should happen at once.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the runtime's tests run containers and need root")
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "monohull-shim-")
	if err == nil {
		_, err = shimbin.Install(dir)
		_ = os.RemoveAll(dir)
	}
	if err != nil {
		// Embedding happens when the test is compiled: building it now is too late for
		// this run, but says at once whether it can be built here.
		out, buildErr := exec.Command("../../shim/build.sh").CombinedOutput()
		if buildErr != nil {
			fmt.Fprintf(os.Stderr, "the pod shim cannot be built: %v\n%s", buildErr, out)
		} else {
			fmt.Fprintln(os.Stderr, "the pod shim was missing and has been built: run the tests again")
		}
		os.Exit(1)
	}
	if dir := os.Getenv(victimEnv); dir != "" {
		victim(dir)
	}
	os.Exit(m.Run())
}

// node is a runtime under test.
type node struct {
	*Runtime
	t      *testing.T
	dir    string
	logs   string
	cancel context.CancelFunc
	done   chan error
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), logs: t.TempDir()}
	n.start()
	t.Cleanup(func() {
		n.stop()
		if err := Reset(n.dir); err != nil {
			t.Errorf("reset: %v", err)
		}
	})
	if _, err := n.Images().Import(t.Context(), bytes.NewReader(toolsImage(t))); err != nil {
		t.Fatalf("import: %v", err)
	}
	return n
}

// start makes a runtime over the same directory, as a new process would.
func (n *node) start() {
	n.t.Helper()
	n.startUnder("/monohull-test-" + filepath.Base(filepath.Dir(n.dir)) + filepath.Base(n.dir))
}

func (n *node) startUnder(cgroup string) {
	n.t.Helper()
	r, err := New(Config{
		DataDir: n.dir, CgroupParent: cgroup,
		Logger: slog.New(slog.NewTextHandler(testWriter{n.t}, nil)),
	})
	if err != nil {
		n.t.Fatalf("new runtime: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.Runtime, n.cancel, n.done = r, cancel, make(chan error, 1)
	go func() { n.done <- r.Run(ctx) }()
}

func (n *node) stop() {
	if n.cancel == nil {
		return
	}
	n.cancel()
	n.cancel = nil
	if err := <-n.done; err != nil {
		n.t.Errorf("run: %v", err)
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func (n *node) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	n.t.Cleanup(cancel)
	return ctx
}

var podCounter struct {
	sync.Mutex
	n int
}

type podOption func(*runtimeapi.PodSandboxConfig)

func (n *node) pod(opts ...podOption) (string, *runtimeapi.PodSandboxConfig) {
	n.t.Helper()
	podCounter.Lock()
	podCounter.n++
	name := fmt.Sprintf("pod-%d", podCounter.n)
	podCounter.Unlock()
	config := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: name + "-uid"},
		Hostname: name, LogDirectory: filepath.Join(n.logs, name),
		Labels: map[string]string{"app": name},
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}
	for _, o := range opts {
		o(config)
	}
	res, err := n.RunPodSandbox(n.context(), &runtimeapi.RunPodSandboxRequest{Config: config})
	if err != nil {
		n.t.Fatalf("run sandbox: %v", err)
	}
	return res.GetPodSandboxId(), config
}

type containerOption func(*runtimeapi.ContainerConfig)

func (n *node) create(podID string, pod *runtimeapi.PodSandboxConfig, name string, cmd []string, opts ...containerOption) string {
	n.t.Helper()
	config := &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: name}, Image: &runtimeapi.ImageSpec{Image: "tools"},
		Command: cmd, LogPath: name + "/0.log",
		Linux: &runtimeapi.LinuxContainerConfig{
			Resources: &runtimeapi.LinuxContainerResources{CpuShares: 100, OomScoreAdj: 1000},
			SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
				NamespaceOptions: pod.GetLinux().GetSecurityContext().GetNamespaceOptions(),
				Seccomp:          &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault},
			},
		},
	}
	for _, o := range opts {
		o(config)
	}
	res, err := n.CreateContainer(n.context(), &runtimeapi.CreateContainerRequest{PodSandboxId: podID, Config: config, SandboxConfig: pod})
	if err != nil {
		n.t.Fatalf("create container: %v", err)
	}
	return res.GetContainerId()
}

func (n *node) run(podID string, pod *runtimeapi.PodSandboxConfig, name string, cmd []string, opts ...containerOption) string {
	n.t.Helper()
	id := n.create(podID, pod, name, cmd, opts...)
	if _, err := n.StartContainer(n.context(), &runtimeapi.StartContainerRequest{ContainerId: id}); err != nil {
		n.t.Fatalf("start container: %v", err)
	}
	return id
}

func (n *node) status(id string) *runtimeapi.ContainerStatus {
	n.t.Helper()
	res, err := n.ContainerStatus(n.context(), &runtimeapi.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		n.t.Fatalf("container status: %v", err)
	}
	return res.GetStatus()
}

// ended waits for a container's end.
func (n *node) ended(id string) *runtimeapi.ContainerStatus {
	n.t.Helper()
	c, err := n.lookup(id)
	if err != nil {
		n.t.Fatal(err)
	}
	select {
	case <-c.done:
	case <-time.After(patience):
		n.t.Fatalf("container %s does not end", id)
	}
	return n.status(id)
}

// output runs a command as a container of a new pod and returns its log's lines.
func (n *node) output(cmd string, opts ...containerOption) string {
	n.t.Helper()
	podID, pod := n.pod()
	id := n.run(podID, pod, "c", []string{"/bin/sh", "-c", cmd}, opts...)
	n.ended(id)
	return n.log(id)
}

// log returns a container's log without its time stamps: "stdout F text" lines.
func (n *node) log(id string) string {
	n.t.Helper()
	body, err := os.ReadFile(n.status(id).GetLogPath())
	if err != nil {
		n.t.Fatalf("read log: %v", err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(body)) {
		stamp, rest, _ := strings.Cut(line, " ")
		if _, err := time.Parse(time.RFC3339Nano, stamp); err != nil {
			n.t.Errorf("log line without a time: %q", line)
		}
		out.WriteString(rest)
	}
	return out.String()
}

func (n *node) exec(id string, cmd string) (string, int) {
	n.t.Helper()
	res, err := n.ExecSync(n.context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"/bin/sh", "-c", cmd}})
	if err != nil {
		n.t.Fatalf("exec: %v", err)
	}
	return string(res.GetStdout()) + string(res.GetStderr()), int(res.GetExitCode())
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

// toolsImage is an archive as "docker save" writes it, with the test machine's own
// shell and a few programs, and the libraries they need.
var toolsImage = func() func(t *testing.T) []byte {
	var once sync.Once
	var body []byte
	var err error
	return func(t *testing.T) []byte {
		t.Helper()
		once.Do(func() { body, err = buildToolsImage("tools:latest") })
		if err != nil {
			t.Fatalf("build image: %v", err)
		}
		return body
	}
}()

var tools = []string{"sh", "cat", "sleep", "id", "ls", "stty", "hostname", "env", "grep", "readlink", "mkdir", "mknod", "chroot", "head", "mount", "tail", "touch", "true"}

func buildLayer(files map[string]string) ([]byte, error) {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, d := range []string{"bin/", "etc/", "lib/", "lib64/", "lib/x86_64-linux-gnu/", "tmp/", "var/", "home/"} {
		if err := tw.WriteHeader(&tar.Header{Name: d, Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
			return nil, err
		}
	}
	add := func(name string, body []byte, mode int64) error {
		if err := tw.WriteHeader(&tar.Header{Name: name, Size: int64(len(body)), Mode: mode}); err != nil {
			return err
		}
		_, err := tw.Write(body)
		return err
	}
	seen := map[string]bool{}
	for _, tool := range tools {
		path, err := exec.LookPath(tool)
		if err != nil {
			return nil, err
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if err := add("bin/"+tool, body, 0o755); err != nil {
			return nil, err
		}
		out, err := exec.Command("ldd", path).Output()
		if err != nil {
			return nil, fmt.Errorf("ldd %s: %w", path, err)
		}
		for line := range strings.Lines(string(out)) {
			for _, f := range strings.Fields(line) {
				if strings.HasPrefix(f, "/") && !seen[f] {
					seen[f] = true
					lib, err := os.ReadFile(f)
					if err != nil {
						return nil, err
					}
					if err := add(strings.TrimPrefix(f, "/"), lib, 0o755); err != nil {
						return nil, err
					}
				}
			}
		}
	}
	for name, text := range files {
		if err := add(name, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), tw.Close()
}

func buildToolsImage(names ...string) ([]byte, error) {
	layer, err := buildLayer(map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home:/bin/sh\n",
		"etc/group":  "root:x:0:\napp:x:1000:\nextra:x:2000:app\n",
	})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(layer)
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Env": []string{"PATH=/bin", "FROM_IMAGE=yes"}, "Cmd": []string{"/bin/sh"}, "WorkingDir": "/work"},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": names, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, f := range []struct {
		name string
		body []byte
	}{{"layer.tar", layer}, {"config.json", config}, {"manifest.json", manifest}} {
		if err := tw.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.body)), Mode: 0o644}); err != nil {
			return nil, err
		}
		if _, err := io.Copy(tw, bytes.NewReader(f.body)); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), tw.Close()
}
