package eviction

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Reason is what an evicted pod's status and event say.
const Reason = "Evicted"

// criticalPriority is that of system-cluster-critical.
const criticalPriority = 2000000000

// Critical pods are never evicted: static ones, their mirrors, and those of the
// system's priority classes.
func Critical(pod *corev1.Pod) bool {
	if source, ok := pod.Annotations["kubernetes.io/config.source"]; ok && source != "api" {
		return true
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return true
	}
	return pod.Spec.Priority != nil && *pod.Spec.Priority >= criticalPriority
}

// Usage finds what a pod uses; nil is not known.
type Usage func(*corev1.Pod) *statsapi.PodStats

// UsageOf is the Usage of a summary.
func UsageOf(s *statsapi.Summary) Usage {
	by := map[string]*statsapi.PodStats{}
	for i := range s.Pods {
		by[s.Pods[i].PodRef.UID] = &s.Pods[i]
	}
	return func(p *corev1.Pod) *statsapi.PodStats { return by[string(p.UID)] }
}

// rankable is a pod with what its rank hangs on.
type rankable struct {
	pod      *corev1.Pod
	unknown  bool
	exceeds  bool
	priority int32
	above    int64 // usage less the request
}

// Rank orders pods, the first to leave first: those that use more than they asked
// for, then by priority, then by how much more they use. imageFs tells that images
// and containers are on a disk of their own.
func Rank(pods []*corev1.Pod, usage Usage, signal Signal, imageFs bool) []*corev1.Pod {
	name, _, _ := signal.describe()
	list := make([]rankable, 0, len(pods))
	for _, p := range pods {
		r := rankable{pod: p}
		if p.Spec.Priority != nil {
			r.priority = *p.Spec.Priority
		}
		st := usage(p)
		if st == nil {
			r.unknown, r.exceeds = true, true
			list = append(list, r)
			continue
		}
		var used int64
		switch name {
		case corev1.ResourceMemory:
			if st.Memory != nil {
				used = number(st.Memory.WorkingSetBytes)
			}
		case pids:
			if st.ProcessStats != nil {
				used = number(st.ProcessStats.ProcessCount)
			}
		default:
			used = diskOf(p, st, signal, imageFs)
		}
		request := requestOf(p, name)
		r.exceeds = name != pids && used > request
		if name == inodes {
			request = requestOf(p, corev1.ResourceEphemeralStorage)
		}
		r.above = used - request
		list = append(list, r)
	}
	slices.SortStableFunc(list, func(a, b rankable) int {
		if name != pids {
			if c := boolean(a.unknown, b.unknown); c != 0 {
				return c
			}
			if c := boolean(a.exceeds, b.exceeds); c != 0 {
				return c
			}
		}
		switch {
		case a.priority != b.priority && a.priority < b.priority:
			return -1
		case a.priority != b.priority:
			return 1
		case a.above > b.above:
			return -1
		case a.above < b.above:
			return 1
		}
		return boolean(a.unknown, b.unknown)
	})
	out := make([]*corev1.Pod, len(list))
	for i := range list {
		out[i] = list[i].pod
	}
	return out
}

func number(p *uint64) int64 {
	if p == nil {
		return 0
	}
	return int64(*p)
}

func requestOf(p *corev1.Pod, name corev1.ResourceName) int64 {
	q, ok := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})[name]
	if !ok {
		return 0
	}
	return q.Value()
}

// diskOf is what a pod has on the disk that a signal is about.
func diskOf(p *corev1.Pod, st *statsapi.PodStats, signal Signal, imageFs bool) int64 {
	pick := func(fs *statsapi.FsStats) int64 {
		switch {
		case fs == nil:
			return 0
		case strings.HasSuffix(string(signal), "inodesFree"):
			return number(fs.InodesUsed)
		}
		return number(fs.UsedBytes)
	}
	onNode := signal == NodeFsAvailable || signal == NodeFsInodesFree
	roots, rest := !imageFs || !onNode, !imageFs || onNode
	total := int64(0)
	for i := range st.Containers {
		if roots {
			total += pick(st.Containers[i].Rootfs)
		}
		if rest {
			total += pick(st.Containers[i].Logs)
		}
	}
	if rest {
		for i := range st.VolumeStats {
			if v := volume(p, st.VolumeStats[i].Name); v != nil && local(v) {
				total += pick(&st.VolumeStats[i].FsStats)
			}
		}
	}
	return total
}

func volume(p *corev1.Pod, name string) *corev1.Volume {
	for i := range p.Spec.Volumes {
		if p.Spec.Volumes[i].Name == name {
			return &p.Spec.Volumes[i]
		}
	}
	return nil
}

// local tells whether a volume lies on the node's disk.
func local(v *corev1.Volume) bool {
	return v.HostPath != nil || v.GitRepo != nil || v.ConfigMap != nil || v.DownwardAPI != nil || v.Secret != nil || v.Projected != nil ||
		v.EmptyDir != nil && v.EmptyDir.Medium != corev1.StorageMediumMemory
}

// Eviction is a pod that has to leave, and what it is told.
type Eviction struct {
	Pod         *corev1.Pod
	Message     string
	Annotations map[string]string // of the event
	Grace       time.Duration
	// Disruption: the pod's conditions say that the node took it down.
	Disruption bool
}

// First is the eviction of the first of ranked pods that may leave; nil if none may.
func (c *Config) First(ranked []*corev1.Pod, usage Usage, need *Need, seen map[Signal]Observation) *Eviction {
	for _, p := range ranked {
		if Critical(p) {
			continue
		}
		e := &Eviction{Pod: p, Disruption: true}
		if !need.Threshold.Hard() {
			e.Grace = c.MaxGrace
			if s := p.Spec.TerminationGracePeriodSeconds; s != nil {
				e.Grace = min(e.Grace, time.Duration(*s)*time.Second)
			}
		}
		e.Message, e.Annotations = message(need, p, usage(p), seen)
		return e
	}
	return nil
}

func message(need *Need, pod *corev1.Pod, st *statsapi.PodStats, seen map[Signal]Observation) (string, map[string]string) {
	out := fmt.Sprintf("The node was low on resource: %v. ", need.Resource)
	for _, t := range need.Met {
		if r, _, _ := t.Signal.describe(); r == need.Resource {
			if o, ok := seen[t.Signal]; ok {
				out += fmt.Sprintf("Threshold quantity: %v, available: %v. ", t.Value.Of(o.Capacity), o.Available)
				break
			}
		}
	}
	annotations := map[string]string{}
	if st == nil {
		return out, annotations
	}
	if r := pod.Spec.Resources; need.Resource == corev1.ResourceMemory && r != nil && st.Memory != nil {
		if request, ok := r.Requests[corev1.ResourceMemory]; ok {
			used := resource.NewQuantity(number(st.Memory.WorkingSetBytes), resource.BinarySI)
			out += fmt.Sprintf("Pod %s was using %s, request is %s, has larger consumption of %v. ", pod.Name, used, &request, need.Resource)
			annotations["offending_pod"], annotations["offending_pod_usage"] = pod.Name, used.String()
		}
	}
	var names, amounts []string
	for i := range st.Containers {
		cs := &st.Containers[i]
		j := slices.IndexFunc(slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers), func(c corev1.Container) bool { return c.Name == cs.Name })
		if j < 0 {
			continue
		}
		request := slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers)[j].Resources.Requests[need.Resource]
		var used *resource.Quantity
		switch {
		case need.Resource == corev1.ResourceEphemeralStorage && cs.Rootfs != nil && cs.Rootfs.UsedBytes != nil && cs.Logs != nil && cs.Logs.UsedBytes != nil:
			used = resource.NewQuantity(int64(*cs.Rootfs.UsedBytes+*cs.Logs.UsedBytes), resource.BinarySI)
		case need.Resource == corev1.ResourceMemory && cs.Memory != nil && cs.Memory.WorkingSetBytes != nil:
			used = resource.NewQuantity(int64(*cs.Memory.WorkingSetBytes), resource.BinarySI)
		}
		if used == nil || used.Cmp(request) <= 0 {
			continue
		}
		out += fmt.Sprintf("Container %s was using %s, request is %s, has larger consumption of %v. ", cs.Name, used, &request, need.Resource)
		names, amounts = append(names, cs.Name), append(amounts, used.String())
	}
	annotations["offending_containers"] = strings.Join(names, ",")
	annotations["offending_containers_usage"] = strings.Join(amounts, ",")
	annotations["starved_resource"] = string(need.Resource)
	return out, annotations
}

// Over lists the pods that use more local storage than they may. imageFs tells that
// containers' own layers are on another disk.
func Over(pods []*corev1.Pod, usage Usage, imageFs bool) []*Eviction {
	var out []*Eviction
	for _, p := range pods {
		if st := usage(p); st != nil && !Critical(p) {
			if m := excess(p, st, imageFs); m != "" {
				out = append(out, &Eviction{Pod: p, Message: m})
			}
		}
	}
	return out
}

func excess(p *corev1.Pod, st *statsapi.PodStats, imageFs bool) string {
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil || v.EmptyDir.SizeLimit.Sign() != 1 {
			continue
		}
		for j := range st.VolumeStats {
			if st.VolumeStats[j].Name == v.Name && number(st.VolumeStats[j].UsedBytes) > v.EmptyDir.SizeLimit.Value() {
				return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, v.EmptyDir.SizeLimit)
			}
		}
	}
	limits := resourcehelper.PodLimits(p, resourcehelper.PodResourcesOptions{})
	if limit, ok := limits[corev1.ResourceEphemeralStorage]; ok && st.EphemeralStorage != nil && number(st.EphemeralStorage.UsedBytes) > limit.Value() {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", &limit)
	}
	for i := range st.Containers {
		cs := &st.Containers[i]
		j := slices.IndexFunc(p.Spec.Containers, func(c corev1.Container) bool { return c.Name == cs.Name })
		if j < 0 {
			continue
		}
		limit := p.Spec.Containers[j].Resources.Limits.StorageEphemeral()
		used := int64(0)
		if cs.Logs != nil {
			used += number(cs.Logs.UsedBytes)
		}
		if !imageFs && cs.Rootfs != nil {
			used += number(cs.Rootfs.UsedBytes)
		}
		if limit.Value() != 0 && used > limit.Value() {
			return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", cs.Name, limit)
		}
	}
	return ""
}

// Refuses is why a node under pressure takes no further pod; "" if it does. A node
// short of memory alone takes what asked for some.
func (s *State) Refuses(pod *corev1.Pod, class corev1.PodQOSClass) string {
	if len(s.Conditions) == 0 || Critical(pod) {
		return ""
	}
	if len(s.Conditions) == 1 && s.Has(corev1.NodeMemoryPressure) {
		if class != corev1.PodQOSBestEffort {
			return ""
		}
		for _, t := range pod.Spec.Tolerations {
			if (t.Key == corev1.TaintNodeMemoryPressure || t.Key == "" && t.Operator == corev1.TolerationOpExists) && (t.Effect == "" || t.Effect == corev1.TaintEffectNoSchedule) {
				return ""
			}
		}
	}
	return fmt.Sprintf("The node had condition: %v. ", s.Conditions)
}
