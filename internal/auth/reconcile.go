package auth

import (
	"fmt"
	"maps"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// Change is what Reconcile asks for.
type Change int

const (
	ChangeNone     Change = iota // the object is as it should be, or is not to be touched
	ChangeCreate                 // it does not exist
	ChangeUpdate                 // it lacks something
	ChangeRecreate               // it must be deleted (by uid) and created: a binding's roleRef is immutable
)

// policyParts shows the parts of a role or binding, each nil where its kind has none. What they point to is the object's.
type policyParts struct {
	object      runtime.Object
	meta        *metav1.ObjectMeta
	rules       *[]rbacv1.PolicyRule
	aggregation **rbacv1.AggregationRule
	role        rbacv1.RoleRef
	subjects    *[]rbacv1.Subject
}

// policyOf opens a policy object; anything else, and a nil one, has no parts.
func policyOf(obj runtime.Object) policyParts {
	switch o := obj.(type) {
	case *rbacv1.ClusterRole:
		if o != nil {
			return policyParts{object: o, meta: &o.ObjectMeta, rules: &o.Rules, aggregation: &o.AggregationRule}
		}
	case *rbacv1.Role:
		if o != nil {
			return policyParts{object: o, meta: &o.ObjectMeta, rules: &o.Rules}
		}
	case *rbacv1.ClusterRoleBinding:
		if o != nil {
			return policyParts{object: o, meta: &o.ObjectMeta, role: o.RoleRef, subjects: &o.Subjects}
		}
	case *rbacv1.RoleBinding:
		if o != nil {
			return policyParts{object: o, meta: &o.ObjectMeta, role: o.RoleRef, subjects: &o.Subjects}
		}
	}
	return policyParts{}
}

// Reconcile compares a stored policy object (nil if there is none) with the one wanted and gives the object to
// write. It adds what is missing and takes nothing away, so that an administrator's additions live through
// upgrades; an object annotated autoupdate=false is left alone. Neither argument is changed.
func Reconcile(existing, wanted runtime.Object) (runtime.Object, Change) {
	want := policyOf(wanted)
	if want.object == nil {
		panic(fmt.Sprintf("reconcile of %T: not a policy object", wanted))
	}
	have := policyOf(existing)
	switch {
	case have.object == nil:
		return wanted, ChangeCreate
	case have.meta.Annotations[rbacv1.AutoUpdateAnnotationKey] == "false":
		return existing, ChangeNone
	case have.role != want.role:
		return wanted, ChangeRecreate
	}
	out := policyOf(existing.DeepCopyObject())
	if !out.gain(want) {
		return existing, ChangeNone
	}
	return out.object, ChangeUpdate
}

// gain adds what of the wanted policy is not there yet, and says whether there was anything.
func (p policyParts) gain(want policyParts) bool {
	gained := gainKeys(&p.meta.Labels, want.meta.Labels)
	gained = gainKeys(&p.meta.Annotations, want.meta.Annotations) || gained
	if p.rules != nil {
		covered, missing := validation.Covers(*p.rules, *want.rules)
		*p.rules = append(*p.rules, missing...)
		gained = !covered || gained
	}
	if p.subjects != nil {
		for _, subject := range *want.subjects {
			if !slices.Contains(*p.subjects, subject) {
				*p.subjects = append(*p.subjects, subject)
				gained = true
			}
		}
	}
	if p.aggregation != nil {
		gained = gainSelectors(p.aggregation, *want.aggregation) || gained
	}
	return gained
}

// gainKeys adds the keys that are not there; a value that is there stays as it is.
func gainKeys(into *map[string]string, from map[string]string) bool {
	before := len(*into)
	all := make(map[string]string, len(from)+before)
	maps.Copy(all, from)
	maps.Copy(all, *into)
	if len(all) == before {
		return false
	}
	*into = all
	return true
}

// gainSelectors adds selectors. A role that is not meant to aggregate loses its aggregation: its rules are its own.
func gainSelectors(into **rbacv1.AggregationRule, from *rbacv1.AggregationRule) bool {
	if from == nil {
		had := *into != nil
		*into = nil
		return had
	}
	if *into == nil {
		*into = &rbacv1.AggregationRule{}
	}
	selectors, gained := &(*into).ClusterRoleSelectors, false
	for i := range from.ClusterRoleSelectors {
		wanted := &from.ClusterRoleSelectors[i]
		if !slices.ContainsFunc(*selectors, func(s metav1.LabelSelector) bool { return equality.Semantic.DeepEqual(s, *wanted) }) {
			*selectors = append(*selectors, *wanted.DeepCopy())
			gained = true
		}
	}
	return gained
}
