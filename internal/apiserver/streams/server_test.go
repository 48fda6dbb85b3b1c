package streams

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
)

// fakeNode is a Backend of functions.
type fakeNode struct {
	exec    func(ctx context.Context, container string, cmd []string, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan Size) (int, error)
	forward func(ctx context.Context, port int32, stream io.ReadWriteCloser) error
	logs    func(ctx context.Context, container string, opts *corev1.PodLogOptions, w io.Writer) error
}

func (f *fakeNode) Exec(ctx context.Context, _, _, container string, cmd []string, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan Size) (int, error) {
	return f.exec(ctx, container, cmd, tty, stdin, stdout, stderr, resize)
}

func (f *fakeNode) Attach(ctx context.Context, _, _, container string, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan Size) error {
	_, err := f.exec(ctx, container, nil, tty, stdin, stdout, stderr, resize)
	return err
}

func (f *fakeNode) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	return f.forward(ctx, port, stream)
}

func (f *fakeNode) Logs(ctx context.Context, _, _, container string, opts *corev1.PodLogOptions, w io.Writer) error {
	return f.logs(ctx, container, opts, w)
}

func testPod(containers ...string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u1"}, Spec: corev1.PodSpec{NodeName: "n"}}
	for _, c := range containers {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: c})
	}
	return pod
}

// wrapped is a response writer as middleware leaves it.
type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// serve answers /exec, /attach, /portforward and /log for one pod. Every
// handler has returned when the test ends.
func serve(t *testing.T, pod *corev1.Pod, node Backend) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/exec", func(w http.ResponseWriter, r *http.Request) {
		Exec(w, r, pod, ParseExecOptions(r.URL.Query()), node)
	})
	mux.HandleFunc("/attach", func(w http.ResponseWriter, r *http.Request) {
		Attach(w, r, pod, ParseAttachOptions(r.URL.Query()), node)
	})
	mux.HandleFunc("/portforward", func(w http.ResponseWriter, r *http.Request) {
		opts, err := ParsePortForwardOptions(r.URL.Query())
		if err != nil {
			refuse(w, err)
			return
		}
		PortForward(w, r, pod, opts, node)
	})
	mux.HandleFunc("/log", func(w http.ResponseWriter, r *http.Request) {
		opts, err := ParseLogOptions(r.URL.Query())
		if err != nil {
			refuse(w, err)
			return
		}
		Log(w, r, pod, opts, node)
	})
	running := make(chan struct{}, 64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running <- struct{}{}
		defer func() { <-running }()
		mux.ServeHTTP(wrapped{w}, r)
	}))
	t.Cleanup(func() {
		s.Close()
		for range cap(running) {
			running <- struct{}{}
		}
	})
	return s
}

func address(t *testing.T, s *httptest.Server, path string, values url.Values) *url.URL {
	t.Helper()
	u, err := url.Parse(s.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery = values.Encode()
	return u
}

var executors = map[string]func(u *url.URL) (remotecommand.Executor, error){
	"SPDY": func(u *url.URL) (remotecommand.Executor, error) {
		return remotecommand.NewSPDYExecutor(&rest.Config{Host: u.Host}, "POST", u)
	},
	"WebSocket": func(u *url.URL) (remotecommand.Executor, error) {
		return remotecommand.NewWebSocketExecutor(&rest.Config{Host: u.Host}, "GET", u.String())
	},
	"WebSocketV4": func(u *url.URL) (remotecommand.Executor, error) {
		return remotecommand.NewWebSocketExecutorForProtocols(&rest.Config{Host: u.Host}, "GET", u.String(), "v4.channel.k8s.io")
	},
}

// overEach runs a test over each transport that client-go has. half tells
// whether it can end its input and stay.
func overEach(t *testing.T, test func(t *testing.T, dial func(u *url.URL) (remotecommand.Executor, error), half bool)) {
	for name, dial := range executors {
		t.Run(name, func(t *testing.T) { test(t, dial, name != "WebSocketV4") })
	}
}
