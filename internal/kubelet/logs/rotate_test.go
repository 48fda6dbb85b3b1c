package logs

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writer writes a log as the runtime does: it goes on in its file until told to reopen.
type writer struct {
	t    *testing.T
	path string
	f    *os.File
	n    int
}

func (w *writer) reopen() error {
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	if w.f != nil {
		w.f.Close()
	}
	w.f = f
	return nil
}

func (w *writer) line() {
	w.t.Helper()
	w.n++
	if _, err := fmt.Fprintf(w.f, "2026-01-01T00:00:00Z stdout F line %d\n", w.n); err != nil {
		w.t.Fatal(err)
	}
}

func newWriter(t *testing.T) *writer {
	w := &writer{t: t, path: filepath.Join(t.TempDir(), "0.log")}
	if err := w.reopen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.f.Close() })
	return w
}

func TestRotationKeepsSoManyFiles(t *testing.T) {
	w := newWriter(t)
	p := Policy{MaxBytes: 10, MaxFiles: 3}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	for i := range 5 {
		w.line()
		if due, err := p.Due(w.path); err != nil || !due {
			t.Fatal(due, err)
		}
		if err := p.Rotate(w.path, now.Add(time.Duration(i)*time.Minute), w.reopen); err != nil {
			t.Fatal(err)
		}
	}
	files, _ := filepath.Glob(w.path + "*")
	want := []string{w.path, w.path + ".20260102-030705.gz", w.path + ".20260102-030805"}
	if fmt.Sprint(files) != fmt.Sprint(want) {
		t.Fatalf("%v, want %v", files, want)
	}
	f, err := os.Open(files[1])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(z); err != nil || !strings.HasSuffix(string(b), "line 4\n") {
		t.Errorf("%q %v", b, err)
	}
	if due, err := p.Due(w.path); due || err != nil {
		t.Error(due, err)
	}
}

func TestARotationThatFailsLeavesTheLog(t *testing.T) {
	w := newWriter(t)
	w.line()
	no := errors.New("no")
	if err := (Policy{MaxFiles: 5}).Rotate(w.path, time.Now(), func() error { return no }); !errors.Is(err, no) {
		t.Error(err)
	}
	w.line()
	if b, _ := os.ReadFile(w.path); strings.Count(string(b), "\n") != 2 {
		t.Errorf("%q", b)
	}
}

// TestFollowLosesNothingAtRotation writes to the old file until after the new one is
// there, which is what a reader that changes over at once would miss.
func TestFollowLosesNothingAtRotation(t *testing.T) {
	w := newWriter(t)
	w.line()
	out := &lines{ch: make(chan string, 100)}
	ended, done := make(chan struct{}), make(chan error)
	go func() { done <- Read(context.Background(), w.path, Options{Tail: -1, Bytes: -1, Ended: ended}, out) }()
	seen := 0
	expect := func(upTo int) {
		t.Helper()
		for seen < upTo {
			select {
			case got := <-out.ch:
				if seen++; got != fmt.Sprintf("line %d\n", seen) {
					t.Fatalf("%q, want line %d", got, seen)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("line %d never came", seen+1)
			}
		}
	}
	expect(1)
	p := Policy{MaxFiles: 5}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	for i := range 4 {
		w.line()
		err := p.Rotate(w.path, now.Add(time.Duration(i)*time.Second), func() error {
			f, err := os.OpenFile(w.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
			if err != nil {
				return err
			}
			w.line() // into the old one still
			w.line()
			w.f.Close()
			w.f = f
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		w.line()
		expect(w.n)
	}
	w.line()
	close(ended)
	expect(w.n)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
