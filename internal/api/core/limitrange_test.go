package core

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func amounts(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}

func TestLimitDefaults(t *testing.T) {
	l := corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Max: amounts("cpu", "2"), Min: amounts("memory", "1Mi"), Default: amounts("ephemeral-storage", "1Gi")}
	defaultLimits(&l)
	if want := amounts("cpu", "2", "ephemeral-storage", "1Gi"); !equality.Semantic.DeepEqual(l.Default, want) {
		t.Errorf("default is %v, want %v", l.Default, want)
	}
	if want := amounts("cpu", "2", "ephemeral-storage", "1Gi", "memory", "1Mi"); !equality.Semantic.DeepEqual(l.DefaultRequest, want) {
		t.Errorf("default request is %v, want %v", l.DefaultRequest, want)
	}
}

func TestLimitRange(t *testing.T) {
	for _, c := range []struct {
		name string
		l    corev1.LimitRangeItem
		want []string
	}{
		{"in order", corev1.LimitRangeItem{Type: "Container", Min: amounts("cpu", "1"), DefaultRequest: amounts("cpu", "2"), Default: amounts("cpu", "3"), Max: amounts("cpu", "4")}, nil},
		{"out of order", corev1.LimitRangeItem{Type: "Container", Min: amounts("cpu", "4"), DefaultRequest: amounts("cpu", "3"), Default: amounts("cpu", "2"), Max: amounts("cpu", "1")}, []string{
			"spec.limits[0].min[cpu]: min value 4 is greater than max value 1", "spec.limits[0].defaultRequest[cpu]: min value 4", "spec.limits[0].defaultRequest[cpu]: than max value 1",
			"spec.limits[0].defaultRequest[cpu]: than default limit value 2", "spec.limits[0].default[cpu]: min value 4", "spec.limits[0].default[cpu]: default value 2"}},
		{"of a pod", corev1.LimitRangeItem{Type: "Pod", Default: amounts("cpu", "1")}, []string{"spec.limits[0].default: may not be specified"}},
		{"of a claim", corev1.LimitRangeItem{Type: "PersistentVolumeClaim"}, []string{"spec.limits[0].limits: either minimum or maximum"}},
		{"ratio", corev1.LimitRangeItem{Type: "Pod", Min: amounts("cpu", "100m"), Max: amounts("cpu", "200m"), MaxLimitRequestRatio: amounts("cpu", "3")}, []string{
			"spec.limits[0].maxLimitRequestRatio[cpu]: ratio 3 is greater than max/min = 2.000000"}},
		{"type", corev1.LimitRangeItem{Type: "Node"}, []string{"spec.limits[0].type: must be a standard limit type"}},
		{"not overcommitted", corev1.LimitRangeItem{Type: "Container", Default: amounts("example.com/g", "2"), DefaultRequest: amounts("example.com/g", "1")}, []string{
			"spec.limits[0].defaultRequest[example.com/g]: must equal"}},
	} {
		wants(t, c.name, validateLimitRange(&corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "l", Namespace: "ns"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{c.l}}}), c.want...)
	}
}

func TestResourceQuota(t *testing.T) {
	k := resourceQuotaRow()
	scopes := func(s ...corev1.ResourceQuotaScope) []corev1.ResourceQuotaScope { return s }
	for _, c := range []struct {
		name string
		spec corev1.ResourceQuotaSpec
		want []string
	}{
		{"plain", corev1.ResourceQuotaSpec{Hard: amounts("pods", "1", "requests.cpu", "1", "count/x.example.com", "2", "requests.example.com/g", "1")}, nil},
		{"names", corev1.ResourceQuotaSpec{Hard: amounts("storage", "1", "nonsense", "1")}, []string{"spec.hard[storage]: must be a standard resource for quota",
			"spec.hard[nonsense]: must be a standard resource for quota", "spec.hard[nonsense]: must be a standard resource type or fully qualified"}},
		{"half a pod", corev1.ResourceQuotaSpec{Hard: amounts("pods", "500m")}, []string{"spec.hard[pods]: must be an integer"}},
		{"conflict", corev1.ResourceQuotaSpec{Scopes: scopes("Terminating", "NotTerminating")}, []string{"spec.scopes: conflicting scopes"}},
		{"uncovered", corev1.ResourceQuotaSpec{Hard: amounts("services", "1"), Scopes: scopes("BestEffort")}, []string{"spec.scopes: unsupported scope applied to resource"}},
		{"selector", corev1.ResourceQuotaSpec{ScopeSelector: &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{
			{ScopeName: "PriorityClass", Operator: "In"}, {ScopeName: "BestEffort", Operator: "In", Values: []string{"a"}}, {ScopeName: "X", Operator: "Exists"}}}}, []string{
			"spec.scopeSelector.matchExpressions.values: must be at least one value", "spec.scopeSelector.matchExpressions.operator: must be 'Exists'",
			"spec.scopeSelector.matchExpressions.scopeName: unsupported scope"}},
	} {
		wants(t, c.name, k.Validate(&corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q", Namespace: "ns"}, Spec: c.spec}), c.want...)
	}
	if w := quotaWarnings(&corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: amounts("cpu", "2", "limits.cpu", "1")}}); len(w) != 1 || w[0] != "ResourceQuota cpu (2) should be less than limits.cpu (1)" {
		t.Errorf("warnings are %q", w)
	}
}
