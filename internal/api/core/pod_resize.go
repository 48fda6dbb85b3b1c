package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/meta"
)

// validatePodResize judges a change of the resources of a pod that may run
// already: cpu and memory may change, though not so that its class does, and
// none that was set may be unset.
func validatePodResize(pod, old *corev1.Pod) field.ErrorList {
	refuse := func(why string) field.ErrorList { return field.ErrorList{field.Forbidden(field.NewPath(""), why)} }
	if _, mirror := old.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return refuse("static pods cannot be resized")
	}
	if old.Spec.OS != nil && old.Spec.OS.Name == corev1.Windows {
		return refuse("windows pods cannot be resized")
	}
	r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&pod.ObjectMeta, &old.ObjectMeta)}
	r.Add(validatePodMetaAndSpec(pod))
	class := old.Status.QOSClass
	if class == "" {
		class = ComputeQOS(old)
	}
	if class != ComputeQOS(pod) {
		r.Invalid(specPath, pod.Status.QOSClass, "Pod QOS Class may not change as a result of resizing")
	}
	r.ForbiddenIf(!nodeResizes(old), specPath, "Pod running on node without support for resize")
	rest := pod.Spec.DeepCopy()
	if hasResources(&pod.Spec) || hasResources(&old.Spec) {
		podLevelResize(&r, rest, &old.Spec)
	}
	r.ForbiddenIf(len(old.Status.NodeAllocatableResourceClaimStatuses) > 0, specPath, "pods with node allocatable resource claims cannot be resized")
	ordered := resizeOrder(&r, pod.Spec.Containers, old.Spec.Containers, "containers")
	if !resizeOrder(&r, pod.Spec.InitContainers, old.Spec.InitContainers, "initContainers") || !ordered {
		return r.Errs
	}
	for i := range rest.InitContainers {
		initResize(&r, &rest.InitContainers[i], &old.Spec.InitContainers[i], specPath.Child("initContainers").Index(i))
	}
	for i := range rest.Containers {
		c, was := &rest.Containers[i], &old.Spec.Containers[i]
		nothingUnset(&r, &c.Resources, &was.Resources, specPath.Child("containers").Index(i).Child("resources"))
		undoComputeOf(c, was)
		r.ForbiddenIf(!equality.Semantic.DeepEqual(*c, *was), specPath, onlyCompute)
	}
	if len(r.Errs) == 0 {
		r.ForbiddenIf(!equality.Semantic.DeepEqual(*rest, old.Spec), specPath, onlyCompute)
	}
	return r.Errs
}

const onlyCompute = "only cpu and memory resources are mutable"

func initResize(r *meta.Report, c, was *corev1.Container, p *field.Path) {
	nothingUnset(r, &c.Resources, &was.Resources, p.Child("resources"))
	changed := !equality.Semantic.DeepEqual(*c, *was)
	undoComputeOf(c, was)
	r.ForbiddenIf(!equality.Semantic.DeepEqual(*c, *was), p, "only cpu and memory resources for init or sidecar containers are mutable")
	if !changed || c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
		return
	}
	for _, policy := range c.ResizePolicy {
		r.ForbiddenIf(policy.RestartPolicy == corev1.RestartContainer, p, "non-sidecar init containers with a resize policy of RestartContainer cannot be resized")
	}
}

// nodeResizes tells whether the pod's kubelet knows of resizing, which it shows
// by reporting the resources of what runs.
func nodeResizes(pod *corev1.Pod) bool {
	for i := range pod.Status.ContainerStatuses {
		if c := &pod.Status.ContainerStatuses[i]; c.State.Running != nil {
			return c.Resources != nil
		}
	}
	return true
}

func hasResources(s *corev1.PodSpec) bool {
	return s.Resources != nil && len(s.Resources.Requests)+len(s.Resources.Limits) > 0
}

// podLevelResize judges a change of the pod's resources as a whole, and undoes
// in rest what may change.
func podLevelResize(r *meta.Report, rest, old *corev1.PodSpec) {
	p := specPath.Child("resources")
	if old.Resources != nil && rest.Resources == nil {
		r.Forbidden(p, "pod-level resources cannot be removed")
		return
	}
	if old.Resources != nil {
		r.ForbiddenIf(unsets(rest.Resources.Requests, old.Resources.Requests), p.Child("requests"), "pod-level resource requests cannot be removed")
		r.ForbiddenIf(unsets(rest.Resources.Limits, old.Resources.Limits), p.Child("limits"), "pod-level resource limits cannot be removed")
	}
	if now := rest.Resources; now != nil {
		was := old.Resources
		if was == nil {
			was = &corev1.ResourceRequirements{}
		}
		now.Requests, now.Limits = undoCompute(now.Requests, was.Requests), undoCompute(now.Limits, was.Limits)
		if old.Resources == nil && len(now.Requests)+len(now.Limits)+len(now.Claims) == 0 {
			rest.Resources = nil
		}
	}
	r.ForbiddenIf(!equality.Semantic.DeepEqual(rest.Resources, old.Resources), specPath, "only cpu and memory resources are mutable at pod-level")
}

func resizeOrder(r *meta.Report, list, old []corev1.Container, name string) bool {
	p := specPath.Child(name)
	if len(list) != len(old) {
		r.Forbidden(p, name+" may not be added or removed on resize")
		return false
	}
	same := true
	for i := range old {
		if list[i].Name != old[i].Name {
			r.Forbidden(p.Index(i).Child("name"), name+" may not be renamed or reordered on resize")
			same = false
		}
	}
	return same
}

func nothingUnset(r *meta.Report, now, was *corev1.ResourceRequirements, p *field.Path) {
	r.ForbiddenIf(unsets(now.Requests, was.Requests), p.Child("requests"), "resource requests cannot be removed")
	r.ForbiddenIf(unsets(now.Limits, was.Limits), p.Child("limits"), "resource limits cannot be removed")
}

func unsets(now, was corev1.ResourceList) bool {
	for n := range was {
		if _, ok := now[n]; !ok {
			return true
		}
	}
	return false
}

// undoComputeOf gives c the cpu and memory of was. Claims are lost with it, so
// that a container that has some does not compare equal: it cannot be resized.
func undoComputeOf(c, was *corev1.Container) {
	c.Resources = corev1.ResourceRequirements{
		Limits: undoCompute(c.Resources.Limits, was.Resources.Limits), Requests: undoCompute(c.Resources.Requests, was.Resources.Requests),
	}
}

func undoCompute(now, was corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for n, q := range now {
		out[n] = q
	}
	for _, n := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		delete(out, n)
		if q, ok := was[n]; ok {
			out[n] = q
		}
	}
	return out
}
