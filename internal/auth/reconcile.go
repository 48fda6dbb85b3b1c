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

// Reconcile compares a stored policy object (nil if there is none) with the one wanted and gives the object to
// write. It adds what is missing and takes nothing away, so that an administrator's additions live through
// upgrades; an object annotated autoupdate=false is left alone. Neither argument is changed.
func Reconcile(existing, wanted runtime.Object) (runtime.Object, Change) {
	switch wanted := wanted.(type) {
	case *rbacv1.ClusterRole:
		have, _ := existing.(*rbacv1.ClusterRole)
		if have == nil {
			return wanted, ChangeCreate
		}
		out := have.DeepCopy()
		changed := mergeMeta(out, wanted)
		changed = addRules(&out.Rules, wanted.Rules) || changed
		changed = addSelectors(out, wanted) || changed
		return decide(have, out, changed)
	case *rbacv1.Role:
		have, _ := existing.(*rbacv1.Role)
		if have == nil {
			return wanted, ChangeCreate
		}
		out := have.DeepCopy()
		changed := mergeMeta(out, wanted)
		changed = addRules(&out.Rules, wanted.Rules) || changed
		return decide(have, out, changed)
	case *rbacv1.ClusterRoleBinding:
		have, _ := existing.(*rbacv1.ClusterRoleBinding)
		if have == nil {
			return wanted, ChangeCreate
		}
		if have.RoleRef != wanted.RoleRef {
			return recreate(have, wanted)
		}
		out := have.DeepCopy()
		changed := mergeMeta(out, wanted)
		changed = addSubjects(&out.Subjects, wanted.Subjects) || changed
		return decide(have, out, changed)
	case *rbacv1.RoleBinding:
		have, _ := existing.(*rbacv1.RoleBinding)
		if have == nil {
			return wanted, ChangeCreate
		}
		if have.RoleRef != wanted.RoleRef {
			return recreate(have, wanted)
		}
		out := have.DeepCopy()
		changed := mergeMeta(out, wanted)
		changed = addSubjects(&out.Subjects, wanted.Subjects) || changed
		return decide(have, out, changed)
	}
	panic(fmt.Sprintf("reconcile of %T: not a policy object", wanted))
}

type policyObject interface {
	metav1.Object
	runtime.Object
}

func protected(obj metav1.Object) bool {
	return obj.GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] == "false"
}

func decide(have, out policyObject, changed bool) (runtime.Object, Change) {
	if !changed || protected(have) {
		return have, ChangeNone
	}
	return out, ChangeUpdate
}

func recreate(have, wanted policyObject) (runtime.Object, Change) {
	if protected(have) {
		return have, ChangeNone
	}
	return wanted, ChangeRecreate
}

// mergeMeta adds wanted labels and annotations; a value that is there already stays.
func mergeMeta(out, wanted metav1.Object) bool {
	labels, annotations := merge(wanted.GetLabels(), out.GetLabels()), merge(wanted.GetAnnotations(), out.GetAnnotations())
	changed := !maps.Equal(labels, out.GetLabels()) || !maps.Equal(annotations, out.GetAnnotations())
	out.SetLabels(labels)
	out.SetAnnotations(annotations)
	return changed
}

func merge(under, over map[string]string) map[string]string {
	if under == nil {
		return over
	}
	out := maps.Clone(under)
	maps.Copy(out, over)
	return out
}

func addRules(rules *[]rbacv1.PolicyRule, wanted []rbacv1.PolicyRule) bool {
	covered, missing := validation.Covers(*rules, wanted)
	*rules = append(*rules, missing...)
	return !covered
}

func addSubjects(subjects *[]rbacv1.Subject, wanted []rbacv1.Subject) bool {
	changed := false
	for _, s := range wanted {
		if !slices.Contains(*subjects, s) {
			*subjects = append(*subjects, s)
			changed = true
		}
	}
	return changed
}

// addSelectors makes out aggregate what wanted does. A role that is not meant to aggregate loses its aggregation.
func addSelectors(out, wanted *rbacv1.ClusterRole) bool {
	if wanted.AggregationRule == nil {
		changed := out.AggregationRule != nil
		out.AggregationRule = nil
		return changed
	}
	changed := false
	for _, selector := range wanted.AggregationRule.ClusterRoleSelectors {
		if out.AggregationRule == nil {
			out.AggregationRule = &rbacv1.AggregationRule{}
		}
		have := &out.AggregationRule.ClusterRoleSelectors
		if !slices.ContainsFunc(*have, func(s metav1.LabelSelector) bool { return equality.Semantic.DeepEqual(s, selector) }) {
			*have = append(*have, *selector.DeepCopy())
			changed = true
		}
	}
	return changed
}
