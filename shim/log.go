package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// maxLine is the longest piece of a line the CRI log format carries; a longer
// line is written in parts tagged P, the last one F.
const maxLine = 16 << 10

// logFile is a container's log. Both streams write to it, whole lines at a time.
type logFile struct {
	path string // empty: no log

	mu   sync.Mutex
	file *os.File // guarded by mu
}

func openLog(path string) (*logFile, error) {
	l := &logFile{path: path}
	return l, l.reopen()
}

// reopen opens the path anew, after it was renamed away for rotation.
func (l *logFile) reopen() error {
	if l == nil || l.path == "" {
		return nil
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("open container log: %w", err)
	}
	l.mu.Lock()
	old := l.file
	l.file = f
	l.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	return nil
}

func (l *logFile) write(p []byte) {
	if len(p) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return
	}
	if _, err := l.file.Write(p); err != nil {
		// A full disk loses log lines; the container goes on.
		logrus.Warnf("write container log: %v", err)
	}
}

func (l *logFile) close() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}

// liner cuts one stream into lines of the CRI format:
// "<RFC 3339 time> <stream> <F|P> <content>\n".
type liner struct {
	log     *logFile
	stream  string
	now     func() time.Time
	pending []byte // an unfinished line, shorter than maxLine
}

func (w *liner) write(p []byte) {
	var out []byte
	stamp := w.now()
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		line, full := p, false
		if end >= 0 {
			line, p, full = p[:end], p[end+1:], true
		} else {
			p = nil
		}
		for len(w.pending)+len(line) > maxLine {
			take := maxLine - len(w.pending)
			out = w.append(out, stamp, 'P', w.pending, line[:take])
			w.pending, line = nil, line[take:]
		}
		if full {
			out = w.append(out, stamp, 'F', w.pending, line)
			w.pending = nil
		} else {
			w.pending = append(w.pending, line...)
		}
	}
	w.log.write(out)
}

// end writes what is left of a stream that did not end with a newline.
func (w *liner) end() {
	if len(w.pending) > 0 {
		w.log.write(w.append(nil, w.now(), 'P', w.pending, nil))
		w.pending = nil
	}
}

func (w *liner) append(out []byte, stamp time.Time, tag byte, a, b []byte) []byte {
	out = stamp.UTC().AppendFormat(out, time.RFC3339Nano)
	out = append(out, ' ')
	out = append(out, w.stream...)
	out = append(out, ' ', tag, ' ')
	out = append(out, a...)
	out = append(out, b...)
	return append(out, '\n')
}

var chunks = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// readChunks hands every piece read from f to use, which must not keep it. It
// holds a buffer only while there is something to read: an idle container costs
// none.
func readChunks(f *os.File, use func([]byte)) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	for {
		var n int
		var buf *[]byte
		var readErr error
		err := raw.Read(func(fd uintptr) bool {
			buf = chunks.Get().(*[]byte)
			for {
				n, readErr = unix.Read(int(fd), *buf)
				if !errors.Is(readErr, unix.EINTR) {
					break
				}
			}
			if errors.Is(readErr, unix.EAGAIN) {
				chunks.Put(buf)
				return false
			}
			return true
		})
		if err != nil {
			return
		}
		if readErr == nil && n > 0 {
			use((*buf)[:n])
		}
		chunks.Put(buf)
		if readErr != nil || n <= 0 {
			return // end of a pipe, EIO of a terminal nobody holds
		}
	}
}

// fan hands a stream to the clients attached to it. A client that goes away is
// dropped; one that is slow holds the stream up, as the runtimes' users expect of
// an attached terminal.
type fan struct {
	mu      sync.Mutex
	writers map[io.WriteCloser]struct{}
	ended   bool
}

func (f *fan) write(p []byte) {
	f.mu.Lock()
	writers := make([]io.WriteCloser, 0, len(f.writers))
	for w := range f.writers {
		writers = append(writers, w)
	}
	f.mu.Unlock()
	for _, w := range writers {
		if _, err := w.Write(p); err != nil {
			f.drop(w)
		}
	}
}

// add joins a client; it reports false if the stream has ended.
func (f *fan) add(w io.WriteCloser) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return false
	}
	if f.writers == nil {
		f.writers = map[io.WriteCloser]struct{}{}
	}
	f.writers[w] = struct{}{}
	return true
}

func (f *fan) drop(w io.WriteCloser) {
	f.mu.Lock()
	delete(f.writers, w)
	f.mu.Unlock()
	_ = w.Close()
}

func (f *fan) end() {
	f.mu.Lock()
	writers := f.writers
	f.writers, f.ended = nil, true
	f.mu.Unlock()
	for w := range writers {
		_ = w.Close()
	}
}
