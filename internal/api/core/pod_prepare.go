package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func preparePodCreate(pod *corev1.Pod) {
	pod.Generation = 1
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: ComputeQOS(pod)}
	DropUnservedFields(&pod.Spec)
	if len(pod.Spec.SchedulingGates) > 0 {
		pod.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated, LastTransitionTime: pod.CreationTimestamp,
			Message: "Scheduling is blocked due to non-empty scheduling gates",
		}}
	}
	fixLabelKeys(pod)
	appArmorFieldsFromAnnotations(pod)
}

func preparePodUpdate(pod, old *corev1.Pod) {
	DropUnservedFields(&pod.Spec)
	if !equality.Semantic.DeepEqual(pod.Spec, old.Spec) {
		pod.Generation = old.Generation + 1
	}
}

// preparePodStatus keeps what a kubelet of an older version does not know to send.
func preparePodStatus(pod, old *corev1.Pod) {
	pod.DeletionTimestamp = old.DeletionTimestamp
	pod.OwnerReferences = old.OwnerReferences
	s := &pod.Status
	setDefault(&s.QOSClass, old.Status.QOSClass)
	setDefault(&s.ObservedGeneration, old.Status.ObservedGeneration)
	before := map[corev1.PodConditionType][]int64{}
	for _, c := range old.Status.Conditions {
		before[c.Type] = append(before[c.Type], c.ObservedGeneration)
	}
	for i := range s.Conditions {
		c := &s.Conditions[i]
		if g := before[c.Type]; len(g) > 0 {
			setDefault(&c.ObservedGeneration, g[0])
			before[c.Type] = g[1:]
		}
	}
	s.NodeAllocatableResourceClaimStatuses = nil
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			for j := range list[i].VolumeMounts {
				list[i].VolumeMounts[j].VolumeStatus = nil
			}
		}
	}
}

// DropUnservedFields clears the fields of features that Kubernetes v1.36 has
// off by default, as its API server does.
func DropUnservedFields(s *corev1.PodSpec) {
	s.SchedulingGroup = nil
	for i := range s.Volumes {
		if p := s.Volumes[i].Projected; p != nil {
			for j := range p.Sources {
				p.Sources[j].ClusterTrustBundle, p.Sources[j].PodCertificate = nil, nil
			}
		}
	}
	eachContainer(s, nil, func(c *corev1.Container, _ *field.Path) {
		if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
			c.Lifecycle.StopSignal = nil
			if *c.Lifecycle == (corev1.Lifecycle{}) {
				c.Lifecycle = nil
			}
		}
	})
}

// fixLabelKeys turns matchLabelKeys into expressions over the pod's own label
// values, which are what the scheduler compares.
func fixLabelKeys(pod *corev1.Pod) {
	apply := func(sel *metav1.LabelSelector, keys []string, op metav1.LabelSelectorOperator) {
		if sel == nil {
			return
		}
		for _, key := range keys {
			if v, ok := pod.Labels[key]; ok {
				sel.MatchExpressions = append(sel.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{v}})
			}
		}
	}
	term := func(t *corev1.PodAffinityTerm) {
		apply(t.LabelSelector, t.MatchLabelKeys, metav1.LabelSelectorOpIn)
		apply(t.LabelSelector, t.MismatchLabelKeys, metav1.LabelSelectorOpNotIn)
	}
	terms := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		for i := range preferred {
			term(&preferred[i].PodAffinityTerm)
		}
		for i := range required {
			term(&required[i])
		}
	}
	if a := pod.Spec.Affinity; a != nil {
		if p := a.PodAffinity; p != nil {
			terms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
		}
		if p := a.PodAntiAffinity; p != nil {
			terms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
		}
	}
	for i := range pod.Spec.TopologySpreadConstraints {
		c := &pod.Spec.TopologySpreadConstraints[i]
		apply(c.LabelSelector, c.MatchLabelKeys, metav1.LabelSelectorOpIn)
	}
}

// ComputeQOS gives the class that a pod's resources put it in.
func ComputeQOS(pod *corev1.Pod) corev1.PodQOSClass {
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	guaranteed := true
	count := func(r *corev1.ResourceRequirements) {
		for name, q := range r.Requests {
			addPositive(requests, name, q)
		}
		limited := 0
		for name, q := range r.Limits {
			if addPositive(limits, name, q) {
				limited++
			}
		}
		guaranteed = guaranteed && limited == 2
	}
	if pod.Spec.Resources != nil {
		if len(pod.Spec.Resources.Limits) > 0 {
			count(pod.Spec.Resources)
		} else {
			for name, q := range pod.Spec.Resources.Requests {
				addPositive(requests, name, q)
			}
		}
	} else {
		for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
			for i := range list {
				count(&list[i].Resources)
			}
		}
	}
	if len(requests) == 0 && len(limits) == 0 {
		return corev1.PodQOSBestEffort
	}
	guaranteed = guaranteed && len(requests) == len(limits)
	for name, q := range requests {
		if l, ok := limits[name]; !ok || l.Cmp(q) != 0 {
			guaranteed = false
		}
	}
	if guaranteed {
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}
