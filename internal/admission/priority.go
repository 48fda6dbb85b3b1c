package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/monohull/monohull/internal/client"
)

// priority resolves a pod's priority class, and keeps the default class single.
func priority(classes client.Kind[*schedulingv1.PriorityClass]) Plugin {
	return Plugin{
		Name: "Priority",
		Mutate: func(_ context.Context, a *Attributes) error {
			pod := newPod(a)
			if pod == nil {
				return nil
			}
			value, policy := int32(0), corev1.PreemptLowerPriority
			if pod.Spec.PriorityClassName == "" {
				if c := defaultClass(classes); c != nil {
					pod.Spec.PriorityClassName, value, policy = c.Name, c.Value, policyOf(c)
				}
			} else {
				c, ok := classes.Get("", pod.Spec.PriorityClassName)
				if !ok {
					return apierrors.NewForbidden(a.Kind.GroupResource(), a.Name, fmt.Errorf("no PriorityClass with name %v was found", pod.Spec.PriorityClassName))
				}
				value, policy = c.Value, policyOf(c)
			}
			if p := pod.Spec.Priority; p != nil && *p != value {
				return apierrors.NewForbidden(a.Kind.GroupResource(), a.Name, fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *p, value))
			}
			if p := pod.Spec.PreemptionPolicy; p != nil && *p != policy {
				return apierrors.NewForbidden(a.Kind.GroupResource(), a.Name, fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *p, policy))
			}
			pod.Spec.Priority, pod.Spec.PreemptionPolicy = &value, &policy
			return nil
		},
		Validate: func(_ context.Context, a *Attributes) error {
			c, ok := a.Object.(*schedulingv1.PriorityClass)
			if !ok || !c.GlobalDefault {
				return nil
			}
			if d := defaultClass(classes); d != nil && d.Name != c.Name {
				return apierrors.NewForbidden(a.Kind.GroupResource(), a.Name, fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", d.Name))
			}
			return nil
		},
	}
}

func policyOf(c *schedulingv1.PriorityClass) corev1.PreemptionPolicy {
	if c.PreemptionPolicy == nil {
		return corev1.PreemptLowerPriority
	}
	return *c.PreemptionPolicy
}

// defaultClass is the class of pods that name none, or nil.
func defaultClass(classes client.Kind[*schedulingv1.PriorityClass]) *schedulingv1.PriorityClass {
	var found *schedulingv1.PriorityClass
	for _, c := range classes.List("", nil) {
		if c.GlobalDefault && (found == nil || c.Value < found.Value) {
			found = c
		}
	}
	return found
}
