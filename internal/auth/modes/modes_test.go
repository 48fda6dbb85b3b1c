package modes

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/clock"
)

func ask(name, verb, resource, namespace string, groups ...string) authorizer.AttributesRecord {
	return authorizer.AttributesRecord{
		User: &user.DefaultInfo{Name: name, Groups: append(groups, user.AllAuthenticated)},
		Verb: verb, APIVersion: "v1", Resource: resource, Namespace: namespace, ResourceRequest: true,
	}
}

func visit(name, verb, path string) authorizer.AttributesRecord {
	return authorizer.AttributesRecord{User: &user.DefaultInfo{Name: name, Groups: []string{user.AllAuthenticated}}, Verb: verb, Path: path}
}

// only allows one user's questions.
func only(name string) authorizer.Authorizer {
	return authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if a.GetUser().GetName() == name {
			return authorizer.DecisionAllow, "by " + name, nil
		}
		return authorizer.DecisionNoOpinion, "", nil
	})
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

func config() Config {
	return Config{RBAC: only("rbac"), Node: only("node"), Clock: clock.RealClock{}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func TestModesOfFlags(t *testing.T) {
	tests := []struct {
		modes []string
		allow []string
		deny  []string
	}{
		{nil, []string{"rbac", "node", "master"}, []string{"ann"}},
		{[]string{RBAC}, []string{"rbac", "master"}, []string{"node"}},
		{[]string{AlwaysAllow}, []string{"ann"}, nil},
		{[]string{AlwaysDeny}, []string{"master"}, []string{"ann", "rbac"}},
		{[]string{AlwaysDeny, RBAC}, []string{"rbac"}, []string{"ann"}},
	}
	for _, test := range tests {
		conf := config()
		conf.Flags.Modes = test.modes
		c, err := New(conf)
		if err != nil {
			t.Fatal(err)
		}
		decide := func(name string) bool {
			q := ask(name, "get", "pods", "n")
			if name == "master" {
				q = ask(name, "get", "pods", "n", user.SystemPrivilegedGroup)
			}
			d, _, _ := c.Authorize(t.Context(), q)
			return d == authorizer.DecisionAllow
		}
		for _, name := range test.allow {
			if !decide(name) {
				t.Errorf("%v: %s is refused", test.modes, name)
			}
		}
		for _, name := range test.deny {
			if decide(name) {
				t.Errorf("%v: %s is allowed", test.modes, name)
			}
		}
	}
}

func TestRefusedFlags(t *testing.T) {
	tests := []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Flags.Modes = []string{"Mine"} }, `authorization-mode "Mine" is not a valid mode`},
		{func(c *Config) { c.Flags.Modes = []string{ABAC} }, "policy file not passed"},
		{func(c *Config) { c.Flags.Modes = []string{Webhook} }, "config file not passed"},
		{func(c *Config) { c.Flags.PolicyFile = "x" }, "cannot specify --authorization-policy-file without mode ABAC"},
		{func(c *Config) { c.Flags.WebhookFile = "x" }, "cannot specify --authorization-webhook-config-file without mode Webhook"},
		{func(c *Config) { c.Flags.Modes = []string{RBAC, RBAC} }, "has mode specified more than once"},
		{func(c *Config) { c.File, c.FlagsGiven = "x", true }, "--authorization-config can not be specified when"},
		{func(c *Config) { c.File = "/nonexistent" }, "no such file"},
		{func(c *Config) { c.Node = nil; c.Flags.Modes = []string{Node} }, "there is no authorizer of it"},
	}
	for _, test := range tests {
		conf := config()
		test.change(&conf)
		if _, err := New(conf); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, expected %q", err, test.want)
		}
	}
}

func TestABAC(t *testing.T) {
	conf := config()
	conf.Flags.Modes = []string{ABAC}
	conf.Flags.PolicyFile = write(t, filepath.Join(t.TempDir(), "policy"), `# people
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"ann","namespace":"n","resource":"pods","apiGroup":""}}
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"group":"*","readonly":true,"nonResourcePath":"/health/*"}}
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"ben","namespace":"*","resource":"*","apiGroup":"*","readonly":true}}

{"user":"old","namespace":"n"}
{"user":"oldest"}
`)
	c, err := New(conf)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		q    authorizer.AttributesRecord
		want bool
	}{
		{ask("ann", "create", "pods", "n"), true}, {ask("ann", "get", "secrets", "n"), false}, {ask("ann", "get", "pods", "m"), false},
		{ask("ben", "list", "secrets", "m"), true}, {ask("ben", "delete", "pods", "n"), false},
		{visit("eve", "get", "/health/x"), true}, {visit("eve", "post", "/health/x"), false}, {visit("eve", "get", "/metrics"), false},
		{ask("old", "delete", "secrets", "n"), true}, {ask("old", "get", "pods", "m"), false}, {visit("old", "get", "/metrics"), false},
		{ask("oldest", "delete", "nodes", ""), true}, {visit("oldest", "post", "/x"), true},
	}
	for _, test := range tests {
		d, _, _ := c.Authorize(t.Context(), test.q)
		if (d == authorizer.DecisionAllow) != test.want {
			t.Errorf("%s %s %s%s %s: %v", test.q.User.GetName(), test.q.Verb, test.q.Resource, test.q.Path, test.q.Namespace, d)
		}
	}
	resources, paths, _, _ := c.RulesFor(t.Context(), &user.DefaultInfo{Name: "ann", Groups: []string{user.AllAuthenticated}}, "n")
	if len(resources) != 1 || resources[0].GetResources()[0] != "pods" || len(paths) != 0 {
		t.Errorf("%v %v", resources, paths)
	}
	for _, bad := range []string{"{", `{"apiVersion":"v9","kind":"Policy"}`} {
		write(t, conf.Flags.PolicyFile, bad)
		if _, err := New(conf); err == nil || !strings.Contains(err.Error(), "line 1: "+bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// hook answers SubjectAccessReviews on loopback.
func hook(t *testing.T, answer func(authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var review authorizationv1.SubjectAccessReview
		if err := json.NewDecoder(req.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		review.Status = answer(review.Spec)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(&review)
	}))
	t.Cleanup(server.Close)
	return write(t, filepath.Join(t.TempDir(), "webhook"), "apiVersion: v1\nkind: Config\nclusters:\n- {name: c, cluster: {server: '"+server.URL+
		"'}}\nusers:\n- {name: u, user: {}}\ncontexts:\n- {name: x, context: {cluster: c, user: u}}\ncurrent-context: x\n")
}

func TestConfigurationFile(t *testing.T) {
	asked := 0
	kubeconfig := hook(t, func(spec authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
		asked++
		switch {
		case spec.User == "ann":
			return authorizationv1.SubjectAccessReviewStatus{Allowed: true}
		case spec.User == "rbac" && spec.ResourceAttributes.Verb == "delete":
			return authorizationv1.SubjectAccessReviewStatus{Denied: true, Reason: "not today"}
		}
		return authorizationv1.SubjectAccessReviewStatus{}
	})
	path := filepath.Join(t.TempDir(), "authorization.yaml")
	file := func(condition, more string) string {
		return `apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- type: Webhook
  name: hook
  webhook:
    timeout: 3s
    authorizedTTL: 1m
    unauthorizedTTL: 1m
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: Deny
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: ` + kubeconfig + `}
    matchConditions:
    - expression: "` + condition + `"
- type: RBAC
  name: rbac
` + more
	}
	conf := config()
	conf.File = write(t, path, file("has(request.resourceAttributes) && request.resourceAttributes.namespace == 'n'", ""))
	c, err := New(conf)
	if err != nil {
		t.Fatal(err)
	}
	decide := func(q authorizer.AttributesRecord) authorizer.Decision {
		d, _, err := c.Authorize(t.Context(), q)
		if err != nil {
			t.Error(err)
		}
		return d
	}
	if d := decide(ask("ann", "get", "pods", "n")); d != authorizer.DecisionAllow || asked != 1 {
		t.Errorf("%v after %d questions", d, asked)
	}
	if d := decide(ask("ann", "get", "pods", "m")); d != authorizer.DecisionNoOpinion || asked != 1 {
		t.Errorf("the webhook is not to be asked of m: %v after %d questions", d, asked)
	}
	if d := decide(ask("rbac", "delete", "pods", "n")); d != authorizer.DecisionDeny {
		t.Errorf("a webhook that denies must be the last word: %v", d)
	}
	if d := decide(ask("rbac", "get", "pods", "n")); d != authorizer.DecisionAllow {
		t.Error(d)
	}
	if d := decide(ask("node", "get", "pods", "m")); d != authorizer.DecisionNoOpinion {
		t.Error(d)
	}

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	defer func() { cancel(); <-done }()
	write(t, path, file("broken(", ""))
	write(t, path, file("true", "- {type: Node, name: node}\n"))
	write(t, path, strings.ReplaceAll(file("true", ""), "type: RBAC\n  name: rbac", "type: AlwaysAllow\n  name: alwaysallow"))
	write(t, path, file("request.resourceAttributes.namespace == 'm'", ""))
	for deadline := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
		if d, _, _ := c.Authorize(t.Context(), ask("ann", "get", "pods", "m")); d == authorizer.DecisionAllow {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the changed condition never came into force")
		}
	}
	if d, _, _ := c.Authorize(t.Context(), ask("ann", "list", "pods", "n")); d != authorizer.DecisionNoOpinion {
		t.Error(d)
	}
}

func TestRefusedFiles(t *testing.T) {
	const head = "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthorizationConfiguration\n"
	for text, want := range map[string]string{
		"": "failed to load", head: "at least one authorization mode must be defined",
		head + "authorizers: [{type: RBAC, name: x}]\n":                               "expected name rbac for authorizer RBAC instead of x",
		head + "authorizers: [{type: RBAC, name: rbac}, {type: RBAC, name: rbac2}]\n": "Duplicate value",
		head + "authorizers: [{type: Mine, name: mine}]\n":                            `Unsupported value: "Mine"`,
		head + "authorizers: [{type: Webhook, name: w}]\n":                            "required when type=Webhook",
		head + "author: []\n": `unknown field "author"`,
	} {
		conf := config()
		conf.File = write(t, filepath.Join(t.TempDir(), "f"), text)
		if _, err := New(conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, expected %q", text, err, want)
		}
	}
}
