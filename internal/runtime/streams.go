package runtime

import (
	"context"
	"io"
)

// Streams is the runtime as the kubelet's streaming endpoints need it: the methods
// have the names that the CRI gives to others on Runtime itself.
type Streams struct{ r *Runtime }

// Streams returns the in-process streaming methods.
func (r *Runtime) Streams() Streams { return Streams{r} }

// Exec is Runtime.ExecStream.
func (s Streams) Exec(ctx context.Context, containerID string, cmd []string, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan Size) (exitCode int, err error) {
	return s.r.ExecStream(ctx, containerID, cmd, tty, stdin, stdout, stderr, resize)
}

// Attach is Runtime.AttachStream.
func (s Streams) Attach(ctx context.Context, containerID string, stdin io.Reader, stdout, stderr io.Writer, resize <-chan Size) error {
	return s.r.AttachStream(ctx, containerID, stdin, stdout, stderr, resize)
}

// PortForward is Runtime.PortForwardStream.
func (s Streams) PortForward(ctx context.Context, sandboxID string, port int32, stream io.ReadWriteCloser) error {
	return s.r.PortForwardStream(ctx, sandboxID, port, stream)
}
