package logs

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const sample = "2026-01-01T00:00:00.000000001Z stdout F one\n2026-01-01T00:00:01.5Z stderr P tw\n2026-01-01T00:00:01.6Z stderr F o\nbroken\n2026-01-01T00:00:02Z stdout F three\n"

func TestReadChooses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(path, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		o    Options
		want string
	}{
		{"all", Options{Tail: -1, Bytes: -1}, "one\ntwo\nthree\n"},
		{"tail", Options{Tail: 1, Bytes: -1}, "three\n"},
		{"tail none", Options{Tail: 0, Bytes: -1}, ""},
		{"tail more than there is", Options{Tail: 99, Bytes: -1}, "one\ntwo\nthree\n"},
		{"bytes", Options{Tail: -1, Bytes: 5}, "one\nt"},
		{"since", Options{Tail: -1, Bytes: -1, Since: time.Date(2026, 1, 1, 0, 0, 2, 0, time.UTC)}, "three\n"},
		{"one stream", Options{Tail: -1, Bytes: -1, Stream: "stderr"}, "two\n"},
		{"time stamps", Options{Tail: -1, Bytes: -1, Timestamps: true}, "2026-01-01T00:00:00.000000001Z one\n2026-01-01T00:00:01.5Z two\n2026-01-01T00:00:02Z three\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := Read(context.Background(), path, tc.o, &b); err != nil || b.String() != tc.want {
				t.Errorf("%q %v, want %q", b.String(), err, tc.want)
			}
		})
	}
}

// lines hands what is written to whoever waits for it.
type lines struct {
	ch chan string
}

func (l *lines) Write(p []byte) (int, error) { l.ch <- string(p); return len(p), nil }

func TestFollowSeesWhatIsAddedAndWhatReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	write := func(s string) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(s); err != nil {
			t.Fatal(err)
		}
	}
	write("2026-01-01T00:00:00Z stdout F one\n")
	out := &lines{ch: make(chan string, 10)}
	ended, done := make(chan struct{}), make(chan error)
	go func() { done <- Read(context.Background(), path, Options{Tail: -1, Bytes: -1, Ended: ended}, out) }()
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-out.ch:
			if got != want {
				t.Fatalf("%q, want %q", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%q never came", want)
		}
	}
	expect("one\n")
	write("2026-01-01T00:00:00Z stdout F two\n")
	expect("two\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("2026-01-01T00:00:00Z stdout F three\n")
	expect("three\n")
	write("2026-01-01T00:00:00Z stdout F four\n")
	close(ended)
	expect("four\n")
	if err := <-done; err != nil {
		t.Error(err)
	}
}
