// Package podstate answers the questions that several controllers ask of a
// pod. It is pure: objects in, values out. Tests: podstate_test.go.
package podstate

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Condition finds a condition of a pod's status, or nil. It points into s.
func Condition(s *corev1.PodStatus, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return &s.Conditions[i]
		}
	}
	return nil
}

// SetCondition puts a condition in place of the one of its type, and tells
// whether that changed anything. The time of transition stays while the status
// does.
func SetCondition(s *corev1.PodStatus, c corev1.PodCondition, now metav1.Time) bool {
	old := Condition(s, c.Type)
	if old == nil {
		c.LastTransitionTime = now
		s.Conditions = append(s.Conditions, c)
		return true
	}
	c.LastTransitionTime = now
	if old.Status == c.Status {
		c.LastTransitionTime = old.LastTransitionTime
	}
	c.LastProbeTime = old.LastProbeTime
	if c == *old {
		return false
	}
	*old = c
	return true
}

// Ready tells whether the pod may serve.
func Ready(p *corev1.Pod) bool {
	c := Condition(&p.Status, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// ReadySince is when the pod became ready; zero while it is not.
func ReadySince(p *corev1.Pod) time.Time {
	c := Condition(&p.Status, corev1.PodReady)
	if c == nil || c.Status != corev1.ConditionTrue {
		return time.Time{}
	}
	return c.LastTransitionTime.Time
}

// Available tells whether the pod has been ready for minReadySeconds. Where it
// is ready but not for long enough, wait says how long is left.
func Available(p *corev1.Pod, minReadySeconds int32, now time.Time) (ok bool, wait time.Duration) {
	if !Ready(p) {
		return false, 0
	}
	if minReadySeconds == 0 {
		return true, 0
	}
	since := ReadySince(p)
	if since.IsZero() {
		return false, 0
	}
	if left := since.Add(time.Duration(minReadySeconds) * time.Second).Sub(now); left > 0 {
		return false, left
	}
	return true, 0
}

// Terminal tells whether the pod's containers have all ended for good.
func Terminal(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// Active pods count towards a wanted number of replicas.
func Active(p *corev1.Pod) bool { return !Terminal(p) && p.DeletionTimestamp == nil }

// Terminating pods are on their way out and still hold what they hold.
func Terminating(p *corev1.Pod) bool { return !Terminal(p) && p.DeletionTimestamp != nil }

// FindPort resolves a service's target port on a pod: a number is itself, a
// name is looked up among the containers' ports of the same protocol, then
// those of restartable init containers.
func FindPort(p *corev1.Pod, sp *corev1.ServicePort) (int32, error) {
	if sp.TargetPort.Type == intstr.Int {
		return sp.TargetPort.IntVal, nil
	}
	find := func(c *corev1.Container) (int32, bool) {
		for _, port := range c.Ports {
			if port.Name == sp.TargetPort.StrVal && port.Protocol == sp.Protocol {
				return port.ContainerPort, true
			}
		}
		return 0, false
	}
	for i := range p.Spec.Containers {
		if n, ok := find(&p.Spec.Containers[i]); ok {
			return n, nil
		}
	}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			continue
		}
		if n, ok := find(c); ok {
			return n, nil
		}
	}
	return 0, fmt.Errorf("no suitable port for manifest: %s", p.UID)
}
