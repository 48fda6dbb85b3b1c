// Command bench measures the figures of docs/PERFORMANCE.md: how fast a server
// starts, what it costs at rest, and what work through the API costs.
//
// It starts the server under test in a network namespace made for it, with no
// way out, on a data directory of its own, and removes both at the end. The
// measures are the load generator that upstream's figures were taken with, so
// that the two columns compare. Rates are per second of wall time; CPU is user
// and system time of the server and its shims per operation.
//
// With -kubeconfig and -pids it measures a server that runs already.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

var (
	monohull   = flag.String("monohull", "bin/monohull", "the server to start and measure")
	kubeconfig = flag.String("kubeconfig", "", "measure the running server of this kubeconfig instead")
	label      = flag.String("label", "monohull", "name printed with every figure")
	pids       = flag.String("pids", "", "comma-separated process ids of the running server")
	phases     = flag.String("phases", "start,idle,write,read,list,watch,run,deploy", "what to measure")
	count      = flag.Int("n", 3000, "objects per phase")
	workers    = flag.Int("c", 32, "concurrent clients")
	nodes      = flag.Int("nodes", 1000, "hollow nodes for deploy")
	watchers   = flag.Int("watchers", 200, "watch connections")
	crowdSize  = flag.Int("crowd", 1000, "watchers of the crowd phase")
	proto      = flag.Bool("proto", true, "protobuf on the wire (false: JSON)")
	image      = flag.String("image", "docker.io/library/busybox:latest", "image of the run phase, on the node, with sh in it")
	images     = flag.String("images", "", "archive of that image, imported before (default: assembled by test/images)")
	podCount   = flag.Int("pods", 20, "pods started at once in the run phase")
	timeout    = flag.Duration("timeout", 5*time.Minute, "bound on one phase")
	idle       = flag.Duration("idle", 20*time.Second, "how long the idle phase looks")
)

func main() {
	flag.Parse()
	if os.Getenv(insideVariable) == "" && *kubeconfig == "" {
		os.Exit(outside())
	}
	if err := measureAll(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

const insideVariable = "MONOHULL_BENCH_NETNS"

// outside runs this program again in a namespace without a way out.
func outside() int {
	name := fmt.Sprintf("mhbench-%d", os.Getpid())
	for _, args := range [][]string{
		{"netns", "add", name}, {"-n", name, "link", "set", "lo", "up"},
		{"-n", name, "link", "add", "up0", "type", "veth", "peer", "name", "up1"},
		{"-n", name, "addr", "add", "192.0.2.10/24", "dev", "up0"},
		{"-n", name, "link", "set", "up0", "up"}, {"-n", name, "link", "set", "up1", "up"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "bench: ip %s: %v\n%s", strings.Join(args, " "), err, out)
			return 1
		}
	}
	defer exec.Command("ip", "netns", "del", name).Run()
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	cmd := exec.Command("nsenter", append([]string{"--net=/run/netns/" + name, self}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), insideVariable+"="+name)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return 1
	}
	return 0
}

// server is the process under test.
type server struct {
	dir string
	cmd *exec.Cmd
}

func start(dir string) (*server, time.Time, error) {
	s := &server{dir: dir, cmd: exec.Command(*monohull, "server", "--data-dir", dir, "--node-name", "hull")}
	log, err := os.Create(dir + ".log")
	if err != nil {
		return nil, time.Time{}, err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	at := time.Now()
	return s, at, s.cmd.Start()
}

func (s *server) end() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
	if out, err := exec.Command(*monohull, "reset", "--data-dir", s.dir, "--yes").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: reset: %v\n%s", err, out)
	}
}

func measureAll() error {
	ctx := context.Background()
	want := strings.Split(*phases, ",")
	path := *kubeconfig
	if path == "" {
		tmp, err := os.MkdirTemp("", "monohull-bench")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		if *images == "" {
			*images = filepath.Join(tmp, "busybox.tar")
			if out, err := exec.Command("go", "run", "github.com/monohull/monohull/test/images", "-out", tmp, "busybox").CombinedOutput(); err != nil {
				return fmt.Errorf("assembling an image: %w\n%s", err, out)
			}
		}
		if want[0] == "start" {
			for range 3 {
				if err := startup(ctx, filepath.Join(tmp, "start")); err != nil {
					return err
				}
			}
			want = want[1:]
		}
		dir := filepath.Join(tmp, "data")
		s, _, err := start(dir)
		if err != nil {
			return err
		}
		defer s.end()
		*pids = strconv.Itoa(s.cmd.Process.Pid)
		path = filepath.Join(dir, "admin.kubeconfig")
		if _, err := waitReady(ctx, path); err != nil {
			return err
		}
		if out, err := exec.Command(*monohull, "image", "import", "--data-dir", dir, *images).CombinedOutput(); err != nil {
			return fmt.Errorf("importing the image: %w\n%s", err, out)
		}
	}
	cfg, err := clientConfig(path)
	if err != nil {
		return err
	}
	cs, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	emit("machine", map[string]any{"cores": runtime.NumCPU(), "go": runtime.Version()})
	const ns = "bench"
	_, _ = cs.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{})
	_, _ = cs.CoreV1().ServiceAccounts(ns).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	for _, phase := range want {
		pctx, cancel := context.WithTimeout(ctx, *timeout)
		switch phase {
		case "idle":
			atRest()
		case "write":
			write(pctx, cs, ns)
		case "read":
			read(pctx, cs, ns)
		case "list":
			list(pctx, cfg, cs, ns)
		case "watch":
			watchers_(pctx, cfg, cs, ns)
		case "bulk":
			bulk(pctx, cs, ns)
		case "crowd":
			crowd(pctx, cfg, cs, ns, *crowdSize)
		case "deploy":
			hollow(pctx, cs)
			deploy(pctx, cs, ns)
		case "run":
			run(pctx, cs, ns, 1)
			run(pctx, cs, ns, *podCount)
		default:
			cancel()
			return fmt.Errorf("there is no phase %q", phase)
		}
		cancel()
	}
	return nil
}

func clientConfig(path string) (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, err
	}
	cfg.QPS, cfg.Burst = -1, -1
	if *proto {
		cfg.ContentType = "application/vnd.kubernetes.protobuf"
		cfg.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	}
	return cfg, nil
}

// startup measures one start on an empty directory and one on the same again.
func startup(ctx context.Context, dir string) error {
	for _, kind := range []string{"first", "again"} {
		s, at, err := start(dir)
		if err != nil {
			return err
		}
		ready, err := waitReadyz(ctx)
		if err != nil {
			return err
		}
		node, err := waitReady(ctx, filepath.Join(dir, "admin.kubeconfig"))
		if err != nil {
			return err
		}
		emit("start", map[string]any{"start": kind, "readyz_ms": ms(ready.Sub(at)), "node_ready_ms": ms(node.Sub(at))})
		if kind == "again" {
			s.end()
		} else {
			_ = s.cmd.Process.Signal(syscall.SIGTERM)
			_ = s.cmd.Wait()
		}
	}
	return nil
}

func ms(d time.Duration) float64 { return round(float64(d.Microseconds()) / 1000) }

// waitReadyz asks until /readyz says ok.
func waitReadyz(ctx context.Context) (time.Time, error) {
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // the certificate is being made
	defer c.CloseIdleConnections()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://127.0.0.1:6443/readyz", nil)
		if err != nil {
			return time.Time{}, err
		}
		if res, err := c.Do(req); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return time.Now(), nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("the server does not become ready")
}

// waitReady asks until the node is ready and the default service account there.
func waitReady(ctx context.Context, path string) (time.Time, error) {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		cfg, err := clientConfig(path)
		if err != nil {
			continue
		}
		cs, err := kubernetes.NewForConfig(cfg)
		if err != nil {
			continue
		}
		for ; time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
			list, err := cs.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
			if err != nil {
				break
			}
			for _, n := range list.Items {
				for _, c := range n.Status.Conditions {
					if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
						if _, err := cs.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{}); err == nil {
							return time.Now(), nil
						}
					}
				}
			}
		}
	}
	return time.Time{}, fmt.Errorf("the node does not become ready")
}

// atRest measures memory and CPU of a server that has nothing to do.
func atRest() {
	time.Sleep(3 * time.Second)
	c0, t0 := cpu(), time.Now()
	time.Sleep(*idle)
	emit("idle", map[string]any{"rss_mb": rss(), "cpu_percent": round((cpu() - c0) / time.Since(t0).Seconds() * 100)})
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func emit(name string, m map[string]any) {
	m["what"], m["server"] = name, *label
	b, err := json.Marshal(m)
	must(err)
	fmt.Println(string(b))
}
