package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/monohull/monohull/internal/kubelet/config"
)

// fake is everything the server asks.
type fake struct {
	allowed map[string]bool // "user verb subresource"
	asked   []string
	sick    error
	stream  string
}

func (f *fake) Authenticate(r *http.Request) (user.Info, bool, error) {
	name := r.Header.Get("User")
	return &user.DefaultInfo{Name: name}, name != "", nil
}

func (f *fake) Authorize(_ context.Context, who user.Info, want Access) (bool, string, error) {
	key := who.GetName() + " " + want.Verb + " " + want.Subresource
	f.asked = append(f.asked, key)
	return f.allowed[key] || who.GetName() == "root", "", nil
}

func pod() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "c", Image: "img", ContainerID: "monohull://id"}}}}
}

func (f *fake) Pods() []*corev1.Pod                                { return []*corev1.Pod{pod()} }
func (f *fake) RunningPods(context.Context) ([]*corev1.Pod, error) { return f.Pods(), nil }
func (f *fake) Pod(ns, name string) (*corev1.Pod, bool)            { return pod(), ns == "ns" && name == "p" }
func (f *fake) Healthy() error                                     { return f.sick }
func (f *fake) ProbeCounts() []ProbeCount {
	return []ProbeCount{{Kind: "Liveness", Result: "failed", Container: "c", Pod: "p", Namespace: "ns", UID: "u", Count: 3}}
}
func (f *fake) Logs(_ context.Context, _, _, _ string, o *corev1.PodLogOptions, w io.Writer) error {
	if o.Previous {
		return errors.New("no previous one")
	}
	_, err := io.WriteString(w, "log\n")
	return err
}

func (f *fake) RunCommand(_ context.Context, _, _, _ string, cmd []string) ([]byte, error) {
	return []byte(strings.Join(cmd, ",")), nil
}

func (f *fake) Summary(context.Context, time.Duration) (*statsapi.Summary, error) {
	n := uint64(1_500_000_000)
	at := metav1.NewTime(time.Unix(1000, 0))
	cpu := &statsapi.CPUStats{Time: at, UsageCoreNanoSeconds: &n}
	mem := &statsapi.MemoryStats{Time: at, WorkingSetBytes: &n, UsageBytes: &n, RSSBytes: &n, AvailableBytes: &n}
	return &statsapi.Summary{Node: statsapi.NodeStats{NodeName: "n", CPU: cpu, Memory: mem, Fs: &statsapi.FsStats{UsedBytes: &n}},
		Pods: []statsapi.PodStats{{PodRef: statsapi.PodReference{Name: "p", Namespace: "ns", UID: "u"}, CPU: cpu, Memory: mem,
			Containers: []statsapi.ContainerStats{{Name: "c", StartTime: at, CPU: cpu, Memory: mem, Rootfs: &statsapi.FsStats{UsedBytes: &n}}},
			Network:    &statsapi.NetworkStats{Interfaces: []statsapi.InterfaceStats{{Name: "eth0", RxBytes: &n, TxBytes: &n}}}}}}, nil
}

func (f *fake) Exec(w http.ResponseWriter, _ *http.Request, p *corev1.Pod, o *corev1.PodExecOptions) {
	f.stream = "exec " + p.Name + " " + o.Container + " " + strings.Join(o.Command, ",")
}

func (f *fake) Attach(_ http.ResponseWriter, _ *http.Request, p *corev1.Pod, o *corev1.PodAttachOptions) {
	f.stream = "attach " + p.Name + " " + o.Container
}

func (f *fake) PortForward(_ http.ResponseWriter, _ *http.Request, p *corev1.Pod, o *corev1.PodPortForwardOptions) {
	f.stream = "portForward " + p.Name
}

func serve(t *testing.T) (*fake, func(method, path, who string) (int, string)) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "messages"), []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	f := &fake{allowed: map[string]bool{"fine get pods": true, "metrics get metrics": true}}
	s, err := New(Config{NodeName: "n", Kubelet: config.Default().Kubelet, LogDir: dir},
		Deps{Authenticator: f, Authorizer: f, Node: f, Stats: f, Streams: f, Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return f, func(method, path, who string) (int, string) {
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("User", who)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	_, call := serve(t)
	for _, tc := range []struct {
		method, path, who string
		code              int
		body              string
	}{
		{"GET", "/pods", "", 401, "Unauthorized\n"},
		{"GET", "/pods", "fine", 200, `{"kind":"PodList"`},
		{"GET", "/runningpods/", "fine", 200, `{"kind":"PodList"`},
		{"GET", "/healthz", "fine", 403, "Forbidden (user=fine, verb=get, resource=nodes, subresource(s)=[healthz proxy])\n"},
		{"GET", "/metrics/resource", "metrics", 200, "# HELP"},
		{"GET", "/stats/summary", "metrics", 403, "Forbidden (user=metrics, verb=get, resource=nodes, subresource(s)=[stats])\n"},
		{"POST", "/run/ns/p/c?cmd=a+b", "fine", 403, "Forbidden (user=fine, verb=create, resource=nodes, subresource(s)=[proxy])\n"},
	} {
		if code, body := call(tc.method, tc.path, tc.who); code != tc.code || !strings.HasPrefix(body, tc.body) {
			t.Errorf("%s %s of %q: %d %.200s, want %d %s", tc.method, tc.path, tc.who, code, body, tc.code, tc.body)
		}
	}
}

func TestWhatIsAnswered(t *testing.T) {
	f, call := serve(t)
	for _, tc := range []struct {
		method, path string
		code         int
		body         string
	}{
		{"GET", "/healthz", 200, "ok"},
		{"GET", "/healthz/syncloop", 200, "ok"},
		{"GET", "/healthz/nothing", 404, "404"},
		{"GET", "/healthz?verbose", 200, "[+]ping ok\n[+]log ok\n[+]syncloop ok\nhealthz check passed\n"},
		{"GET", "/configz", 200, `{"kubeletconfig":{"kind":"KubeletConfiguration"`},
		{"GET", "/containerLogs/ns/p/c", 200, "log\n"},
		{"GET", "/containerLogs/ns/p/c?previous=true", 400, "no previous one\n"},
		{"GET", "/containerLogs/ns/p/c?tailLines=-1", 422, `{"message": "Invalid request."}`},
		{"GET", "/containerLogs/ns/q/c", 404, "pod \"q\" does not exist\n"},
		{"GET", "/containerLogs/ns/p/d", 404, "container \"d\" not found in pod \"p\"\n"},
		{"POST", "/run/ns/p/c?cmd=a+b", 200, "a,b"},
		{"POST", "/run/ns/p/u/c?cmd=a", 200, "a"},
		{"POST", "/run/ns/p/other/c?cmd=a", 404, "pod not found\n"},
		{"POST", "/exec/ns/p/c", 400, "you must specify at least 1 of stdin, stdout, stderr\n"},
		{"POST", "/checkpoint/ns/p/c", 501, "checkpointing"},
		{"GET", "/logs/", 200, "<!doctype html>"},
		{"GET", "/logs/messages", 200, "hello\n"},
		{"GET", "/logs/out", 404, "404"},
		{"GET", "/logs/..%2f..%2fetc/passwd", 404, "404"},
		{"GET", "/stats/summary?only_cpu_and_memory=true", 200, "{\n \"node\""},
		{"GET", "/nothing", 404, "404"},
	} {
		code, body := call(tc.method, tc.path, "root")
		if code != tc.code || !strings.HasPrefix(body, tc.body) {
			t.Errorf("%s %s: %d %.200q, want %d %q", tc.method, tc.path, code, body, tc.code, tc.body)
		}
	}
	f.sick = errors.New("stuck")
	if code, body := call("GET", "/healthz", "root"); code != 500 || !strings.Contains(body, "[-]syncloop failed: reason withheld") {
		t.Errorf("%d %s", code, body)
	}
}

func TestStreamsAreHandedOn(t *testing.T) {
	f, call := serve(t)
	for path, want := range map[string]string{
		"/exec/ns/p/c?command=ls&command=-l&output=1": "exec p c ls,-l",
		"/attach/ns/p/c?input=1":                      "attach p c",
		"/portForward/ns/p?port=80":                   "portForward p",
	} {
		if code, body := call("POST", path, "root"); code != 200 || f.stream != want {
			t.Errorf("%s: %d %s %q, want %q", path, code, body, f.stream, want)
		}
	}
}

func TestSeriesHaveTheirNamesAndLabels(t *testing.T) {
	_, call := serve(t)
	for path, want := range map[string][]string{
		"/metrics/resource": {`container_cpu_usage_seconds_total{container="c",namespace="ns",pod="p"} 1.5 1000000`, `node_memory_working_set_bytes 1.5e+09 1000000`,
			`pod_cpu_usage_seconds_total{namespace="ns",pod="p"} 1.5 1000000`, "resource_scrape_error 0"},
		"/metrics/cadvisor": {`container_cpu_usage_seconds_total{container="c",cpu="total",id="/kubepods/podu/id",image="img",name="id",namespace="ns",pod="p"} 1.5 1000000`,
			`container_network_receive_bytes_total{container="",id="/kubepods/podu",image="",interface="eth0",name="",namespace="ns",pod="p"} 1.5e+09`, "machine_memory_bytes 3e+09"},
		"/metrics/probes": {`prober_probe_total{container="c",namespace="ns",pod="p",pod_uid="u",probe_type="Liveness",result="failed"} 3`},
	} {
		code, body := call("GET", path, "root")
		for _, w := range want {
			if code != 200 || !strings.Contains(body, w+"\n") {
				t.Errorf("%s: %d, without %s\n%s", path, code, w, body)
			}
		}
	}
}

// reviewer counts what it is asked.
type reviewer struct{ tokens, accesses int }

func (r *reviewer) TokenReview(_ context.Context, t *authenticationv1.TokenReview) (*authenticationv1.TokenReview, error) {
	r.tokens++
	t.Status.Authenticated = t.Spec.Token == "good"
	t.Status.User.Username = "someone"
	return t, nil
}

func (r *reviewer) SubjectAccessReview(_ context.Context, s *authorizationv1.SubjectAccessReview) (*authorizationv1.SubjectAccessReview, error) {
	r.accesses++
	s.Status.Allowed = s.Spec.ResourceAttributes.Subresource == "metrics"
	return s, nil
}

func TestReviewsAreAskedOnce(t *testing.T) {
	r := &reviewer{}
	a := NewReviewed(config.Default().Kubelet, nil, r)
	for range 3 {
		req := httptest.NewRequest("GET", "/", nil)
		req.Header.Set("Authorization", "Bearer good")
		who, ok, err := a.Authenticate(req)
		if err != nil || !ok || who.GetName() != "someone" {
			t.Fatal(who, ok, err)
		}
		yes, _, _ := a.Authorize(t.Context(), who, Access{Verb: "get", Subresource: "metrics", Node: "n"})
		no, _, _ := a.Authorize(t.Context(), who, Access{Verb: "get", Subresource: "proxy", Node: "n"})
		if !yes || no {
			t.Error(yes, no)
		}
	}
	req := httptest.NewRequest("GET", "/", nil)
	req.Header.Set("Authorization", "Bearer bad")
	if _, ok, err := a.Authenticate(req); ok || err != nil {
		t.Error(ok, err)
	}
	if r.tokens != 2 || r.accesses != 2 {
		t.Errorf("asked %d and %d times", r.tokens, r.accesses)
	}
}
