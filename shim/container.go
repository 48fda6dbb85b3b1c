package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/monohull/monohull/shim/protocol"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// drainTimeout bounds the wait for output after the container's init is dead: a
// process that kept the pipe may live on in another PID namespace.
const drainTimeout = time.Second

// container is one container and its state:
//
//	starting ──► running ──► exited
//	    └─► (forgotten: the start failed)
type container struct {
	srv *server
	id  string
	req *protocol.Start
	log *logFile

	// Set by start, constant after.
	spec       *specs.Spec
	lc         *libcontainer.Container
	proc       *libcontainer.Process
	pid        int
	privatePID bool
	streams    streams

	done chan struct{} // closed when exited

	mu        sync.Mutex // guards what follows
	startedAt time.Time
	running   bool
	exit      *protocol.Exit
}

func newContainer(srv *server, id string, req *protocol.Start) *container {
	return &container{srv: srv, id: id, req: req, done: make(chan struct{})}
}

// snapshot returns the state, or false while the container is starting.
func (c *container) snapshot() (protocol.ContainerState, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := protocol.ContainerState{ID: c.id, Pid: c.pid, StartedAt: c.startedAt, Pause: c.req.Pause, Exit: c.exit, Status: protocol.StatusRunning}
	if c.exit != nil {
		st.Status = protocol.StatusExited
	}
	return st, c.running || c.exit != nil
}

// start runs the container's process. Its error is worded as the caller shows it.
func (c *container) start() (warnings []string, err error) {
	body, err := os.ReadFile(filepath.Join(c.req.Dir, protocol.SpecFile))
	if err != nil {
		return nil, fmt.Errorf("read container spec: %w", err)
	}
	if err := json.Unmarshal(body, &c.spec); err != nil {
		return nil, fmt.Errorf("decode container spec: %w", err)
	}
	body = nil
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{
		CgroupName: c.id, Spec: c.spec, NoNewKeyring: false,
	})
	if err != nil {
		return nil, fmt.Errorf("convert container spec: %w", err)
	}
	c.privatePID = config.Namespaces.IsPrivate(configs.NEWPID)
	if warning := clampOOMScore(config); warning != "" {
		warnings = append(warnings, warning)
	}
	if c.log, err = openLog(c.req.LogPath); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.log.close()
			c.streams.abort()
		}
	}()
	if c.proc, err = newProcess(c.spec.Process); err != nil {
		return nil, err
	}
	c.proc.Init = true
	if err := c.streams.prepare(c.proc, c.spec.Process.Terminal, c.req); err != nil {
		return nil, err
	}
	if c.lc, err = libcontainer.Create(filepath.Join(c.srv.dir, protocol.StateDir), c.id, config); err != nil {
		return nil, fmt.Errorf("create container: %w", err)
	}
	err = c.srv.reaper.during(func() (int, error) {
		if err := c.lc.Run(c.proc); err != nil {
			return 0, err
		}
		return c.proc.Pid()
	})
	if err != nil {
		if c.proc != nil {
			// A failure after the process was there leaves it to be killed and reaped.
			if pid, pidErr := c.proc.Pid(); pidErr == nil && pid > 0 {
				_ = c.proc.Signal(unix.SIGKILL)
				_, _ = c.proc.Wait()
			}
		}
		if destroyErr := c.lc.Destroy(); destroyErr != nil {
			logrus.Warnf("container %s: clean up after failed start: %v", c.id, destroyErr)
			_ = os.RemoveAll(filepath.Join(c.srv.dir, protocol.StateDir, c.id))
		}
		return nil, err
	}
	c.spec = nil // libcontainer has its own form of it
	c.streams.started(c.log)
	pid, _ := c.proc.Pid()
	c.srv.change(func() *protocol.Event {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.pid, c.startedAt, c.running = pid, time.Now(), true
		return &protocol.Event{Type: protocol.EventStarted, ID: c.id, Pid: pid, Pause: c.req.Pause}
	})
	go c.wait()
	return warnings, nil
}

// wait follows the container to its end and leaves the exit file.
func (c *container) wait() {
	state, err := c.proc.Wait()
	finished := time.Now()
	c.srv.reaper.forget(c.pid)
	exit := &protocol.Exit{Code: 255, FinishedAt: finished}
	if state != nil {
		exit.Code, exit.Signal = exitStatus(state)
	} else {
		logrus.Errorf("container %s: wait: %v", c.id, err)
	}
	if !c.privatePID {
		// The kernel ends a PID namespace with its init; here nobody did.
		if err := c.lc.Signal(unix.SIGKILL); err != nil && !errors.Is(err, libcontainer.ErrNotRunning) {
			logrus.Warnf("container %s: kill the rest: %v", c.id, err)
		}
	}
	exit.OOMKilled = c.oomKills() > 0
	c.streams.drain(drainTimeout)
	c.log.close()
	if err := c.lc.Destroy(); err != nil {
		logrus.Warnf("container %s: %v", c.id, err)
	}
	c.mu.Lock()
	exit.StartedAt = c.startedAt
	c.mu.Unlock()
	if err := writeExit(c.req.Dir, exit); err != nil {
		logrus.Errorf("container %s: %v", c.id, err)
	}
	// What only a running container needs.
	c.srv.change(func() *protocol.Event {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.exit, c.running = exit, false
		c.lc, c.proc = nil, nil
		return &protocol.Event{Type: protocol.EventExited, ID: c.id, Pid: c.pid, Pause: c.req.Pause, Exit: exit}
	})
	close(c.done)
}

// live returns libcontainer's objects, or a refusal if the container is not running.
func (c *container) live() (*libcontainer.Container, *libcontainer.Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.running {
		return nil, nil, protocol.Errorf(protocol.CodeNotRunning, "container %s is not running", c.id)
	}
	return c.lc, c.proc, nil
}

func (c *container) kill(signal int, all bool) error {
	lc, proc, err := c.live()
	if err != nil {
		return err
	}
	if all || (unix.Signal(signal) == unix.SIGKILL && !c.privatePID) {
		err = lc.Signal(unix.Signal(signal))
	} else {
		err = proc.Signal(unix.Signal(signal))
	}
	if errors.Is(err, os.ErrProcessDone) || errors.Is(err, libcontainer.ErrNotRunning) || errors.Is(err, unix.ESRCH) {
		return protocol.Errorf(protocol.CodeNotRunning, "container %s has ended", c.id)
	}
	return err
}

// update applies new limits to the running container.
func (c *container) update(raw json.RawMessage) error {
	lc, _, err := c.live()
	if err != nil {
		return err
	}
	var want specs.LinuxResources
	if err := json.Unmarshal(raw, &want); err != nil {
		return protocol.Errorf(protocol.CodeInvalid, "decode resources: %v", err)
	}
	config := lc.Config()
	applyResources(&config, &want)
	err = lc.Set(config)
	config.Cgroups.SkipDevices = false // it is shared with lc, which runs nothing more with it set
	return err
}

func (c *container) resize(size *protocol.Size) error {
	if _, _, err := c.live(); err != nil {
		return err
	}
	if size == nil {
		return protocol.Errorf(protocol.CodeInvalid, "resize without a size")
	}
	return c.streams.resize(*size)
}

// oomKills reads how many of the container's processes the kernel killed for want
// of memory. The counter dies with the cgroup, so this comes before Destroy.
func (c *container) oomKills() uint64 {
	state, err := c.lc.State()
	if err != nil {
		return 0
	}
	// Where both generations are mounted, the memory controller is in the older one.
	path := ""
	if dir := state.CgroupPaths["memory"]; dir != "" {
		path = filepath.Join(dir, "memory.oom_control")
	} else if dir := state.CgroupPaths[""]; dir != "" {
		path = filepath.Join(dir, "memory.events")
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			return n
		}
	}
	return 0
}

func exitStatus(state *os.ProcessState) (code, signal int) {
	status, ok := state.Sys().(interface {
		Signaled() bool
		Signal() unix.Signal
		ExitStatus() int
	})
	if !ok {
		return 255, 0
	}
	if status.Signaled() {
		return 128 + int(status.Signal()), int(status.Signal())
	}
	return status.ExitStatus(), 0
}

// writeExit leaves the exit file, whole or not at all.
func writeExit(dir string, exit *protocol.Exit) error {
	body, err := json.Marshal(exit)
	if err != nil {
		return fmt.Errorf("encode exit: %w", err)
	}
	path := filepath.Join(dir, protocol.ExitFile)
	if err := os.WriteFile(path+".tmp", body, 0o600); err != nil {
		return fmt.Errorf("write exit file: %w", err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("write exit file: %w", err)
	}
	return nil
}

// clampOOMScore drops a score the kernel would refuse: without CAP_SYS_RESOURCE no
// process may go below what it inherited. Trying on oneself is the only way to ask.
func clampOOMScore(config *configs.Config) string {
	if config.OomScoreAdj == nil {
		return ""
	}
	const path = "/proc/self/oom_score_adj"
	body, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	own, err := strconv.Atoi(strings.TrimSpace(string(body)))
	if err != nil || *config.OomScoreAdj >= own {
		return ""
	}
	err = os.WriteFile(path, []byte(strconv.Itoa(*config.OomScoreAdj)), 0)
	if err == nil {
		_ = os.WriteFile(path, []byte(strconv.Itoa(own)), 0)
		return ""
	}
	warning := fmt.Sprintf("oom_score_adj %d was refused, the container runs with %d: %v", *config.OomScoreAdj, own, err)
	config.OomScoreAdj = &own
	return warning
}
