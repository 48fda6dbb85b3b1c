package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/runtime/protocol"
	"github.com/monohull/monohull/internal/runtime/rootfs"
)

// killPatience bounds the wait for a killed container to be gone.
const killPatience = 2 * time.Minute

// StartContainer runs a created container's process.
func (r *Runtime) StartContainer(ctx context.Context, req *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	c, err := r.lookup(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	c.op.Lock()
	defer c.op.Unlock()
	if st := c.state(); st != stateCreated {
		return nil, fmt.Errorf("container %q is in %s state", c.id, c.criState())
	}
	if !c.sandbox.ready() {
		return nil, fmt.Errorf("sandbox container %q is not running", c.sandbox.id)
	}
	if err := r.joinTarget(c); err != nil {
		return nil, err
	}
	if c.rec.LogPath != "" {
		if err := os.MkdirAll(filepath.Dir(c.rec.LogPath), 0o755); err != nil {
			return nil, fmt.Errorf("create log directory: %w", err)
		}
	}
	c.setStarting(true)
	defer c.setStarting(false)
	if err := writeJSON(filepath.Join(c.dir, "container.json"), &c.rec); err != nil {
		return nil, fmt.Errorf("write container record: %w", err)
	}
	// A start is not broken off half way: what the shim does not answer is not known.
	res, err := callShim(context.WithoutCancel(ctx), c.sandbox.dir, &protocol.Request{
		Op: protocol.OpStart, ID: c.id,
		Start: &protocol.Start{
			Dir: c.dir, LogPath: c.rec.LogPath,
			Stdin: c.config.GetStdin(), StdinOnce: c.config.GetStdinOnce(),
		},
	})
	if err != nil {
		return nil, r.startFailed(c, err)
	}
	for _, w := range res.Warnings {
		r.warnOnce(w, c.id)
	}
	if c.becomeRunning(res.Pid, time.Now()) {
		r.emit(ContainerStarted, c.sandbox.id, c.id)
	}
	r.log.Info("container started", "container", c.id, "name", c.config.GetMetadata().GetName(), "pid", res.Pid)
	return &runtimeapi.StartContainerResponse{}, nil
}

// warnOnce tells what the kernel refuses here, when it first does.
func (r *Runtime) warnOnce(warning, containerID string) {
	if _, told := r.warned.LoadOrStore(warning, true); !told {
		r.log.Warn(warning, "container", containerID)
	}
}

// startFailed leaves the container as ended, with the reason kubectl shows.
func (r *Runtime) startFailed(c *container, cause error) error {
	now := time.Now()
	err := fmt.Errorf("failed to start container %q: %w", c.config.GetMetadata().GetName(), cause)
	exit := &protocol.Exit{Code: startErrorExitCode, Reason: reasonStartError, Message: err.Error(), FinishedAt: now}
	if saveErr := writeJSON(filepath.Join(c.dir, protocol.ExitFile), exit); saveErr != nil {
		r.log.Warn("cannot write exit file", "container", c.id, "error", saveErr)
	}
	if c.becomeExited(exit) {
		r.emit(ContainerExited, c.sandbox.id, c.id)
	}
	return err
}

// joinTarget points the spec at the PID namespace of the container that this one is
// to debug, whose pid is not known before.
func (r *Runtime) joinTarget(c *container) error {
	opts := c.config.GetLinux().GetSecurityContext().GetNamespaceOptions()
	if opts.GetPid() != runtimeapi.NamespaceMode_TARGET {
		return nil
	}
	target, err := r.lookup(opts.GetTargetId())
	if err != nil {
		return fmt.Errorf("invalid target container: %w", err)
	}
	target.mu.Lock()
	pid, running := target.pid, target.st == stateRunning
	target.mu.Unlock()
	if target.sandbox != c.sandbox || !running {
		return fmt.Errorf("invalid target container: container %q is not running in this pod", target.id)
	}
	path := filepath.Join(c.dir, protocol.SpecFile)
	s, err := readSpec(path)
	if err != nil {
		return err
	}
	for i := range s.Linux.Namespaces {
		if s.Linux.Namespaces[i].Type == "pid" {
			s.Linux.Namespaces[i].Path = fmt.Sprintf("/proc/%d/ns/pid", pid)
		}
	}
	if err := writeJSON(path, s); err != nil {
		return fmt.Errorf("write container spec: %w", err)
	}
	return nil
}

// StopContainer asks the container to end and, when its time is up, makes it.
func (r *Runtime) StopContainer(ctx context.Context, req *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	c, err := r.lookup(req.GetContainerId())
	if isNotFound(err) {
		return &runtimeapi.StopContainerResponse{}, nil
	} else if err != nil {
		return nil, err
	}
	if c.state() != stateRunning {
		return &runtimeapi.StopContainerResponse{}, nil
	}
	if timeout := time.Duration(req.GetTimeout()) * time.Second; timeout > 0 {
		if err := r.signal(ctx, c, stopSignal(c)); err != nil {
			return nil, fmt.Errorf("failed to stop container %q: %w", c.id, err)
		}
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		select {
		case <-c.done:
			return &runtimeapi.StopContainerResponse{}, nil
		case <-timer.C:
			r.log.Info("container did not stop in time and is killed", "container", c.id, "timeout", timeout)
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for container %q to stop: %w", c.id, context.Cause(ctx))
		}
	}
	if err := r.killContainer(ctx, c); err != nil {
		return nil, err
	}
	return &runtimeapi.StopContainerResponse{}, nil
}

// killContainer ends a running container at once and waits until it is gone.
func (r *Runtime) killContainer(ctx context.Context, c *container) error {
	if c.state() != stateRunning {
		return nil
	}
	if err := r.signal(ctx, c, unix.SIGKILL); err != nil {
		return fmt.Errorf("failed to kill container %q: %w", c.id, err)
	}
	timer := time.NewTimer(killPatience)
	defer timer.Stop()
	select {
	case <-c.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("an error occurs during waiting for container %q to be killed: it did not end in %s", c.id, killPatience)
	case <-ctx.Done():
		return fmt.Errorf("wait for container %q to be killed: %w", c.id, context.Cause(ctx))
	}
}

// signal sends one; a container that is gone has had it.
func (r *Runtime) signal(ctx context.Context, c *container, sig unix.Signal) error {
	_, err := callShim(ctx, c.sandbox.dir, &protocol.Request{Op: protocol.OpKill, ID: c.id, Signal: int(sig)})
	switch code := protocol.CodeOf(err); {
	case err == nil, code == protocol.CodeNotRunning, code == protocol.CodeNotFound, errors.Is(err, errShimGone):
		return nil
	}
	return err
}

// stopSignal is the pod's choice, or the image's, or SIGTERM.
func stopSignal(c *container) unix.Signal {
	name := c.rec.StopSignal
	if s := c.config.GetStopSignal(); s != runtimeapi.Signal_RUNTIME_DEFAULT {
		name = s.String()
	}
	if sig, ok := parseSignal(name); ok {
		return sig
	}
	return unix.SIGTERM
}

// parseSignal reads a signal as images and the CRI write it: 15, TERM, SIGTERM,
// SIGRTMIN+3, SIGRTMINPLUS3.
func parseSignal(name string) (unix.Signal, bool) {
	name = strings.ToUpper(strings.TrimSpace(name))
	if name == "" {
		return 0, false
	}
	var n int
	if _, err := fmt.Sscanf(name, "%d", &n); err == nil && n > 0 && n <= 64 {
		return unix.Signal(n), true
	}
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	name = strings.NewReplacer("PLUS", "+", "MINUS", "-").Replace(name)
	const rtmin, rtmax = 34, 64
	if rest, ok := strings.CutPrefix(name, "SIGRTMIN"); ok {
		if _, err := fmt.Sscanf(rest, "+%d", &n); rest != "" && err != nil {
			return 0, false
		}
		return unix.Signal(rtmin + n), rtmin+n <= rtmax
	}
	if rest, ok := strings.CutPrefix(name, "SIGRTMAX"); ok {
		if _, err := fmt.Sscanf(rest, "-%d", &n); rest != "" && err != nil {
			return 0, false
		}
		return unix.Signal(rtmax - n), rtmax-n >= rtmin
	}
	sig := unix.SignalNum(name)
	return sig, sig != 0
}

// RemoveContainer removes it; a running one is killed.
func (r *Runtime) RemoveContainer(ctx context.Context, req *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	c, err := r.lookup(req.GetContainerId())
	if isNotFound(err) {
		return &runtimeapi.RemoveContainerResponse{}, nil
	} else if err != nil {
		return nil, err
	}
	if err := r.removeContainer(ctx, c); err != nil {
		return nil, fmt.Errorf("failed to remove container %q: %w", c.id, err)
	}
	return &runtimeapi.RemoveContainerResponse{}, nil
}

func (r *Runtime) removeContainer(ctx context.Context, c *container) error {
	c.op.Lock()
	defer c.op.Unlock()
	if err := r.killContainer(ctx, c); err != nil {
		return err
	}
	_, err := callShim(ctx, c.sandbox.dir, &protocol.Request{Op: protocol.OpDelete, ID: c.id})
	if code := protocol.CodeOf(err); err != nil && code != protocol.CodeNotFound && !errors.Is(err, errShimGone) {
		return err
	}
	if err := r.clearContainer(c); err != nil {
		return err
	}
	r.mu.Lock()
	_, there := r.containers[c.id]
	delete(r.containers, c.id)
	r.mu.Unlock()
	r.release(containerName(c.config.GetMetadata(), c.sandbox.config.GetMetadata()), c.id)
	if there {
		r.emit(ContainerDeleted, c.sandbox.id, c.id)
	}
	if _, err := r.images.Find(c.rec.ImageID); err != nil {
		// Its image went before it did; now the layers can go too.
		if err := r.images.Collect(ctx); err != nil {
			r.log.Warn("cannot remove unused layers", "error", err)
		}
	}
	return nil
}

// clearContainer takes its mounts and files away.
func (r *Runtime) clearContainer(c *container) error {
	err := rootfs.Unmount(filepath.Join(c.dir, "rootfs"))
	for i := range c.config.GetMounts() {
		if c.config.GetMounts()[i].GetImage().GetImage() != "" {
			err = errors.Join(err, rootfs.Unmount(filepath.Join(c.dir, "image-volumes", fmt.Sprint(i))))
		}
	}
	if err != nil {
		return err
	}
	return removeDir(c.dir)
}

// ReopenContainerLog makes the shim go on in a new file, after a rotation.
func (r *Runtime) ReopenContainerLog(ctx context.Context, req *runtimeapi.ReopenContainerLogRequest) (*runtimeapi.ReopenContainerLogResponse, error) {
	c, err := r.runningContainer(ctx, req.GetContainerId())
	if err != nil {
		return nil, err
	}
	if _, err := callShim(ctx, c.sandbox.dir, &protocol.Request{Op: protocol.OpReopenLog, ID: c.id}); err != nil {
		return nil, fmt.Errorf("failed to reopen log of container %q: %w", c.id, err)
	}
	return &runtimeapi.ReopenContainerLogResponse{}, nil
}
