package admission

import (
	"context"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// runtimeClass gives pods the overhead of their runtime class, and leads them
// to the nodes that have it.
func runtimeClass(d Deps) Plugin {
	classes := read[*nodev1.RuntimeClass](d.Client)
	// of returns the pod that is created, and its class, nil for none.
	of := func(a *Attributes) (*corev1.Pod, *nodev1.RuntimeClass, error) {
		pod := newPod(a)
		if pod == nil || pod.Spec.RuntimeClassName == nil {
			return pod, nil, nil
		}
		c, ok := classes.Get("", *pod.Spec.RuntimeClassName)
		if !ok {
			return nil, nil, forbidden(a, fmt.Errorf("pod rejected: RuntimeClass %q not found", *pod.Spec.RuntimeClassName))
		}
		return pod, c.DeepCopy(), nil
	}
	unlike := errors.New("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
	return Plugin{
		Mutate: func(_ context.Context, a *Attributes) error {
			pod, c, err := of(a)
			if err != nil || c == nil {
				return err
			}
			if c.Overhead != nil {
				if len(pod.Spec.Overhead) > 0 && !equality.Semantic.DeepEqual(c.Overhead.PodFixed, pod.Spec.Overhead) {
					return forbidden(a, unlike)
				}
				pod.Spec.Overhead = c.Overhead.PodFixed
			}
			if c.Scheduling == nil {
				return nil
			}
			selector := maps.Clone(pod.Spec.NodeSelector)
			if selector == nil {
				selector = c.Scheduling.NodeSelector
			}
			for k, v := range c.Scheduling.NodeSelector {
				if has, ok := selector[k]; ok && has != v {
					return forbidden(a, fmt.Errorf("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", k, v, k, has))
				}
				selector[k] = v
			}
			pod.Spec.NodeSelector = selector
			pod.Spec.Tolerations = mergeTolerations(pod.Spec.Tolerations, c.Scheduling.Tolerations)
			return nil
		},
		Validate: func(_ context.Context, a *Attributes) error {
			pod, c, err := of(a)
			if err != nil || pod == nil {
				return err
			}
			if c != nil && c.Overhead != nil {
				if !equality.Semantic.DeepEqual(c.Overhead.PodFixed, pod.Spec.Overhead) {
					return forbidden(a, unlike)
				}
			} else if pod.Spec.Overhead != nil {
				return forbidden(a, errors.New("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
			}
			return nil
		},
	}
}
