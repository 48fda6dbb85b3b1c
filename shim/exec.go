package main

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"time"

	"github.com/monohull/monohull/shim/protocol"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// exec runs a further process in a container. The process gets the client's own
// descriptors: no byte of its output passes through the shim.
func (s *server) exec(conn *net.UnixConn, req *protocol.Request, files []*os.File) {
	refuse := func(err error) {
		protocol.CloseAll(files)
		_ = protocol.Write(conn, failed(err))
	}
	c, err := s.container(req.ID)
	if err != nil {
		refuse(err)
		return
	}
	lc, _, err := c.live()
	if err != nil {
		refuse(err)
		return
	}
	if req.Exec == nil {
		refuse(protocol.Errorf(protocol.CodeInvalid, "exec without a process"))
		return
	}
	var spec specs.Process
	if err := json.Unmarshal(req.Exec.Process, &spec); err != nil {
		refuse(protocol.Errorf(protocol.CodeInvalid, "decode process: %v", err))
		return
	}
	proc, err := newProcess(&spec)
	if err != nil {
		refuse(err)
		return
	}
	var pty *ptyReceiver
	if spec.Terminal {
		if pty, err = newPtyReceiver(proc); err != nil {
			refuse(err)
			return
		}
	} else {
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			refuse(err)
			return
		}
		std, rest := [3]*os.File{null, null, null}, files
		for i, set := range []bool{req.Exec.Stdin, req.Exec.Stdout, req.Exec.Stderr} {
			if set && len(rest) > 0 {
				std[i], rest = rest[0], rest[1:]
				_ = unix.SetNonblock(int(std[i].Fd()), false) // programs expect blocking stdio
			}
		}
		files = append(files, null)
		proc.Stdin, proc.Stdout, proc.Stderr = std[0], std[1], std[2]
	}
	started := time.Now()
	var pid int
	err = s.reaper.during(func() (int, error) {
		if err := lc.Run(proc); err != nil {
			return 0, err
		}
		var err error
		pid, err = proc.Pid()
		return pid, err
	})
	if err != nil {
		if pty != nil {
			pty.close()
		}
		refuse(err)
		return
	}
	protocol.CloseAll(files)
	var console []*os.File
	if pty != nil {
		if master, err := pty.receive(); err == nil {
			console = append(console, master)
		}
	}
	err = protocol.Write(conn, &protocol.Response{Pid: pid}, console...)
	protocol.CloseAll(console)

	exited := make(chan *protocol.Exit, 1)
	go func() {
		state, _ := proc.Wait()
		s.reaper.forget(pid)
		exit := &protocol.Exit{Code: 255, StartedAt: started, FinishedAt: time.Now()}
		if state != nil {
			exit.Code, exit.Signal = exitStatus(state)
		}
		exited <- exit
	}()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = io.Copy(io.Discard, conn)
	}()
	if err != nil {
		_ = proc.Signal(unix.SIGKILL)
	}
	select {
	case exit := <-exited:
		_ = protocol.Write(conn, &protocol.Response{Exit: exit})
	case <-gone:
		_ = proc.Signal(unix.SIGKILL)
		<-exited
	}
	s.tidySoon()
}

// attach joins a client to a container's streams until the container ends or the
// client goes.
func (s *server) attach(conn *net.UnixConn, req *protocol.Request, files []*os.File) {
	c, err := s.container(req.ID)
	if err == nil {
		_, _, err = c.live()
	}
	if err == nil && req.Attach == nil {
		err = protocol.Errorf(protocol.CodeInvalid, "attach without streams")
	}
	if err != nil {
		protocol.CloseAll(files)
		_ = protocol.Write(conn, failed(err))
		return
	}
	var std [3]*os.File
	rest := files
	for i, set := range []bool{req.Attach.Stdin, req.Attach.Stdout, req.Attach.Stderr} {
		if set && len(rest) > 0 {
			fd, err := unix.FcntlInt(rest[0].Fd(), unix.F_DUPFD_CLOEXEC, 3)
			if err != nil {
				protocol.CloseAll(files)
				_ = protocol.Write(conn, failed(err))
				return
			}
			_ = unix.SetNonblock(fd, true) // so that Close ends a read under way
			std[i], rest = os.NewFile(uintptr(fd), "attached"), rest[1:]
		}
	}
	protocol.CloseAll(files)
	defer func() {
		for _, f := range std {
			if f != nil {
				_ = f.Close()
			}
		}
	}()
	if std[1] != nil {
		c.streams.stdout.add(std[1])
		defer c.streams.stdout.drop(std[1])
	}
	if std[2] != nil && !c.streams.terminal {
		c.streams.stderr.add(std[2])
		defer c.streams.stderr.drop(std[2])
	}
	if err := protocol.Write(conn, &protocol.Response{Pid: c.pid}); err != nil {
		return
	}
	if std[0] != nil {
		go c.streams.feed(std[0])
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			var next protocol.Request
			files, err := protocol.Read(conn, &next)
			protocol.CloseAll(files)
			if err != nil {
				return
			}
			if next.Op == protocol.OpResize && next.Size != nil {
				_ = c.streams.resize(*next.Size)
			}
		}
	}()
	select {
	case <-c.done:
		cs, _ := c.snapshot()
		_ = protocol.Write(conn, &protocol.Response{Exit: cs.Exit})
	case <-gone:
	}
}
