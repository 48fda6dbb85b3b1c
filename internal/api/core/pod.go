package core

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/monohull/monohull/internal/api"
)

func podRow() *api.Kind {
	return api.Define(api.Spec[*corev1.Pod]{
		GVK: gvk("Pod"), Plural: "pods", Singular: "pod", ShortNames: []string{"po"}, Categories: []string{"all"},
		Namespaced: true, Generation: true, UnconditionalUpdate: true,
		List:           &corev1.PodList{},
		Default:        defaultPod,
		PrepareCreate:  preparePodCreate,
		PrepareUpdate:  preparePodUpdate,
		PrepareStatus:  preparePodStatus,
		Validate:       validatePod,
		ValidateUpdate: validatePodUpdate,
		ValidateStatus: validatePodStatus,
		Warnings: func(p *corev1.Pod) []string {
			var w []string
			if msgs := validation.IsDNS1123Label(p.Name); len(msgs) > 0 {
				w = append(w, fmt.Sprintf("metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: %v", msgs))
			}
			return append(w, podWarnings(nil, &p.ObjectMeta, &p.Spec)...)
		},
		UpdateWarnings: api.NoWarnings[*corev1.Pod],
		StatusWarnings: podStatusWarnings,
		Fields: map[string]func(*corev1.Pod) string{
			"spec.nodeName":            func(p *corev1.Pod) string { return p.Spec.NodeName },
			"spec.restartPolicy":       func(p *corev1.Pod) string { return string(p.Spec.RestartPolicy) },
			"spec.schedulerName":       func(p *corev1.Pod) string { return p.Spec.SchedulerName },
			"spec.serviceAccountName":  func(p *corev1.Pod) string { return p.Spec.ServiceAccountName },
			"spec.hostNetwork":         func(p *corev1.Pod) string { return strconv.FormatBool(p.Spec.HostNetwork) },
			"status.phase":             func(p *corev1.Pod) string { return string(p.Status.Phase) },
			"status.podIP":             podIP,
			"status.podIPs":            func(*corev1.Pod) string { return "" }, // may be asked for, but matches no pod
			"status.nominatedNodeName": func(p *corev1.Pod) string { return p.Status.NominatedNodeName },
		},
		Columns:     podColumns,
		Row:         podRowCells,
		GracePeriod: podGracePeriod,
		Parts:       podParts(),
	})
}

func podIP(p *corev1.Pod) string {
	if len(p.Status.PodIPs) > 0 {
		return p.Status.PodIPs[0].IP
	}
	return ""
}

// podGracePeriod is what the client asks for, else what the pod does; none
// where no kubelet has anything to end.
func podGracePeriod(pod *corev1.Pod, requested *int64) int64 {
	var period int64
	switch {
	case pod.Spec.NodeName == "", pod.Status.Phase == corev1.PodFailed, pod.Status.Phase == corev1.PodSucceeded:
		return 0
	case requested != nil:
		period = *requested
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		period = *pod.Spec.TerminationGracePeriodSeconds
	}
	if period < 0 {
		return 1
	}
	return period
}
