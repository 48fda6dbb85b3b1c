package clients

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// What the outer run tells the inner one, in its environment.
const (
	netnsVariable  = "MONOHULL_CLIENTS_NETNS"
	dataVariable   = "MONOHULL_CLIENTS_DATA"
	binaryVariable = "MONOHULL"        // the monohull under test
	imagesVariable = "MONOHULL_IMAGES" // a directory with busybox.tar and nginx.tar
	nodeVariable   = "MONOHULL_CLIENTS_NODE"
)

// Bounds of starting and ending the server.
const (
	maxStart = 60 * time.Second
	maxEnd   = 60 * time.Second
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the tests of clients make namespaces and containers: run them as root")
		os.Exit(1)
	}
	run := outside
	if os.Getenv(netnsVariable) != "" {
		run = func() (int, error) { return inside(m) }
	}
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

// outside prepares what needs the network of the machine, makes a namespace
// without a way out, and runs the tests in it.
func outside() (int, error) {
	dir, err := os.MkdirTemp("", "monohull-clients-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	binary, images := os.Getenv(binaryVariable), os.Getenv(imagesVariable)
	repo, err := filepath.Abs("../..")
	if err != nil {
		return 1, err
	}
	if binary == "" {
		binary = filepath.Join(repo, "bin", "monohull")
	}
	if _, err := os.Stat(binary); err != nil {
		return 1, fmt.Errorf("the binary under test: %w (make build)", err)
	}
	if images == "" {
		images = filepath.Join(dir, "images")
		cmd := exec.Command("go", "run", "./test/images", "-out", images)
		cmd.Dir = repo
		if out, err := cmd.CombinedOutput(); err != nil {
			return 1, fmt.Errorf("assembling the test images: %w\n%s", err, out)
		}
	}
	node, err := nodeModules(filepath.Join(repo, "test", ".cache", "clients", "node"))
	if err != nil {
		return 1, err
	}
	netns := fmt.Sprintf("mhk-%d", os.Getpid())
	defer func() { _ = exec.Command("ip", "netns", "del", netns).Run() }()
	for _, args := range [][]string{
		{"netns", "add", netns},
		{"-n", netns, "link", "set", "lo", "up"},
		{"-n", netns, "link", "add", "up0", "type", "veth", "peer", "name", "up1"},
		{"-n", netns, "addr", "add", "192.0.2.10/24", "dev", "up0"},
		{"-n", netns, "link", "set", "up0", "up"},
		{"-n", netns, "link", "set", "up1", "up"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return 1, fmt.Errorf("ip %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	data := filepath.Join(dir, "data")
	enter := func(name string, args ...string) *exec.Cmd {
		return exec.Command("nsenter", append([]string{"--net=/run/netns/" + netns, name}, args...)...)
	}
	cmd := enter(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), netnsVariable+"="+netns, dataVariable+"="+data, binaryVariable+"="+binary, imagesVariable+"="+images, nodeVariable+"="+node)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	code, err := 0, cmd.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		code, err = max(1, exit.ExitCode()), nil
	}
	if out, resetErr := enter(binary, "reset", "--data-dir", data, "--yes").CombinedOutput(); resetErr != nil {
		err = errors.Join(err, fmt.Errorf("reset: %w\n%s", resetErr, out))
	}
	return code, err
}

// nodeModules installs the packages that node/package-lock.json names into a
// directory that is kept, unless they are there, and puts the scripts beside.
func nodeModules(dir string) (string, error) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("%s is missing (apt-get install nodejs npm): %w", program, err)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	files, err := filepath.Glob("node/*")
	if err != nil {
		return "", err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o644); err != nil {
			return "", err
		}
	}
	lock, err := os.ReadFile("node/package-lock.json")
	if err != nil {
		return "", err
	}
	stamp := filepath.Join(dir, "installed.json")
	if have, err := os.ReadFile(stamp); err == nil && bytes.Equal(have, lock) {
		return dir, nil
	}
	cmd := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return dir, os.WriteFile(stamp, lock, 0o644)
}

// kubeconfig is the administrator's, of the cluster all tests share.
var kubeconfig string

// inside starts the server and runs the tests.
func inside(m *testing.M) (code int, err error) {
	dir, binary := os.Getenv(dataVariable), os.Getenv(binaryVariable)
	kubeconfig = filepath.Join(dir, "admin.kubeconfig")
	// Helm keeps caches of its own
	for _, v := range []string{"HOME", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"} {
		if err := os.Setenv(v, dir+"-home"); err != nil {
			return 1, err
		}
	}
	if err := os.Setenv("KUBECONFIG", kubeconfig); err != nil {
		return 1, err
	}
	log := &announcement{ready: make(chan struct{})}
	cmd := exec.Command(binary, "server", "--data-dir", dir, "--node-name", "hull", "--ephemeral")
	cmd.Stderr = log
	// it ends with this process, however that ends; which the kernel takes to be
	// the thread
	runtime.LockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(maxEnd):
			_ = cmd.Process.Kill()
			<-exited
			err = errors.Join(err, errors.New("the server does not end on SIGTERM"))
		}
		if code != 0 {
			fmt.Fprintf(os.Stderr, "the server said:\n%s\n", log.tail())
		}
	}()
	select {
	case <-log.ready:
	case <-exited:
		return 1, errors.New("the server ended before it was ready")
	case <-time.After(maxStart):
		return 1, errors.New("the server does not become ready")
	}
	for _, image := range []string{"busybox", "nginx"} {
		archive := filepath.Join(os.Getenv(imagesVariable), image+".tar")
		if out, err := exec.Command(binary, "image", "import", "--data-dir", dir, archive).CombinedOutput(); err != nil {
			return 1, fmt.Errorf("importing %s: %w\n%s", image, err, out)
		}
	}
	return m.Run(), nil
}

// announcement keeps what the server says and notices that it is ready.
type announcement struct {
	ready chan struct{}
	once  sync.Once

	mu   sync.Mutex
	said []byte
}

// maxSaid bounds how much of the server's log is kept.
const maxSaid = 1 << 20

func (a *announcement) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.said = append(a.said, p...)
	if bytes.Contains(a.said, []byte("ready in ")) {
		a.once.Do(func() { close(a.ready) })
	}
	if len(a.said) > maxSaid {
		a.said = append([]byte(nil), a.said[len(a.said)-maxSaid/2:]...)
	}
	return len(p), nil
}

func (a *announcement) tail() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.said[max(0, len(a.said)-8000):]
}
