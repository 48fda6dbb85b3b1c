package auth

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	bootstrapLabel      = "kubernetes.io/bootstrapping"
	bootstrapLabelValue = "rbac-defaults"
	aggregatePrefix     = "rbac.authorization.k8s.io/aggregate-to-"
	controllerPrefix    = "system:controller:"
)

// Verb lists that many rules share. All lists in this policy are in alphabetical order, as upstream stores them,
// so that a reconcile against a cluster that upstream once started finds nothing to do.
const (
	read      = "get list watch"
	write     = "create delete deletecollection patch update"
	readWrite = "create delete deletecollection get list patch update watch"
)

// role is one row of the policy tables.
type role struct {
	namespace string // empty: a ClusterRole
	name      string
	feeds     string // the aggregated role that this one is part of
	gathers   string // this role is the sum of those that feed this name
	rules     []rbacv1.PolicyRule
}

// binding gives a role of the same scope to subjects.
type binding struct {
	namespace string // empty: a ClusterRoleBinding
	name      string
	role      string
	subjects  []rbacv1.Subject
}

// may is a rule about resources. The lists are words; the API group of pods and services is written "core".
func may(verbs, groups, resources string, names ...string) rbacv1.PolicyRule {
	apiGroups := strings.Fields(groups)
	for i, group := range apiGroups {
		if group == "core" {
			apiGroups[i] = ""
		}
	}
	return rbacv1.PolicyRule{
		Verbs:         strings.Fields(verbs),
		APIGroups:     apiGroups,
		Resources:     strings.Fields(resources),
		ResourceNames: names,
	}
}

// visit is a rule about paths that are not resources.
func visit(verbs, urls string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Fields(verbs), NonResourceURLs: strings.Fields(urls)}
}

// recordEvents lets a component write events, in the old API group and the new.
func recordEvents() rbacv1.PolicyRule {
	return may("create patch update", "core events.k8s.io", "events")
}

func userSubject(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
}

func groupSubject(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: name}
}

func accountSubject(namespace, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}
}

// BootstrapObjects is the whole default policy: *ClusterRole, *ClusterRoleBinding, *Role and *RoleBinding,
// roles before the bindings that name them. Every call makes new objects.
func BootstrapObjects() []runtime.Object {
	var out []runtime.Object
	for _, row := range clusterRoles() {
		out = append(out, row.object())
	}
	controllers := controllerRoles()
	for _, row := range controllers {
		row.name = controllerPrefix + row.name
		out = append(out, row.object())
	}
	for _, row := range clusterRoleBindings() {
		out = append(out, row.object())
	}
	for _, row := range controllers {
		out = append(out, binding{
			name:     controllerPrefix + row.name,
			role:     controllerPrefix + row.name,
			subjects: []rbacv1.Subject{accountSubject(metav1.NamespaceSystem, row.name)},
		}.object())
	}
	for _, row := range namespacedRoles() {
		out = append(out, row.object())
	}
	for _, row := range namespacedRoleBindings() {
		out = append(out, row.object())
	}
	return out
}

// BootstrapNamespaces are the namespaces that BootstrapObjects needs to exist.
func BootstrapNamespaces() []string {
	return []string{metav1.NamespaceSystem, metav1.NamespacePublic}
}

func bootstrapMeta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:   namespace,
		Name:        name,
		Labels:      map[string]string{bootstrapLabel: bootstrapLabelValue},
		Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"},
	}
}

func (r role) object() runtime.Object {
	meta := bootstrapMeta(r.namespace, r.name)
	if r.feeds != "" {
		meta.Labels[aggregatePrefix+r.feeds] = "true"
	}
	if r.namespace != "" {
		return &rbacv1.Role{TypeMeta: rbacType("Role"), ObjectMeta: meta, Rules: r.rules}
	}
	out := &rbacv1.ClusterRole{TypeMeta: rbacType("ClusterRole"), ObjectMeta: meta, Rules: r.rules}
	if r.gathers != "" {
		out.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
			{MatchLabels: map[string]string{aggregatePrefix + r.gathers: "true"}},
		}}
	}
	return out
}

func (b binding) object() runtime.Object {
	meta := bootstrapMeta(b.namespace, b.name)
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: b.role}
	if b.namespace != "" {
		ref.Kind = "Role"
		return &rbacv1.RoleBinding{TypeMeta: rbacType("RoleBinding"), ObjectMeta: meta, Subjects: b.subjects, RoleRef: ref}
	}
	return &rbacv1.ClusterRoleBinding{TypeMeta: rbacType("ClusterRoleBinding"), ObjectMeta: meta, Subjects: b.subjects, RoleRef: ref}
}

func rbacType(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: kind}
}
