package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"

	"github.com/monohull/monohull/internal/client"
)

// priority resolves a pod's priority class, and keeps the default class single.
func priority(d Deps) Plugin {
	classes := client.Of[*schedulingv1.PriorityClass](d.Client)
	return Plugin{
		Mutate: func(_ context.Context, a *Attributes) error {
			pod := writtenPod(a)
			switch {
			case pod == nil:
				return nil
			case a.Operation == Update:
				// a client that knows nothing of priorities takes none away
				if old, ok := a.Old.(*corev1.Pod); ok {
					if pod.Spec.Priority == nil {
						pod.Spec.Priority = old.Spec.Priority
					}
					if pod.Spec.PreemptionPolicy == nil {
						pod.Spec.PreemptionPolicy = old.Spec.PreemptionPolicy
					}
				}
				return nil
			}
			return setPriority(a, pod, classes)
		},
		Validate: func(_ context.Context, a *Attributes) error {
			c, ok := a.Object.(*schedulingv1.PriorityClass)
			if !ok || !a.writes(Create, Update) || !c.GlobalDefault {
				return nil
			}
			if d := defaultClass(classes); d != nil && (a.Operation == Create || d.Name != c.Name) {
				return forbidden(a, fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", d.Name))
			}
			return nil
		},
	}
}

func setPriority(a *Attributes, pod *corev1.Pod, classes client.Kind[*schedulingv1.PriorityClass]) error {
	lower := corev1.PreemptLowerPriority
	value, policy := int32(0), &lower
	if pod.Spec.PriorityClassName == "" {
		if c := defaultClass(classes); c != nil {
			pod.Spec.PriorityClassName, value, policy = c.Name, c.Value, c.PreemptionPolicy
		}
	} else {
		c, ok := classes.Get("", pod.Spec.PriorityClassName)
		if !ok {
			return forbidden(a, fmt.Errorf("no PriorityClass with name %v was found", pod.Spec.PriorityClassName))
		}
		value, policy = c.Value, c.PreemptionPolicy
	}
	if p := pod.Spec.Priority; p != nil && *p != value {
		return forbidden(a, fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *p, value))
	}
	pod.Spec.Priority = &value
	if policy == nil {
		return nil
	}
	if p := pod.Spec.PreemptionPolicy; p != nil && *p != *policy {
		return forbidden(a, fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *p, *policy))
	}
	is := *policy
	pod.Spec.PreemptionPolicy = &is
	return nil
}

// defaultClass is the class of pods that name none, or nil: of several, the
// lowest.
func defaultClass(classes client.Kind[*schedulingv1.PriorityClass]) *schedulingv1.PriorityClass {
	var found *schedulingv1.PriorityClass
	for _, c := range classes.List("", nil) {
		if c.GlobalDefault && (found == nil || c.Value < found.Value) {
			found = c
		}
	}
	return found
}
