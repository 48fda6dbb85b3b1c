package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// maxLine bounds one line of a log file; the runtime splits longer ones.
const maxLine = 1 << 20

// blockBytes is how much is read at once when looking for a tail.
const blockBytes = 64 << 10

// Options say what of a log is wanted.
type Options struct {
	Since      time.Time
	Tail       int64 // lines; negative for all
	Bytes      int64 // at most; negative for all
	Timestamps bool
	Stream     string // "stdout", "stderr"; "" for both
	// Ended closes when nothing more is written. Nil: do not follow.
	Ended <-chan struct{}
}

// FromPod translates the API's options.
func FromPod(o *corev1.PodLogOptions, now time.Time) Options {
	out := Options{Tail: -1, Bytes: -1, Timestamps: o.Timestamps}
	switch {
	case o.SinceSeconds != nil:
		out.Since = now.Add(-time.Duration(*o.SinceSeconds) * time.Second)
	case o.SinceTime != nil:
		out.Since = o.SinceTime.Time
	}
	if o.TailLines != nil {
		out.Tail = *o.TailLines
	}
	if o.LimitBytes != nil {
		out.Bytes = *o.LimitBytes
	}
	if o.Stream != nil {
		switch *o.Stream {
		case corev1.LogStreamStdout:
			out.Stream = "stdout"
		case corev1.LogStreamStderr:
			out.Stream = "stderr"
		}
	}
	return out
}

var errLimit = errors.New("logs: limit reached")

// Read writes a log file's text to w.
func Read(ctx context.Context, path string, o Options, w io.Writer) error {
	if o.Bytes == 0 {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open log file: %w", err)
	}
	defer func() { f.Close() }()
	var watch *watcher
	if o.Ended != nil {
		// Watching begins before reading, so that nothing falls between.
		if watch, err = newWatcher(path); err != nil {
			return err
		}
		defer watch.close()
	}
	if err := seekTail(f, o.Tail); err != nil {
		return err
	}
	p := &printer{o: o, w: w, newline: true, left: o.Bytes}
	r := bufio.NewReaderSize(f, 32<<10)
	var partial []byte
	// next is the file that was made in this one's place. The writer goes over to it
	// some time after it is made: until there is something in it, this one may grow.
	var next *os.File
	defer func() {
		if next != nil {
			next.Close()
		}
	}()
	ended, drained := false, false
	for {
		b, err := r.ReadBytes('\n')
		partial = append(partial, b...)
		if err == nil {
			if werr := p.print(partial); werr != nil {
				if errors.Is(werr, errLimit) {
					return nil
				}
				return werr
			}
			partial = partial[:0]
			if ctx.Err() != nil {
				return nil
			}
			continue
		}
		if !errors.Is(err, io.EOF) {
			return fmt.Errorf("read log file: %w", err)
		}
		if len(partial) > maxLine {
			partial = partial[:0]
		}
		if o.Ended == nil {
			return nil
		}
		if next != nil && (drained || ended) {
			f.Close()
			f, next, drained = next, nil, false
			r.Reset(f)
			partial = partial[:0]
			if f.Name() != path { // it was rotated, too: another follows
				if next, err = successor(f, path); err != nil {
					return err
				}
				drained = next != nil
			}
			continue
		}
		if next != nil {
			if info, err := next.Stat(); err == nil && info.Size() > 0 {
				drained = true // once more to the end of this one
				continue
			}
		}
		if ended {
			return nil
		}
		if fl, ok := w.(interface{ Flush() }); ok {
			fl.Flush()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-o.Ended:
			ended = true // once more to the end
		case replaced := <-watch.events:
			if !replaced {
				continue
			}
			if next != nil {
				drained = true // replaced again: the writer has long gone over
				continue
			}
			if next, err = successor(f, path); err != nil {
				return err
			}
		}
	}
}

// successor opens the file that follows one in which nothing more is written; nil
// where there is none yet.
func successor(f *os.File, path string) (*os.File, error) {
	next, err := os.Open(after(f, path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	return next, nil
}

// printer writes the lines that are wanted.
type printer struct {
	o       Options
	w       io.Writer
	newline bool // the last text ended a line
	left    int64
}

func (p *printer) print(raw []byte) error {
	l, err := Parse(raw)
	if err != nil {
		return nil // torn by a crash; the rest is good
	}
	if l.Time.Before(p.o.Since) || p.o.Stream != "" && p.o.Stream != l.Stream {
		return nil
	}
	out := l.Text
	if p.o.Timestamps && p.newline {
		out = append(append(bytes.Clone(l.Stamp), ' '), l.Text...)
	}
	p.newline = !l.Part
	if p.left >= 0 && int64(len(out)) >= p.left {
		if _, err := p.w.Write(out[:p.left]); err != nil {
			return err
		}
		return errLimit
	}
	if p.left >= 0 {
		p.left -= int64(len(out))
	}
	_, err = p.w.Write(out)
	return err
}

// seekTail sets the file to where its last n lines begin.
func seekTail(f *os.File, n int64) error {
	if n < 0 {
		return nil
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || n == 0 {
		return err
	}
	buf := make([]byte, blockBytes)
	found := int64(0)
	for end := size; end > 0; {
		start := max(0, end-blockBytes)
		b := buf[:end-start]
		if _, err := f.ReadAt(b, start); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read log file: %w", err)
		}
		for i := len(b) - 1; i >= 0; i-- {
			if b[i] != '\n' || start+int64(i) == size-1 {
				continue
			}
			if found++; found == n {
				_, err := f.Seek(start+int64(i)+1, io.SeekStart)
				return err
			}
		}
		end = start
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}

// Tail returns the last bytes of a log's text, for termination messages.
func Tail(path string, lines, limit int64) string {
	var b bytes.Buffer
	if err := Read(context.Background(), path, Options{Tail: lines, Bytes: -1}, &b); err != nil {
		return fmt.Sprintf("Error on reading termination message from logs: %v", err)
	}
	text := b.Bytes()
	if int64(len(text)) > limit {
		text = text[int64(len(text))-limit:]
	}
	return string(text)
}

// Remove removes a container's log file and those it was rotated to.
func Remove(path string) error {
	rotated, err := filepath.Glob(path + ".*")
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range append(rotated, path) {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
