package static

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// watcher tells that something in a directory changed.
type watcher struct {
	f      *os.File
	events chan struct{} // holds one
	done   chan struct{}
}

// watch follows a directory, or the one that a file is in.
func watch(path string) (*watcher, error) {
	dir := path
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("watch static pods: %w", err)
	} else if !info.IsDir() {
		dir = filepath.Dir(path)
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch static pods: %w", err)
	}
	const mask = unix.IN_CLOSE_WRITE | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_ATTRIB
	if _, err := unix.InotifyAddWatch(fd, dir, mask); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watch static pods: %w", err)
	}
	// The poller of this process waits for it, and closing wakes the reader.
	w := &watcher{f: os.NewFile(uintptr(fd), "inotify"), events: make(chan struct{}, 1), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		buf := make([]byte, 4096)
		for {
			if _, err := w.f.Read(buf); err != nil {
				return
			}
			select {
			case w.events <- struct{}{}:
			default:
			}
		}
	}()
	return w, nil
}

func (w *watcher) close() {
	w.f.Close()
	<-w.done
}
