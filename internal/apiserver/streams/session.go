package streams

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// wanted are the streams a client asks for.
type wanted struct {
	stdin, stdout, stderr, tty bool
}

// session is an upgraded connection with the streams of one process.
type session struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	resize         io.Reader

	// gone is closed when the client has hung up.
	gone <-chan struct{}
	// end sends the verdict, closes the streams and then the connection.
	end func(metav1.Status)
}

// Exec serves pods/exec: it upgrades the connection, runs the command of opts
// in the pod's container and tells the client how it ended.
func Exec(w http.ResponseWriter, req *http.Request, pod *corev1.Pod, opts *corev1.PodExecOptions, backend Backend) {
	want := wanted{stdin: opts.Stdin, stdout: opts.Stdout, stderr: opts.Stderr, tty: opts.TTY}
	process(w, req, pod, opts.Container, want, backend, func(ctx context.Context, container string, s *session, resize <-chan Size) metav1.Status {
		code, err := backend.Exec(ctx, pod.Namespace, pod.Name, container, opts.Command, opts.TTY, s.stdin, s.stdout, s.stderr, resize)
		switch {
		case err != nil:
			return failed(fmt.Errorf("error executing command in container: %w", err))
		case code != 0:
			return exited(opts.Command, code)
		}
		return success()
	})
}

// Attach serves pods/attach. Whether there is a terminal is the container's
// choice at its start, not the client's.
func Attach(w http.ResponseWriter, req *http.Request, pod *corev1.Pod, opts *corev1.PodAttachOptions, backend Backend) {
	want := wanted{stdin: opts.Stdin, stdout: opts.Stdout, stderr: opts.Stderr, tty: opts.TTY}
	process(w, req, pod, opts.Container, want, backend, func(ctx context.Context, container string, s *session, resize <-chan Size) metav1.Status {
		err := backend.Attach(ctx, pod.Namespace, pod.Name, container, containerTTY(pod, container), s.stdin, s.stdout, s.stderr, resize)
		if err != nil {
			return failed(fmt.Errorf("error attaching to container: %w", err))
		}
		return success()
	})
}

func process(w http.ResponseWriter, req *http.Request, pod *corev1.Pod, name string, want wanted, backend Backend,
	run func(ctx context.Context, container string, s *session, resize <-chan Size) metav1.Status) {
	container, err := chooseContainer(pod, name)
	if err == nil {
		err = upgradable(req, pod)
	}
	if want.tty {
		want.stderr = false // a terminal has one output
	}
	if err == nil && !want.stdin && !want.stdout && !want.stderr {
		err = apierrors.NewBadRequest("you must specify at least 1 of stdin, stdout, stderr")
	}
	if err == nil {
		err = check(req.Context(), pod, container, backend)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	open := openSPDY
	if wsstream.IsWebSocketRequest(req) {
		open = openWebSocket
	}
	s, err := open(w, req, want)
	if err != nil {
		return // the handshake has answered
	}
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	go func() {
		select {
		case <-s.gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	var resize chan Size
	if s.resize != nil {
		resize = make(chan Size, 1)
		go readSizes(s.resize, resize)
	}
	s.end(run(ctx, container, s, resize))
}

// upgradable refuses what no node could serve.
func upgradable(req *http.Request, pod *corev1.Pod) error {
	if pod.Spec.NodeName == "" {
		return apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	if !httpstream.IsUpgradeRequest(req) {
		return apierrors.NewBadRequest("Upgrade request required")
	}
	return nil
}

func check(ctx context.Context, pod *corev1.Pod, container string, backend Backend) error {
	if c, ok := backend.(Checker); ok {
		return c.CheckStream(ctx, pod.Namespace, pod.Name, container)
	}
	return nil
}

// readSizes passes terminal sizes on until their stream ends. Only the latest
// size matters: one that nobody took yet is replaced, so the stream is always
// drained.
func readSizes(stream io.Reader, sizes chan Size) {
	defer close(sizes)
	decoder := json.NewDecoder(stream)
	for {
		var size Size
		if err := decoder.Decode(&size); err != nil {
			return
		}
		select {
		case <-sizes:
		default:
		}
		sizes <- size // room for one, and this is the only sender
	}
}
