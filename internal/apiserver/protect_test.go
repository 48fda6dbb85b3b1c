package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/monohull/monohull/internal/audit"
	"github.com/monohull/monohull/internal/fairness"
)

func TestRequestsTakeTheirTurn(t *testing.T) {
	r := newRig(t)
	// until there are levels, all are of the one that refuses
	r.server.Fairness = fairness.New(fairness.Config{Seats: 2, RequestTimeout: time.Minute, Logger: slog.New(slog.DiscardHandler)})
	a := r.get(maps).ok(200, nil)
	for _, h := range []string{"X-Kubernetes-Pf-Flowschema-Uid", "X-Kubernetes-Pf-Prioritylevel-Uid"} {
		if _, ok := a.head[h]; !ok {
			t.Errorf("the answer has no header %s: %v", h, a.head)
		}
	}
	if a.head.Get("Audit-ID") == "" {
		t.Error("the answer has no Audit-ID")
	}
	r.get(maps, "Audit-Id", "mine").header("Audit-Id", "mine")

	// watches hold no seats once they have begun
	ts := r.serve()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 5 {
		req, err := http.NewRequestWithContext(ctx, "GET", ts.URL+maps+"?watch=true", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+adminToken)
		res, err := ts.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != 200 {
			t.Fatalf("a watch: %s", res.Status)
		}
	}
	// two slow requests take both seats, for as long as their bodies take
	release := make(chan struct{})
	held, done := make(chan struct{}, 2), make(chan int, 2)
	for i := range 2 {
		body, first := strings.NewReader(named(fmt.Sprint("slow", i))), true
		size := body.Size()
		req := httptest.NewRequest("POST", maps, readerFunc(func(p []byte) (int, error) {
			if first {
				first = false
				held <- struct{}{}
				<-release
			}
			return body.Read(p)
		}))
		req.ContentLength = size
		req.Header.Set("Authorization", "Bearer "+adminToken)
		go func() {
			w := httptest.NewRecorder()
			r.server.ServeHTTP(w, req)
			done <- w.Code
		}()
	}
	<-held
	<-held
	refused := r.get(maps)
	if refused.code != 429 || string(refused.body) != "Too many requests, please try again later.\n" || refused.head.Get("Retry-After") != "1" {
		t.Errorf("over the limit: %d %q %v", refused.code, refused.body, refused.head)
	}
	close(release)
	for range 2 {
		if code := <-done; code != 201 {
			t.Errorf("a slow request: %d", code)
		}
	}
	r.get(maps).ok(200, nil)
	if a := r.get(fairness.DebugPath + "dump_priority_levels"); a.code != 200 || !strings.Contains(string(a.body), "catch-all") {
		t.Errorf("the dump: %d %s", a.code, a.body)
	}
}

func TestPlainLimits(t *testing.T) {
	r := newRig(t)
	r.server.Inflight = fairness.NewInflight(1, 1)
	release := make(chan struct{})
	held := make(chan struct{})
	slow := httptest.NewRequest("POST", maps, readerFunc(func(p []byte) (int, error) {
		close(held)
		<-release
		return copy(p, named("slow")), nil
	}))
	slow.ContentLength = int64(len(named("slow")))
	slow.Header.Set("Authorization", "Bearer "+adminToken)
	w := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.server.ServeHTTP(w, slow)
	}()
	<-held
	r.do("POST", maps, named("other")).ok(429, nil).header("Retry-After", "1")
	r.get(maps).ok(200, nil)
	close(release)
	<-done
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestRequestsAreWrittenDown(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	c := audit.DefaultConfig()
	c.Logger = slog.New(slog.DiscardHandler)
	c.PolicyFile, c.Log.Path = filepath.Join(dir, "policy"), filepath.Join(dir, "log")
	if err := os.WriteFile(c.PolicyFile, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: RequestResponse}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.server.Audit, err = audit.New(c); err != nil {
		t.Fatal(err)
	}
	seen := 0
	last := func() auditv1.Event {
		t.Helper()
		text, err := os.ReadFile(c.Log.Path)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		if len(lines) != seen+1 {
			t.Fatalf("%d events, want %d", len(lines), seen+1)
		}
		seen++
		var e auditv1.Event
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	r.do("POST", maps, named("a"), "Content-Type", typeJSON, "Audit-ID", "chosen").ok(201, nil)
	e := last()
	if e.AuditID != "chosen" || e.Stage != auditv1.StageResponseComplete || e.Verb != "create" || e.User.Username != "admin" || e.ObjectRef.Name != "a" || e.ResponseStatus.Code != 201 {
		t.Errorf("event %+v", e)
	}
	if !strings.Contains(string(e.RequestObject.Raw), `"name":"a"`) || !strings.Contains(string(e.ResponseObject.Raw), `"uid"`) {
		t.Errorf("objects %s %s", e.RequestObject.Raw, e.ResponseObject.Raw)
	}
	if e.Annotations["authorization.k8s.io/decision"] != "allow" {
		t.Errorf("annotations %v", e.Annotations)
	}
	r.get(maps+"/a", "Accept", typeProtobuf).ok(200, nil)
	if e = last(); e.ResponseObject == nil || !strings.Contains(string(e.ResponseObject.Raw), `"kind":"ConfigMap"`) || e.RequestObject != nil {
		t.Errorf("a message of protobuf: %+v", e.ResponseObject)
	}
	r.get(maps, "Authorization", "Bearer "+guestToken).ok(403, nil)
	if e = last(); e.Annotations["authorization.k8s.io/decision"] != "forbid" || e.ResponseStatus.Code != 403 || e.ResponseStatus.Reason != "Forbidden" || e.User.Username != "guest" {
		t.Errorf("a refusal: %+v %v", e.ResponseStatus, e.Annotations)
	}
	r.get(maps, "Authorization", "Bearer wrong").ok(401, nil)
	if e = last(); e.Stage != auditv1.StageResponseStarted || e.ResponseStatus.Code != 401 || e.ResponseStatus.Message != "Authentication failed, attempted: bearer" {
		t.Errorf("a stranger: %+v", e)
	}
	r.get(maps, "Impersonate-User", "guest").ok(403, nil)
	if e = last(); e.User.Username != "admin" || e.ImpersonatedUser == nil || e.ImpersonatedUser.Username != "guest" {
		t.Errorf("an impersonation: %+v", e)
	}
	r.do("PATCH", maps+"/a", `{"data":{"k":"w"}}`, "Content-Type", "application/merge-patch+json").ok(200, nil)
	if e = last(); string(e.RequestObject.Raw) != `{"data":{"k":"w"}}` {
		t.Errorf("a patch: %s", e.RequestObject.Raw)
	}
	r.get("/healthz").ok(200, nil)
	if e = last(); e.ObjectRef != nil || e.RequestURI != "/healthz" {
		t.Errorf("a path: %+v", e)
	}
}

func TestSomeClientsAreAskedToConnectAnew(t *testing.T) {
	r := newRig(t)
	r.server.GoawayChance = 1
	ts := r.serve()
	for range 2 {
		req, err := http.NewRequest("GET", ts.URL+maps, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+adminToken)
		res, err := ts.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.ProtoMajor != 2 || res.StatusCode != 200 {
			t.Errorf("%s %s", res.Proto, res.Status)
		}
	}
	r.get(maps).header("Connection", "") // not of HTTP/1
}
