package runtime

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/monohull/monohull/internal/runtime/protocol"
)

// feedStdin types into a container as a client of its shim, without a runtime.
func feedStdin(t *testing.T, dir, id, text string) {
	t.Helper()
	var ps pipes
	defer ps.close()
	r, w := io.Pipe()
	if err := ps.open(r, nil, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, _, _, err := converse(ctx, dir, &protocol.Request{Op: protocol.OpAttach, ID: id, Attach: &protocol.Attach{Stdin: true}}, ps.theirs...)
	if err != nil {
		t.Fatalf("attach: %v", err)
	}
	defer conn.Close()
	ps.closeTheirs()
	ps.run()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	var res protocol.Response
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := protocol.Read(conn, &res); err != nil {
		t.Fatalf("attached container does not end: %v", err)
	}
}
