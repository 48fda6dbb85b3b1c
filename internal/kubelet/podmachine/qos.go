package podmachine

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// QOSClass is the class of a pod's resources.
func QOSClass(pod *corev1.Pod) corev1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	computed := []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}
	if r := pod.Spec.Resources; r != nil && (len(r.Requests) > 0 || len(r.Limits) > 0) {
		return classOf([]corev1.ResourceRequirements{*r}, computed)
	}
	var all []corev1.ResourceRequirements
	for _, c := range pod.Spec.InitContainers {
		all = append(all, c.Resources)
	}
	for _, c := range pod.Spec.Containers {
		all = append(all, c.Resources)
	}
	return classOf(all, computed)
}

func classOf(all []corev1.ResourceRequirements, names []corev1.ResourceName) corev1.PodQOSClass {
	any, guaranteed := false, true
	for _, r := range all {
		for _, n := range names {
			request, limit := quantity(r.Requests, n), quantity(r.Limits, n)
			any = any || !request.IsZero() || !limit.IsZero()
			if limit.IsZero() || !request.IsZero() && request.Cmp(limit) != 0 {
				guaranteed = false
			}
		}
	}
	switch {
	case !any:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

func quantity(l corev1.ResourceList, n corev1.ResourceName) resource.Quantity { return l[n] }
