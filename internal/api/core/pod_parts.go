package core

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
)

// podParts are the subresources that write one part of a pod each.
func podParts() map[string]api.PartSpec[*corev1.Pod] {
	return map[string]api.PartSpec[*corev1.Pod]{
		"ephemeralcontainers": {
			Settle: func(pod, old *corev1.Pod) {
				added := pod.Spec.EphemeralContainers
				keepPod(pod, old)
				pod.Spec.EphemeralContainers = added
				DropUnservedFields(&pod.Spec)
			},
			Validate: ValidateEphemeralContainersUpdate,
		},
		"resize": {Settle: settleResize, Validate: validatePodResize},
	}
}

// keepPod puts back all of old but its version and managed fields.
func keepPod(pod, old *corev1.Pod) {
	old = old.DeepCopy()
	pod.Spec, pod.Status = old.Spec, old.Status
	metav1.ResetObjectMetaForStatus(&pod.ObjectMeta, &old.ObjectMeta)
}

// settleResize keeps the resources and resize policies of the new pod. One with
// other containers is left for validation to refuse: as it is where their
// number differs, its list of containers where a name does.
func settleResize(pod, old *corev1.Pod) {
	asked := pod.Spec
	if len(asked.Containers) == len(old.Spec.Containers) && len(asked.InitContainers) == len(old.Spec.InitContainers) {
		keepPod(pod, old)
		pod.Spec.Resources = asked.Resources
		pod.Spec.Containers = resized(pod.Spec.Containers, asked.Containers)
		pod.Spec.InitContainers = resized(pod.Spec.InitContainers, asked.InitContainers)
	} else if len(old.Status.NodeAllocatableResourceClaimStatuses) == 0 {
		pod.Status.NodeAllocatableResourceClaimStatuses = nil
	}
	DropUnservedFields(&pod.Spec)
}

// resized gives the containers of before with the resources asked for.
func resized(list, asked []corev1.Container) []corev1.Container {
	for i := range list {
		if list[i].Name != asked[i].Name {
			return asked
		}
	}
	for i := range list {
		list[i].Resources, list[i].ResizePolicy = asked[i].Resources, asked[i].ResizePolicy
	}
	return list
}
