package legacy

import (
	"reflect"

	policyv1 "k8s.io/api/policy/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// emptyMatch stands in selectors where an empty one means the opposite in the
// other version: it selected nothing in v1beta1 and selects everything in v1.
const emptyMatch = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match"

func requirement(op metav1.LabelSelectorOperator) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: emptyMatch, Operator: op}}}
}

func policies() []old {
	all, none := requirement(metav1.LabelSelectorOpDoesNotExist), requirement(metav1.LabelSelectorOpExists)
	return []old{version(spec[*policyv1beta1.PodDisruptionBudget, *policyv1.PodDisruptionBudget]{
		gvk: policyv1beta1.SchemeGroupVersion.WithKind("PodDisruptionBudget"), of: policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"),
		list: &policyv1beta1.PodDisruptionBudgetList{},
		toKind: func(from *policyv1beta1.PodDisruptionBudget, to *policyv1.PodDisruptionBudget) {
			switch s := from.Spec.Selector; {
			case s == nil:
			case isEmpty(s):
				to.Spec.Selector = none.DeepCopy()
			case reflect.DeepEqual(s, all):
				to.Spec.Selector = &metav1.LabelSelector{}
			default:
				to.Spec.Selector = without(to.Spec.Selector)
			}
		},
		fromKind: func(from *policyv1.PodDisruptionBudget, to *policyv1beta1.PodDisruptionBudget) {
			switch s := from.Spec.Selector; {
			case s == nil:
			case isEmpty(s):
				to.Spec.Selector = all.DeepCopy()
			case reflect.DeepEqual(s, none):
				to.Spec.Selector = &metav1.LabelSelector{}
			}
		},
		warnings: func(b *policyv1beta1.PodDisruptionBudget) []string {
			if s := b.Spec.Selector; s != nil && isEmpty(s) {
				return []string{"spec.selector: an empty selector selects no pods in policy/v1beta1, and all of the namespace in policy/v1"}
			}
			return nil
		},
	})}
}

func isEmpty(s *metav1.LabelSelector) bool { return len(s.MatchLabels)+len(s.MatchExpressions) == 0 }

// without is a selector without what only stands for emptiness.
func without(s *metav1.LabelSelector) *metav1.LabelSelector {
	out := s.DeepCopy()
	delete(out.MatchLabels, emptyMatch)
	kept := out.MatchExpressions[:0]
	for _, e := range out.MatchExpressions {
		if e.Key != emptyMatch {
			kept = append(kept, e)
		}
	}
	out.MatchExpressions = kept
	return out
}
