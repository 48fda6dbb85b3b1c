// Package script runs the end-to-end scripts in testdata: each on a cluster of
// its own, with real containers, in a network namespace made for it that has
// no way out.
//
// A script is in kubectl's words:
//
//	kubectl ARGS…            the built-in kubectl, as the administrator
//	until DURATION REGEXP kubectl ARGS…   again until the output matches
//	node PROGRAM ARGS…       a program on the node
//	load NAME FILE           a client fetches the URL in FILE without pause
//	unload NAME              stops it, and fails if any request failed
//	background NAME kubectl|node ARGS…    a program that goes on; its output is in NAME.out
//	end NAME                 ends it with SIGTERM
//	registry PORT [USER:PASSWORD]         a registry on loopback that has the test images
//	traces                   what a cluster may leave on a node: links, rules, mounts, groups, processes
//	server stop|kill|start   the server: SIGTERM, SIGKILL, start again
//
// Tests need root; they say so and fail where they have it not.
package script

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var binary string // the monohull under test

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the end-to-end scripts make namespaces and containers: run them as root")
		os.Exit(1)
	}
	if args := os.Getenv(loaderVariable); args != "" {
		os.Exit(loader(args))
	}
	if args := os.Getenv(registryVariable); args != "" {
		os.Exit(serveRegistry(args))
	}
	if dir := os.Getenv(tracesVariable); dir != "" {
		os.Exit(printTraces(dir))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "monohull-script")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if binary = os.Getenv("MONOHULL"); binary == "" {
		binary = filepath.Join(dir, "monohull")
		// kubectl refuses to tell a version that it was not built with
		build := exec.Command("go", "build", "-ldflags", "-X k8s.io/component-base/version.gitVersion=v1.36.3", "-o", binary, "github.com/monohull/monohull/cmd/monohull")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building monohull: %v\n%s", err, out)
			return 1
		}
	}
	if err := images(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// imagesDir holds the archives of busybox and nginx.
var imagesDir string

func images(dir string) error {
	if imagesDir = os.Getenv("MONOHULL_IMAGES"); imagesDir != "" {
		return nil
	}
	imagesDir = filepath.Join(dir, "images")
	out, err := exec.Command("go", "run", "github.com/monohull/monohull/test/images", "-out", imagesDir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("assembling the test images: %w\n%s", err, out)
	}
	return nil
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		Setup:               setup,
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		ContinueOnError:     os.Getenv("KEEP_GOING") != "",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"kubectl": kubectl, "until": until, "node": node, "load": load, "unload": unload, "server": server, "monohull": monohull,
			"background": background, "end": end, "registry": registryCommand, "traces": traces,
		},
	})
}

// clusterOf is the running server of a script.
type clusterOf struct {
	netns, dir string
	flags      []string
	cmd        *exec.Cmd
	log        *os.File
	exited     chan struct{}
	loads      map[string]*exec.Cmd
}

var count atomic.Int32

type key struct{}

func of(ts *testscript.TestScript) *clusterOf { return ts.Value(key{}).(*clusterOf) }

func setup(env *testscript.Env) error {
	n := count.Add(1)
	c := &clusterOf{
		netns: fmt.Sprintf("mhs-%d-%d", os.Getpid(), n), dir: filepath.Join(env.WorkDir, ".cluster"), loads: map[string]*exec.Cmd{},
	}
	env.Values[key{}] = c
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("KUBECONFIG", filepath.Join(c.dir, "admin.kubeconfig"))
	env.Setenv("NODE_IP", "192.0.2.10")
	env.Setenv("IMAGES", imagesDir)
	env.Setenv("DATA_DIR", c.dir)
	env.Setenv("MONOHULL", binary)
	repo, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	env.Setenv("REPO", repo)
	for _, args := range [][]string{
		{"netns", "add", c.netns},
		{"-n", c.netns, "link", "set", "lo", "up"},
		{"-n", c.netns, "link", "add", "up0", "type", "veth", "peer", "name", "up1"},
		{"-n", c.netns, "addr", "add", "192.0.2.10/24", "dev", "up0"},
		{"-n", c.netns, "link", "set", "up0", "up"},
		{"-n", c.netns, "link", "set", "up1", "up"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	env.Defer(func() { c.end(env) })
	if err := c.start(); err != nil {
		return err
	}
	for _, image := range []string{"busybox", "nginx"} {
		out, err := c.command(binary, "image", "import", "--data-dir", c.dir, filepath.Join(imagesDir, image+".tar")).CombinedOutput()
		if err != nil {
			return fmt.Errorf("importing %s: %w\n%s", image, err, out)
		}
	}
	return nil
}

// command prepares a program to run on the script's node.
func (c *clusterOf) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--net=/run/netns/" + c.netns, name}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(c.dir, "admin.kubeconfig"), "MONOHULL="+binary, "DATA_DIR="+c.dir)
	return cmd
}

// start starts the server and returns when it says that it is ready.
func (c *clusterOf) start() error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	var err error
	if c.log, err = os.OpenFile(c.dir+".log", os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600); err != nil {
		return err
	}
	c.cmd = c.command(binary, append([]string{"server", "--data-dir", c.dir, "--node-name", "hull"}, c.flags...)...)
	pr, pw, err := os.Pipe()
	if err != nil {
		return err
	}
	c.cmd.Stderr = pw
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		return err
	}
	pw.Close()
	ready := make(chan struct{})
	c.exited = make(chan struct{})
	var once sync.Once
	go func() {
		defer pr.Close()
		defer c.log.Close()
		buf, seen := make([]byte, 32<<10), []byte{}
		for {
			n, err := pr.Read(buf)
			_, _ = c.log.Write(buf[:n])
			if seen != nil {
				if seen = append(seen, buf[:n]...); bytes.Contains(seen, []byte("ready in ")) {
					once.Do(func() { close(ready) })
					seen = nil
				}
			}
			if err != nil {
				return
			}
		}
	}()
	exited := c.exited
	go func() { _ = c.cmd.Wait(); close(exited) }()
	select {
	case <-ready:
		return nil
	case <-exited:
		return errors.New("the server ended before it was ready:\n" + c.tail())
	case <-time.After(40 * time.Second):
		return errors.New("the server does not become ready:\n" + c.tail())
	}
}

func (c *clusterOf) tail() string {
	b, _ := os.ReadFile(c.dir + ".log")
	return string(b[max(0, len(b)-8000):])
}

func (c *clusterOf) signal(s syscall.Signal) error {
	if err := c.cmd.Process.Signal(s); err != nil {
		return err
	}
	select {
	case <-c.exited:
		return nil
	case <-time.After(20 * time.Second):
		return fmt.Errorf("the server does not end on %v", s)
	}
}

func (c *clusterOf) end(env *testscript.Env) {
	for _, l := range c.loads {
		_ = l.Process.Kill()
	}
	select {
	case <-c.exited:
	default:
		_ = c.signal(syscall.SIGKILL)
	}
	if t, ok := env.T().(interface{ Failed() bool }); ok && t.Failed() {
		env.T().Log("the server said:\n" + c.tail())
	}
	if out, err := c.command(binary, "reset", "--data-dir", c.dir, "--yes").CombinedOutput(); err != nil {
		env.T().Log(fmt.Sprintf("reset: %v\n%s", err, out))
		env.T().FailNow()
	}
	_ = exec.Command("ip", "netns", "del", c.netns).Run()
}

// exec runs a prepared program, keeps its output for stdout and stderr, and
// checks its success against what the script expects.
func execute(ts *testscript.TestScript, neg bool, args []string) {
	c := of(ts)
	err := ts.Exec("nsenter", append([]string{"--net=/run/netns/" + c.netns}, args...)...)
	if (err != nil) != neg {
		if neg {
			ts.Fatalf("%s succeeded", strings.Join(args, " "))
		}
		ts.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
}

func kubectl(ts *testscript.TestScript, neg bool, args []string) {
	execute(ts, neg, append([]string{binary, "kubectl"}, args...))
}

func monohull(ts *testscript.TestScript, neg bool, args []string) {
	execute(ts, neg, append([]string{binary}, args...))
}

func node(ts *testscript.TestScript, neg bool, args []string) { execute(ts, neg, args) }

// until runs a command again and again until its output matches. It is for
// what the cluster brings about in its own time; the bound is a failure's, not
// a wait's.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: until DURATION REGEXP kubectl|node ARGS...")
	}
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	want, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	rest := args[3:]
	if args[2] == "kubectl" {
		rest = append([]string{binary, "kubectl"}, rest...)
	}
	deadline := time.Now().Add(limit)
	for {
		cmd := of(ts).command(rest[0], rest[1:]...)
		cmd.Dir = ts.Getenv("WORK")
		out, _ := cmd.CombinedOutput()
		if want.Match(out) != neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("after %s the output does not (or does still) match %q:\n%s", limit, args[1], out)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func server(ts *testscript.TestScript, _ bool, args []string) {
	c := of(ts)
	if len(args) == 0 {
		ts.Fatalf("usage: server stop|kill|start [FLAGS]")
	}
	switch args[0] {
	case "stop":
		ts.Check(c.signal(syscall.SIGTERM))
	case "kill":
		ts.Check(c.signal(syscall.SIGKILL))
	case "start":
		c.flags = args[1:]
		ts.Check(c.start())
	default:
		ts.Fatalf("server %s: no such action", args[0])
	}
}

const loaderVariable = "MONOHULL_SCRIPT_LOAD"

// load starts a client on the node: this test binary in another role.
func load(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: load NAME FILE")
	}
	c := of(ts)
	self, err := os.Executable()
	ts.Check(err)
	cmd := c.command(self)
	cmd.Env = append(os.Environ(), loaderVariable+"="+strings.TrimSpace(ts.ReadFile(args[1])))
	cmd.Stdout = new(bytes.Buffer)
	ts.Check(cmd.Start())
	c.loads[args[0]] = cmd
}

func unload(ts *testscript.TestScript, neg bool, args []string) {
	c := of(ts)
	cmd := c.loads[args[0]]
	if cmd == nil {
		ts.Fatalf("no load is named %s", args[0])
	}
	delete(c.loads, args[0])
	ts.Check(cmd.Process.Signal(syscall.SIGTERM))
	err := cmd.Wait()
	ts.Check(ts.Exec("echo", fmt.Sprint(cmd.Stdout))) // for stdout
	if (err != nil) != neg {
		ts.Fatalf("the client %s: %v\n%s", args[0], err, cmd.Stdout)
	}
}

// maxLoad bounds what one client asks for, in time and count.
const (
	maxLoadTime     = 3 * time.Minute
	maxLoadRequests = 200000
)

// loader fetches a URL until it is told to end, a connection each, and fails
// where a request failed.
func loader(url string) int {
	ctx, cancel := context.WithTimeout(context.Background(), maxLoadTime)
	defer cancel()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	good, bad := 0, 0
	for good+bad < maxLoadRequests {
		select {
		case <-stop:
			fmt.Printf("%d requests answered, %d failed\n", good, bad)
			if bad > 0 || good == 0 {
				return 1
			}
			return 0
		case <-ctx.Done():
			fmt.Println("nobody ended this client")
			return 1
		default:
		}
		res, err := client.Get(url)
		if err == nil && res.StatusCode != http.StatusOK {
			err = errors.New(res.Status)
		}
		if res != nil {
			res.Body.Close()
		}
		if err != nil {
			bad++
			fmt.Printf("%s %v\n", time.Now().Format("15:04:05.000"), err)
		} else {
			good++
		}
		time.Sleep(2 * time.Millisecond) // a steady client, not a flood
	}
	fmt.Println("too many requests")
	return 1
}
