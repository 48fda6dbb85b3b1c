package protocol

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestBothSidesSpeakTheSame(t *testing.T) {
	ours, err := os.ReadFile("protocol.go")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.ReadFile("../../../shim/protocol/protocol.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ours, theirs) {
		t.Error("internal/runtime/protocol/protocol.go and shim/protocol/protocol.go differ: change both")
	}
}

func pair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	addr := &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"}
	l, err := net.ListenUnix("unix", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.DialUnix("unix", nil, addr); err != nil {
		t.Fatal(err)
	}
	if b, err = l.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestFramesCarryDescriptors(t *testing.T) {
	a, b := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := Write(a, &Request{Op: OpExec, ID: "x"}, w); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	if err := Write(a, &Request{Op: OpState}); err != nil {
		t.Fatal(err)
	}
	var req Request
	files, err := Read(b, &req)
	if err != nil || req.Op != OpExec || len(files) != 1 {
		t.Fatalf("first frame: %+v, %d files, %v", req, len(files), err)
	}
	if _, err := files[0].WriteString("through"); err != nil {
		t.Fatal(err)
	}
	CloseAll(files)
	if body, _ := io.ReadAll(r); string(body) != "through" {
		t.Errorf("the passed descriptor carried %q", body)
	}
	req = Request{}
	if files, err := Read(b, &req); err != nil || req.Op != OpState || len(files) != 0 {
		t.Errorf("second frame: %+v, %d files, %v", req, len(files), err)
	}
	_ = a.Close()
	if _, err := Read(b, &req); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

func TestFramesAreBounded(t *testing.T) {
	a, b := pair(t)
	if err := Write(a, &Request{ID: string(make([]byte, MaxFrame))}); err == nil {
		t.Error("a frame over the limit was sent")
	}
	if _, err := a.Write([]byte{0xff, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	var req Request
	if _, err := Read(b, &req); err == nil {
		t.Error("a frame over the limit was received")
	}
}
