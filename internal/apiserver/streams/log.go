package streams

import (
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
