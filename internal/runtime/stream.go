package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/host/netns"
	"github.com/monohull/monohull/internal/runtime/protocol"
)

// maxExecSyncOutput bounds each of the streams that ExecSync returns.
const maxExecSyncOutput = 16 << 20

// Size is a terminal's size in characters.
type Size = protocol.Size

func readSpec(path string) (*specs.Spec, error) {
	var s specs.Spec
	if err := readJSON(path, &s); err != nil {
		return nil, fmt.Errorf("read container spec: %w", err)
	}
	return &s, nil
}

// ExecStream runs a command in a running container and returns its exit code. Streams may
// be nil. An end of ctx kills the command. stdin is read until it ends or the
// command does; a Read that is under way then is the caller's to end.
func (r *Runtime) ExecStream(ctx context.Context, containerID string, cmd []string, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan Size) (int, error) {
	c, err := r.runningContainer(ctx, containerID)
	if err != nil {
		return 0, err
	}
	if len(cmd) == 0 {
		return 0, errors.New("no command to execute")
	}
	s, err := readSpec(filepath.Join(c.dir, protocol.SpecFile))
	if err != nil {
		return 0, err
	}
	p := s.Process
	p.Args, p.Terminal, p.OOMScoreAdj = cmd, tty, nil
	if tty && !hasEnv(p.Env, "TERM") {
		p.Env = append(p.Env, "TERM=xterm")
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return 0, fmt.Errorf("encode process: %w", err)
	}
	req := &protocol.Request{Op: protocol.OpExec, ID: c.id, Exec: &protocol.Exec{Process: raw}}
	var ps pipes
	defer ps.close()
	if !tty {
		req.Exec.Stdin, req.Exec.Stdout, req.Exec.Stderr = stdin != nil, stdout != nil, stderr != nil
		if err := ps.open(stdin, stdout, stderr); err != nil {
			return 0, err
		}
	}
	conn, _, files, err := converse(ctx, c.sandbox.dir, req, ps.theirs...)
	ps.closeTheirs()
	if err != nil {
		return 0, fmt.Errorf("failed to exec in container: failed to start exec: %w", err)
	}
	defer conn.Close()
	if tty {
		if len(files) != 1 {
			protocol.CloseAll(files)
			return 0, errors.New("failed to exec in container: no terminal came back")
		}
		if err := ps.terminal(files[0], stdin, stdout); err != nil {
			return 0, err
		}
	}
	ps.run()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // kills the command
	defer stop()
	if resize != nil {
		ended := make(chan struct{})
		defer close(ended)
		go func() {
			for {
				select {
				case size, open := <-resize:
					if !open {
						return
					}
					ps.resize(size)
				case <-ended:
					return
				}
			}
		}()
	}
	var res protocol.Response
	if _, err := protocol.Read(conn, &res); err != nil {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return 0, fmt.Errorf("wait for command: %w", errShimGone)
	}
	ps.drain()
	if res.Exit == nil {
		return 0, errors.New("wait for command: the shim told no exit")
	}
	return res.Exit.Code, nil
}

func hasEnv(env []string, key string) bool {
	for _, kv := range env {
		if strings.HasPrefix(kv, key+"=") {
			return true
		}
	}
	return false
}

// ExecSync runs a command and returns what it said.
func (r *Runtime) ExecSync(ctx context.Context, req *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error) {
	parent := ctx
	if t := req.GetTimeout(); t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(t)*time.Second)
		defer cancel()
	}
	out, errOut := &capped{max: maxExecSyncOutput}, &capped{max: maxExecSyncOutput}
	code, err := r.ExecStream(ctx, req.GetContainerId(), req.GetCmd(), false, nil, out, errOut, nil)
	if err != nil {
		if ctx.Err() != nil && parent.Err() == nil {
			return nil, status.Errorf(codes.DeadlineExceeded, "failed to exec in container: timeout %s exceeded: context deadline exceeded", time.Duration(req.GetTimeout())*time.Second)
		}
		return nil, err
	}
	return &runtimeapi.ExecSyncResponse{Stdout: out.bytes(), Stderr: errOut.bytes(), ExitCode: int32(code)}, nil
}

// capped keeps the beginning of what is written and swallows the rest.
type capped struct {
	mu  sync.Mutex
	buf bytes.Buffer
	max int
}

func (c *capped) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if room := c.max - c.buf.Len(); room > 0 {
		c.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (c *capped) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.Bytes()
}

// AttachStream joins a running container's own streams until it ends, which is no
// error, or ctx does. Streams may be nil. With a terminal stderr stays silent.
func (r *Runtime) AttachStream(ctx context.Context, containerID string, stdin io.Reader, stdout, stderr io.Writer, resize <-chan Size) error {
	c, err := r.runningContainer(ctx, containerID)
	if err != nil {
		return err
	}
	if c.config.GetTty() {
		stderr = nil
	}
	var ps pipes
	defer ps.close()
	if err := ps.open(stdin, stdout, stderr); err != nil {
		return err
	}
	conn, _, _, err := converse(ctx, c.sandbox.dir, &protocol.Request{
		Op: protocol.OpAttach, ID: c.id,
		Attach: &protocol.Attach{Stdin: stdin != nil, Stdout: stdout != nil, Stderr: stderr != nil},
	}, ps.theirs...)
	ps.closeTheirs()
	if err != nil {
		return fmt.Errorf("failed to attach to container: %w", err)
	}
	defer conn.Close()
	ps.run()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if resize != nil {
		ended := make(chan struct{})
		defer close(ended)
		go func() {
			for {
				select {
				case size, open := <-resize:
					if !open {
						return
					}
					_ = protocol.Write(conn, &protocol.Request{Op: protocol.OpResize, ID: c.id, Size: &size})
				case <-ended:
					return
				}
			}
		}()
	}
	var res protocol.Response
	_, err = protocol.Read(conn, &res)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ps.drain()
	if err != nil {
		return fmt.Errorf("attached container: %w", errShimGone)
	}
	return nil
}

// pipes connect a caller's streams with descriptors that a process can hold.
type pipes struct {
	theirs []*os.File // to pass: stdin, stdout, stderr as far as wanted

	stdin   io.Reader
	stdinW  *os.File
	outputs []output
	wg      sync.WaitGroup
}

type output struct {
	from     *os.File
	to       io.Writer
	draining chan struct{}
}

func (ps *pipes) open(stdin io.Reader, stdout, stderr io.Writer) error {
	if stdin != nil {
		r, w, err := os.Pipe()
		if err != nil {
			return fmt.Errorf("open pipe: %w", err)
		}
		ps.theirs, ps.stdin, ps.stdinW = append(ps.theirs, r), stdin, w
	}
	for _, to := range []io.Writer{stdout, stderr} {
		if to == nil {
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return fmt.Errorf("open pipe: %w", err)
		}
		ps.theirs = append(ps.theirs, w)
		ps.outputs = append(ps.outputs, output{from: r, to: to, draining: make(chan struct{})})
	}
	return nil
}

// terminal takes the master of a pty for both directions.
func (ps *pipes) terminal(master *os.File, stdin io.Reader, stdout io.Writer) error {
	fd, err := unix.FcntlInt(master.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	_ = master.Close()
	if err != nil {
		return fmt.Errorf("take over terminal: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("take over terminal: %w", err)
	}
	master = os.NewFile(uintptr(fd), "terminal")
	if stdout == nil {
		stdout = io.Discard
	}
	ps.stdin, ps.stdinW = stdin, master
	ps.outputs = append(ps.outputs, output{from: master, to: stdout, draining: make(chan struct{})})
	return nil
}

func (ps *pipes) run() {
	if ps.stdin != nil {
		// Ends with the caller's stream, which nobody here can interrupt.
		go func(from io.Reader, to *os.File, shared bool) {
			_, _ = io.Copy(to, from)
			if !shared {
				_ = to.Close()
			}
		}(ps.stdin, ps.stdinW, len(ps.outputs) > 0 && ps.outputs[0].from == ps.stdinW)
	}
	for _, o := range ps.outputs {
		ps.wg.Go(o.copy)
	}
}

// copy hands output on until its end, or, once draining, until nothing is left to
// read: a process in the background may hold the other end for ever.
func (o output) copy() {
	buf := make([]byte, 32<<10)
	for {
		n, err := o.from.Read(buf)
		if n > 0 {
			if _, werr := o.to.Write(buf[:n]); werr != nil {
				_ = o.from.Close() // the caller's stream is closed: let the process know by SIGPIPE
				return
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			o.rest(buf)
			return
		}
		if err != nil {
			return
		}
	}
}

// rest reads what is in the pipe without waiting.
func (o output) rest(buf []byte) {
	raw, err := o.from.SyscallConn()
	if err != nil {
		return
	}
	for {
		n := 0
		_ = raw.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), buf) })
		if n <= 0 {
			return
		}
		if _, err := o.to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// drain says that the process is gone and waits for its last output to be handed on.
func (ps *pipes) drain() {
	for _, o := range ps.outputs {
		_ = o.from.SetReadDeadline(time.Now())
	}
	ps.wg.Wait()
}

func (ps *pipes) resize(size Size) {
	if ps.stdinW == nil {
		return
	}
	raw, err := ps.stdinW.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Height, Col: size.Width})
	})
}

func (ps *pipes) closeTheirs() {
	protocol.CloseAll(ps.theirs)
	ps.theirs = nil
}

func (ps *pipes) close() {
	ps.closeTheirs()
	if ps.stdinW != nil {
		_ = ps.stdinW.Close()
	}
	for _, o := range ps.outputs {
		_ = o.from.Close()
	}
	ps.wg.Wait()
}

// PortForwardStream connects a stream with a port on the pod's loopback, until the
// pod's side ends or ctx does. It closes neither side of the caller's stream.
func (r *Runtime) PortForwardStream(ctx context.Context, sandboxID string, port int32, stream io.ReadWriteCloser) error {
	if err := r.await(ctx); err != nil {
		return err
	}
	sb, err := r.sandbox(sandboxID)
	if err != nil {
		return err
	}
	if !sb.ready() {
		return fmt.Errorf("sandbox container %q is not running", sb.id)
	}
	if port <= 0 || port > 65535 {
		return fmt.Errorf("invalid port %d", port)
	}
	var conn net.Conn
	if sb.hostNetwork() {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("localhost:%d", port))
	} else {
		err = netns.Do(sb.record().Netns, func() error {
			conn, err = dialLoopback(int(port))
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("failed to execute portforward in network namespace %q: failed to connect to localhost:%d inside namespace %q: %w", sb.record().Netns, port, sb.id, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	go func() {
		// Ends with the caller's stream or the connection.
		_, _ = io.Copy(conn, stream)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}()
	if _, err := io.Copy(stream, conn); err != nil && ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("forward port %d: %w", port, err)
	}
	return context.Cause(ctx)
}

// dialLoopback connects on this very thread, whose network namespace it is. A
// loopback connection is made or refused at once.
func dialLoopback(port int) (net.Conn, error) {
	four := &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	six := &unix.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}}
	conn, err4 := dialRaw(unix.AF_INET, four)
	if err4 == nil {
		return conn, nil
	}
	conn, err6 := dialRaw(unix.AF_INET6, six)
	if err6 == nil {
		return conn, nil
	}
	return nil, fmt.Errorf("IPv4: dial tcp4 127.0.0.1:%d: connect: %w IPv6 dial tcp6 [::1]:%d: connect: %w", port, err4, port, err6)
}

func dialRaw(family int, addr unix.Sockaddr) (net.Conn, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "portforward")
	defer file.Close()
	if err := unix.Connect(fd, addr); err != nil {
		return nil, err
	}
	return net.FileConn(file)
}
