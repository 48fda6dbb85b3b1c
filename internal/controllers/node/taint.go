package node

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// keepOff are the taints by which pods are kept off a node, for each condition
// and its status.
var keepOff = []struct {
	condition corev1.NodeConditionType
	status    corev1.ConditionStatus
	key       string
}{
	{corev1.NodeReady, corev1.ConditionFalse, corev1.TaintNodeNotReady},
	{corev1.NodeReady, corev1.ConditionUnknown, corev1.TaintNodeUnreachable},
	{corev1.NodeMemoryPressure, corev1.ConditionTrue, corev1.TaintNodeMemoryPressure},
	{corev1.NodeDiskPressure, corev1.ConditionTrue, corev1.TaintNodeDiskPressure},
	{corev1.NodeNetworkUnavailable, corev1.ConditionTrue, corev1.TaintNodeNetworkUnavailable},
	{corev1.NodePIDPressure, corev1.ConditionTrue, corev1.TaintNodePIDPressure},
}

// scheduleTaints are a node's taints with those of effect NoSchedule that
// follow from its conditions as they should be. changed tells whether that
// differs from what it has.
func scheduleTaints(n *corev1.Node, now metav1.Time) (taints []corev1.Taint, changed bool) {
	want := map[string]bool{corev1.TaintNodeUnschedulable: n.Spec.Unschedulable}
	for _, k := range keepOff {
		c := condition(n, k.condition)
		if c == nil && k.condition == corev1.NodeReady {
			// registered and silent: what admission put there stays
			want[k.key] = hasTaint(n.Spec.Taints, k.key, corev1.TaintEffectNoSchedule)
			continue
		}
		want[k.key] = want[k.key] || (c != nil && c.Status == k.status)
	}
	return settle(n.Spec.Taints, want, corev1.TaintEffectNoSchedule, now)
}

// evictionTaint is the key of the NoExecute taint a node should have; "" none.
func evictionTaint(n *corev1.Node) string {
	switch readiness(n) {
	case corev1.ConditionFalse:
		return corev1.TaintNodeNotReady
	case corev1.ConditionUnknown:
		return corev1.TaintNodeUnreachable
	}
	return ""
}

// executeTaints puts key, or none, in the place of the NoExecute taints that
// follow from readiness.
func executeTaints(taints []corev1.Taint, key string, now metav1.Time) ([]corev1.Taint, bool) {
	want := map[string]bool{corev1.TaintNodeNotReady: false, corev1.TaintNodeUnreachable: false}
	if key != "" {
		want[key] = true
	}
	return settle(taints, want, corev1.TaintEffectNoExecute, now)
}

// settle makes taints of one effect agree with want; keys it does not name are
// left alone.
func settle(have []corev1.Taint, want map[string]bool, effect corev1.TaintEffect, now metav1.Time) ([]corev1.Taint, bool) {
	out := slices.DeleteFunc(slices.Clone(have), func(t corev1.Taint) bool {
		wanted, named := want[t.Key]
		return t.Effect == effect && named && !wanted
	})
	changed := len(out) != len(have)
	keys := make([]string, 0, len(want))
	for key, wanted := range want {
		if wanted && !hasTaint(out, key, effect) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		out = append(out, corev1.Taint{Key: key, Effect: effect, TimeAdded: &now})
	}
	return out, changed || len(keys) > 0
}

func hasTaint(taints []corev1.Taint, key string, effect corev1.TaintEffect) bool {
	return slices.ContainsFunc(taints, func(t corev1.Taint) bool { return t.Key == key && t.Effect == effect })
}

// executing are the taints that drive pods away.
func executing(n *corev1.Node) []corev1.Taint {
	return slices.DeleteFunc(slices.Clone(n.Spec.Taints), func(t corev1.Taint) bool { return t.Effect != corev1.TaintEffectNoExecute })
}
