package quota

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/core"
)

const (
	requests  = corev1.DefaultResourceRequestsPrefix
	hugePages = corev1.ResourceHugePagesPrefix
)

// podNames are what pods count for by fixed names.
var podNames = []corev1.ResourceName{
	"count/pods", corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
	corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage, corev1.ResourcePods,
}

// stated are the resources that every container must name where a quota limits
// them. It was a mistake, and clients rely on it.
var stated = []corev1.ResourceName{
	corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
}

// pods measures pods.
type pods struct{}

func (pods) Resource() schema.GroupResource { return schema.GroupResource{Resource: "pods"} }
func (pods) Scoped() bool                   { return true }

func (pods) Handles(c Change) bool {
	switch c.Subresource {
	case "":
		if c.Create {
			return true
		}
		pod, ok := c.Object.(*corev1.Pod)
		old, ok2 := c.Old.(*corev1.Pod)
		return ok && ok2 && terminating(pod) != terminating(old)
	case "resize":
		return !c.Create
	}
	return false
}

func (pods) Matching(names []corev1.ResourceName) []corev1.ResourceName {
	out := both(names, podNames)
	for _, n := range names {
		s := string(n)
		if strings.HasPrefix(s, hugePages) || strings.HasPrefix(s, requests+hugePages) || extendedInQuota(n) {
			out = append(out, n)
		}
	}
	return out
}

func (pods) InScope(s corev1.ScopedResourceSelectorRequirement, o api.Object) (bool, error) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return false, fmt.Errorf("quota: measuring a pod that is a %T", o)
	}
	switch s.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return terminating(pod), nil
	case corev1.ResourceQuotaScopeNotTerminating:
		return !terminating(pod), nil
	case corev1.ResourceQuotaScopeBestEffort:
		return bestEffort(pod), nil
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !bestEffort(pod), nil
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return reachesOut(pod.Spec.Affinity), nil
	case corev1.ResourceQuotaScopePriorityClass:
		class := pod.Spec.PriorityClassName
		if s.Operator == corev1.ScopeSelectorOpExists {
			return class != "", nil
		}
		sel, err := scopeSelector(s)
		if err != nil {
			return false, err
		}
		set := labels.Set{}
		if class != "" {
			set[string(s.ScopeName)] = class
		}
		return sel.Matches(set), nil
	}
	return false, nil
}

func (pods) Constraints(required []corev1.ResourceName, o api.Object) error {
	pod, ok := o.(*corev1.Pod)
	if !ok || resourcehelper.IsPodLevelResourcesSet(pod) {
		return nil
	}
	missing := map[corev1.ResourceName][]string{}
	look := func(c *corev1.Container) {
		has := compute(c.Resources.Requests, c.Resources.Limits)
		for _, n := range both(required, stated) {
			if _, ok := has[n]; !ok && !slices.Contains(missing[n], c.Name) {
				missing[n] = append(missing[n], c.Name)
			}
		}
	}
	for i := range pod.Spec.Containers {
		look(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		look(&pod.Spec.InitContainers[i])
	}
	if len(missing) == 0 {
		return nil
	}
	var parts []string
	for _, n := range slices.Sorted(maps.Keys(missing)) {
		slices.Sort(missing[n])
		parts = append(parts, fmt.Sprintf("%s for: %s", n, strings.Join(missing[n], ",")))
	}
	return fmt.Errorf("must specify %s", strings.Join(parts, "; "))
}

// Usage counts the pod as an object as long as it is stored, and its resources
// until it has ended.
func (pods) Usage(o api.Object, now time.Time) corev1.ResourceList {
	out := corev1.ResourceList{"count/pods": whole(1)}
	pod, ok := o.(*corev1.Pod)
	if !ok || ended(pod, now) {
		return out
	}
	opts := resourcehelper.PodResourcesOptions{UseStatusResources: true}
	maps.Copy(out, compute(resourcehelper.PodRequests(pod, opts), resourcehelper.PodLimits(pod, opts)))
	out[corev1.ResourcePods] = whole(1)
	return out
}

func (pods) Frees(old, cur api.Object, now time.Time) bool {
	was, ok := old.(*corev1.Pod)
	pod, ok2 := cur.(*corev1.Pod)
	if !ok || !ok2 {
		return false
	}
	return terminating(was) != terminating(pod) || !ended(was, now) && ended(pod, now) ||
		resized(was.Status.ContainerStatuses, pod.Status.ContainerStatuses) || resized(was.Status.InitContainerStatuses, pod.Status.InitContainerStatuses)
}

func resized(was, now []corev1.ContainerStatus) bool {
	for i := range was {
		for j := range now {
			if was[i].Name == now[j].Name && !equality.Semantic.DeepEqual(was[i].Resources, now[j].Resources) {
				return true
			}
		}
	}
	return false
}

// compute names requests and limits as quotas do.
func compute(req, lim corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for _, n := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if q, ok := req[n]; ok {
			out[n], out[requests+n] = q, q
		}
		if q, ok := lim[n]; ok {
			out["limits."+n] = q
		}
	}
	for n, q := range req {
		switch s := string(n); {
		case strings.HasPrefix(s, hugePages):
			out[n], out[requests+n] = q, q
		case extended(n), strings.HasPrefix(s, resourcev1.ResourceDeviceClassPrefix):
			out[requests+n] = q
		}
	}
	return out
}

func native(n corev1.ResourceName) bool {
	return !strings.Contains(string(n), "/") || strings.Contains(string(n), corev1.ResourceDefaultNamespacePrefix)
}

func extended(n corev1.ResourceName) bool {
	if native(n) || strings.HasPrefix(string(n), requests) {
		return false
	}
	return len(validation.IsQualifiedName(requests+string(n))) == 0
}

// extendedInQuota tells whether a quota means an extended resource: those
// cannot be overcommitted, so there are requests of them alone.
func extendedInQuota(n corev1.ResourceName) bool {
	return strings.HasPrefix(string(n), requests) && (!native(n) || strings.HasPrefix(string(n), requests+resourcev1.ResourceDeviceClassPrefix))
}

func terminating(p *corev1.Pod) bool {
	return p.Spec.ActiveDeadlineSeconds != nil && *p.Spec.ActiveDeadlineSeconds >= 0
}

func bestEffort(p *corev1.Pod) bool {
	if p.Status.QOSClass != "" {
		return p.Status.QOSClass == corev1.PodQOSBestEffort
	}
	return core.ComputeQOS(p) == corev1.PodQOSBestEffort
}

// ended tells whether a pod uses nothing any more: it has finished, or its time
// to end is over.
func ended(p *corev1.Pod, now time.Time) bool {
	if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return true
	}
	if p.DeletionTimestamp == nil || p.DeletionGracePeriodSeconds == nil {
		return false
	}
	return now.After(p.DeletionTimestamp.Add(time.Duration(*p.DeletionGracePeriodSeconds) * time.Second))
}

// reachesOut tells whether affinity looks at pods of other namespaces.
func reachesOut(a *corev1.Affinity) bool {
	if a == nil {
		return false
	}
	var terms []corev1.PodAffinityTerm
	weighted := func(list []corev1.WeightedPodAffinityTerm) {
		for _, t := range list {
			terms = append(terms, t.PodAffinityTerm)
		}
	}
	if p := a.PodAffinity; p != nil {
		terms = append(terms, p.RequiredDuringSchedulingIgnoredDuringExecution...)
		weighted(p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		terms = append(terms, p.RequiredDuringSchedulingIgnoredDuringExecution...)
		weighted(p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool { return len(t.Namespaces) > 0 || t.NamespaceSelector != nil })
}
