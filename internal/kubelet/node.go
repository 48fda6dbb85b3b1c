package kubelet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/kubelet/eviction"
)

const (
	nodeFast     = 50 * time.Millisecond // looking until the node is ready
	nodeSlow     = 5 * time.Second       // the longest of these pauses
	maxImageName = 5                     // names of an image in the status
)

// measure finds out what the machine has.
func (k *Kubelet) measure() error {
	facts, err := k.deps.Host.Facts()
	if err != nil {
		return fmt.Errorf("kubelet: %w", err)
	}
	usage, err := k.deps.Host.Usage(k.cfg.DataDir)
	if err != nil {
		return fmt.Errorf("kubelet: %w", err)
	}
	k.facts = facts
	k.capacity = corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(facts.CPUs), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(facts.MemoryBytes, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(usage.DiskBytes, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(int64(k.cfg.MaxPods), resource.DecimalSI),
	}
	huge := int64(0)
	for size, bytes := range facts.HugePages {
		k.capacity[corev1.ResourceName(corev1.ResourceHugePagesPrefix+size)] = *resource.NewQuantity(bytes, resource.BinarySI)
		huge += bytes
	}
	if per := int(k.opts.Kubelet.PodsPerCore); per > 0 && per*facts.CPUs < k.cfg.MaxPods {
		k.capacity[corev1.ResourcePods] = *resource.NewQuantity(int64(per*facts.CPUs), resource.DecimalSI)
	}
	k.allocatable = k.capacity.DeepCopy()
	held := eviction.HardAmounts(k.opts.Eviction.Thresholds, k.capacity)
	for name, capacity := range k.capacity {
		left := capacity.DeepCopy()
		left.Sub(k.opts.Reserved[name])
		if left.Sign() < 0 {
			return fmt.Errorf("kubelet: invalid Node Allocatable configuration. Resource %q has a reservation of %v but capacity of %v. Expected capacity >= reservation.", //nolint:staticcheck // users know this text
				name, quantity(k.opts.Reserved, name), &capacity)
		}
		left.Sub(held[name])
		if name == corev1.ResourceMemory {
			left.Sub(*resource.NewQuantity(huge, resource.BinarySI))
		}
		if left.Sign() < 0 {
			left.Set(0)
		}
		k.allocatable[name] = left
	}
	return nil
}

func quantity(l corev1.ResourceList, name corev1.ResourceName) *resource.Quantity {
	q := l[name]
	return &q
}

// newNode is the object this node registers.
func (k *Kubelet) newNode() *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: k.cfg.NodeName, Labels: k.nodeLabels(),
			Annotations: map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
		},
		Spec: corev1.NodeSpec{Taints: k.cfg.Taints, ProviderID: k.opts.Kubelet.ProviderID},
	}
}

func (k *Kubelet) nodeLabels() map[string]string {
	labels := map[string]string{
		corev1.LabelHostname: k.cfg.NodeName, corev1.LabelOSStable: k.facts.OS, corev1.LabelArchStable: k.facts.Architecture,
		"beta.kubernetes.io/os": k.facts.OS, "beta.kubernetes.io/arch": k.facts.Architecture,
	}
	maps.Copy(labels, k.cfg.Labels)
	return labels
}

// keepNode registers the node and keeps its status true until ctx ends.
func (k *Kubelet) keepNode(ctx context.Context) error {
	registered, wasReady := false, false
	var written time.Time
	failures := 0
	for {
		k.checkNetwork(ctx)
		var err error
		if !registered {
			if err = k.register(ctx); err == nil {
				registered = true
			}
		}
		if err == nil {
			var ready, wrote bool
			ready, wrote, err = k.reportNode(ctx, written)
			if err == nil {
				if wrote {
					written = k.cfg.Now()
				}
				if ready != wasReady {
					k.log.Info("kubelet: the node's readiness changed", "ready", ready)
				}
				if wasReady = ready; ready {
					k.readyOnce.Do(func() { close(k.ready) })
				}
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if failures++; failures == 1 {
				k.log.Warn("kubelet: the node was not written; it is tried again", "error", err)
			}
		} else {
			failures = 0
		}
		next := k.opts.Kubelet.NodeStatusUpdateFrequency.Duration
		if !wasReady || err != nil {
			next = min(nodeFast<<min(failures, 6), nodeSlow)
		}
		t := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-k.nodeNews:
		case <-t.C:
		}
		t.Stop()
	}
}

// register makes the Node, or takes over the one there is.
func (k *Kubelet) register(ctx context.Context) error {
	node, ok := k.nodes.Get("", k.cfg.NodeName)
	if !ok {
		n := k.newNode()
		if status, err := k.nodeStatus(ctx, n, k.cfg.Now()); err == nil {
			n.Status = *status
		}
		_, err := k.nodes.Create(ctx, n)
		if err == nil {
			k.log.Info("kubelet: the node is registered", "node", k.cfg.NodeName)
		}
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
	} else if labelsHold(node.Labels, k.nodeLabels()) {
		return nil
	}
	_, err := k.nodes.Modify(ctx, "", k.cfg.NodeName, "", func(n *corev1.Node) error {
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		maps.Copy(n.Labels, k.nodeLabels())
		if n.Annotations == nil {
			n.Annotations = map[string]string{}
		}
		maps.Copy(n.Annotations, k.newNode().Annotations)
		return nil
	})
	return err
}

func labelsHold(have, want map[string]string) bool {
	for name, v := range want {
		if have[name] != v {
			return false
		}
	}
	return true
}

// reportNode writes the node's status if it changed, or if that was long ago.
func (k *Kubelet) reportNode(ctx context.Context, written time.Time) (ready, wrote bool, err error) {
	node, ok := k.nodes.Get("", k.cfg.NodeName)
	if !ok {
		if err := k.register(ctx); err != nil {
			return false, false, err
		}
		if node, ok = k.nodes.Get("", k.cfg.NodeName); !ok {
			return false, false, fmt.Errorf("node %q is not there yet", k.cfg.NodeName)
		}
	}
	now := k.cfg.Now()
	status, err := k.nodeStatus(ctx, node, now)
	if err != nil {
		return false, false, err
	}
	ready = isReady(status)
	if sameNodeStatus(status, &node.Status) && now.Sub(written) < k.opts.Kubelet.NodeStatusReportFrequency.Duration && !written.IsZero() {
		return ready, false, nil
	}
	_, err = k.nodes.Modify(ctx, "", k.cfg.NodeName, "status", func(n *corev1.Node) error {
		fresh, err := k.nodeStatus(ctx, n, now)
		if err != nil {
			return err
		}
		n.Status = *fresh
		return nil
	})
	return ready, err == nil, err
}

func isReady(s *corev1.NodeStatus) bool {
	for _, c := range s.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// sameNodeStatus compares without the heartbeats.
func sameNodeStatus(a, b *corev1.NodeStatus) bool {
	strip := func(s *corev1.NodeStatus) *corev1.NodeStatus {
		s = s.DeepCopy()
		for i := range s.Conditions {
			s.Conditions[i].LastHeartbeatTime = metav1.Time{}
		}
		return s
	}
	return apiequality.Semantic.DeepEqual(strip(a), strip(b))
}

// nodeStatus is what the node's status is now. It keeps what others wrote there.
func (k *Kubelet) nodeStatus(ctx context.Context, node *corev1.Node, now time.Time) (*corev1.NodeStatus, error) {
	s := node.Status.DeepCopy()
	s.Capacity, s.Allocatable = k.withForeign(s.Capacity, k.capacity), k.withForeign(s.Allocatable, k.allocatable)
	s.Addresses = nil
	for _, ip := range k.cfg.NodeIPs {
		s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: k.cfg.NodeName})
	s.DaemonEndpoints.KubeletEndpoint.Port = k.cfg.Port
	if k.version == "" {
		if v, err := k.deps.Runtime.Version(ctx, &runtimeapi.VersionRequest{}); err == nil {
			k.version = v.GetRuntimeName() + "://" + v.GetRuntimeVersion()
		}
	}
	s.NodeInfo = corev1.NodeSystemInfo{
		MachineID: k.facts.MachineID, SystemUUID: k.facts.SystemUUID, BootID: k.facts.BootID,
		KernelVersion: k.facts.Kernel, OSImage: k.facts.OSImage, ContainerRuntimeVersion: k.version,
		KubeletVersion: k.cfg.Version, OperatingSystem: k.facts.OS, Architecture: k.facts.Architecture,
		Swap: &corev1.NodeSwapStatus{Capacity: &k.facts.SwapBytes},
	}
	if k.facts.SwapBytes == 0 {
		s.NodeInfo.Swap = nil
	}
	runtime, err := k.deps.Runtime.Status(ctx, &runtimeapi.StatusRequest{})
	s.RuntimeHandlers = nil
	for _, h := range runtime.GetRuntimeHandlers() {
		rro, userns := h.GetFeatures().GetRecursiveReadOnlyMounts(), h.GetFeatures().GetUserNamespaces()
		s.RuntimeHandlers = append(s.RuntimeHandlers, corev1.NodeRuntimeHandler{Name: h.GetName(),
			Features: &corev1.NodeRuntimeHandlerFeatures{RecursiveReadOnlyMounts: &rro, UserNamespaces: &userns}})
	}
	if f := runtime.GetFeatures(); f != nil {
		strict := f.GetSupplementalGroupsPolicy()
		s.Features = &corev1.NodeFeatures{SupplementalGroupsPolicy: &strict}
	}
	s.Images = k.images(ctx)
	setNodeConditions(s, nodeVerdicts(k.pressure.get(), runtimeProblem(runtime, err)), now)
	return s, nil
}

// withForeign keeps resources that device plugins and others advertise.
func (k *Kubelet) withForeign(have, own corev1.ResourceList) corev1.ResourceList {
	out := own.DeepCopy()
	for name, q := range have {
		if _, ours := out[name]; !ours {
			out[name] = q
		}
	}
	return out
}

func (k *Kubelet) images(ctx context.Context) []corev1.ContainerImage {
	list, err := k.deps.Images.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	if err != nil {
		return nil
	}
	var out []corev1.ContainerImage
	for _, img := range list.GetImages() {
		names := append(slices.Clone(img.GetRepoDigests()), img.GetRepoTags()...)
		out = append(out, corev1.ContainerImage{Names: names[:min(len(names), maxImageName)], SizeBytes: int64(img.GetSize())})
	}
	slices.SortStableFunc(out, func(a, b corev1.ContainerImage) int {
		switch {
		case a.SizeBytes > b.SizeBytes:
			return -1
		case a.SizeBytes < b.SizeBytes:
			return 1
		}
		return slices.Compare(a.Names, b.Names)
	})
	if most := int(*k.opts.Kubelet.NodeStatusMaxImages); most >= 0 {
		out = out[:min(len(out), most)]
	}
	return out
}

// checkNetwork notes why pods cannot have a network yet.
func (k *Kubelet) checkNetwork(ctx context.Context) {
	res, err := k.deps.Runtime.Status(ctx, &runtimeapi.StatusRequest{})
	if err != nil {
		return
	}
	for _, c := range res.GetStatus().GetConditions() {
		if c.GetType() != runtimeapi.NetworkReady {
			continue
		}
		if c.GetStatus() {
			if k.networkErr.Swap(nil) != nil {
				k.wakeAll()
			}
			continue
		}
		problem := fmt.Errorf("container runtime network not ready: NetworkReady=false reason:%s message:%s", c.GetReason(), c.GetMessage())
		k.networkErr.Store(&problem)
	}
}

// wakeAll lets sandboxes that waited for the network be made at once.
func (k *Kubelet) wakeAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.workers {
		w.post(func() { w.obs.SandboxRetry = time.Time{} })
	}
}

// amount is a quantity in the units the scheduler counts in.
func amount(name corev1.ResourceName, q resource.Quantity) int64 {
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}
