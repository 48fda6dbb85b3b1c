package streams

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Log serves pods/log as plain text, as it comes.
func Log(w http.ResponseWriter, req *http.Request, pod *corev1.Pod, opts *corev1.PodLogOptions, backend Backend) {
	opts = opts.DeepCopy()
	if opts.Stream == nil {
		all := corev1.LogStreamAll
		opts.Stream = &all
	}
	if errs := ValidateLogOptions(opts); len(errs) > 0 {
		refuse(w, apierrors.NewInvalid(schema.GroupKind{Kind: "PodLogOptions"}, pod.Name, errs))
		return
	}
	container, err := chooseContainer(pod, opts.Container)
	if err != nil {
		refuse(w, err)
		return
	}
	opts.Container = container
	if WantsWebSocket(req) {
		logMessages(w, req, pod, opts, backend)
		return
	}
	out := &logWriter{w: w, control: http.NewResponseController(w), flush: opts.Follow}
	if pod.Spec.NodeName == "" {
		out.begin() // no node, no log
		return
	}
	err = backend.Logs(req.Context(), pod.Namespace, pod.Name, container, opts, out)
	switch {
	case err == nil:
		out.begin()
	case req.Context().Err() != nil: // nobody listens
	case out.begun:
		// The status line is out: the client reads the reason in the text.
		io.WriteString(out, err.Error())
	default:
		var known apierrors.APIStatus
		if !errors.As(err, &known) {
			err = apierrors.NewBadRequest(err.Error())
		}
		refuse(w, err)
	}
}

// logWriter sends the header with the first byte and, for followers, flushes
// after each write.
type logWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	flush   bool
	begun   bool
}

func (l *logWriter) begin() {
	if l.begun {
		return
	}
	l.begun = true
	l.w.Header().Set("Content-Type", "text/plain")
	l.w.WriteHeader(http.StatusOK)
}

func (l *logWriter) Write(p []byte) (int, error) {
	l.begin()
	n, err := l.w.Write(p)
	if err == nil && l.flush {
		err = l.control.Flush()
	}
	return n, err
}

// The WebSocket subprotocols of a stream that only the server fills: binary
// messages, or base64 in text messages.
const (
	readBinary = "binary.k8s.io"
	readBase64 = "base64.binary.k8s.io"
)

// logMessages serves a log as WebSocket messages, closed at its end.
func logMessages(w http.ResponseWriter, req *http.Request, pod *corev1.Pod, opts *corev1.PodLogOptions, backend Backend) {
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	m, err := OpenMessages(w, req, []string{readBase64, readBinary}, cancel)
	if err != nil {
		return // it has been answered
	}
	defer m.Close()
	if pod.Spec.NodeName == "" {
		return
	}
	out := messageWriter{m, m.Protocol() == readBase64}
	if err := backend.Logs(ctx, pod.Namespace, pod.Name, opts.Container, opts, out); err != nil && ctx.Err() == nil {
		io.WriteString(out, err.Error())
	}
}

// messageWriter makes a message of each write.
type messageWriter struct {
	m      *Messages
	base64 bool
}

func (w messageWriter) Write(p []byte) (int, error) {
	body := p
	if w.base64 {
		body = base64.StdEncoding.AppendEncode(nil, p)
	}
	return len(p), w.m.Send(w.base64, body, idleTimeout)
}
