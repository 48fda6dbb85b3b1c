package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/monohull/monohull/shim/protocol"
	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// streams are the ends of a container's stdio that the shim holds.
type streams struct {
	terminal bool
	console  *os.File // the pty's master, with a terminal
	stdinW   *os.File // write end, with stdin and without a terminal
	outR     *os.File
	errR     *os.File
	child    []*os.File // the container's ends, closed once it runs
	pty      *ptyReceiver
	once     bool // close stdin after the first client's

	stdout, stderr fan
	pumps          sync.WaitGroup

	stdinMu sync.Mutex // guards stdinW's closing
}

// prepare opens the stdio of proc.
func (s *streams) prepare(proc *libcontainer.Process, terminal bool, req *protocol.Start) error {
	s.terminal, s.once = terminal, req.StdinOnce
	if terminal {
		pty, err := newPtyReceiver(proc)
		if err != nil {
			return err
		}
		s.pty = pty
		return nil
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open null device: %w", err)
	}
	s.child = append(s.child, null)
	proc.Stdin, proc.Stdout, proc.Stderr = null, null, null
	if req.Pause {
		return nil
	}
	var w *os.File
	if s.outR, w, err = os.Pipe(); err != nil {
		return fmt.Errorf("open stdout pipe: %w", err)
	}
	s.child, proc.Stdout = append(s.child, w), w
	if s.errR, w, err = os.Pipe(); err != nil {
		return fmt.Errorf("open stderr pipe: %w", err)
	}
	s.child, proc.Stderr = append(s.child, w), w
	if req.Stdin {
		var r *os.File
		if r, s.stdinW, err = os.Pipe(); err != nil {
			return fmt.Errorf("open stdin pipe: %w", err)
		}
		s.child, proc.Stdin = append(s.child, r), r
	}
	return nil
}

// started begins to pump output, now that the container has its ends.
func (s *streams) started(log *logFile) {
	protocol.CloseAll(s.child)
	s.child = nil
	if s.terminal {
		console, err := s.pty.receive()
		if err != nil {
			return
		}
		s.console = console
		s.pump(console, &liner{log: log, stream: "stdout", now: time.Now}, &s.stdout)
		return
	}
	if s.outR != nil {
		s.pump(s.outR, &liner{log: log, stream: "stdout", now: time.Now}, &s.stdout)
		s.pump(s.errR, &liner{log: log, stream: "stderr", now: time.Now}, &s.stderr)
	}
}

func (s *streams) pump(from *os.File, lines *liner, clients *fan) {
	s.pumps.Go(func() {
		readChunks(from, func(p []byte) {
			lines.write(p)
			clients.write(p)
		})
		lines.end()
		clients.end()
	})
}

// drain waits for the output to end, then closes what is left.
func (s *streams) drain(limit time.Duration) {
	done := make(chan struct{})
	go func() {
		s.pumps.Wait()
		close(done)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		// A client that does not read must not keep a dead container alive.
		s.stdout.end()
		s.stderr.end()
	}
	s.closeStdin()
	for _, f := range []*os.File{s.outR, s.errR, s.console} {
		if f != nil {
			_ = f.Close()
		}
	}
	<-done
}

// abort closes everything after a failed start.
func (s *streams) abort() {
	protocol.CloseAll(s.child)
	s.child = nil
	for _, f := range []*os.File{s.stdinW, s.outR, s.errR, s.console} {
		if f != nil {
			_ = f.Close()
		}
	}
	if s.pty != nil {
		s.pty.close()
	}
}

func (s *streams) closeStdin() {
	s.stdinMu.Lock()
	defer s.stdinMu.Unlock()
	if s.stdinW != nil {
		_ = s.stdinW.Close()
		s.stdinW = nil
	}
}

// feed copies a client's input to the container until either ends.
func (s *streams) feed(from io.Reader) {
	s.stdinMu.Lock()
	to := s.stdinW
	s.stdinMu.Unlock()
	if s.terminal {
		to = s.console
	}
	if to == nil {
		_, _ = io.Copy(io.Discard, from)
		return
	}
	_, _ = io.Copy(to, from)
	if s.once && !s.terminal {
		s.closeStdin()
	}
}

func (s *streams) resize(size protocol.Size) error {
	if s.console == nil {
		return protocol.Errorf(protocol.CodeInvalid, "the container has no terminal")
	}
	return setSize(s.console, size)
}

func setSize(f *os.File, size protocol.Size) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var ioErr error
	err = raw.Control(func(fd uintptr) {
		ioErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Height, Col: size.Width})
	})
	if err != nil {
		return err
	}
	return ioErr
}

// ptyReceiver takes the pty's master that libcontainer's init sends back from
// inside the container.
type ptyReceiver struct {
	parent, child int
	socket        *os.File
}

func newPtyReceiver(proc *libcontainer.Process) (*ptyReceiver, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open console socket: %w", err)
	}
	p := &ptyReceiver{parent: pair[0], socket: os.NewFile(uintptr(pair[1]), "console-socket")}
	proc.ConsoleSocket = p.socket
	return p, nil
}

func (p *ptyReceiver) close() {
	_ = p.socket.Close()
	_ = unix.Close(p.parent)
}

// receive returns the master. The process has started, so it was sent, or never
// will be: the closed socket tells.
func (p *ptyReceiver) receive() (*os.File, error) {
	defer p.close()
	_ = p.socket.Close()
	name := make([]byte, 4096)
	oob := make([]byte, unix.CmsgSpace(4))
	_, oobn, _, _, err := unix.Recvmsg(p.parent, name, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("receive console: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("receive console: no descriptor came")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("receive console: no descriptor came")
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fds[0]), "console"), nil
}
