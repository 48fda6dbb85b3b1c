package node

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// tolerance is how long a pod bears taints: forever, for some time, or (zero
// time) not at all. Of each taint the first toleration that fits counts; of
// all taints the shortest time.
func tolerance(taints []corev1.Taint, tolerations []corev1.Toleration) (d time.Duration, forever bool) {
	forever = true
	for i := range taints {
		t := matching(&taints[i], tolerations)
		if t == nil {
			return 0, false
		}
		if t.TolerationSeconds == nil {
			continue
		}
		s := time.Duration(max(0, *t.TolerationSeconds)) * time.Second
		if forever || s < d {
			d = s
		}
		forever = false
	}
	return d, forever
}

func matching(t *corev1.Taint, tolerations []corev1.Toleration) *corev1.Toleration {
	for i := range tolerations {
		if tolerates(&tolerations[i], t) {
			return &tolerations[i]
		}
	}
	return nil
}

func tolerates(o *corev1.Toleration, t *corev1.Taint) bool {
	if (o.Effect != "" && o.Effect != t.Effect) || (o.Key != "" && o.Key != t.Key) {
		return false
	}
	switch o.Operator {
	case "", corev1.TolerationOpEqual:
		return o.Value == t.Value
	case corev1.TolerationOpExists:
		return true
	}
	return false
}

// unwelcomeSince is when a pod's time on a tainted node began: with the first
// taint that says when it was put there, but not before the pod came.
func unwelcomeSince(taints []corev1.Taint, p *corev1.Pod, now time.Time) time.Time {
	since := now
	for _, t := range taints {
		if t.TimeAdded != nil && t.TimeAdded.Time.Before(since) {
			since = t.TimeAdded.Time
		}
	}
	came := p.CreationTimestamp.Time
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue && c.LastTransitionTime.After(came) {
			came = c.LastTransitionTime.Time
		}
	}
	if came.After(since) && came.Before(now) {
		return came
	}
	return since
}
