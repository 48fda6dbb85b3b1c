package podmachine

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// owned are the conditions the kubelet writes, in the order they stand.
var owned = []corev1.PodConditionType{
	corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled,
}

type verdict struct {
	status          corev1.ConditionStatus
	reason, message string
}

var yes = verdict{status: corev1.ConditionTrue}

func no(reason, message string) verdict { return verdict{corev1.ConditionFalse, reason, message} }

// conditionsOf makes the pod's conditions from its other status, keeping foreign
// ones and the times of those that did not change. own are further ones, as they are.
func conditionsOf(pod *corev1.Pod, prev []corev1.PodCondition, s *corev1.PodStatus, sandboxReady bool, now time.Time, own ...*corev1.PodCondition) []corev1.PodCondition {
	verdicts := map[corev1.PodConditionType]verdict{
		corev1.PodReadyToStartContainers: no("", ""),
		corev1.PodInitialized:            initialized(pod, s),
		corev1.ContainersReady:           containersReady(pod, s),
		corev1.PodScheduled:              yes,
	}
	if sandboxReady {
		verdicts[corev1.PodReadyToStartContainers] = yes
	}
	verdicts[corev1.PodReady] = ready(pod, verdicts[corev1.ContainersReady], prev)
	var out []corev1.PodCondition
	for _, c := range own {
		if c != nil {
			out = append(out, *c)
		}
	}
	for _, t := range owned {
		v := verdicts[t]
		c := corev1.PodCondition{Type: t, Status: v.status, Reason: v.reason, Message: v.message,
			LastTransitionTime: metav1.NewTime(now).Rfc3339Copy(), ObservedGeneration: pod.Generation}
		if old := condition(prev, t); old != nil && old.Status == c.Status && !old.LastTransitionTime.IsZero() {
			c.LastTransitionTime = old.LastTransitionTime
		}
		out = append(out, c)
	}
	for _, c := range prev {
		if !isOwned(c.Type) && condition(out, c.Type) == nil {
			out = append(out, c)
		}
	}
	return out
}

func isOwned(t corev1.PodConditionType) bool {
	if t == corev1.PodResizePending || t == corev1.PodResizeInProgress {
		return true
	}
	for _, o := range owned {
		if o == t {
			return true
		}
	}
	return false
}

func condition(l []corev1.PodCondition, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range l {
		if l[i].Type == t {
			return &l[i]
		}
	}
	return nil
}

func initialized(pod *corev1.Pod, s *corev1.PodStatus) verdict {
	var unknown, incomplete []string
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		st := find(s.InitContainerStatuses, c.Name)
		switch {
		case st == nil:
			unknown = append(unknown, c.Name)
		case IsSidecar(c) && (st.Started == nil || !*st.Started), !IsSidecar(c) && !st.Ready:
			incomplete = append(incomplete, c.Name)
		}
	}
	switch {
	case s.Phase == corev1.PodSucceeded && len(unknown) == 0:
		return verdict{corev1.ConditionTrue, "PodCompleted", ""}
	case anyRegularStarted(pod, s):
		return yes
	}
	if m := unreadyMessage("incomplete", unknown, incomplete); m != "" {
		return no("ContainersNotInitialized", m)
	}
	return yes
}

func containersReady(pod *corev1.Pod, s *corev1.PodStatus) verdict {
	var unknown, unready []string
	look := func(l []corev1.ContainerStatus, name string) {
		switch st := find(l, name); {
		case st == nil:
			unknown = append(unknown, name)
		case !st.Ready:
			unready = append(unready, name)
		}
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; IsSidecar(c) {
			look(s.InitContainerStatuses, c.Name)
		}
	}
	for i := range pod.Spec.Containers {
		look(s.ContainerStatuses, pod.Spec.Containers[i].Name)
	}
	switch {
	case s.Phase == corev1.PodSucceeded && len(unknown) == 0:
		return no("PodCompleted", "")
	case s.Phase == corev1.PodFailed:
		return no("PodFailed", "")
	}
	if m := unreadyMessage("unready", unknown, unready); m != "" {
		return no("ContainersNotReady", m)
	}
	return yes
}

func ready(pod *corev1.Pod, containers verdict, conds []corev1.PodCondition) verdict {
	if containers.status != corev1.ConditionTrue {
		return containers
	}
	var unready []string
	for _, g := range pod.Spec.ReadinessGates {
		switch c := condition(conds, g.ConditionType); {
		case c == nil:
			unready = append(unready, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", g.ConditionType))
		case c.Status != corev1.ConditionTrue:
			unready = append(unready, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", g.ConditionType, c.Status))
		}
	}
	if len(unready) > 0 {
		return no("ReadinessGatesNotReady", strings.Join(unready, ", "))
	}
	return yes
}

func unreadyMessage(word string, unknown, list []string) string {
	var parts []string
	if len(unknown) > 0 {
		parts = append(parts, fmt.Sprintf("containers with unknown status: %s", unknown))
	}
	if len(list) > 0 {
		parts = append(parts, fmt.Sprintf("containers with %s status: %s", word, list))
	}
	return strings.Join(parts, ", ")
}
