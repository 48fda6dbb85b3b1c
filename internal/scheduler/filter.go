package scheduler

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
)

// cause is a set of the filters that refused: what a waiting pod waits for.
type cause uint16

const (
	byUnschedulable cause = 1 << iota
	byTaints
	byNodeAffinity
	byPorts
	byResources
	bySpread
	byPodAffinity
	byVolumes
	byNoNodes
)

// Messages of filters, as upstream words them.
const (
	reasonUnschedulable  = "node(s) were unschedulable"
	reasonNodeName       = "node(s) didn't match the requested node name"
	reasonTaint          = "node(s) had untolerated taint(s)"
	reasonNodeAffinity   = "node(s) didn't match Pod's node affinity/selector"
	reasonPorts          = "node(s) didn't have free ports for the requested pod ports"
	reasonSpread         = "node(s) didn't match pod topology spread constraints"
	reasonSpreadLabel    = reasonSpread + " (missing required label)"
	reasonAffinity       = "node(s) didn't match pod affinity rules"
	reasonAntiAffinity   = "node(s) didn't match pod anti-affinity rules"
	reasonExistingAnti   = "node(s) didn't satisfy existing pods anti-affinity rules"
	reasonNotInNames     = "node(s) didn't satisfy plugin(s) [NodeAffinity]"
	reasonTooManyPods    = "Too many pods"
	reasonNotHelpful     = "Preemption is not helpful for scheduling"
	reasonNoVictims      = "No preemption victims found for incoming pod"
	reasonNeverPreempts  = "not eligible due to preemptionPolicy=Never."
	reasonVictimsLeaving = "not eligible due to a terminating pod on the nominated node."
)

// verdict is a refusal. A node without one fits.
type verdict struct {
	by      cause
	reasons []string
	// lasting: that other pods leave the node would not change it.
	lasting bool
}

// Refusals that are the same each time are made once; verdicts do not change.
var (
	notSchedulable   = refuse(byUnschedulable, true, reasonUnschedulable)
	notThatName      = refuse(byNodeAffinity, true, reasonNodeName)
	notTolerated     = refuse(byTaints, true, reasonTaint)
	notMatching      = refuse(byNodeAffinity, true, reasonNodeAffinity)
	noFreePort       = refuse(byPorts, false, reasonPorts)
	noSpreadKey      = refuse(bySpread, true, reasonSpreadLabel)
	tooSkewed        = refuse(bySpread, false, reasonSpread)
	notWithItsPods   = refuse(byPodAffinity, true, reasonAffinity)
	withWrongPods    = refuse(byPodAffinity, false, reasonAntiAffinity)
	unwantedByOthers = refuse(byPodAffinity, false, reasonExistingAnti)
	noVictimsThere   = refuse(0, true, reasonNoVictims)
)

func refuse(by cause, lasting bool, reason string) *verdict {
	return &verdict{by: by, lasting: lasting, reasons: []string{reason}}
}

// filterNode asks the filters that look at one node alone, in upstream's
// order; the first that refuses is named.
func filterNode(h *shape, n *node) *verdict {
	pod := h.pod.pod
	switch {
	case n.obj.Spec.Unschedulable && !tolerated(pod.Spec.Tolerations, &corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}):
		return notSchedulable
	case pod.Spec.NodeName != "" && pod.Spec.NodeName != n.name:
		return notThatName
	case hardTaint(n.obj.Spec.Taints, pod.Spec.Tolerations):
		return notTolerated
	}
	if ok, err := h.required.Match(n.obj); err != nil || !ok {
		return notMatching
	}
	if !portsFree(h.pod.ports, n) {
		return noFreePort
	}
	return fits(h.pod, n)
}

func tolerated(list []corev1.Toleration, taint *corev1.Taint) bool {
	for i := range list {
		if list[i].ToleratesTaint(klog.Logger{}, taint, false) {
			return true
		}
	}
	return false
}

// hardTaint tells whether a taint keeps the pod away.
func hardTaint(taints []corev1.Taint, tolerations []corev1.Toleration) bool {
	for i := range taints {
		t := &taints[i]
		if (t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute) && !tolerated(tolerations, t) {
			return true
		}
	}
	return false
}

func portsFree(want []hostPort, n *node) bool {
	if len(want) == 0 {
		return true
	}
	for _, p := range n.pods {
		for _, used := range p.ports {
			if slices.ContainsFunc(want, used.conflicts) {
				return false
			}
		}
	}
	return true
}

// fits compares requests with what is left; it names everything that lacks.
func fits(p *podInfo, n *node) *verdict {
	var v *verdict
	lack := func(reason string, lasting bool) {
		if v == nil {
			v = &verdict{by: byResources}
		}
		v.reasons = append(v.reasons, reason)
		v.lasting = v.lasting || lasting
	}
	if int64(len(n.pods))+1 > n.maxPods {
		lack(reasonTooManyPods, false)
	}
	r, a, u := &p.requests, &n.allocatable, &n.requested
	if r.milliCPU > 0 && r.milliCPU > a.milliCPU-u.milliCPU {
		lack("Insufficient cpu", r.milliCPU > a.milliCPU)
	}
	if r.memory > 0 && r.memory > a.memory-u.memory {
		lack("Insufficient memory", r.memory > a.memory)
	}
	if r.ephemeral > 0 && r.ephemeral > a.ephemeral-u.ephemeral {
		lack("Insufficient ephemeral-storage", r.ephemeral > a.ephemeral)
	}
	for name, n := range r.scalars {
		if n > 0 && n > a.scalars[name]-u.scalars[name] {
			lack("Insufficient "+string(name), n > a.scalars[name])
		}
	}
	return v
}

// preflight is what keeps a pod from every node before any is looked at, or
// "". A claim can be bound only where its kind is served.
func preflight(pod *corev1.Pod) string {
	for i := range pod.Spec.Volumes {
		switch v := &pod.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			return `persistentvolumeclaim "` + v.PersistentVolumeClaim.ClaimName + `" not found`
		case v.Ephemeral != nil:
			return `waiting for ephemeral volume controller to create the persistentvolumeclaim "` + pod.Name + "-" + v.Name + `"`
		}
	}
	var names []string
	for _, c := range pod.Spec.ResourceClaims {
		if c.ResourceClaimName != nil {
			names = append(names, *c.ResourceClaimName)
		} else {
			names = append(names, pod.Name+"-"+c.Name)
		}
	}
	if len(names) > 0 {
		return `resourceclaim "` + strings.Join(names, `", "`) + `" not found`
	}
	return ""
}
