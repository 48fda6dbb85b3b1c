package auth

import (
	"fmt"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
)

// Rules is where RBAC reads its objects. What it gives is shared and is not written to.
type Rules interface {
	// Role and ClusterRole return nil when there is none.
	Role(namespace, name string) *rbacv1.Role
	ClusterRole(name string) *rbacv1.ClusterRole
	RoleBindings(namespace string) []*rbacv1.RoleBinding
	ClusterRoleBindings() []*rbacv1.ClusterRoleBinding
	// Generation changes whenever any of the above would answer differently. It is called for every decision,
	// so it should be an atomic load. It is read before the objects: a change in between costs one more rebuild.
	Generation() uint64
}

// grant is one subject's share in one binding.
type grant struct {
	order  int // of the binding among those of its scope
	rules  []rbacv1.PolicyRule
	quick  []compiledRule
	reason string
	err    error // the role cannot be had; rules are empty
}

// subjects finds grants by who holds them.
type subjects struct {
	users  map[string][]grant
	groups map[string][]grant
}

// index is everything RBAC knows at one generation. Namespaces are added as they are asked for.
type index struct {
	generation uint64
	source     Rules
	cluster    subjects
	compiled   map[*rbacv1.ClusterRole][]compiledRule // by identity: objects are immutable

	mu         sync.RWMutex
	namespaces map[string]subjects
}

// buildIndex reads the cluster scope. It takes over compiled cluster roles that have not changed since before.
func buildIndex(source Rules, generation uint64, before *index) *index {
	ix := &index{
		generation: generation,
		source:     source,
		compiled:   map[*rbacv1.ClusterRole][]compiledRule{},
		namespaces: map[string]subjects{},
	}
	if before != nil {
		before.mu.RLock()
		defer before.mu.RUnlock()
	}
	ix.cluster = newSubjects()
	for order, b := range source.ClusterRoleBindings() {
		ix.add(&ix.cluster, order, "ClusterRoleBinding", b.Name, "", b.RoleRef, b.Subjects, before)
	}
	return ix
}

// namespace gives the grants of one namespace's RoleBindings.
func (ix *index) namespace(namespace string) subjects {
	ix.mu.RLock()
	s, ok := ix.namespaces[namespace]
	ix.mu.RUnlock()
	if ok {
		return s
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if s, ok := ix.namespaces[namespace]; ok {
		return s
	}
	s = newSubjects()
	for order, b := range ix.source.RoleBindings(namespace) {
		ix.add(&s, order, "RoleBinding", b.Name+"/"+b.Namespace, namespace, b.RoleRef, b.Subjects, nil)
	}
	// Requests may name namespaces that do not exist: keep only what holds something, so the index is bounded by the cluster.
	if len(s.users)+len(s.groups) > 0 {
		ix.namespaces[namespace] = s
	}
	return s
}

func newSubjects() subjects {
	return subjects{users: map[string][]grant{}, groups: map[string][]grant{}}
}

// add files one binding under each of its subjects.
func (ix *index) add(to *subjects, order int, kind, name, namespace string, ref rbacv1.RoleRef, holders []rbacv1.Subject, before *index) {
	g := grant{order: order}
	g.rules, g.quick, g.err = ix.resolve(ref, namespace, before)
	for i := range holders {
		s := &holders[i]
		holder := s.Name
		switch s.Kind {
		case rbacv1.UserKind, rbacv1.GroupKind:
		case rbacv1.ServiceAccountKind:
			// A RoleBinding may leave out the namespace of an account that lives beside it.
			home := s.Namespace
			if home == "" {
				home = namespace
			}
			if home == "" {
				continue
			}
			holder = s.Name + "/" + home
			g.reason = describe(kind, name, ref, s.Kind, holder)
			who := serviceaccount.MakeUsername(home, s.Name)
			to.users[who] = append(to.users[who], g)
			continue
		default:
			continue
		}
		g.reason = describe(kind, name, ref, s.Kind, holder)
		if s.Kind == rbacv1.UserKind {
			to.users[s.Name] = append(to.users[s.Name], g)
		} else {
			to.groups[s.Name] = append(to.groups[s.Name], g)
		}
	}
}

func describe(kind, name string, ref rbacv1.RoleRef, subjectKind, subject string) string {
	return fmt.Sprintf("RBAC: allowed by %s %q of %s %q to %s %q", kind, name, ref.Kind, ref.Name, subjectKind, subject)
}

func (ix *index) resolve(ref rbacv1.RoleRef, namespace string, before *index) ([]rbacv1.PolicyRule, []compiledRule, error) {
	rules, role, err := roleRules(ix.source, ref, namespace)
	if err != nil || role == nil {
		return rules, compileRules(rules), err
	}
	quick, ok := ix.compiled[role]
	if !ok && before != nil {
		quick, ok = before.compiled[role]
	}
	if !ok {
		quick = compileRules(rules)
	}
	ix.compiled[role] = quick
	return rules, quick, nil
}

// roleRules reads the rules behind a reference; the ClusterRole is given too when it is one.
func roleRules(source Rules, ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, *rbacv1.ClusterRole, error) {
	switch ref.Kind {
	case "Role":
		if namespace != "" {
			if role := source.Role(namespace, ref.Name); role != nil {
				return role.Rules, nil, nil
			}
		}
		return nil, nil, apierrors.NewNotFound(rbacv1.Resource("role"), ref.Name)
	case "ClusterRole":
		if role := source.ClusterRole(ref.Name); role != nil {
			return role.Rules, role, nil
		}
		return nil, nil, apierrors.NewNotFound(rbacv1.Resource("clusterrole"), ref.Name)
	}
	return nil, nil, fmt.Errorf("unsupported role reference kind: %q", ref.Kind)
}

// visit calls fn for every grant the user holds in the set, until fn returns false. A user who holds a binding in
// several ways meets it several times.
func (s subjects) visit(u user.Info, fn func(*grant) bool) bool {
	held := s.users[u.GetName()]
	for i := range held {
		if !fn(&held[i]) {
			return false
		}
	}
	for _, group := range u.GetGroups() {
		held = s.groups[group]
		for i := range held {
			if !fn(&held[i]) {
				return false
			}
		}
	}
	return true
}
