package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

const examplePolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: ["RequestReceived"]
omitManagedFields: true
rules:
- level: None
  users: ["system:kube-proxy"]
  verbs: ["watch"]
  resources: [{group: "", resources: ["endpoints", "services"]}]
- level: None
  nonResourceURLs: ["/healthz*", "/version"]
- level: Metadata
  resources: [{group: "", resources: ["secrets"]}]
- level: RequestResponse
  userGroups: ["auditors"]
  omitManagedFields: false
- level: Request
  resources: [{group: "", resources: ["configmaps"], resourceNames: ["one"]}]
  namespaces: ["kube-system"]
- level: Request
  resources: [{group: "apps", resources: ["deployments/scale", "*/status"]}, {group: "batch", resources: ["jobs/*"]}]
  omitStages: ["ResponseStarted"]
- level: RequestResponse
  resources: [{group: "policy"}]
- level: Metadata
  resources: [{group: "*", resources: ["*"]}]
  verbs: ["delete"]
`

func attrs(name, verb, group, resource string, more ...string) authorizer.AttributesRecord {
	a := authorizer.AttributesRecord{User: &user.DefaultInfo{Name: name}, Verb: verb, APIGroup: group, APIVersion: "v1", ResourceRequest: true}
	a.Resource, a.Subresource, _ = strings.Cut(resource, "/")
	if len(more) > 0 {
		a.Namespace = more[0]
	}
	if len(more) > 1 {
		a.Name = more[1]
	}
	return a
}

func TestPolicy(t *testing.T) {
	p, err := ParsePolicy([]byte(examplePolicy))
	if err != nil {
		t.Fatal(err)
	}
	auditor := attrs("jane", "list", "apps", "deployments")
	auditor.User = &user.DefaultInfo{Name: "jane", Groups: []string{"x", "auditors"}}
	path := func(p string) authorizer.AttributesRecord {
		return authorizer.AttributesRecord{User: &user.DefaultInfo{Name: "x"}, Verb: "get", Path: p}
	}
	for _, c := range []struct {
		name string
		a    authorizer.AttributesRecord
		want Level
	}{
		{"user, verb and resource", attrs("system:kube-proxy", "watch", "", "services"), None},
		{"another verb", attrs("system:kube-proxy", "delete", "", "services"), Metadata},
		{"path", path("/version"), None},
		{"path by its beginning", path("/healthz/etcd"), None},
		{"another path", path("/metrics"), None},
		{"resource", attrs("a", "get", "", "secrets", "ns", "s"), Metadata},
		{"the same of another group", attrs("a", "get", "x", "secrets", "ns", "s"), None},
		{"group of the user", auditor, RequestResponse},
		{"name and namespace", attrs("a", "get", "", "configmaps", "kube-system", "one"), Request},
		{"another name", attrs("a", "get", "", "configmaps", "kube-system", "two"), None},
		{"another namespace", attrs("a", "get", "", "configmaps", "default", "one"), None},
		{"subresource", attrs("a", "update", "apps", "deployments/scale"), Request},
		{"the resource of it", attrs("a", "update", "apps", "deployments"), None},
		{"any resource's status", attrs("a", "update", "apps", "daemonsets/status"), Request},
		{"any subresource", attrs("a", "update", "batch", "jobs/status"), Request},
		{"and the resource itself", attrs("a", "update", "batch", "jobs"), Request},
		{"a whole group", attrs("a", "get", "policy", "poddisruptionbudgets"), RequestResponse},
		{"everything, by verb", attrs("a", "delete", "any", "thing"), Metadata},
	} {
		v := p.judge(c.a)
		if v.level != c.want {
			t.Errorf("%s: level %s, want %s", c.name, levelNames[v.level], levelNames[c.want])
		}
	}
	if v := p.judge(auditor); v.omitManaged {
		t.Error("the rule does not override the policy's omitManagedFields")
	}
	if v := p.judge(attrs("a", "update", "batch", "jobs")); !v.omitManaged || len(v.omitStages) != 2 {
		t.Errorf("stages and fields of the rule and the policy: %+v", v)
	}
	for _, bad := range []string{"", "rules: []", "apiVersion: audit.k8s.io/v1\nkind: Policy", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Loud}]"} {
		if _, err := ParsePolicy([]byte(bad)); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}

func newLog(t *testing.T, policy string, change func(*Config)) *Log {
	t.Helper()
	dir := t.TempDir()
	c := DefaultConfig()
	c.PolicyFile = filepath.Join(dir, "policy.yaml")
	c.Logger = slog.New(slog.DiscardHandler)
	if err := os.WriteFile(c.PolicyFile, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Log.Path = filepath.Join(dir, "logs", "audit.log")
	change(&c)
	l, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

const everything = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: RequestResponse}]"

func events(t *testing.T, path string) (out []auditv1.Event) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e auditv1.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%v: %s", err, lines.Bytes())
		}
		out = append(out, e)
	}
	return out
}

// through takes one request through its stages.
func through(l *Log, req *http.Request, a authorizer.Attributes, handle func(ctx context.Context, r *Record)) error {
	ctx, r := l.Begin(req.Context(), "the-id", time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC))
	if err := r.Receive(req, a); err != nil {
		return err
	}
	handle(ctx, r)
	r.Complete(false)
	return nil
}

func TestARequestIsWrittenDownAtEachStage(t *testing.T) {
	var path string
	l := newLog(t, everything, func(c *Config) { path = c.Log.Path })
	req := httptest.NewRequest("POST", "/api/v1/namespaces/ns/configmaps?dryRun=All", nil)
	req.Header.Set("User-Agent", strings.Repeat("u", 2000))
	req.Header.Set("X-Forwarded-For", "10.1.2.3")
	err := through(l, req, attrs("jane", "create", "", "configmaps", "ns"), func(ctx context.Context, r *Record) {
		r.Impersonate(&user.DefaultInfo{Name: "bob", Groups: []string{"g"}}, "impersonate:user-info")
		Annotate(ctx, "pod-security.kubernetes.io/audit-violations", "first")
		Annotate(ctx, "pod-security.kubernetes.io/audit-violations", "second")
		r.Status(201, false)
		r.Sent([]byte(`{"metadata":{"name":"a","managedFields":[{"manager":"m"}]},"data":{"k":"v"}}`), false)
		r.Answered([]byte(`{"kind":"ConfigMap","metadata":{"name":"a"}}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	got := events(t, path)
	if len(got) != 2 || got[0].Stage != auditv1.StageRequestReceived || got[1].Stage != auditv1.StageResponseComplete {
		t.Fatalf("events %+v", got)
	}
	e := got[1]
	if e.Kind != "Event" || e.APIVersion != "audit.k8s.io/v1" || e.Level != auditv1.LevelRequestResponse || e.AuditID != "the-id" || e.Verb != "create" ||
		e.RequestURI != "/api/v1/namespaces/ns/configmaps?dryRun=All" || e.User.Username != "jane" || e.ImpersonatedUser.Username != "bob" ||
		e.AuthenticationMetadata.ImpersonationConstraint != "impersonate:user-info" {
		t.Errorf("event %+v", e)
	}
	if !slices.Contains(e.SourceIPs, "10.1.2.3") || !strings.HasSuffix(e.UserAgent, "...TRUNCATED") || len(e.UserAgent) != 1024+len("...TRUNCATED") {
		t.Errorf("sources %v, agent of %d bytes", e.SourceIPs, len(e.UserAgent))
	}
	if e.ObjectRef.Name != "a" || e.ObjectRef.Namespace != "ns" || e.ObjectRef.Resource != "configmaps" || e.ObjectRef.APIVersion != "v1" {
		t.Errorf("reference %+v", e.ObjectRef)
	}
	if e.ResponseStatus.Code != 201 || e.Annotations["pod-security.kubernetes.io/audit-violations"] != "first" {
		t.Errorf("status %+v, annotations %v", e.ResponseStatus, e.Annotations)
	}
	if !bytes.Contains(e.RequestObject.Raw, []byte("managedFields")) || e.ResponseObject == nil {
		t.Errorf("objects %s %v", e.RequestObject.Raw, e.ResponseObject)
	}
	if !got[0].StageTimestamp.Equal(&got[0].RequestReceivedTimestamp) || got[0].ResponseStatus != nil {
		t.Errorf("the first stage: %+v", got[0])
	}
}

func TestLevelsAndStagesBoundWhatIsWritten(t *testing.T) {
	var path string
	l := newLog(t, examplePolicy, func(c *Config) { path = c.Log.Path })
	req := httptest.NewRequest("GET", "/", nil)
	for _, a := range []authorizer.AttributesRecord{attrs("a", "create", "", "secrets", "ns"), attrs("a", "get", "", "pods"), attrs("a", "update", "batch", "jobs", "ns", "j")} {
		if err := through(l, req, a, func(ctx context.Context, r *Record) {
			Annotate(ctx, "k", "v")
			r.Status(403, false)
			r.Sent([]byte(`{"metadata":{"name":"n","managedFields":[]},"data":{"secret":"word"}}`), false)
			r.Answered([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","message":"no","code":403}`))
		}); err != nil {
			t.Fatal(err)
		}
	}
	got := events(t, path)
	if len(got) != 2 {
		t.Fatalf("%d events", len(got))
	}
	if e := got[0]; e.Level != auditv1.LevelMetadata || e.RequestObject != nil || e.ResponseObject != nil || e.ObjectRef.Name != "n" ||
		e.ResponseStatus.Reason != metav1.StatusReasonForbidden || e.ResponseStatus.Message != "no" {
		t.Errorf("metadata: %+v", e)
	}
	if e := got[1]; e.Level != auditv1.LevelRequest || e.RequestObject == nil || bytes.Contains(e.RequestObject.Raw, []byte("managedFields")) || e.ResponseObject != nil {
		t.Errorf("request: %+v", e)
	}
}

func TestStagesOfLongRequestsPanicsAndRefusals(t *testing.T) {
	var path string
	l := newLog(t, everything, func(c *Config) { path = c.Log.Path })
	req := httptest.NewRequest("GET", "/x", nil)
	req.Header.Set("Authorization", "Bearer wrong")
	_, r := l.Begin(t.Context(), "1", time.Now())
	_ = r.Receive(req, attrs("a", "watch", "", "pods"))
	r.Status(200, true)
	r.Complete(true)
	_, r = l.Begin(t.Context(), "2", time.Now())
	_ = r.Receive(req, attrs("a", "get", "", "pods"))
	r.Panic("ouch")
	_, r = l.Begin(t.Context(), "3", time.Now())
	r.Refuse(req, attrs("", "get", "", "pods"))
	r.Status(401, true)
	_, r = l.Begin(t.Context(), "4", time.Now())
	_ = r.Receive(req, attrs("a", "watch", "", "pods"))
	r.Complete(true)
	var got []string
	for _, e := range events(t, path) {
		line := fmt.Sprint(e.AuditID, " ", e.Stage)
		if e.ResponseStatus != nil {
			line += fmt.Sprint(" ", e.ResponseStatus.Code, " ", e.ResponseStatus.Message)
		}
		got = append(got, line)
	}
	want := []string{
		"1 RequestReceived", "1 ResponseStarted 200 ", "1 ResponseComplete 200 ",
		"2 RequestReceived", "2 Panic 500 APIServer panic'd: ouch",
		"3 ResponseStarted 401 Authentication failed, attempted: bearer",
		"4 RequestReceived", "4 ResponseStarted 200 Connection closed early", "4 ResponseComplete 200 Connection closed early",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestNothingIsDoneWithoutARecord(t *testing.T) {
	var r *Record
	if err := r.Receive(nil, nil); err != nil {
		t.Error(err)
	}
	r.Refuse(nil, nil)
	r.Impersonate(nil, "")
	r.Sent([]byte("{}"), false)
	r.Answered([]byte("{}"))
	r.Status(200, true)
	r.Panic("x")
	r.Complete(true)
	Annotate(t.Context(), "k", "v")
	if l, err := New(Config{}); l != nil || err != nil {
		t.Errorf("a log without a place: %v %v", l, err)
	}
	if n := testing.AllocsPerRun(100, func() { Annotate(context.Background(), "k", "v") }); n != 0 {
		t.Errorf("an annotation for nobody allocates %v times", n)
	}
}

func TestManagedFieldsAreTakenFromListsAndTables(t *testing.T) {
	for in, want := range map[string]string{
		`{"items":[{"metadata":{"name":"a","managedFields":[1]}}]}`:           `{"items":[{"metadata":{"name":"a"}}]}`,
		`{"rows":[{"object":{"metadata":{"name":"a","managedFields":[1]}}}]}`: `{"rows":[{"object":{"metadata":{"name":"a"}}}]}`,
		`{"metadata":{"managedFields":[1]},"x":1}`:                            `{"metadata":{},"x":1}`,
	} {
		if got := string(withoutManagedFields([]byte(in))); got != want {
			t.Errorf("%s → %s", in, got)
		}
	}
}

func TestLegacyLines(t *testing.T) {
	var path string
	l := newLog(t, everything, func(c *Config) { path, c.Log.Format = c.Log.Path, FormatLegacy })
	if err := through(l, httptest.NewRequest("GET", "/api/v1/pods", nil), attrs("jane", "list", "", "pods"), func(_ context.Context, r *Record) { r.Status(200, false) }); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^2026-01-02T03:04:05.000006Z AUDIT: id="the-id" stage="RequestReceived" ip="192.0.2.1" method="list" user="jane" groups="<none>" as="<self>" asgroups="<lookup>" user-agent="" namespace="<none>" uri="/api/v1/pods" response="<deferred>"\n.* response="200"\n$`)
	if !want.Match(text) {
		t.Errorf("lines:\n%s", text)
	}
}

func TestLargeEventsAreTruncated(t *testing.T) {
	var path string
	l := newLog(t, everything, func(c *Config) {
		path = c.Log.Path
		c.Log.Truncate = TruncateConfig{Enabled: true, MaxEventBytes: 2000, MaxBatchBytes: 5000}
	})
	_ = through(l, httptest.NewRequest("POST", "/", nil), attrs("jane", "create", "", "pods"), func(_ context.Context, r *Record) {
		r.Status(201, false)
		r.Sent([]byte(`{"x":"`+strings.Repeat("y", 3000)+`"}`), false)
	})
	got := events(t, path)
	if len(got) != 2 || got[1].RequestObject != nil || got[1].Annotations[truncatedKey] != "true" {
		t.Errorf("events %+v", got)
	}
	if parts := split([]encoded{make(encoded, 3000), make(encoded, 1500), make(encoded, 1500)}, TruncateConfig{Enabled: true, MaxBatchBytes: 5000}); len(parts) != 2 {
		t.Errorf("%d batches", len(parts))
	}
}

// failing is a sink that takes nothing.
type failing struct{}

func (failing) write(context.Context, []encoded) error { return errors.New("full") }
func (failing) close() error                           { return nil }

func TestOnlyAStrictSinkRefusesRequests(t *testing.T) {
	for mode, refused := range map[string]bool{ModeBlocking: false, ModeBlockingStrict: true} {
		l := newLog(t, everything, func(c *Config) { c.Log.Mode = mode })
		l.outputs[0].sink = failing{}
		err := through(l, httptest.NewRequest("GET", "/", nil), attrs("a", "get", "", "pods"), func(context.Context, *Record) {})
		if errors.Is(err, ErrNotStored) != refused {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

func TestBatchesAreBoundedAndNothingIsLostAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var sizes []int
		b := newBatch(BatchConfig{BufferSize: 10, MaxSize: 4, MaxWait: time.Second}, func(_ context.Context, e []encoded) {
			mu.Lock()
			defer mu.Unlock()
			sizes = append(sizes, len(e))
		})
		taken := 0
		for range 12 {
			if b.put(encoded("e")) {
				taken++
			}
		}
		if taken != 10 {
			t.Errorf("a buffer of ten took %d", taken)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { b.run(ctx) })
		synctest.Wait()
		mu.Lock()
		if !slices.Equal(sizes, []int{4, 4}) {
			t.Errorf("batches %v before the wait is over", sizes)
		}
		mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		mu.Lock()
		if !slices.Equal(sizes, []int{4, 4, 2}) {
			t.Errorf("batches %v", sizes)
		}
		mu.Unlock()
		b.put(encoded("late"))
		b.put(encoded("late"))
		cancel()
		wg.Wait()
		total := 0
		for _, n := range sizes {
			total += n
		}
		if total != 12 {
			t.Errorf("%d events arrived: %v", total, sizes)
		}
	})
}

func TestWebhook(t *testing.T) {
	var mu sync.Mutex
	var lists []auditv1.EventList
	fail := 1
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if fail--; fail >= 0 {
			http.Error(w, "later", http.StatusServiceUnavailable)
			return
		}
		body, _ := io.ReadAll(req.Body)
		var l auditv1.EventList
		if err := json.Unmarshal(body, &l); err != nil || req.URL.Path != "/audit" || req.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%v: %s %s", err, req.URL, body)
		}
		lists = append(lists, l)
	}))
	defer server.Close()
	conf := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(conf, []byte("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: '"+server.URL+"/audit'}}]\ncontexts: [{name: x, context: {cluster: c}}]\ncurrent-context: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := newLog(t, everything, func(c *Config) {
		c.Log.Path, c.Webhook.ConfigFile, c.Webhook.InitialBackoff = "", conf, time.Millisecond
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for range 3 {
		_ = through(l, httptest.NewRequest("GET", "/", nil), attrs("a", "get", "", "pods"), func(_ context.Context, r *Record) { r.Status(200, false) })
	}
	cancel()
	wg.Wait()
	n := 0
	for _, x := range lists {
		if x.Kind != "EventList" || x.APIVersion != "audit.k8s.io/v1" {
			t.Errorf("list %s %s", x.APIVersion, x.Kind)
		}
		n += len(x.Items)
	}
	if n != 6 {
		t.Errorf("%d events arrived in %d lists", n, len(lists))
	}
}

func TestConfigurationsAreJudged(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"audit log mode":             func(c *Config) { c.Log.Mode = "x" },
		"audit log format":           func(c *Config) { c.Log.Format = "xml" },
		"--audit-log-maxage -1":      func(c *Config) { c.Log.MaxAge = -1 },
		"buffer size 0":              func(c *Config) { c.Log.Mode, c.Log.Batch.BufferSize = ModeBatch, 0 },
		"reading the policy":         func(c *Config) { c.PolicyFile = "/nowhere" },
		"initializing audit webhook": func(c *Config) { c.Webhook.ConfigFile = "/nowhere" },
		"ensuring the audit log":     func(c *Config) { c.Log.Path = "/proc/nowhere/x" },
		"max event size":             func(c *Config) { c.Log.Truncate = TruncateConfig{Enabled: true} },
	} {
		c := DefaultConfig()
		c.Logger = slog.New(slog.DiscardHandler)
		dir := t.TempDir()
		c.PolicyFile, c.Log.Path = filepath.Join(dir, "p"), filepath.Join(dir, "log")
		if err := os.WriteFile(c.PolicyFile, []byte(everything), 0o600); err != nil {
			t.Fatal(err)
		}
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestIDsAreUUIDs(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for range 1000 {
		id := NewID()
		if !form.MatchString(id) || seen[id] {
			t.Fatalf("ID %q", id)
		}
		seen[id] = true
	}
}
