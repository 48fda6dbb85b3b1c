package scheduler

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// hostPort is a port a pod takes of its node's own.
type hostPort struct {
	ip       string
	protocol corev1.Protocol
	port     int32
}

const anyIP = "0.0.0.0"

// conflicts: an address conflicts with itself and with all addresses.
func (a hostPort) conflicts(b hostPort) bool {
	return a.port == b.port && a.protocol == b.protocol && (a.ip == b.ip || a.ip == anyIP || b.ip == anyIP)
}

// podInfo is a pod with what the snapshot needs of it. It never changes.
type podInfo struct {
	pod       *corev1.Pod
	requests  resources
	scoredCPU int64 // as the score of free resources counts it
	scoredMem int64
	ports     []hostPort
	priority  int32
	affinity  *podAffinity // nil without terms
}

func newPodInfo(p *corev1.Pod) *podInfo {
	requests := requestsOf(p)
	info := &podInfo{pod: p, requests: resourcesOf(requests), ports: hostPorts(p), affinity: compileAffinity(p)}
	info.scoredCPU, info.scoredMem = scoredRequests(p, requests)
	if p.Spec.Priority != nil {
		info.priority = *p.Spec.Priority
	}
	return info
}

// hostPorts of containers and of sidecars: other init containers are over
// before the pod serves.
func hostPorts(p *corev1.Pod) []hostPort {
	var out []hostPort
	take := func(c *corev1.Container) {
		for _, port := range c.Ports {
			if port.HostPort <= 0 {
				continue
			}
			hp := hostPort{port.HostIP, port.Protocol, port.HostPort}
			if hp.ip == "" {
				hp.ip = anyIP
			}
			if hp.protocol == "" {
				hp.protocol = corev1.ProtocolTCP
			}
			out = append(out, hp)
		}
	}
	for i := range p.Spec.Containers {
		take(&p.Spec.Containers[i])
	}
	for i := range p.Spec.InitContainers {
		if c := &p.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			take(c)
		}
	}
	return out
}

// node is a node and what runs on it. obj is nil while pods are known on a
// node that is not.
type node struct {
	name string
	obj  *corev1.Node
	slot int    // place in the snapshot's order of arrival; reused
	gen  uint64 // new with every change

	allocatable resources
	maxPods     int64
	images      map[string]int64 // size by normalized name

	pods      map[types.UID]*podInfo
	requested resources
	scoredCPU int64
	scoredMem int64
	// nominated are pending pods that wait for victims to leave this node.
	nominated map[types.UID]*podInfo
}

func newNode(name string) *node {
	return &node{name: name, slot: -1, pods: map[types.UID]*podInfo{}}
}

func (n *node) set(obj *corev1.Node) {
	n.obj = obj
	n.allocatable = resourcesOf(obj.Status.Allocatable)
	n.maxPods = obj.Status.Allocatable.Pods().Value()
	n.images = nil
	for _, im := range obj.Status.Images {
		for _, name := range im.Names {
			if n.images == nil {
				n.images = map[string]int64{}
			}
			n.images[name] = im.SizeBytes
		}
	}
}

func (n *node) addPod(p *podInfo) {
	n.pods[p.pod.UID] = p
	n.requested.add(&p.requests, 1)
	n.scoredCPU += p.scoredCPU
	n.scoredMem += p.scoredMem
}

func (n *node) removePod(uid types.UID) {
	p := n.pods[uid]
	if p == nil {
		return
	}
	delete(n.pods, uid)
	n.requested.add(&p.requests, -1)
	n.scoredCPU -= p.scoredCPU
	n.scoredMem -= p.scoredMem
}

// copy is a node to try things on. It has the slot of the original.
func (n *node) copy() *node {
	c := *n
	c.requested = n.requested.clone()
	c.pods = make(map[types.UID]*podInfo, len(n.pods))
	for k, v := range n.pods {
		c.pods[k] = v
	}
	return &c
}

// normalImage is an image's name with the tag it has by default, the way
// nodes report it.
func normalImage(name string) string {
	if strings.LastIndex(name, ":") <= strings.LastIndex(name, "/") {
		return name + ":latest"
	}
	return name
}
