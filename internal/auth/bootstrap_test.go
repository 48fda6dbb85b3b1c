package auth

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// policy is a Rules over objects in memory.
type policy struct {
	roles               map[string]*rbacv1.Role
	clusterRoles        map[string]*rbacv1.ClusterRole
	bindings            map[string][]*rbacv1.RoleBinding
	clusterRoleBindings []*rbacv1.ClusterRoleBinding
	generation          uint64
}

func newPolicy(objects ...runtime.Object) *policy {
	p := &policy{roles: map[string]*rbacv1.Role{}, clusterRoles: map[string]*rbacv1.ClusterRole{}, bindings: map[string][]*rbacv1.RoleBinding{}}
	p.add(objects...)
	return p
}

func (p *policy) add(objects ...runtime.Object) {
	for _, obj := range objects {
		switch o := obj.(type) {
		case *rbacv1.Role:
			p.roles[o.Namespace+"/"+o.Name] = o
		case *rbacv1.ClusterRole:
			p.clusterRoles[o.Name] = o
		case *rbacv1.RoleBinding:
			p.bindings[o.Namespace] = append(p.bindings[o.Namespace], o)
		case *rbacv1.ClusterRoleBinding:
			p.clusterRoleBindings = append(p.clusterRoleBindings, o)
		}
	}
	p.generation++
}

func (p *policy) Role(namespace, name string) *rbacv1.Role            { return p.roles[namespace+"/"+name] }
func (p *policy) ClusterRole(name string) *rbacv1.ClusterRole         { return p.clusterRoles[name] }
func (p *policy) RoleBindings(namespace string) []*rbacv1.RoleBinding { return p.bindings[namespace] }
func (p *policy) ClusterRoleBindings() []*rbacv1.ClusterRoleBinding   { return p.clusterRoleBindings }
func (p *policy) Generation() uint64                                  { return p.generation }

// bootstrapped is the default policy with its aggregated roles filled.
func bootstrapped() *policy {
	p := newPolicy(BootstrapObjects()...)
	all := func() (out []*rbacv1.ClusterRole) {
		for _, r := range p.clusterRoles {
			out = append(out, r)
		}
		return out
	}
	for range 3 { // view feeds edit feeds admin
		for name, r := range p.clusterRoles {
			filled := r.DeepCopy()
			filled.Rules = Aggregate(r, all())
			p.clusterRoles[name] = filled
		}
	}
	p.generation++
	return p
}

func TestBootstrapObjectsAreValid(t *testing.T) {
	seen := map[string]bool{}
	count := map[string]int{}
	for _, obj := range BootstrapObjects() {
		m, err := meta.Accessor(obj)
		if err != nil {
			t.Fatal(err)
		}
		kind := obj.GetObjectKind().GroupVersionKind()
		id := kind.Kind + " " + m.GetNamespace() + "/" + m.GetName()
		count[kind.Kind]++
		if seen[id] {
			t.Errorf("%s is there twice", id)
		}
		seen[id] = true
		if kind.GroupVersion() != rbacv1.SchemeGroupVersion {
			t.Errorf("%s is of %s", id, kind.GroupVersion())
		}
		if m.GetLabels()["kubernetes.io/bootstrapping"] != "rbac-defaults" || m.GetAnnotations()["rbac.authorization.kubernetes.io/autoupdate"] != "true" {
			t.Errorf("%s is not marked as part of the default policy", id)
		}
		if bad := path.IsValidPathSegmentName(m.GetName()); len(bad) > 0 {
			t.Errorf("%s: %v", id, bad)
		}
		data, err := json.Marshal(obj)
		if err != nil {
			t.Fatal(err)
		}
		back := reflect.New(reflect.TypeOf(obj).Elem()).Interface()
		if err := json.Unmarshal(data, back); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		if !reflect.DeepEqual(obj, back) {
			t.Errorf("%s is not what its JSON decodes to", id)
		}
	}
	if want := map[string]int{"ClusterRole": 31 + 38, "ClusterRoleBinding": 12 + 38, "Role": 7, "RoleBinding": 7}; !reflect.DeepEqual(count, want) {
		t.Errorf("there are %v, expected %v", count, want)
	}
}

func TestBootstrapRulesAreWellFormed(t *testing.T) {
	check := func(id string, rules []rbacv1.PolicyRule, namespaced bool) {
		for _, r := range rules {
			if len(r.Verbs) == 0 {
				t.Errorf("%s has a rule without verbs", id)
			}
			paths, resources := len(r.NonResourceURLs) > 0, len(r.Resources) > 0
			if paths == resources || resources != (len(r.APIGroups) > 0) || paths && (namespaced || len(r.ResourceNames) > 0) {
				t.Errorf("%s has a rule that is neither about resources nor about paths: %v", id, r)
			}
			for _, list := range [][]string{r.Verbs, r.APIGroups, r.Resources, r.NonResourceURLs} {
				if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
					t.Errorf("%s: %v is not in order", id, list)
				}
			}
		}
	}
	p := newPolicy(BootstrapObjects()...)
	for name, r := range p.clusterRoles {
		check(name, r.Rules, false)
	}
	for name, r := range p.roles {
		check(name, r.Rules, true)
	}
	subjects := func(id string, subjects []rbacv1.Subject) {
		for _, s := range subjects {
			account := s.Kind == rbacv1.ServiceAccountKind
			if s.Name == "" || account != (s.Namespace != "") || account != (s.APIGroup == "") {
				t.Errorf("%s has the subject %+v", id, s)
			}
		}
	}
	for _, b := range p.clusterRoleBindings {
		if p.ClusterRole(b.RoleRef.Name) == nil || b.RoleRef.Kind != "ClusterRole" {
			t.Errorf("%s binds %+v, which is not there", b.Name, b.RoleRef)
		}
		subjects(b.Name, b.Subjects)
	}
	for namespace, list := range p.bindings {
		for _, b := range list {
			if p.Role(namespace, b.RoleRef.Name) == nil || b.RoleRef.Kind != "Role" {
				t.Errorf("%s/%s binds %+v, which is not there", namespace, b.Name, b.RoleRef)
			}
			subjects(b.Name, b.Subjects)
		}
		if !slices.Contains(BootstrapNamespaces(), namespace) {
			t.Errorf("namespace %s is not among those to make", namespace)
		}
	}
}

func TestControllersMayNotEscalateExceptOne(t *testing.T) {
	for _, r := range controllerRoles() {
		for _, rule := range r.rules {
			if slices.Contains(rule.Verbs, "*") || slices.Contains(rule.Verbs, "escalate") && r.name != "clusterrole-aggregation-controller" {
				t.Errorf("%s may %v", r.name, rule.Verbs)
			}
		}
		if !strings.HasSuffix(r.name, "controller") && len(r.rules) == 0 {
			t.Errorf("%s may nothing", r.name)
		}
	}
}

func TestAggregate(t *testing.T) {
	role := func(name, label string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
		return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"to": label}}, Rules: rules}
	}
	pods, secrets, old := may("get", "core", "pods"), may("get", "core", "secrets"), may("list", "core", "nodes")
	whole := role("whole", "x", old)
	whole.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
		{MatchLabels: map[string]string{"to": "x"}}, {MatchLabels: map[string]string{"to": "y"}},
	}}
	got := Aggregate(whole, []*rbacv1.ClusterRole{role("z", "x", secrets, pods), role("y1", "y", pods, old), whole, role("a", "x", pods), role("n", "none", may("*", "*", "*"))})
	if want := []rbacv1.PolicyRule{pods, secrets, old}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, expected %v", got, want)
	}
	if got := Aggregate(role("plain", "x", pods), nil); !reflect.DeepEqual(got, []rbacv1.PolicyRule{pods}) {
		t.Errorf("a role that does not aggregate has %v", got)
	}
	if got := Aggregate(whole, nil); got == nil || len(got) != 0 {
		t.Errorf("an aggregation of nothing is %v", got)
	}
	p := bootstrapped()
	if view, edit, admin := len(p.clusterRoles["view"].Rules), len(p.clusterRoles["edit"].Rules), len(p.clusterRoles["admin"].Rules); view == 0 || view >= edit || edit >= admin {
		t.Errorf("view, edit and admin have %d, %d and %d rules", view, edit, admin)
	}
}

func TestReconcile(t *testing.T) {
	find := func(kind, name string) runtime.Object {
		for _, obj := range BootstrapObjects() {
			if m, _ := meta.Accessor(obj); m.GetName() == name && obj.GetObjectKind().GroupVersionKind().Kind == kind {
				return obj
			}
		}
		t.Fatalf("no %s %s", kind, name)
		return nil
	}
	dns := func(change func(*rbacv1.ClusterRole)) *rbacv1.ClusterRole {
		r := find("ClusterRole", "system:kube-dns").(*rbacv1.ClusterRole)
		change(r)
		return r
	}
	bound := func(change func(*rbacv1.ClusterRoleBinding)) *rbacv1.ClusterRoleBinding {
		b := find("ClusterRoleBinding", "system:kube-dns").(*rbacv1.ClusterRoleBinding)
		change(b)
		return b
	}
	wantRole, wantBinding := find("ClusterRole", "system:kube-dns"), find("ClusterRoleBinding", "system:kube-dns")
	mine := may("get", "core", "pods")
	other := rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "bob"}
	tests := []struct {
		name             string
		existing, wanted runtime.Object
		change           Change
		verify           func(runtime.Object) bool
	}{
		{"not there", nil, wantRole, ChangeCreate, nil},
		{"as wanted", dns(func(*rbacv1.ClusterRole) {}), wantRole, ChangeNone, nil},
		{"a rule added by hand stays", dns(func(r *rbacv1.ClusterRole) { r.Rules = append(r.Rules, mine) }), wantRole, ChangeNone, nil},
		{"a rule is missing", dns(func(r *rbacv1.ClusterRole) {
			r.Rules = []rbacv1.PolicyRule{mine, may("list", "core", "endpoints services")}
		}), wantRole, ChangeUpdate,
			func(o runtime.Object) bool {
				return reflect.DeepEqual(o.(*rbacv1.ClusterRole).Rules, []rbacv1.PolicyRule{mine, may("list", "core", "endpoints services"), may("watch", "core", "endpoints"), may("watch", "core", "services")})
			}},
		{"a rule is missing and it is protected", dns(func(r *rbacv1.ClusterRole) {
			r.Rules = nil
			r.Annotations[rbacv1.AutoUpdateAnnotationKey] = "false"
		}), wantRole, ChangeNone, nil},
		{"a label is missing", dns(func(r *rbacv1.ClusterRole) { r.Labels = map[string]string{"mine": "1"} }), wantRole, ChangeUpdate,
			func(o runtime.Object) bool {
				l := o.(*rbacv1.ClusterRole).Labels
				return l["mine"] == "1" && l[bootstrapLabel] == bootstrapLabelValue
			}},
		{"it should not aggregate", dns(func(r *rbacv1.ClusterRole) {
			r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{}}}
		}), wantRole, ChangeUpdate,
			func(o runtime.Object) bool { return o.(*rbacv1.ClusterRole).AggregationRule == nil }},
		{"it should aggregate", &rbacv1.ClusterRole{ObjectMeta: find("ClusterRole", "admin").(*rbacv1.ClusterRole).ObjectMeta, Rules: []rbacv1.PolicyRule{mine}}, find("ClusterRole", "admin"), ChangeUpdate,
			func(o runtime.Object) bool {
				return len(o.(*rbacv1.ClusterRole).AggregationRule.ClusterRoleSelectors) == 1
			}},
		{"binding as wanted", bound(func(*rbacv1.ClusterRoleBinding) {}), wantBinding, ChangeNone, nil},
		{"binding lost its subject", bound(func(b *rbacv1.ClusterRoleBinding) { b.Subjects = []rbacv1.Subject{other} }), wantBinding, ChangeUpdate,
			func(o runtime.Object) bool {
				return reflect.DeepEqual(o.(*rbacv1.ClusterRoleBinding).Subjects, []rbacv1.Subject{other, accountSubject("kube-system", "kube-dns")})
			}},
		{"binding of another role", bound(func(b *rbacv1.ClusterRoleBinding) { b.RoleRef.Name = "view" }), wantBinding, ChangeRecreate, nil},
		{"binding of another role, protected", bound(func(b *rbacv1.ClusterRoleBinding) {
			b.RoleRef.Name = "view"
			b.Annotations[rbacv1.AutoUpdateAnnotationKey] = "false"
		}), wantBinding, ChangeNone, nil},
		{"role not there", nil, find("Role", "system:controller:token-cleaner"), ChangeCreate, nil},
		{"role as wanted", find("Role", "system:controller:token-cleaner"), find("Role", "system:controller:token-cleaner"), ChangeNone, nil},
		{"role binding as wanted", find("RoleBinding", "system:controller:token-cleaner"), find("RoleBinding", "system:controller:token-cleaner"), ChangeNone, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var before runtime.Object
			if test.existing != nil {
				before = test.existing.DeepCopyObject()
			}
			got, change := Reconcile(test.existing, test.wanted)
			if change != test.change {
				t.Fatalf("change %v, expected %v", change, test.change)
			}
			if test.verify != nil && !test.verify(got) {
				t.Errorf("got %+v", got)
			}
			if test.existing != nil && !reflect.DeepEqual(before, test.existing) {
				t.Error("the stored object was modified")
			}
		})
	}
}
