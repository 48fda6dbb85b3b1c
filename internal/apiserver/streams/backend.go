package streams

import (
	"context"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Size is a terminal's, in characters.
type Size struct {
	Width, Height uint16
}

// Backend reaches the containers of a node. Each call blocks until its work
// ends and returns early when ctx does. A nil reader, writer or channel means
// the client did not ask for that stream.
type Backend interface {
	// Exec runs cmd in a running container. A process that ran to its end gives
	// its exit code and a nil error, whatever the code.
	Exec(ctx context.Context, namespace, pod, container string, cmd []string, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan Size) (exitCode int, err error)
	// Attach joins the streams of a container's own process.
	Attach(ctx context.Context, namespace, pod, container string, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan Size) error
	// PortForward carries bytes between stream and a port inside the pod until
	// either side is done. Reading stream gives io.EOF where the client has
	// nothing more to send.
	PortForward(ctx context.Context, namespace, pod string, port int32, stream io.ReadWriteCloser) error
	// Logs writes a container's log. An error before the first byte is told to
	// the client as a Status: the one it is, or else BadRequest.
	Logs(ctx context.Context, namespace, pod, container string, opts *corev1.PodLogOptions, w io.Writer) error
}

// Checker is a Backend that can tell before a connection is upgraded that the
// call would fail, so that clients see a plain error. container is "" for
// port-forward.
type Checker interface {
	CheckStream(ctx context.Context, namespace, pod, container string) error
}

const (
	// idleTimeout ends a connection on which nothing moves.
	idleTimeout = 4 * time.Hour
	// createTimeout bounds the wait for the client to open its streams.
	createTimeout = 30 * time.Second
	// lingerTimeout bounds the wait for the client to hang up first once
	// everything was said. A connection closed with unread input would be reset,
	// and a reset discards output that the client has not read yet.
	lingerTimeout = time.Second
	// statusTimeout bounds writing the last word to a client that reads slowly.
	statusTimeout = 10 * time.Second
	// chunkBytes bounds one frame of output.
	chunkBytes = 32 << 10
	// maxMessageBytes bounds one WebSocket message from a client.
	maxMessageBytes = 32 << 20
	// maxPendingInput bounds the messages read ahead of a backend that does not
	// read its input, so that a hang-up behind them is noticed.
	maxPendingInput = 32
	// maxForwards bounds the port-forward streams open on one connection.
	maxForwards = 4096
)

// chunked splits writes into frames of chunkBytes.
type chunked struct{ w io.Writer }

func (c chunked) Write(p []byte) (int, error) {
	n := 0
	for {
		part := p[n:min(n+chunkBytes, len(p))]
		m, err := c.w.Write(part)
		n += m
		if err != nil || n >= len(p) {
			return n, err
		}
	}
}
