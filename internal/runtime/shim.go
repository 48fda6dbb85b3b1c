package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/monohull/monohull/internal/runtime/protocol"
)

// shimDialTimeout bounds a connection to a socket on this machine.
const shimDialTimeout = 5 * time.Second

// errShimGone says that nobody listens on the sandbox's socket.
var errShimGone = errors.New("the pod's shim is gone")

// startShim starts a sandbox's helper in a session of its own. The listener is made
// here, so that the first connection needs no waiting.
func (r *Runtime) startShim(dir, id string) (pid int, err error) {
	short, done, err := shortPath(dir)
	if err != nil {
		return 0, err
	}
	defer done()
	socket := filepath.Join(short, protocol.SocketFile)
	_ = os.Remove(socket)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return 0, fmt.Errorf("listen for shim: %w", err)
	}
	listener.SetUnlinkOnClose(false)
	defer listener.Close()
	if err := os.Chmod(socket, 0o600); err != nil {
		return 0, fmt.Errorf("listen for shim: %w", err)
	}
	file, err := listener.File()
	if err != nil {
		return 0, fmt.Errorf("listen for shim: %w", err)
	}
	defer file.Close()
	log, err := os.OpenFile(filepath.Join(dir, protocol.LogFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return 0, fmt.Errorf("open shim log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(r.shim, "shim", id)
	cmd.Dir = dir
	cmd.Env = []string{"GOMAXPROCS=2", "PATH=" + os.Getenv("PATH")}
	cmd.Stderr = log
	cmd.ExtraFiles = []*os.File{file}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start shim: %w", err)
	}
	// Reaps it when it ends, if this process is still there then. Nothing waits for
	// this goroutine: it lives as long as the pod.
	go func() { _ = cmd.Wait() }()
	// The shim should be the last of its pod to go when memory runs out.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", cmd.Process.Pid), []byte("-998"), 0)
	return cmd.Process.Pid, nil
}

// shortPath gives a directory a name that fits a unix socket's address, which has
// room for 107 bytes only.
func shortPath(dir string) (string, func(), error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("open %s: %w", dir, err)
	}
	return "/proc/self/fd/" + strconv.Itoa(fd), func() { _ = unix.Close(fd) }, nil
}

func dialShim(dir string) (*net.UnixConn, error) {
	short, done, err := shortPath(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errShimGone, err)
	}
	defer done()
	conn, err := net.DialTimeout("unix", filepath.Join(short, protocol.SocketFile), shimDialTimeout)
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("%w: %w", errShimGone, err)
	} else if err != nil {
		return nil, fmt.Errorf("connect to shim: %w", err)
	}
	return conn.(*net.UnixConn), nil
}

// callShim does one short operation.
func callShim(ctx context.Context, dir string, req *protocol.Request) (*protocol.Response, error) {
	conn, res, files, err := converse(ctx, dir, req)
	if err != nil {
		return nil, err
	}
	protocol.CloseAll(files)
	_ = conn.Close()
	return res, nil
}

// converse sends a request and returns the first response with the connection. An
// end of ctx breaks off the exchange, not what follows it.
func converse(ctx context.Context, dir string, req *protocol.Request, pass ...*os.File) (*net.UnixConn, *protocol.Response, []*os.File, error) {
	conn, err := dialShim(dir)
	if err != nil {
		return nil, nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	fail := func(err error) (*net.UnixConn, *protocol.Response, []*os.File, error) {
		stop()
		_ = conn.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		} else if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
			err = errShimGone
		}
		return nil, nil, nil, err
	}
	if err := protocol.Write(conn, req, pass...); err != nil {
		return fail(fmt.Errorf("ask shim to %s: %w", req.Op, err))
	}
	var res protocol.Response
	files, err := protocol.Read(conn, &res)
	if err != nil {
		return fail(err)
	}
	if res.Error != nil {
		protocol.CloseAll(files)
		return fail(res.Error)
	}
	if !stop() {
		protocol.CloseAll(files)
		return fail(context.Cause(ctx))
	}
	return conn, &res, files, nil
}

// pidfdAlive reports whether the process behind a pidfd lives.
func pidfdAlive(fd int) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n == 0
}
