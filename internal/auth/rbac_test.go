package auth

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

func person(name string, groups ...string) user.Info {
	return &user.DefaultInfo{Name: name, Groups: append(groups, user.AllAuthenticated)}
}

func account(namespace, name string) user.Info {
	return authenticated(serviceaccount.UserInfo(namespace, name, "uid"))
}

// ask reads "verb [group/]resource[/sub] [namespace/][name]" or "verb /path".
func ask(u user.Info, question string) authorizer.AttributesRecord {
	f := strings.Fields(question)
	a := authorizer.AttributesRecord{User: u, Verb: f[0]}
	if strings.HasPrefix(f[1], "/") {
		a.Path = f[1]
		return a
	}
	a.ResourceRequest = true
	resource := f[1]
	if group, rest, ok := strings.Cut(resource, ":"); ok {
		a.APIGroup, resource = group, rest
	}
	a.Resource, a.Subresource, _ = strings.Cut(resource, "/")
	if len(f) > 2 {
		a.Namespace, a.Name, _ = strings.Cut(f[2], "/")
	}
	return a
}

func clusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
}

func bindCluster(name, role string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}}
}

func bindIn(namespace, name, kind, role string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role}}
}

func TestRuleMatching(t *testing.T) {
	tests := []struct {
		rule  rbacv1.PolicyRule
		allow []string
		deny  []string
	}{
		{may("get list", "core", "pods"),
			[]string{"get pods ns/a", "list pods", "get pods"},
			[]string{"create pods ns", "get pods/log ns/a", "get apps:pods ns/a", "get /api", "impersonate pods ns/a"}},
		{may("get", "core", "pods/log"), []string{"get pods/log ns/a"}, []string{"get pods ns/a", "get pods/status ns/a", "get nodes/log /n"}},
		{may("*", "*", "*"), []string{"get pods", "bind rbac.authorization.k8s.io:roles ns/a", "use x:y/z n/m", "create pods/exec n/a"}, []string{"get /metrics"}},
		{may("get", "core", "*"), []string{"get pods/log ns/a", "get secrets ns/a"}, []string{"get apps:deployments ns/a", "list pods"}},
		{may("update", "*", "*/scale"), []string{"update apps:deployments/scale n/a", "update x.y:z/scale n/a"}, []string{"update apps:deployments n/a", "update apps:deployments/status n/a", "get apps:deployments/scale n/a"}},
		{may("get", "apps", "deployments/*"), nil, []string{"get apps:deployments/scale n/a", "get apps:deployments n/a"}},
		{may("get update", "core", "configmaps", "a", "b"), []string{"get configmaps n/a", "update configmaps n/b"}, []string{"get configmaps n/c", "get configmaps n", "update configmaps n"}},
		{may("approve", "certificates.k8s.io", "signers", "k/x"), []string{"approve certificates.k8s.io:signers /k/x"}, []string{"approve certificates.k8s.io:signers /k/y", "sign certificates.k8s.io:signers /k/x"}},
		{may("impersonate", "authentication.k8s.io", "userextras/example.org/role"), []string{"impersonate authentication.k8s.io:userextras/example.org/role /x"}, []string{"impersonate authentication.k8s.io:userextras/example.org /x"}},
		{visit("get", "/healthz /apis/* /openapi*"),
			[]string{"get /healthz", "get /apis/", "get /apis/apps/v1", "get /openapi", "get /openapi/v3"},
			[]string{"get /healthz/", "get /healthz/etcd", "get /apis", "post /healthz", "get /open", "get pods"}},
		{visit("*", "*"), []string{"get /", "post /x", "delete /metrics"}, []string{"get pods"}},
		{visit("get", "/a/*/b"), []string{"get /a/*/b"}, []string{"get /a/x/b"}},
	}
	for _, test := range tests {
		for _, q := range test.allow {
			if !RuleAllows(ask(person("u"), q), &test.rule) {
				t.Errorf("%s does not allow %q", ruleText(test.rule), q)
			}
		}
		for _, q := range test.deny {
			if RuleAllows(ask(person("u"), q), &test.rule) {
				t.Errorf("%s allows %q", ruleText(test.rule), q)
			}
		}
	}
}

func TestRBACBindings(t *testing.T) {
	pods := may("get", "core", "pods")
	p := newPolicy(
		clusterRole("pods", pods), clusterRole("secrets", may("get", "core", "secrets")),
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "local"}, Rules: []rbacv1.PolicyRule{may("create", "core", "pods")}},
		bindCluster("everywhere", "pods", userSubject("ann"), groupSubject("ops"), accountSubject("a", "bot")),
		bindCluster("nowhere", "pods", rbacv1.Subject{Kind: "ServiceAccount", Name: "stray"}),
		bindCluster("broken", "missing", userSubject("eve"), userSubject("ann")),
		bindIn("a", "some", "ClusterRole", "secrets", userSubject("ben"), rbacv1.Subject{Kind: "ServiceAccount", Name: "here"}),
		bindIn("a", "own", "Role", "local", userSubject("ben")),
		bindIn("b", "foreign", "Role", "local", userSubject("ben")),
	)
	tests := []struct {
		who      user.Info
		question string
		decision authorizer.Decision
		reason   string
	}{
		{person("ann"), "get pods a/x", authorizer.DecisionAllow, `RBAC: allowed by ClusterRoleBinding "everywhere" of ClusterRole "pods" to User "ann"`},
		{person("zoe", "ops"), "get pods b/x", authorizer.DecisionAllow, `RBAC: allowed by ClusterRoleBinding "everywhere" of ClusterRole "pods" to Group "ops"`},
		{account("a", "bot"), "get pods", authorizer.DecisionAllow, `RBAC: allowed by ClusterRoleBinding "everywhere" of ClusterRole "pods" to ServiceAccount "bot/a"`},
		{account("b", "bot"), "get pods", authorizer.DecisionNoOpinion, ""},
		{account("", "stray"), "get pods", authorizer.DecisionNoOpinion, ""},
		{person("ops"), "get pods", authorizer.DecisionNoOpinion, ""},
		{person("ben"), "get secrets a/x", authorizer.DecisionAllow, `RBAC: allowed by RoleBinding "some/a" of ClusterRole "secrets" to User "ben"`},
		{account("a", "here"), "get secrets a/x", authorizer.DecisionAllow, `RBAC: allowed by RoleBinding "some/a" of ClusterRole "secrets" to ServiceAccount "here/a"`},
		{account("b", "here"), "get secrets a/x", authorizer.DecisionNoOpinion, ""},
		{person("ben"), "get secrets", authorizer.DecisionNoOpinion, ""},
		{person("ben"), "create pods a", authorizer.DecisionAllow, `RBAC: allowed by RoleBinding "own/a" of Role "local" to User "ben"`},
		{person("ben"), "create pods b", authorizer.DecisionNoOpinion, `RBAC: role.rbac.authorization.k8s.io "local" not found`},
		{person("eve"), "get pods", authorizer.DecisionNoOpinion, `RBAC: clusterrole.rbac.authorization.k8s.io "missing" not found`},
	}
	rbac := NewRBAC(p)
	for _, test := range tests {
		decision, reason, err := rbac.Authorize(t.Context(), ask(test.who, test.question))
		if decision != test.decision || reason != test.reason || err != nil {
			t.Errorf("%s, %q: %v %q %v, expected %v %q", test.who.GetName(), test.question, decision, reason, err, test.decision, test.reason)
		}
	}
}

func TestRBACSeesChanges(t *testing.T) {
	p := newPolicy(clusterRole("r", may("get", "core", "pods")), bindCluster("b", "r", userSubject("ann")))
	rbac := NewRBAC(p)
	allowed := func(q string) bool {
		d, _, _ := rbac.Authorize(t.Context(), ask(person("ann"), q))
		return d == authorizer.DecisionAllow
	}
	if !allowed("get pods n") || allowed("get secrets n") {
		t.Fatal("wrong at first")
	}
	p.add(clusterRole("r", may("get", "core", "secrets")))
	if allowed("get pods n") || !allowed("get secrets n") {
		t.Error("a changed role is not seen")
	}
	p.add(bindIn("n", "b", "ClusterRole", "more", userSubject("ann")), clusterRole("more", may("list", "core", "pods")))
	if !allowed("list pods n") || allowed("list pods m") {
		t.Error("a new binding is not seen")
	}
	p.bindings, p.generation = nil, p.generation+1
	if allowed("list pods n") {
		t.Error("a deleted binding is still good")
	}
}

func TestRBACForgetsNamespacesThatHoldNothing(t *testing.T) {
	rbac := NewRBAC(bootstrapped())
	for i := range 1000 {
		_, _, _ = rbac.Authorize(t.Context(), ask(person("ann"), fmt.Sprintf("get pods none-%d/x", i)))
	}
	if n := len(rbac.current.Load().namespaces); n != 0 {
		t.Errorf("%d namespaces are kept that do not exist", n)
	}
}

func TestDefaultPolicy(t *testing.T) {
	p := bootstrapped()
	p.add(bindIn("n", "v", "ClusterRole", "view", userSubject("viewer")), bindIn("n", "e", "ClusterRole", "edit", userSubject("editor")), bindIn("n", "a", "ClusterRole", "admin", userSubject("boss")))
	all := Union{Masters, NewRBAC(p)}
	nobody := &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}}
	scheduler, manager := person("system:kube-scheduler"), person("system:kube-controller-manager")
	tests := []struct {
		who         user.Info
		allow, deny []string
	}{
		{nobody, []string{"get /healthz", "get /livez", "get /readyz", "get /version", "get /version/"}, []string{"get /api", "get /metrics", "get /healthz/etcd", "get pods n", "create authorization.k8s.io:selfsubjectaccessreviews"}},
		{person("ann"), []string{"get /api", "get /apis/apps/v1", "get /openapi/v3", "create authorization.k8s.io:selfsubjectaccessreviews", "create authentication.k8s.io:selfsubjectreviews"}, []string{"get pods n", "get /metrics"}},
		{person("root", "system:masters"), []string{"get secrets n/x", "delete nodes /x", "post /anything", "escalate rbac.authorization.k8s.io:clusterroles"}, nil},
		{person("viewer"), []string{"list pods n", "get pods/log n/x", "get apps:deployments n/x", "list discovery.k8s.io:endpointslices n"}, []string{"get secrets n/x", "create pods n", "list pods m", "list nodes"}},
		{person("editor"), []string{"list pods n", "get secrets n/x", "create pods/exec n/x", "update apps:deployments/scale n/x"}, []string{"create rbac.authorization.k8s.io:roles n", "create resourcequotas n"}},
		{person("boss"), []string{"create rbac.authorization.k8s.io:rolebindings n", "get secrets n/x", "list pods n"}, []string{"create resourcequotas n", "create rbac.authorization.k8s.io:clusterroles"}},
		{scheduler, []string{"create pods/binding n/x", "patch pods/status n/x", "list nodes", "get coordination.k8s.io:leases kube-system/kube-scheduler", "create events n", "get configmaps kube-system/extension-apiserver-authentication"},
			[]string{"create pods n", "get secrets n/x", "get configmaps kube-system/x"}},
		{manager, []string{"list secrets", "create serviceaccounts/token n/x", "watch example.org:things"}, []string{"create pods n", "delete nodes /x"}},
		{account("kube-system", "replicaset-controller"), []string{"create pods n", "patch pods n/x", "update apps:replicasets/status n/x"}, []string{"create secrets n"}},
		{account("kube-system", "generic-garbage-collector"), []string{"delete example.org:things n/x"}, []string{"create pods n"}},
		{account("kube-system", "bootstrap-signer"), []string{"update configmaps kube-public/cluster-info", "list secrets kube-system"}, []string{"update configmaps kube-public/x", "list secrets n"}},
		{account("n", "default"), []string{"get /openid/v1/jwks", "get /api"}, []string{"list pods n", "get secrets n/x"}},
		{&user.DefaultInfo{Name: "system:node:one", Groups: []string{"system:nodes", user.AllAuthenticated}}, nil, []string{"list pods", "get secrets n/x"}},
	}
	for _, test := range tests {
		for _, q := range test.allow {
			if err := Check(t.Context(), all, ask(test.who, q)); err != nil {
				t.Errorf("%s may not %s: %v", test.who.GetName(), q, err)
			}
		}
		for _, q := range test.deny {
			if err := Check(t.Context(), all, ask(test.who, q)); !apierrors.IsForbidden(err) {
				t.Errorf("%s may %s: %v", test.who.GetName(), q, err)
			}
		}
	}
}

func TestForbiddenWording(t *testing.T) {
	tests := []struct{ question, reason, want string }{
		{"list pods n", "", `pods is forbidden: User "ann" cannot list resource "pods" in API group "" in the namespace "n"`},
		{"get apps:deployments/scale n/web", "", `deployments.apps "web" is forbidden: User "ann" cannot get resource "deployments/scale" in API group "apps" in the namespace "n"`},
		{"list nodes", "RBAC: x", `nodes is forbidden: User "ann" cannot list resource "nodes" in API group "" at the cluster scope: RBAC: x`},
		{"get /metrics", "", `forbidden: User "ann" cannot get path "/metrics"`},
	}
	for _, test := range tests {
		if got := Forbidden(ask(person("ann"), test.question), test.reason).Error(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
	if got := Forbidden(ask(person("<b>"), "list nodes"), "").Error(); strings.Contains(got, "<b>") {
		t.Errorf("markup in %s", got)
	}
}

func TestRulesForGivesEachBindingOnce(t *testing.T) {
	pods, logs, health := may("get", "core", "pods"), may("get", "core", "pods/log", "a"), visit("get", "/healthz")
	p := newPolicy(clusterRole("one", pods, health), clusterRole("two", logs),
		bindCluster("b", "one", groupSubject("g"), userSubject("ann"), groupSubject("h")),
		bindIn("n", "b", "ClusterRole", "two", userSubject("ann")), bindCluster("broken", "missing", userSubject("ann")))
	resources, paths, incomplete, err := NewRBAC(p).RulesFor(t.Context(), person("ann", "g", "h"), "n")
	if len(resources) != 2 || len(paths) != 1 || incomplete || !strings.Contains(err.Error(), `"missing" not found`) {
		t.Fatalf("%v %v %v %v", resources, paths, incomplete, err)
	}
	if !reflect.DeepEqual(resources[1].GetResourceNames(), []string{"a"}) || resources[0].GetResources()[0] != "pods" || paths[0].GetNonResourceURLs()[0] != "/healthz" {
		t.Errorf("%+v %+v", resources, paths)
	}
}

func TestEscalation(t *testing.T) {
	p := newPolicy(
		clusterRole("pods", may("get list", "core", "pods")), clusterRole("all", may("*", "*", "*"), visit("*", "*")),
		clusterRole("roles", may("create update", "rbac.authorization.k8s.io", "clusterroles roles")),
		clusterRole("escalate", may("escalate", "rbac.authorization.k8s.io", "clusterroles")),
		clusterRole("bind", may("bind", "rbac.authorization.k8s.io", "clusterroles", "all")),
		bindCluster("1", "pods", userSubject("ann"), userSubject("esc"), userSubject("binder")), bindCluster("2", "escalate", userSubject("esc")),
		bindIn("n", "3", "ClusterRole", "bind", userSubject("binder")), bindCluster("4", "all", userSubject("boss")),
	)
	rbac := NewRBAC(p)
	e := Escalation{RBAC: rbac, Authorizer: Union{Masters, rbac}}
	ctx := t.Context()
	role := func(rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole { return clusterRole("new", rules...) }
	aggregating := role()
	aggregating.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{}}}
	held, more := may("get", "core", "pods"), may("get delete", "core", "pods secrets")
	finalized := role(more)
	finalized.Finalizers = []string{"x"}
	tests := []struct {
		name string
		err  error
		want string // "" for none
	}{
		{"held", e.ClusterRole(ctx, person("ann"), "", role(held), nil), ""},
		{"held, for one name", e.ClusterRole(ctx, person("ann"), "", role(may("get", "core", "pods", "x")), nil), ""},
		{"not held", e.ClusterRole(ctx, person("ann"), "", role(more), nil),
			`clusterroles.rbac.authorization.k8s.io "new" is forbidden: user "ann" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:` +
				"\n" + `{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}` + "\n" + `{APIGroups:[""], Resources:["secrets"], Verbs:["get" "delete"]}`},
		{"not held, but a master", e.ClusterRole(ctx, person("m", "system:masters"), "", role(more), nil), ""},
		{"not held, but may escalate", e.ClusterRole(ctx, person("esc"), "", role(more), nil), ""},
		{"escalate is for cluster roles only", e.Role(ctx, person("esc"), "", &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "new"}, Rules: []rbacv1.PolicyRule{more}}, nil), "is attempting to grant"},
		{"aggregation without power", e.ClusterRole(ctx, person("ann"), "", aggregating, nil), "must have cluster-admin privileges to use the aggregationRule"},
		{"aggregation with power", e.ClusterRole(ctx, person("boss"), "", aggregating, nil), ""},
		{"taking aggregation away", e.ClusterRole(ctx, person("ann"), "new", role(held), aggregating), "must have cluster-admin privileges"},
		{"garbage collection", e.ClusterRole(ctx, person("ann"), "new", finalized, role(more)), ""},
		{"binding what is held", e.ClusterRoleBinding(ctx, person("ann"), bindCluster("b", "pods"), nil), ""},
		{"binding what is not held", e.ClusterRoleBinding(ctx, person("ann"), bindCluster("b", "all"), nil), `clusterrolebindings.rbac.authorization.k8s.io "b" is forbidden`},
		{"binding by the bind verb", e.RoleBinding(ctx, person("binder"), bindIn("n", "b", "ClusterRole", "all"), nil), ""},
		{"bind in another namespace", e.RoleBinding(ctx, person("binder"), bindIn("m", "b", "ClusterRole", "all"), nil), "is attempting to grant"},
		{"bind of another role", e.RoleBinding(ctx, person("binder"), bindIn("n", "b", "ClusterRole", "escalate"), nil), "is attempting to grant"},
		{"binding a role that is not there", e.RoleBinding(ctx, person("ann"), bindIn("n", "b", "Role", "none"), nil), `role.rbac.authorization.k8s.io "none" not found`},
	}
	for _, test := range tests {
		if test.want == "" && test.err != nil || test.want != "" && (test.err == nil || !strings.Contains(test.err.Error(), test.want)) {
			t.Errorf("%s: got %v, expected %q", test.name, test.err, test.want)
		}
	}
}

func TestUnion(t *testing.T) {
	say := func(d authorizer.Decision, reason string, err error) authorizer.Authorizer {
		return authorizer.AuthorizerFunc(func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
			return d, reason, err
		})
	}
	no := say(authorizer.DecisionNoOpinion, "a", errors.New("e"))
	d, reason, err := Union{no, say(authorizer.DecisionDeny, "deny", nil), say(authorizer.DecisionAllow, "", nil)}.Authorize(t.Context(), nil)
	if d != authorizer.DecisionDeny || reason != "deny" || err != nil {
		t.Error(d, reason, err)
	}
	d, reason, err = Union{no, say(authorizer.DecisionNoOpinion, "b", nil)}.Authorize(t.Context(), nil)
	if d != authorizer.DecisionNoOpinion || reason != "a\nb" || err == nil {
		t.Error(d, reason, err)
	}
}

func BenchmarkAuthorize(b *testing.B) {
	p := bootstrapped()
	var objects []runtime.Object
	for i := range 1000 {
		objects = append(objects, bindIn(fmt.Sprintf("ns-%d", i), "edit", "ClusterRole", "edit", accountSubject(fmt.Sprintf("ns-%d", i), "app")))
	}
	p.add(objects...)
	all := Union{Masters, NewRBAC(p)}
	for _, test := range []struct {
		name string
		attr authorizer.AttributesRecord
	}{
		{"controller", ask(account("kube-system", "replicaset-controller"), "create pods ns-1")},
		{"manager", ask(person("system:kube-controller-manager"), "list pods")},
		{"editor", ask(account("ns-7", "app"), "create pods ns-7")},
		{"refused", ask(account("ns-7", "app"), "create nodes ns-7")},
		{"anonymous", ask(&user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}}, "get /readyz")},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			var attrs authorizer.Attributes = test.attr
			for b.Loop() {
				_, _, _ = all.Authorize(context.Background(), attrs)
			}
		})
	}
	b.Run("after a change", func(b *testing.B) {
		var attrs authorizer.Attributes = ask(account("ns-7", "app"), "create pods ns-7")
		for b.Loop() {
			p.generation++
			_, _, _ = all.Authorize(context.Background(), attrs)
		}
	})
}
