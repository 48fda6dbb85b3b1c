package runtime

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/monohull/monohull/internal/runtime/protocol"
)

// maxResubscribes bounds how often a live shim that breaks the subscription off is
// asked again before it counts as dead.
const maxResubscribes = 10

// followLocked starts the sandbox's follower; first is called once, when what the
// shim holds is known or the shim is known to be gone. Runtime.mu is held.
func (r *Runtime) followLocked(sb *sandbox, first func()) {
	if r.running == nil || r.running.Err() != nil {
		first()
		return
	}
	ctx := r.running
	r.wg.Go(func() { r.follow(ctx, sb, first) })
}

// follow keeps the sandbox's containers in step with its shim until ctx ends, the
// sandbox is stopped, or the shim dies.
func (r *Runtime) follow(ctx context.Context, sb *sandbox, first func()) {
	known := func() {
		if first != nil {
			first()
			first = nil
		}
	}
	defer known()
	for try := 0; try < maxResubscribes; try++ {
		conn, err := dialShim(sb.dir)
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, errShimGone) {
				r.log.Error("cannot reach the pod's shim", "sandbox", sb.id, "error", err)
			}
			break
		}
		alive := r.subscribed(ctx, sb, conn, known)
		_ = conn.Close()
		if ctx.Err() != nil {
			return
		}
		if !alive {
			break
		}
	}
	if ctx.Err() == nil && !sb.record().Stopped {
		r.shimDied(sb)
	}
}

// subscribed handles one subscription and reports whether the shim lives on.
func (r *Runtime) subscribed(ctx context.Context, sb *sandbox, conn *net.UnixConn, known func()) (alive bool) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := protocol.Write(conn, &protocol.Request{Op: protocol.OpSubscribe}); err != nil {
		return !errors.Is(err, unix.EPIPE)
	}
	pidfd := -1
	defer func() {
		if pidfd >= 0 {
			_ = unix.Close(pidfd)
		}
	}()
	for {
		var res protocol.Response
		files, err := protocol.Read(conn, &res)
		protocol.CloseAll(files)
		if err != nil {
			// The end of the connection is how a shim's death is noticed at once; the
			// pidfd tells whether it was that.
			return pidfd >= 0 && pidfdAlive(pidfd)
		}
		if res.State != nil {
			if pidfd, err = unix.PidfdOpen(res.State.Pid, 0); err != nil {
				return false
			}
			r.applyState(sb, res.State)
			known()
		}
		if res.Event != nil {
			r.applyEvent(sb, res.Event)
		}
	}
}

func (r *Runtime) container(id string) *container {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.containers[id]
}

// containersOf returns the sandbox's containers.
func (r *Runtime) containersOf(sandboxID string) []*container {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*container
	for _, c := range r.containers {
		if c.rec.SandboxID == sandboxID {
			out = append(out, c)
		}
	}
	return out
}

func (r *Runtime) applyState(sb *sandbox, state *protocol.State) {
	seen := map[string]bool{}
	for _, cs := range state.Containers {
		seen[cs.ID] = true
		if cs.Status == protocol.StatusRunning {
			r.started(sb, cs.ID, cs.Pid, cs.StartedAt, cs.Pause)
		} else if cs.Exit != nil {
			r.exited(sb, cs.ID, cs.Exit, cs.Pause)
		}
	}
	for _, c := range r.containersOf(sb.id) {
		if !seen[c.id] && c.state() == stateRunning {
			r.exited(sb, c.id, r.endOf(c), false)
		}
	}
	// Started before a crash, ended and deleted since, or never reached the shim.
	for _, c := range r.containersOf(sb.id) {
		if !seen[c.id] && c.wasStarted() && c.state() == stateCreated && !c.startUnderWay() {
			r.exited(sb, c.id, r.endOf(c), false)
		}
	}
}

// endOf finds how a container ended that no shim can tell about.
func (r *Runtime) endOf(c *container) *protocol.Exit {
	var exit protocol.Exit
	if err := readJSON(filepath.Join(c.dir, protocol.ExitFile), &exit); err == nil {
		return &exit
	} else if !errors.Is(err, os.ErrNotExist) {
		r.log.Warn("exit file is unreadable", "container", c.id, "error", err)
	}
	return unknownEnd()
}

// unknownEnd is what is said of a container whose end nobody saw.
func unknownEnd() *protocol.Exit {
	return &protocol.Exit{Code: unknownExitCode, Reason: reasonUnknown, FinishedAt: time.Now()}
}

func (r *Runtime) applyEvent(sb *sandbox, ev *protocol.Event) {
	switch ev.Type {
	case protocol.EventStarted:
		r.started(sb, ev.ID, ev.Pid, time.Now(), ev.Pause)
	case protocol.EventExited:
		r.exited(sb, ev.ID, ev.Exit, ev.Pause)
	}
}

func (r *Runtime) started(sb *sandbox, id string, pid int, at time.Time, pause bool) {
	if pause {
		sb.setPause(pid)
		return
	}
	if c := r.container(id); c != nil && c.becomeRunning(pid, at) {
		r.emit(ContainerStarted, sb.id, id)
	}
}

func (r *Runtime) exited(sb *sandbox, id string, exit *protocol.Exit, pause bool) {
	if pause {
		if !sb.expectsEnd() && sb.becomeDead() {
			r.log.Warn("the pod's init ended", "sandbox", sb.id, "code", exit.Code)
			r.emit(SandboxDied, sb.id, "")
		}
		return
	}
	if c := r.container(id); c != nil && c.becomeExited(exit) {
		r.log.Info("container exited", "container", id, "sandbox", sb.id, "code", exit.Code, "oomKilled", exit.OOMKilled)
		r.emit(ContainerExited, sb.id, id)
	}
}

// shimDied ends what the shim left behind: its containers have lost their parent,
// their streams and their exit codes. A shim that was told to go leaves nothing.
func (r *Runtime) shimDied(sb *sandbox) {
	first := sb.becomeDead() && !sb.expectsEnd()
	groups := []string{sb.cgroup()}
	for _, c := range r.containersOf(sb.id) {
		groups = append(groups, c.rec.Cgroup)
	}
	for _, group := range groups {
		if len(r.groups.Pids(group)) > 0 {
			r.log.Warn("killing what a dead shim left behind", "sandbox", sb.id, "cgroup", group)
			if err := r.groups.Kill(group); err != nil {
				r.log.Error("cannot kill what a dead shim left behind", "sandbox", sb.id, "error", err)
			}
		}
		if err := r.groups.Remove(group); err != nil {
			r.log.Warn("cannot remove control group", "sandbox", sb.id, "error", err)
		}
	}
	for _, c := range r.containersOf(sb.id) {
		if c.state() != stateExited {
			r.exited(sb, c.id, r.endOf(c), false)
		}
	}
	if first {
		r.log.Warn("sandbox is dead: its shim is gone", "sandbox", sb.id)
		r.emit(SandboxDied, sb.id, "")
	}
}
