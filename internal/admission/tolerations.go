package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// notReadySeconds is how long a pod stays on a node that is not ready or not
// reachable when the pod says nothing about it.
const notReadySeconds = 300

// defaultTolerationSeconds lets each pod tolerate a lost node for a while.
func defaultTolerationSeconds() Plugin {
	return Plugin{Name: "DefaultTolerationSeconds", Mutate: func(_ context.Context, a *Attributes) error {
		pod := newPod(a)
		if pod == nil {
			return nil
		}
		for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
			if tolerates(pod.Spec.Tolerations, key) {
				continue
			}
			seconds := int64(notReadySeconds)
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
				Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds,
			})
		}
		return nil
	}}
}

func tolerates(list []corev1.Toleration, key string) bool {
	for _, t := range list {
		if (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
			return true
		}
	}
	return false
}
