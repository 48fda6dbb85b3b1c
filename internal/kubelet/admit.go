package kubelet

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	schedcore "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"github.com/monohull/monohull/internal/kubelet/eviction"
	"github.com/monohull/monohull/internal/kubelet/podmachine"
)

// judge decides once whether the node takes the worker's pod. It tells whether it
// has just taken one that an earlier process began.
func (w *worker) judge() bool {
	if w.judged {
		return false
	}
	w.judged = true
	k := w.k
	k.admitMu.Lock()
	defer k.admitMu.Unlock()
	ran := w.pod.Status.StartTime != nil || len(w.obs.Sandboxes) > 0
	if w.obs.Gone || w.pod.DeletionTimestamp != nil || podmachine.Terminal(w.pod.Status.Phase) || ran {
		w.given(podmachine.Recalled(w.api))
		w.setAdmitted()
		return ran
	}
	w.given(podmachine.Desired(w.api))
	node, ok := k.nodes.Get("", k.cfg.NodeName)
	if !ok {
		node = k.newNode()
	}
	if m := k.pressure.get().Refuses(w.pod, podmachine.QOSClass(w.pod)); m != "" {
		w.obs.Rejected = &podmachine.Rejection{Reason: eviction.Reason, Message: "Pod was rejected: " + m}
		w.event("", corev1.EventTypeWarning, eviction.Reason, m)
		return false
	}
	if r := admit(w.pod, node, k.allocatable, k.admittedPods()); r != nil {
		w.obs.Rejected = &podmachine.Rejection{Reason: r.Reason, Message: "Pod was rejected: " + r.Message}
		w.event("", corev1.EventTypeWarning, r.Reason, r.Message)
		return false
	}
	w.setAdmitted()
	return false
}

func (w *worker) setAdmitted() {
	w.mu.Lock()
	w.admitted = true
	w.mu.Unlock()
}

// admittedPods are the pods that hold something of the node.
func (k *Kubelet) admittedPods() []*corev1.Pod { return k.admittedBut(nil) }

// admittedBut are all of them but one.
func (k *Kubelet) admittedBut(but *worker) []*corev1.Pod {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []*corev1.Pod
	for _, w := range k.workers {
		w.mu.Lock()
		if w != but && w.admitted && !podmachine.Terminal(w.latest.Status.Phase) {
			out = append(out, w.alloc.Apply(w.latest))
		}
		w.mu.Unlock()
	}
	return out
}

// admit decides whether a node takes a pod beside others; nil is yes.
func admit(pod *corev1.Pod, node *corev1.Node, allocatable corev1.ResourceList, others []*corev1.Pod) *podmachine.Rejection {
	if pod.Spec.OS != nil && pod.Spec.OS.Name != corev1.Linux {
		return &podmachine.Rejection{Reason: "PodOSNotSupported", Message: "Failed to admit pod as the OS field doesn't match node OS"}
	}
	if r := fits(pod, allocatable, others); r != nil {
		return r
	}
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err != nil || !ok {
		return refused("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
	}
	if portsTaken(pod, others) {
		return refused("NodePorts", "node(s) didn't have free ports for the requested pod ports")
	}
	noExecute := func(t *corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute }
	if _, found := schedcore.FindMatchingUntoleratedTaint(klog.Logger{}, node.Spec.Taints, pod.Spec.Tolerations, noExecute, true); found {
		return refused("TaintToleration", "node(s) had taints that the pod didn't tolerate")
	}
	return nil
}

func refused(name, why string) *podmachine.Rejection {
	return &podmachine.Rejection{Reason: name, Message: fmt.Sprintf("Predicate %s failed: %s", name, why)}
}

func fits(pod *corev1.Pod, allocatable corev1.ResourceList, others []*corev1.Pod) *podmachine.Rejection {
	var o resourcehelper.PodResourcesOptions
	want := resourcehelper.PodRequests(pod, o)
	used := map[corev1.ResourceName]int64{}
	for _, p := range others {
		for name, q := range resourcehelper.PodRequests(p, o) {
			used[name] += amount(name, q)
		}
	}
	short := func(name corev1.ResourceName, requested, used, capacity int64) *podmachine.Rejection {
		return &podmachine.Rejection{Reason: "OutOf" + string(name), Message: fmt.Sprintf(
			"Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, requested, used, capacity)}
	}
	if pods := allocatable.Pods().Value(); int64(len(others))+1 > pods {
		return short(corev1.ResourcePods, 1, int64(len(others)), pods)
	}
	names := []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}
	var more []corev1.ResourceName
	for name := range want {
		if !slices.Contains(names, name) {
			more = append(more, name)
		}
	}
	slices.Sort(more)
	for _, name := range append(names, more...) {
		q, asked := want[name]
		have, known := allocatable[name]
		if !asked || q.IsZero() || !known && slices.Contains(more, name) {
			continue // what a node does not know of, a plugin may
		}
		if r, c := amount(name, q), amount(name, have); r > c-used[name] {
			return short(name, r, used[name], c)
		}
	}
	return nil
}

func portsTaken(pod *corev1.Pod, others []*corev1.Pod) bool {
	mine := hostPorts(pod)
	if len(mine) == 0 {
		return false
	}
	for _, p := range others {
		for _, theirs := range hostPorts(p) {
			for _, m := range mine {
				if m.port == theirs.port && m.proto == theirs.proto && (m.ip == theirs.ip || anyAddress(m.ip) || anyAddress(theirs.ip)) {
					return true
				}
			}
		}
	}
	return false
}

type hostPort struct {
	ip    string
	port  int32
	proto corev1.Protocol
}

func anyAddress(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }

func hostPorts(pod *corev1.Pod) []hostPort {
	var out []hostPort
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort > 0 {
				proto := p.Protocol
				if proto == "" {
					proto = corev1.ProtocolTCP
				}
				out = append(out, hostPort{p.HostIP, p.HostPort, proto})
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; podmachine.IsSidecar(c) {
			add(c)
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	return out
}
