package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// cluster is a Monohull of its own in a network namespace that leads nowhere.
type cluster struct {
	monohull, netns, dir, log string

	cmd      *exec.Cmd
	exited   chan struct{}
	registry *exec.Cmd
}

// Bounds of starting and ending.
const (
	maxStart = 60 * time.Second
	maxEnd   = 60 * time.Second
)

func newCluster(monohull, logs string) (*cluster, error) {
	if _, err := os.Stat(monohull); err != nil {
		return nil, fmt.Errorf("the binary under test: %w (make build)", err)
	}
	dir, err := os.MkdirTemp("", "monohull-conformance-")
	if err != nil {
		return nil, err
	}
	return &cluster{monohull: monohull, netns: fmt.Sprintf("mhc-%d", os.Getpid()), dir: dir, log: filepath.Join(logs, "server.log")}, nil
}

func (c *cluster) kubeconfig() string { return filepath.Join(c.dir, "admin.kubeconfig") }

// command prepares a program to run on the cluster's node.
func (c *cluster) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + c.netns, name}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// start makes the namespace, starts the server and imports images.
func (c *cluster) start(ctx context.Context, archives []string) error {
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
	if err := c.pretend(archives); err != nil {
		return fmt.Errorf("start the registry: %w", err)
	}
	if err := c.serve(); err != nil {
		return err
	}
	for _, a := range archives {
		if out, err := c.command(ctx, c.monohull, "image", "import", "--data-dir", c.dir, a).CombinedOutput(); err != nil {
			return fmt.Errorf("import %s: %w\n%s", filepath.Base(a), err, out)
		}
	}
	return nil
}

func (c *cluster) certificate() string { return filepath.Join(c.dir, "registry.pem") }

// pretend starts the registry, this program in another role, on the node.
func (c *cluster) pretend(archives []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c.registry = c.command(context.Background(), self, archives...)
	c.registry.Env = append(c.registry.Env, registryVariable+"="+c.certificate())
	c.registry.Stderr = os.Stderr
	out, err := c.registry.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.registry.Start(); err != nil {
		return err
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return fmt.Errorf("it said %q and ended: %w", line, err)
	}
	return nil
}

// serve starts the server and returns when it says that it is ready.
func (c *cluster) serve() error {
	log, err := os.Create(c.log)
	if err != nil {
		return err
	}
	ready := make(chan struct{})
	c.cmd = c.command(context.Background(), c.monohull, "server", "--data-dir", c.dir, "--node-name", "hull", "--ephemeral")
	c.cmd.Env = append(c.cmd.Env, "HTTPS_PROXY=http://"+registryAddress, "NO_PROXY=localhost,127.0.0.1,192.0.2.0/24,10.0.0.0/8,.svc,.local",
		"SSL_CERT_FILE="+c.certificate())
	c.cmd.Stderr = &announcement{log: log, ready: ready}
	if err := c.cmd.Start(); err != nil {
		log.Close()
		return err
	}
	c.exited = make(chan struct{})
	go func() {
		_ = c.cmd.Wait()
		log.Close()
		close(c.exited)
	}()
	select {
	case <-ready:
		return nil
	case <-c.exited:
		return fmt.Errorf("the server ended before it was ready: see %s", c.log)
	case <-time.After(maxStart):
		return fmt.Errorf("the server does not become ready: see %s", c.log)
	}
}

// announcement writes the log on and notices that the server is ready.
type announcement struct {
	log   *os.File
	ready chan struct{}
	once  sync.Once
	seen  []byte
	done  bool
}

func (a *announcement) Write(p []byte) (int, error) {
	if !a.done {
		if a.seen = append(a.seen, p...); bytes.Contains(a.seen, []byte("ready in ")) {
			a.done, a.seen = true, nil
			a.once.Do(func() { close(a.ready) })
		}
	}
	return a.log.Write(p)
}

// end stops the server and removes every trace of the cluster.
func (c *cluster) end() error {
	var errs []error
	if c.registry != nil && c.registry.Process != nil {
		_ = c.registry.Process.Kill()
		_ = c.registry.Wait()
	}
	if c.exited != nil {
		_ = c.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-c.exited:
		case <-time.After(maxEnd):
			errs = append(errs, errors.New("the server does not end on SIGTERM"))
			_ = c.cmd.Process.Kill()
			<-c.exited
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*maxEnd)
	defer cancel()
	if out, err := c.command(ctx, c.monohull, "reset", "--data-dir", c.dir, "--yes").CombinedOutput(); err != nil {
		errs = append(errs, fmt.Errorf("reset: %w\n%s", err, out))
	}
	_ = exec.Command("ip", "netns", "del", c.netns).Run()
	_ = os.Remove(c.dir)
	return errors.Join(errs...)
}
