package main

import (
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// reaper collects the orphans that fall to the subreaper: processes of containers
// without a PID namespace of their own. Processes that somebody waits for, the
// containers' inits and execs, are left alone; so is everything while one of them
// is being started, since its helpers' pids are known to libcontainer only.
type reaper struct {
	wake chan struct{}

	starting sync.RWMutex // read: a start is under way

	mu    sync.Mutex
	known map[int]struct{} // guarded by mu: pids that have a waiter
}

func newReaper() *reaper {
	return &reaper{wake: make(chan struct{}, 1), known: map[int]struct{}{}}
}

// during runs a start, whose pid is known before any reaping.
func (r *reaper) during(start func() (pid int, err error)) error {
	r.starting.RLock()
	pid, err := start()
	if err == nil {
		r.mu.Lock()
		r.known[pid] = struct{}{}
		r.mu.Unlock()
	}
	r.starting.RUnlock()
	r.poke()
	return err
}

// forget says that the process was waited for.
func (r *reaper) forget(pid int) {
	r.mu.Lock()
	delete(r.known, pid)
	r.mu.Unlock()
}

func (r *reaper) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reaper) run() {
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	for {
		select {
		case <-died:
		case <-r.wake:
		}
		// A start that is under way pokes when it is done.
		if r.starting.TryLock() {
			r.reap()
			r.starting.Unlock()
		}
	}
}

func (r *reaper) reap() {
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil || info.Signo == 0 {
		return // nobody is dead
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, task := range tasks {
		list, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(list)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				continue
			}
			r.mu.Lock()
			_, waited := r.known[pid]
			r.mu.Unlock()
			if !waited {
				_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
			}
		}
	}
}
