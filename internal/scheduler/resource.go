package scheduler

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// What a container that asks for nothing is taken to use, so that such pods
// spread too. Upstream's values.
const (
	defaultMilliCPU    = 100
	defaultMemoryBytes = 200 << 20
)

var (
	defaultCPU    = *resource.NewMilliQuantity(defaultMilliCPU, resource.DecimalSI)
	defaultMemory = *resource.NewQuantity(defaultMemoryBytes, resource.BinarySI)
)

// resources is an amount of everything a node can run out of but pods.
type resources struct {
	milliCPU, memory, ephemeral int64
	scalars                     map[corev1.ResourceName]int64 // extended, huge pages, attachable volumes
}

func resourcesOf(list corev1.ResourceList) resources {
	var r resources
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			r.milliCPU = q.MilliValue()
		case corev1.ResourceMemory:
			r.memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			r.ephemeral = q.Value()
		case corev1.ResourcePods:
		default:
			if r.scalars == nil {
				r.scalars = map[corev1.ResourceName]int64{}
			}
			r.scalars[name] = q.Value()
		}
	}
	return r
}

// add counts o in (sign 1) or out (sign -1).
func (r *resources) add(o *resources, sign int64) {
	r.milliCPU += sign * o.milliCPU
	r.memory += sign * o.memory
	r.ephemeral += sign * o.ephemeral
	for name, n := range o.scalars {
		if r.scalars == nil {
			r.scalars = map[corev1.ResourceName]int64{}
		}
		r.scalars[name] += sign * n
	}
}

func (r *resources) clone() resources {
	c := *r
	if r.scalars != nil {
		c.scalars = make(map[corev1.ResourceName]int64, len(r.scalars))
		for k, v := range r.scalars {
			c.scalars[k] = v
		}
	}
	return c
}

func (r *resources) equal(o *resources) bool {
	if r.milliCPU != o.milliCPU || r.memory != o.memory || r.ephemeral != o.ephemeral || len(r.scalars) != len(o.scalars) {
		return false
	}
	for k, v := range r.scalars {
		if w, ok := o.scalars[k]; !ok || w != v {
			return false
		}
	}
	return true
}

// requestOptions count what a kubelet has granted a resized pod already.
var requestOptions = resourcehelper.PodResourcesOptions{
	UseStatusResources: true,
	InPlacePodLevelResourcesVerticalScalingEnabled: true,
}

// requestsOf is what a pod takes of its node: the formula of init containers,
// sidecars, pod level resources and overhead.
func requestsOf(p *corev1.Pod) corev1.ResourceList {
	return resourcehelper.PodRequests(p, requestOptions)
}

// scoredRequests is the processor and memory a pod is taken to use for the
// score of free resources: its requests with defaults for containers without.
func scoredRequests(p *corev1.Pod, requests corev1.ResourceList) (milliCPU, memory int64) {
	cpu, mem := requests[corev1.ResourceCPU], requests[corev1.ResourceMemory]
	milliCPU, memory = cpu.MilliValue(), mem.Value()
	podLevel := resourcehelper.IsPodLevelRequestsSet(p)
	missing := corev1.ResourceList{}
	if _, ok := requests[corev1.ResourceCPU]; !podLevel || !ok {
		missing[corev1.ResourceCPU] = defaultCPU
	}
	if _, ok := requests[corev1.ResourceMemory]; !podLevel || !ok {
		missing[corev1.ResourceMemory] = defaultMemory
	}
	if len(missing) == 0 || everyContainerAsks(p) {
		return milliCPU, memory
	}
	options := requestOptions
	options.NonMissingContainerRequests = missing
	filled := resourcehelper.PodRequests(p, options)
	cpu, mem = filled[corev1.ResourceCPU], filled[corev1.ResourceMemory]
	return cpu.MilliValue(), mem.Value()
}

// everyContainerAsks saves the second sum for most pods.
func everyContainerAsks(p *corev1.Pod) bool {
	asks := func(list []corev1.Container) bool {
		for i := range list {
			r := list[i].Resources.Requests
			if _, ok := r[corev1.ResourceCPU]; !ok {
				return false
			}
			if _, ok := r[corev1.ResourceMemory]; !ok {
				return false
			}
		}
		return true
	}
	return asks(p.Spec.Containers) && asks(p.Spec.InitContainers)
}
