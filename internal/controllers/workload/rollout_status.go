package workload

import (
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of a Deployment's conditions, upstream's.
const (
	reasonNewSet          = "NewReplicaSetCreated"
	reasonFoundSet        = "FoundNewReplicaSet"
	reasonSetUpdated      = "ReplicaSetUpdated"
	reasonSetAvailable    = "NewReplicaSetAvailable"
	reasonSetCreateFailed = "ReplicaSetCreateError"
	reasonTimedOut        = "ProgressDeadlineExceeded"
	reasonPaused          = "DeploymentPaused"
	reasonResumed         = "DeploymentResumed"
	reasonAvailable       = "MinimumReplicasAvailable"
	reasonUnavailable     = "MinimumReplicasUnavailable"
)

func conditionOf(s *appsv1.DeploymentStatus, t appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return &s.Conditions[i]
		}
	}
	return nil
}

// setCondition replaces a condition unless status and reason stay as they are.
// The time of transition stays while the status does.
func setCondition(s *appsv1.DeploymentStatus, t appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string, now time.Time) {
	c := appsv1.DeploymentCondition{
		Type: t, Status: status, Reason: reason, Message: message,
		LastUpdateTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now),
	}
	putCondition(s, c, false)
}

func putCondition(s *appsv1.DeploymentStatus, c appsv1.DeploymentCondition, evenSame bool) {
	if cur := conditionOf(s, c.Type); cur != nil {
		if !evenSame && cur.Status == c.Status && cur.Reason == c.Reason {
			return
		}
		if cur.Status == c.Status {
			c.LastTransitionTime = cur.LastTransitionTime
		}
	}
	dropCondition(s, c.Type)
	s.Conditions = append(s.Conditions, c)
}

func dropCondition(s *appsv1.DeploymentStatus, t appsv1.DeploymentConditionType) {
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == t })
}

func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}

// countSets makes a Deployment's status from its sets; the conditions are the
// old ones but for Available.
func countSets(d *appsv1.Deployment, newSet *appsv1.ReplicaSet, old []*appsv1.ReplicaSet, now time.Time) appsv1.DeploymentStatus {
	all := append(slices.Clone(old), newSet)
	s := appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation,
		Replicas:           total(all, func(rs *appsv1.ReplicaSet) int32 { return rs.Status.Replicas }),
		UpdatedReplicas:    total([]*appsv1.ReplicaSet{newSet}, func(rs *appsv1.ReplicaSet) int32 { return rs.Status.Replicas }),
		ReadyReplicas:      total(all, func(rs *appsv1.ReplicaSet) int32 { return rs.Status.ReadyReplicas }),
		AvailableReplicas:  total(all, available),
		CollisionCount:     d.Status.CollisionCount,
		Conditions:         slices.Clone(d.Status.Conditions),
	}
	s.UnavailableReplicas = max(0, total(all, size)-s.AvailableReplicas)
	s.TerminatingReplicas = terminatingOf(all)
	if _, unavailable := bounds(d); s.AvailableReplicas >= wanted(d)-unavailable {
		setCondition(&s, appsv1.DeploymentAvailable, corev1.ConditionTrue, reasonAvailable, "Deployment has minimum availability.", now)
	} else {
		setCondition(&s, appsv1.DeploymentAvailable, corev1.ConditionFalse, reasonUnavailable, "Deployment does not have minimum availability.", now)
	}
	return s
}

// terminatingOf is unknown (nil) as long as one set has not counted its own.
func terminatingOf(sets []*appsv1.ReplicaSet) *int32 {
	var n int32
	for _, rs := range sets {
		switch {
		case rs == nil:
		case rs.Status.TerminatingReplicas == nil:
			return nil
		default:
			n += *rs.Status.TerminatingReplicas
		}
	}
	return &n
}

// complete: all wanted pods are of the new template and available, and none is
// left of others.
func complete(d *appsv1.Deployment, s *appsv1.DeploymentStatus) bool {
	return s.UpdatedReplicas == wanted(d) && s.Replicas == wanted(d) && s.AvailableReplicas == wanted(d) && s.ObservedGeneration >= d.Generation
}

// progressing compares two statuses for a step in the right direction.
func progressing(was, is *appsv1.DeploymentStatus) bool {
	return is.UpdatedReplicas > was.UpdatedReplicas ||
		is.Replicas-is.UpdatedReplicas < was.Replicas-was.UpdatedReplicas ||
		is.ReadyReplicas > was.ReadyReplicas || is.AvailableReplicas > was.AvailableReplicas
}

// judgeProgress adds what a status says of the rollout: that it is done, goes
// on, or has not moved within its deadline; and why pods cannot be made.
func judgeProgress(d *appsv1.Deployment, s *appsv1.DeploymentStatus, newSet *appsv1.ReplicaSet, old []*appsv1.ReplicaSet, now time.Time) {
	const t = appsv1.DeploymentProgressing
	if !hasDeadline(d) {
		dropCondition(s, t)
	}
	cur := conditionOf(&d.Status, t)
	done := s.Replicas == s.UpdatedReplicas && cur != nil && cur.Reason == reasonSetAvailable
	if hasDeadline(d) && !done {
		who := fmt.Sprintf("Deployment %q", d.Name)
		if newSet != nil {
			who = fmt.Sprintf("ReplicaSet %q", newSet.Name)
		}
		switch {
		case complete(d, s):
			setCondition(s, t, corev1.ConditionTrue, reasonSetAvailable, who+" has successfully progressed.", now)
		case progressing(&d.Status, s):
			putCondition(s, appsv1.DeploymentCondition{
				Type: t, Status: corev1.ConditionTrue, Reason: reasonSetUpdated, Message: who + " is progressing.",
				LastUpdateTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now),
			}, true)
		case timedOut(d, s, now):
			setCondition(s, t, corev1.ConditionFalse, reasonTimedOut, who+" has timed out progressing.", now)
		}
	}
	if c := failureOf(newSet, old); c != nil {
		putCondition(s, *c, false)
	} else {
		dropCondition(s, appsv1.DeploymentReplicaFailure)
	}
}

func timedOut(d *appsv1.Deployment, s *appsv1.DeploymentStatus, now time.Time) bool {
	c := conditionOf(s, appsv1.DeploymentProgressing)
	switch {
	case c == nil || c.Reason == reasonSetAvailable:
		return false // nothing to count from
	case c.Reason == reasonTimedOut:
		return true
	}
	return deadline(d, c).Before(now)
}

func deadline(d *appsv1.Deployment, c *appsv1.DeploymentCondition) time.Time {
	return c.LastUpdateTime.Add(time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second)
}

// nextCheck is after how long a rollout that does not move is to be judged
// again; 0 where there is nothing to wait for.
func nextCheck(d *appsv1.Deployment, s *appsv1.DeploymentStatus, now time.Time) time.Duration {
	c := conditionOf(s, appsv1.DeploymentProgressing)
	if !hasDeadline(d) || c == nil || complete(d, s) || c.Reason == reasonTimedOut || c.Reason == reasonSetAvailable || d.Spec.Paused {
		return 0
	}
	// stored times have whole seconds: one more is surely after
	return max(0, deadline(d, c).Sub(now)) + time.Second
}

func failureOf(newSet *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) *appsv1.DeploymentCondition {
	for _, rs := range append([]*appsv1.ReplicaSet{newSet}, old...) {
		if rs == nil {
			continue
		}
		for _, c := range rs.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				return &appsv1.DeploymentCondition{
					Type: appsv1.DeploymentReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message,
					LastTransitionTime: c.LastTransitionTime, LastUpdateTime: c.LastTransitionTime,
				}
			}
		}
	}
	return nil
}

// judgePause marks a change between paused and not, so that time spent paused
// does not count against the deadline.
func judgePause(d *appsv1.Deployment, s *appsv1.DeploymentStatus, now time.Time) bool {
	const t = appsv1.DeploymentProgressing
	c := conditionOf(s, t)
	if !hasDeadline(d) || (c != nil && c.Reason == reasonTimedOut) {
		return false
	}
	paused := c != nil && c.Reason == reasonPaused
	switch {
	case d.Spec.Paused && !paused:
		setCondition(s, t, corev1.ConditionUnknown, reasonPaused, "Deployment is paused", now)
	case !d.Spec.Paused && paused:
		setCondition(s, t, corev1.ConditionUnknown, reasonResumed, "Deployment is resumed", now)
	default:
		return false
	}
	return true
}
