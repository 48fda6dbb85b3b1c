package core

import (
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/meta"
)

const onlyMutable = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`," +
	"`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations)," +
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"

// validatePodUpdate judges a change of a pod. Most of a pod is what its kubelet
// has already made, so that little may change.
func validatePodUpdate(pod, old *corev1.Pod) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&pod.ObjectMeta, &old.ObjectMeta)}
	r.Add(validatePodMetaAndSpec(pod))
	podAnnotationsUpdate(&r, pod, old)
	if !sameContainers(&r, pod.Spec.Containers, old.Spec.Containers, specPath.Child("containers")) ||
		!sameContainers(&r, pod.Spec.InitContainers, old.Spec.InitContainers, specPath.Child("initContainers")) {
		return r.Errs
	}
	deadline := specPath.Child("activeDeadlineSeconds")
	switch d, was := pod.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds; {
	case d != nil && (*d < 0 || *d > math.MaxInt32):
		r.Invalid(deadline, *d, validation.InclusiveRangeError(0, math.MaxInt32))
		return r.Errs
	case d != nil && was != nil && *was < *d:
		r.Invalid(deadline, *d, "must be less than or equal to previous value")
		return r.Errs
	case d == nil && was != nil:
		r.Invalid(deadline, d, "must not update from a positive integer to nil value")
	}
	tolerationsUpdate(&r, pod.Spec.Tolerations, old.Spec.Tolerations, specPath.Child("tolerations"))
	gatesUpdate(&r, pod.Spec.SchedulingGates, old.Spec.SchedulingGates, specPath.Child("schedulingGates"))
	if equality.Semantic.DeepEqual(pod.Spec, old.Spec) {
		return r.Errs
	}

	// Undo what may change; the rest must be equal.
	rest := pod.Spec.DeepCopy()
	for i := range rest.Containers {
		rest.Containers[i].Image = old.Spec.Containers[i].Image
	}
	for i := range rest.InitContainers {
		rest.InitContainers[i].Image = old.Spec.InitContainers[i].Image
	}
	rest.ActiveDeadlineSeconds = old.Spec.ActiveDeadlineSeconds
	rest.SchedulingGates = old.Spec.SchedulingGates
	rest.Tolerations = old.Spec.Tolerations
	if was, now := old.Spec.TerminationGracePeriodSeconds, rest.TerminationGracePeriodSeconds; was != nil && *was < 0 && now != nil && *now == 1 {
		rest.TerminationGracePeriodSeconds = was
	}
	if len(old.Spec.SchedulingGates) > 0 {
		narrowGated(&r, rest, &old.Spec)
	}
	if !equality.Semantic.DeepEqual(*rest, old.Spec) {
		r.Forbidden(specPath, onlyMutable+diff.Diff(old.Spec, *rest))
	}
	return r.Errs
}

func sameContainers(r *meta.Report, list, old []corev1.Container, p *field.Path) bool {
	if len(list) != len(old) {
		r.Forbidden(p, "pod updates may not add or remove containers")
		return false
	}
	for i := range list {
		r.RequiredIf(list[i].Image == "", p.Index(i).Child("image"))
		imageTrimmed(r, list[i].Image, p.Index(i))
	}
	return true
}

func tolerationsUpdate(r *meta.Report, list, old []corev1.Toleration, p *field.Path) {
	for _, o := range old {
		kept := false
		for _, t := range list {
			t.TolerationSeconds = o.TolerationSeconds
			kept = kept || equality.Semantic.DeepEqual(t, o)
		}
		if !kept {
			r.Forbidden(p, "existing toleration can not be modified except its tolerationSeconds")
			return
		}
	}
	r.Add(ValidateTolerations(list, p))
}

func gatesUpdate(r *meta.Report, list, old []corev1.PodSchedulingGate, p *field.Path) {
	added := map[string]int{}
	for i, g := range list {
		added[g.Name] = i
	}
	for _, g := range old {
		delete(added, g.Name)
	}
	for _, name := range keys(added) {
		r.Forbidden(p.Index(added[name]).Child("name"), fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", name))
	}
}

// narrowGated judges changes of where a pod that the scheduler has not yet seen
// may run: it may become narrower only. It undoes them in rest.
func narrowGated(r *meta.Report, rest, old *corev1.PodSpec) {
	if !equality.Semantic.DeepEqual(rest.NodeSelector, old.NodeSelector) {
		for k, v := range old.NodeSelector {
			if now, ok := rest.NodeSelector[k]; !ok || now != v {
				r.Invalid(specPath.Child("nodeSelector"), rest.NodeSelector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)")
				break
			}
		}
		rest.NodeSelector = old.NodeSelector
	}
	nodeAffinity := func(s *corev1.PodSpec) *corev1.NodeAffinity {
		if s.Affinity == nil {
			return nil
		}
		return s.Affinity.NodeAffinity
	}
	now, was := nodeAffinity(rest), nodeAffinity(old)
	if equality.Semantic.DeepEqual(now, was) {
		return
	}
	narrowNodeAffinity(r, now, was, specPath.Child("affinity", "nodeAffinity", requiredTerms, "nodeSelectorTerms"))
	switch {
	case rest.Affinity == nil:
		rest.Affinity = &corev1.Affinity{NodeAffinity: was}
	case old.Affinity == nil && rest.Affinity.PodAffinity == nil && rest.Affinity.PodAntiAffinity == nil:
		rest.Affinity = nil
	default:
		rest.Affinity.NodeAffinity = was
	}
}

func narrowNodeAffinity(r *meta.Report, now, was *corev1.NodeAffinity, p *field.Path) {
	if was == nil || was.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return
	}
	before := was.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	var after []corev1.NodeSelectorTerm
	if now != nil && now.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		after = now.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	}
	if len(before) > 0 && len(before) != len(after) {
		r.Invalid(p, after, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")
		return
	}
	for i := range before {
		if !onlyAdds(after[i], before[i]) {
			r.Invalid(p.Index(i), after[i], "only additions are allowed (no mutations or deletions)")
		}
	}
}

// onlyAdds tells whether a term begins as the old one did. An empty term matches
// no node, so that adding to it would widen it.
func onlyAdds(now, was corev1.NodeSelectorTerm) bool {
	e, f := len(was.MatchExpressions), len(was.MatchFields)
	if e == 0 && f == 0 && len(now.MatchExpressions)+len(now.MatchFields) > 0 {
		return false
	}
	return len(now.MatchExpressions) >= e && len(now.MatchFields) >= f &&
		(e == 0 || equality.Semantic.DeepEqual(now.MatchExpressions[:e], was.MatchExpressions)) &&
		(f == 0 || equality.Semantic.DeepEqual(now.MatchFields[:f], was.MatchFields))
}

// ValidateEphemeralContainersUpdate judges a change through the
// ephemeralcontainers subresource: containers may be added, nothing else.
func ValidateEphemeralContainersUpdate(pod, old *corev1.Pod) field.ErrorList {
	if _, mirror := old.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods do not support ephemeral containers")}
	}
	r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&pod.ObjectMeta, &old.ObjectMeta)}
	r.Add(validatePodMetaAndSpec(pod))
	podAnnotationsUpdate(&r, pod, old)
	p := specPath.Child("ephemeralContainers")
	now := map[string]*corev1.EphemeralContainer{}
	for i := range pod.Spec.EphemeralContainers {
		now[pod.Spec.EphemeralContainers[i].Name] = &pod.Spec.EphemeralContainers[i]
	}
	for i := range old.Spec.EphemeralContainers {
		was := &old.Spec.EphemeralContainers[i]
		if c := now[was.Name]; c == nil {
			r.Forbidden(p, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", was.Name))
		} else if !equality.Semantic.DeepEqual(*was, *c) {
			r.Forbidden(p, fmt.Sprintf("existing ephemeral containers %q may not be changed\n%v", was.Name, diff.Diff(*was, *c)))
		}
	}
	return r.Errs
}

// ValidateBinding judges a binding of a pod to a node.
func ValidateBinding(b *corev1.Binding) field.ErrorList {
	var r meta.Report
	p := field.NewPath("target")
	if k := b.Target.Kind; k != "" && k != "Node" {
		meta.Among(&r, p.Child("kind"), k, "Node", "<empty>")
	}
	r.RequiredIf(b.Target.Name == "", p.Child("name"))
	return r.Errs
}
