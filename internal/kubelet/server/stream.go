package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pod finds the pod of a request; it has answered where there is none.
func (s *Server) pod(w http.ResponseWriter, r *http.Request) (*corev1.Pod, bool) {
	p, ok := s.deps.Node.Pod(r.PathValue("namespace"), r.PathValue("pod"))
	if !ok {
		http.Error(w, "pod does not exist", http.StatusNotFound)
		return nil, false
	}
	if uid := r.PathValue("uid"); uid != "" && string(p.UID) != uid {
		http.Error(w, "pod not found", http.StatusNotFound)
		return nil, false
	}
	return p, true
}

// streams reads what a client wants of a process, in the kubelet's words.
func streamsOf(q url.Values) (in, out, errs, tty bool, err error) {
	flag := func(name string) bool { return q.Get(name) == "1" || q.Get(name) == "true" }
	tty, in, out, errs = flag("tty"), flag("input"), flag("output"), flag("error")
	if tty && errs {
		errs = false // a terminal has one output
	}
	if !in && !out && !errs {
		err = errors.New("you must specify at least 1 of stdin, stdout, stderr")
	}
	return in, out, errs, tty, err
}

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	in, out, errs, tty, err := streamsOf(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if p, ok := s.pod(w, r); ok {
		s.deps.Streams.Exec(w, r, p, &corev1.PodExecOptions{
			Stdin: in, Stdout: out, Stderr: errs, TTY: tty, Container: r.PathValue("container"), Command: r.URL.Query()["command"],
		})
	}
}

func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	in, out, errs, tty, err := streamsOf(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if p, ok := s.pod(w, r); ok {
		s.deps.Streams.Attach(w, r, p, &corev1.PodAttachOptions{Stdin: in, Stdout: out, Stderr: errs, TTY: tty, Container: r.PathValue("container")})
	}
}

func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	o := &corev1.PodPortForwardOptions{}
	for _, list := range r.URL.Query()["port"] {
		for v := range strings.SplitSeq(list, ",") {
			n, err := strconv.ParseUint(v, 10, 16)
			if err != nil || n == 0 {
				http.Error(w, fmt.Sprintf("unable to parse %q as a port: must be between 1 and 65535", v), http.StatusBadRequest)
				return
			}
			o.Ports = append(o.Ports, int32(n))
		}
	}
	if p, ok := s.pod(w, r); ok {
		s.deps.Streams.PortForward(w, r, p, o)
	}
}

func (s *Server) run(w http.ResponseWriter, r *http.Request) {
	p, ok := s.pod(w, r)
	if !ok {
		return
	}
	out, err := s.deps.Node.RunCommand(r.Context(), p.Namespace, p.Name, r.PathValue("container"), strings.Split(r.FormValue("cmd"), " "))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(out)
}

// logOptions reads the options of a log, upstream's query.
func logOptions(q url.Values) (*corev1.PodLogOptions, error) {
	o := &corev1.PodLogOptions{}
	var errs []error
	flag := func(name string) bool {
		v := q.Get(name)
		return q.Has(name) && v != "false" && v != "0"
	}
	number := func(name string, least int64) *int64 {
		if q.Get(name) == "" {
			return nil
		}
		n, err := strconv.ParseInt(q.Get(name), 10, 64)
		if err != nil || n < least {
			errs = append(errs, fmt.Errorf("%s: %q", name, q.Get(name)))
		}
		return &n
	}
	if tail := q.Get("tail"); tail == "all" {
		q.Del("tailLines")
	} else if tail != "" {
		q.Set("tailLines", tail)
	}
	o.Follow, o.Previous, o.Timestamps = flag("follow"), flag("previous"), flag("timestamps")
	o.TailLines, o.LimitBytes, o.SinceSeconds = number("tailLines", 0), number("limitBytes", 1), number("sinceSeconds", 1)
	if v := q.Get("sinceTime"); v != "" {
		t, err := time.Parse(time.RFC3339, v)
		if err != nil || o.SinceSeconds != nil {
			errs = append(errs, fmt.Errorf("sinceTime: %q", v))
		}
		at := metav1.NewTime(t)
		o.SinceTime = &at
	}
	if v := q.Get("stream"); v != "" {
		if v != corev1.LogStreamStdout && v != corev1.LogStreamStderr && v != corev1.LogStreamAll || o.TailLines != nil && v != corev1.LogStreamAll {
			errs = append(errs, fmt.Errorf("stream: %q", v))
		}
		o.Stream = &v
	}
	return o, errors.Join(errs...)
}

func (s *Server) containerLogs(w http.ResponseWriter, r *http.Request) {
	o, err := logOptions(r.URL.Query())
	if err != nil {
		http.Error(w, `{"message": "Invalid request."}`, http.StatusUnprocessableEntity)
		return
	}
	name, container := r.PathValue("pod"), r.PathValue("container")
	p, ok := s.deps.Node.Pod(r.PathValue("namespace"), name)
	if !ok {
		http.Error(w, fmt.Sprintf("pod %q does not exist", name), http.StatusNotFound)
		return
	}
	if !has(p, container) {
		http.Error(w, fmt.Sprintf("container %q not found in pod %q", container, name), http.StatusNotFound)
		return
	}
	out := &flushed{w: w}
	if err := s.deps.Node.Logs(r.Context(), p.Namespace, p.Name, container, o, out); err != nil && !out.begun {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func has(p *corev1.Pod, container string) bool {
	for i := range p.Spec.Containers {
		if p.Spec.Containers[i].Name == container {
			return true
		}
	}
	for i := range p.Spec.InitContainers {
		if p.Spec.InitContainers[i].Name == container {
			return true
		}
	}
	for i := range p.Spec.EphemeralContainers {
		if p.Spec.EphemeralContainers[i].Name == container {
			return true
		}
	}
	return false
}

// flushed passes a log on, and on to the network when it rests.
type flushed struct {
	w     http.ResponseWriter
	begun bool
}

func (f *flushed) Write(p []byte) (int, error) {
	if !f.begun {
		f.begun = true
		f.w.Header().Set("Content-Type", "text/plain")
	}
	return f.w.Write(p)
}

// Flush is called when a log that is followed has nothing more for now.
func (f *flushed) Flush() {
	f.begun = true
	_ = http.NewResponseController(f.w).Flush() // who went away is noticed when writing
}

// logs shows the machine's log files, never a file outside their directory. With a
// query it tells that services cannot be asked for: there is no journal to read.
func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/logs")
	if r.URL.Query().Has("query") {
		if !on(s.cfg.Kubelet.EnableSystemLogQuery) {
			// As with upstream, the query is not seen where it is not enabled.
			s.logFile(w, r, name)
			return
		}
		for _, q := range r.URL.Query()["query"] {
			if strings.HasPrefix(q, "/") || strings.Contains(q, ".") {
				s.logFile(w, r, "/"+strings.TrimPrefix(q, "/"))
				return
			}
		}
		http.Error(w, "querying the logs of services needs journalctl, which is not used here; name a file", http.StatusNotImplemented)
		return
	}
	s.logFile(w, r, name)
}

func (s *Server) logFile(w http.ResponseWriter, r *http.Request, name string) {
	root, err := os.OpenRoot(s.cfg.LogDir)
	if err != nil {
		http.Error(w, "the log directory cannot be opened", http.StatusInternalServerError)
		return
	}
	defer root.Close()
	inside := filepath.Clean("./" + name)
	f, err := root.Open(inside)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		http.NotFound(w, r)
	case info.IsDir():
		list, err := f.ReadDir(maxListing)
		if err != nil && !errors.Is(err, io.EOF) {
			http.Error(w, "the directory cannot be read", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, "<!doctype html>\n<pre>\n")
		for _, e := range list {
			n := e.Name()
			if e.IsDir() {
				n += "/"
			}
			fmt.Fprintf(w, "<a href=%q>%s</a>\n", (&url.URL{Path: n}).String(), escape.Replace(n))
		}
		fmt.Fprint(w, "</pre>\n")
	case !info.Mode().IsRegular():
		http.NotFound(w, r)
	default:
		http.ServeContent(w, r, "", info.ModTime(), f)
	}
}

// maxListing bounds what is told of a directory.
const maxListing = 10000

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")
