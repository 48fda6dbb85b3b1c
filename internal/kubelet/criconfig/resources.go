package criconfig

import (
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/kubelet/podmachine"
)

const (
	quotaPeriod  = 100000 // µs
	minQuota     = 1000
	minShares    = 2
	maxShares    = 262144
	criticalPrio = 2000000000
)

// Shares converts a CPU request to cgroup shares.
func Shares(milli int64) int64 {
	return min(max(milli*1024/1000, minShares), maxShares)
}

// Quota converts a CPU limit to a CFS quota per 100 ms; 0 is none.
func Quota(milli int64) int64 {
	if milli == 0 {
		return 0
	}
	return max(milli*quotaPeriod/1000, minQuota)
}

// OOMScore is how gladly the kernel kills a container's processes.
func OOMScore(pod *corev1.Pod, c *corev1.Container, memoryCapacity int64) int64 {
	if pod.Spec.Priority != nil && *pod.Spec.Priority >= criticalPrio {
		return -997
	}
	switch podmachine.QOSClass(pod) {
	case corev1.PodQOSGuaranteed:
		return -997
	case corev1.PodQOSBestEffort:
		return 1000
	}
	if memoryCapacity == 0 {
		return 999
	}
	score := 1000 - 1000*c.Resources.Requests.Memory().Value()/memoryCapacity
	return min(max(score, 3), 999)
}

// Resources are a container's limits for the runtime.
func Resources(pod *corev1.Pod, c *corev1.Container, memoryCapacity int64) *runtimeapi.LinuxContainerResources {
	cpu, limit := c.Resources.Requests.Cpu().MilliValue(), c.Resources.Limits.Cpu().MilliValue()
	if _, has := c.Resources.Requests[corev1.ResourceCPU]; !has {
		cpu = limit
	}
	r := &runtimeapi.LinuxContainerResources{
		CpuShares: Shares(cpu), CpuPeriod: quotaPeriod, CpuQuota: Quota(limit),
		MemoryLimitInBytes: c.Resources.Limits.Memory().Value(),
		OomScoreAdj:        OOMScore(pod, c, memoryCapacity),
	}
	for name, q := range c.Resources.Limits {
		if size, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix); ok {
			r.HugepageLimits = append(r.HugepageLimits, &runtimeapi.HugepageLimit{PageSize: strings.TrimSuffix(size, "i") + "B", Limit: uint64(q.Value())})
		}
	}
	return r
}

// Cgroup is a control group with its limits; zero values are no limit.
type Cgroup struct {
	Path        string
	Shares      int64
	Quota       int64
	MemoryLimit int64
	Processes   int64
}

// PodCgroup is the group of a pod in the tree of QoS classes below root.
func PodCgroup(root string, pod *corev1.Pod) Cgroup {
	g := Cgroup{Path: path.Join("/", root, "kubepods")}
	class := podmachine.QOSClass(pod)
	if class != corev1.PodQOSGuaranteed {
		g.Path = path.Join(g.Path, strings.ToLower(string(class)))
	}
	g.Path = path.Join(g.Path, "pod"+string(pod.UID))
	g.Shares = minShares
	if class == corev1.PodQOSBestEffort {
		return g
	}
	var o resourcehelper.PodResourcesOptions
	requests, limits := resourcehelper.PodRequests(pod, o), resourcehelper.PodLimits(pod, o)
	g.Shares = Shares(requests.Cpu().MilliValue())
	allCPU, allMemory := limited(pod)
	if allCPU {
		g.Quota = Quota(limits.Cpu().MilliValue())
	}
	if allMemory {
		g.MemoryLimit = limits.Memory().Value()
	}
	return g
}

// limited tells whether every container has a CPU and a memory limit: without
// that, a limit of their sum would bind the ones that asked for none.
func limited(pod *corev1.Pod) (cpu, memory bool) {
	cpu, memory = true, true
	look := func(c *corev1.Container) {
		cpu = cpu && !c.Resources.Limits.Cpu().IsZero()
		memory = memory && !c.Resources.Limits.Memory().IsZero()
	}
	for i := range pod.Spec.InitContainers {
		look(&pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		look(&pod.Spec.Containers[i])
	}
	if r := pod.Spec.Resources; r != nil {
		cpu = cpu || !r.Limits.Cpu().IsZero()
		memory = memory || !r.Limits.Memory().IsZero()
	}
	return cpu, memory
}
