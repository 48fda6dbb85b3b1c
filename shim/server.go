package main

import (
	"errors"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"time"

	"github.com/monohull/monohull/shim/protocol"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// tidyAfter is how long the shim rests before it gives memory back: starting a
// process leaves garbage of many times what the shim holds, and the next start may
// follow at once.
const tidyAfter = time.Second

// subscriberTimeout bounds how long a subscriber may take to accept one event.
const subscriberTimeout = 10 * time.Second

type server struct {
	id       string
	dir      string
	listener *net.UnixListener
	reaper   *reaper
	tidy     *time.Timer

	mu         sync.Mutex // guards what follows
	containers map[string]*container
	subs       map[*subscriber]struct{}
	closing    bool
}

func newServer(id, dir string, listener *net.UnixListener) *server {
	return &server{
		id: id, dir: dir, listener: listener,
		reaper:     newReaper(),
		tidy:       time.AfterFunc(tidyAfter, debug.FreeOSMemory),
		containers: map[string]*container{},
		subs:       map[*subscriber]struct{}{},
	}
}

// serve accepts connections until a shutdown was asked for and granted.
func (s *server) serve() error {
	// A terminal's hangup or a stray TERM must not orphan a pod: only a shutdown
	// request ends the shim. They are taken and dropped, not ignored: containers
	// would inherit that.
	dropped := make(chan os.Signal, 1)
	signal.Notify(dropped, unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGPIPE)
	go s.reaper.run()
	for {
		conn, err := s.listener.AcceptUnix()
		if err != nil {
			s.mu.Lock()
			closing := s.closing
			s.mu.Unlock()
			if closing {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			logrus.Warnf("accept: %v", err)
			time.Sleep(10 * time.Millisecond) // out of descriptors, most likely
			continue
		}
		go s.converse(conn)
	}
}

// converse answers one connection's requests, one after the other.
func (s *server) converse(conn *net.UnixConn) {
	defer conn.Close()
	for {
		var req protocol.Request
		files, err := protocol.Read(conn, &req)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, unix.ECONNRESET) {
				logrus.Warnf("read request: %v", err)
			}
			return
		}
		switch req.Op {
		case protocol.OpExec:
			s.exec(conn, &req, files)
			return
		case protocol.OpAttach:
			s.attach(conn, &req, files)
			return
		case protocol.OpSubscribe:
			protocol.CloseAll(files)
			s.subscribe(conn)
			return
		}
		protocol.CloseAll(files)
		res, err := s.handle(&req)
		if err != nil {
			res = failed(err)
		}
		if err := protocol.Write(conn, res); err != nil {
			return
		}
		if req.Op == protocol.OpShutdown && res.Error == nil {
			_ = s.listener.Close()
			return
		}
		if req.Op == protocol.OpStart {
			s.tidySoon()
		}
	}
}

func (s *server) tidySoon() { s.tidy.Reset(tidyAfter) }

func failed(err error) *protocol.Response {
	var e *protocol.Error
	if !errors.As(err, &e) {
		e = &protocol.Error{Code: protocol.CodeFailed, Message: err.Error()}
	}
	return &protocol.Response{Error: e}
}

func (s *server) handle(req *protocol.Request) (*protocol.Response, error) {
	switch req.Op {
	case protocol.OpState:
		s.mu.Lock()
		defer s.mu.Unlock()
		return &protocol.Response{State: s.stateLocked()}, nil
	case protocol.OpStart:
		return s.start(req)
	case protocol.OpShutdown:
		return s.shutdown()
	}
	c, err := s.container(req.ID)
	if err != nil {
		return nil, err
	}
	switch req.Op {
	case protocol.OpKill:
		return &protocol.Response{}, c.kill(req.Signal, req.All)
	case protocol.OpUpdate:
		return &protocol.Response{}, c.update(req.Resources)
	case protocol.OpReopenLog:
		return &protocol.Response{}, c.log.reopen()
	case protocol.OpResize:
		return &protocol.Response{}, c.resize(req.Size)
	case protocol.OpDelete:
		return s.remove(c)
	}
	return nil, protocol.Errorf(protocol.CodeInvalid, "unknown operation %q", req.Op)
}

func (s *server) container(id string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.containers[id]
	if !ok {
		return nil, protocol.Errorf(protocol.CodeNotFound, "container %s is not known to the shim", id)
	}
	return c, nil
}

func (s *server) stateLocked() *protocol.State {
	st := &protocol.State{Pid: os.Getpid()}
	for _, c := range s.containers {
		if cs, ok := c.snapshot(); ok {
			st.Containers = append(st.Containers, cs)
		}
	}
	return st
}

// start reserves the id, starts the container and announces it.
func (s *server) start(req *protocol.Request) (*protocol.Response, error) {
	if req.Start == nil || req.ID == "" {
		return nil, protocol.Errorf(protocol.CodeInvalid, "start without a container")
	}
	c := newContainer(s, req.ID, req.Start)
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return nil, protocol.Errorf(protocol.CodeInvalid, "the shim is shutting down")
	}
	if _, taken := s.containers[req.ID]; taken {
		s.mu.Unlock()
		return nil, protocol.Errorf(protocol.CodeExists, "container %s exists", req.ID)
	}
	s.containers[req.ID] = c
	s.mu.Unlock()

	warnings, err := c.start()
	if err != nil {
		s.mu.Lock()
		delete(s.containers, req.ID)
		s.mu.Unlock()
		return nil, err
	}
	return &protocol.Response{Pid: c.pid, Warnings: warnings}, nil
}

func (s *server) remove(c *container) (*protocol.Response, error) {
	if cs, ok := c.snapshot(); !ok || cs.Status == protocol.StatusRunning {
		return nil, protocol.Errorf(protocol.CodeRunning, "container %s is running", c.id)
	}
	s.mu.Lock()
	delete(s.containers, c.id)
	s.mu.Unlock()
	return &protocol.Response{}, nil
}

func (s *server) shutdown() (*protocol.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.containers {
		if cs, ok := c.snapshot(); !ok || cs.Status == protocol.StatusRunning {
			return nil, protocol.Errorf(protocol.CodeRunning, "container %s is running", c.id)
		}
	}
	s.closing = true
	return &protocol.Response{}, nil
}

// A subscriber has a bounded queue of its own, so that one that does not read
// holds up nobody.
type subscriber struct {
	conn   *net.UnixConn
	events chan *protocol.Event
}

// subscribe sends the state and then, until the client goes, every event.
func (s *server) subscribe(conn *net.UnixConn) {
	sub := &subscriber{conn: conn, events: make(chan *protocol.Event, protocol.MaxPendingEvents)}
	s.mu.Lock()
	state := s.stateLocked()
	s.subs[sub] = struct{}{}
	s.mu.Unlock()
	defer s.unsubscribe(sub)

	gone := make(chan struct{})
	go func() {
		defer close(gone)
		var b [1]byte
		_, _ = conn.Read(b[:]) // a subscriber says nothing; anything is its end
	}()
	if err := protocol.Write(conn, &protocol.Response{State: state}); err != nil {
		return
	}
	for {
		select {
		case <-gone:
			return
		case ev, open := <-sub.events:
			if !open {
				return // fell behind
			}
			_ = conn.SetWriteDeadline(time.Now().Add(subscriberTimeout))
			if err := protocol.Write(conn, &protocol.Response{Event: ev}); err != nil {
				return
			}
		}
	}
}

func (s *server) unsubscribe(sub *subscriber) {
	s.mu.Lock()
	delete(s.subs, sub)
	s.mu.Unlock()
}

// change runs f, which alters a container's state, and announces the result as
// one step: a new subscriber sees the state before it or after it, never between.
func (s *server) change(f func() *protocol.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ev := f()
	if ev == nil {
		return
	}
	for sub := range s.subs {
		select {
		case sub.events <- ev:
		default:
			delete(s.subs, sub)
			close(sub.events)
		}
	}
}
