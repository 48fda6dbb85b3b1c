package policy

import (
	"testing"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func TestNewBudget(t *testing.T) {
	k := podDisruptionBudgetRow()
	for _, c := range []struct {
		name string
		spec policyv1.PodDisruptionBudgetSpec
		want string
	}{
		{"least", policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromString("50%"))}, ""},
		{"most", policyv1.PodDisruptionBudgetSpec{MaxUnavailable: ptr.To(intstr.FromInt32(0))}, ""},
		{"both", policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(1)), MaxUnavailable: ptr.To(intstr.FromInt32(1))}, "spec"},
		{"over all", policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromString("101%"))}, "spec.minAvailable"},
		{"negative", policyv1.PodDisruptionBudgetSpec{MaxUnavailable: ptr.To(intstr.FromInt32(-1))}, "spec.maxUnavailable"},
		{"no percentage", policyv1.PodDisruptionBudgetSpec{MaxUnavailable: ptr.To(intstr.FromString("x"))}, "spec.maxUnavailable"},
		{"policy", policyv1.PodDisruptionBudgetSpec{UnhealthyPodEvictionPolicy: ptr.To(policyv1.UnhealthyPodEvictionPolicyType("Never"))}, "spec.unhealthyPodEvictionPolicy"},
	} {
		errs := k.Validate(&policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: "ns"}, Spec: c.spec})
		got := ""
		if len(errs) > 0 {
			got = errs[0].Field
		}
		if got != c.want || len(errs) > 1 {
			t.Errorf("%s: %v, want one at %q", c.name, errs, c.want)
		}
	}
}

func TestMatchLabelStandsAlone(t *testing.T) {
	e := func(key string, op metav1.LabelSelectorOperator) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: op}
	}
	for _, c := range []struct {
		name     string
		in, want []metav1.LabelSelectorRequirement
	}{
		{"none at all", []metav1.LabelSelectorRequirement{e(matchLabel, "Exists")}, []metav1.LabelSelectorRequirement{e(matchLabel, "Exists")}},
		{"with another", []metav1.LabelSelectorRequirement{e(matchLabel, "Exists"), e("a", "Exists")}, []metav1.LabelSelectorRequirement{e("a", "Exists")}},
		{"all", []metav1.LabelSelectorRequirement{e(matchLabel, "DoesNotExist")}, nil},
	} {
		s := &metav1.LabelSelector{MatchExpressions: c.in}
		dropMatchLabel(s)
		if got, want := metav1.FormatLabelSelector(s), metav1.FormatLabelSelector(&metav1.LabelSelector{MatchExpressions: c.want}); got != want {
			t.Errorf("%s: %s, want %s", c.name, got, want)
		}
	}
}
