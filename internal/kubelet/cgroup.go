package kubelet

import (
	"path"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/monohull/monohull/internal/kubelet/criconfig"
	"github.com/monohull/monohull/internal/kubelet/podmachine"
)

// podsGroup is the group of all pods.
func (k *Kubelet) podsGroup() string { return path.Join("/", k.cfg.CgroupRoot, "kubepods") }

// setupCgroups makes the tree of QoS classes.
func (k *Kubelet) setupCgroups() {
	cpu := k.allocatable[corev1.ResourceCPU]
	root := criconfig.Cgroup{Path: k.podsGroup(), Shares: criconfig.Shares(cpu.MilliValue())}
	if reserved := k.opts.Reserved[corev1.ResourceMemory]; k.opts.Eviction.Allocatable && reserved.Sign() > 0 {
		all := k.capacity[corev1.ResourceMemory]
		root.MemoryLimit = all.Value() - reserved.Value()
	}
	for _, g := range []criconfig.Cgroup{root, {Path: root.Path + "/burstable", Shares: 2}, {Path: root.Path + "/besteffort", Shares: 2}} {
		if err := k.deps.Host.SetCgroup(g); err != nil {
			k.log.Warn("kubelet: a control group for pods could not be set up", "group", g.Path, "error", err)
		}
	}
}

// weighBurstable gives the class of burstable pods the share its pods ask for:
// without that all of them together had the least there is.
func (k *Kubelet) weighBurstable() {
	k.weightMu.Lock()
	defer k.weightMu.Unlock()
	milli := int64(0)
	for _, p := range k.admittedPods() {
		if podmachine.QOSClass(p) == corev1.PodQOSBurstable {
			r := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})
			milli += r.Cpu().MilliValue()
		}
	}
	if milli == k.weight {
		return
	}
	k.weight = milli
	if err := k.deps.Host.SetCgroup(criconfig.Cgroup{Path: k.podsGroup() + "/burstable", Shares: criconfig.Shares(milli)}); err != nil {
		k.log.Warn("kubelet: the share of burstable pods was not set", "error", err)
	}
}
