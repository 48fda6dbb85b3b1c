package logs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// watcher tells of changes of one file, which may be replaced by another of its name.
type watcher struct {
	f      *os.File
	events chan bool // true: another file has the name now
	done   chan struct{}
}

func newWatcher(path string) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch log file: %w", err)
	}
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watch log file: %w", err)
	}
	// The runtime's poller waits for it, and closing wakes the reader.
	w := &watcher{f: os.NewFile(uintptr(fd), "inotify"), events: make(chan bool, 1), done: make(chan struct{})}
	go w.run(filepath.Base(path))
	return w, nil
}

func (w *watcher) run(name string) {
	defer close(w.done)
	buf := make([]byte, 16<<10)
	for {
		n, err := w.f.Read(buf)
		if err != nil {
			return
		}
		changed, replaced := scan(buf[:n], name)
		if !changed {
			continue
		}
		select {
		case w.events <- replaced:
		case was := <-w.events: // merge with what was not read yet
			w.events <- was || replaced
		}
	}
}

// scan reads inotify events and tells what they mean for a name.
func scan(b []byte, name string) (changed, replaced bool) {
	for len(b) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(b[4:])
		size := int(binary.NativeEndian.Uint32(b[12:]))
		end := min(unix.SizeofInotifyEvent+size, len(b))
		who := string(bytes.TrimRight(b[unix.SizeofInotifyEvent:end], "\x00"))
		b = b[end:]
		if who != name && mask&unix.IN_Q_OVERFLOW == 0 {
			continue
		}
		changed = true
		replaced = replaced || mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0
	}
	return changed, replaced
}

func (w *watcher) close() {
	w.f.Close()
	<-w.done
}
