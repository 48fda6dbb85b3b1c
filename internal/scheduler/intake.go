package scheduler

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/monohull/monohull/internal/client"
)

// maxHints bounds the changed nodes for which waiting pods are asked whether
// that helps them; with more changed at once all are tried.
const maxHints = 32

const byAll = ^cause(0)

// follows are the inputs.
func (s *Scheduler) follows() []func(context.Context) error {
	return []func(context.Context) error{
		func(ctx context.Context) error { return s.nodes.Follow(ctx, s.onNodes) },
		func(ctx context.Context) error { return s.pods.Follow(ctx, s.onPods) },
		func(ctx context.Context) error {
			return client.Of[*corev1.Namespace](s.client).Follow(ctx, s.onNamespaces)
		},
		func(ctx context.Context) error {
			return client.Of[*corev1.Service](s.client).Follow(ctx, s.onServices)
		},
	}
}

func (s *Scheduler) onNodes(changes []client.Change[*corev1.Node]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.poke()
	s.nodesSeen = true
	var by cause
	var changed []*node
	for _, ch := range changes {
		if ch.Deleted {
			s.snap.removeNode(ch.New.Name)
			by |= bySpread | byPodAffinity
			continue
		}
		n := s.snap.nodes[ch.New.Name]
		if n == nil || n.obj == nil {
			s.snap.setNode(ch.New)
			by |= byAll
		} else if what, imaged := nodeChange(n.obj, ch.New); what != 0 || imaged {
			s.snap.setNode(ch.New)
			by |= what
		} else {
			n.obj = ch.New // a heartbeat: nothing that counts
			continue
		}
		changed = append(changed, s.snap.nodes[ch.New.Name])
	}
	s.wakeLocked(by, changed...)
}

// nodeChange tells which filters may now judge a node otherwise, and whether
// its images changed.
func nodeChange(old, cur *corev1.Node) (by cause, images bool) {
	if !equality.Semantic.DeepEqual(old.Status.Allocatable, cur.Status.Allocatable) {
		by |= byResources
	}
	if !maps.Equal(old.Labels, cur.Labels) {
		by |= byNodeAffinity | bySpread | byPodAffinity
	}
	if !equality.Semantic.DeepEqual(old.Spec.Taints, cur.Spec.Taints) {
		by |= byTaints | bySpread
	}
	if old.Spec.Unschedulable != cur.Spec.Unschedulable {
		by |= byUnschedulable
	}
	images = !slices.EqualFunc(old.Status.Images, cur.Status.Images, func(a, b corev1.ContainerImage) bool {
		return a.SizeBytes == b.SizeBytes && slices.Equal(a.Names, b.Names)
	})
	return by, images
}

func (s *Scheduler) onPods(changes []client.Change[*corev1.Pod]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.poke()
	s.podsSeen = true
	var by cause
	var freed []*node
	forget := func(p *corev1.Pod) {
		s.queue.remove(p.UID)
		delete(s.assumed, p.UID)
		delete(s.snap.leaving, p.UID)
		s.snap.nominate(&podInfo{pod: p}, "")
		if n := s.snap.removePod(p.UID); n != nil {
			by |= byResources | byPorts | bySpread | byPodAffinity
			freed = append(freed, n)
		}
	}
	for _, ch := range changes {
		old, cur := ch.Old, ch.New
		if old != nil && old.UID != cur.UID {
			forget(old) // one was deleted and another made between two looks
			old = nil
		}
		switch {
		case ch.Deleted, cur.Status.Phase == corev1.PodSucceeded, cur.Status.Phase == corev1.PodFailed:
			forget(cur)
		case cur.Spec.NodeName != "":
			more := s.placedLocked(cur)
			if by |= more; more&byResources != 0 {
				freed = append(freed, s.snap.nodes[cur.Spec.NodeName])
			}
		case cur.Spec.SchedulerName != s.name:
		case cur.DeletionTimestamp != nil:
			s.queue.remove(cur.UID)
			if !s.assumed[cur.UID] {
				s.snap.nominate(&podInfo{pod: cur}, "")
			}
		default:
			s.pendingLocked(old, cur)
		}
	}
	s.wakeLocked(by, freed...)
}

// placedLocked counts a pod on its node. It returns the filters that may now
// judge other pods otherwise.
func (s *Scheduler) placedLocked(cur *corev1.Pod) cause {
	s.queue.remove(cur.UID)
	delete(s.assumed, cur.UID)
	before := s.snap.find(cur.UID)
	if before != nil && before.pod.Spec.NodeName != "" && !placementChanged(before.pod, cur) {
		s.snap.replacePod(cur)
		return 0
	}
	info := newPodInfo(cur)
	s.snap.addPod(info, cur.Spec.NodeName)
	switch {
	case before == nil || before.pod.Spec.NodeName == "":
		return bySpread | byPodAffinity
	case before.requests.equal(&info.requests):
		return bySpread | byPodAffinity
	}
	return byResources | bySpread | byPodAffinity
}

// placementChanged: what a pod on a node takes, or how others see it.
func placementChanged(old, cur *corev1.Pod) bool {
	return old.Generation != cur.Generation || !maps.Equal(old.Labels, cur.Labels) ||
		(old.DeletionTimestamp == nil) != (cur.DeletionTimestamp == nil) ||
		!slices.EqualFunc(old.Status.ContainerStatuses, cur.Status.ContainerStatuses, sameGrant) ||
		!slices.EqualFunc(old.Status.InitContainerStatuses, cur.Status.InitContainerStatuses, sameGrant) ||
		!equality.Semantic.DeepEqual(old.Status.Resources, cur.Status.Resources) ||
		!equality.Semantic.DeepEqual(old.Status.AllocatedResources, cur.Status.AllocatedResources)
}

func sameGrant(a, b corev1.ContainerStatus) bool {
	return a.Name == b.Name && equality.Semantic.DeepEqual(a.Resources, b.Resources) &&
		equality.Semantic.DeepEqual(a.AllocatedResources, b.AllocatedResources)
}

func (s *Scheduler) pendingLocked(old, cur *corev1.Pod) {
	if s.assumed[cur.UID] {
		return // its binding is under way and says how it ends
	}
	info := newPodInfo(cur)
	changed := old == nil || !maps.Equal(old.Labels, cur.Labels) || !equality.Semantic.DeepEqual(&old.Spec, &cur.Spec)
	s.queue.update(info, changed, s.clock.Now())
	switch {
	case cur.Status.NominatedNodeName != "":
		s.snap.nominate(info, cur.Status.NominatedNodeName)
	case old != nil && old.Status.NominatedNodeName != "":
		s.snap.nominate(info, "")
	}
}

func (s *Scheduler) onNamespaces(changes []client.Change[*corev1.Namespace]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	moved := false
	for _, ch := range changes {
		name := ch.New.Name
		if ch.Deleted {
			s.snap.setNamespace(name, nil)
		} else if l, ok := s.snap.namespaces[name]; !ok || !maps.Equal(l, labels.Set(ch.New.Labels)) {
			moved = moved || ok
			s.snap.setNamespace(name, orEmpty(ch.New.Labels))
		}
	}
	if moved {
		s.queue.wake(byPodAffinity, nil, s.clock.Now())
		s.poke()
	}
}

func orEmpty(l map[string]string) labels.Set {
	if l == nil {
		return labels.Set{}
	}
	return l
}

// onServices: selectors of services group pods for spreading.
func (s *Scheduler) onServices(changes []client.Change[*corev1.Service]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ch := range changes {
		if ch.Old == nil || ch.Deleted || !maps.Equal(ch.Old.Spec.Selector, ch.New.Spec.Selector) {
			s.snap.epoch++
			return
		}
	}
}

// wakeLocked readies pods that wait for what the nodes now have. A pod that a
// changed node refuses for another reason than before waits for that one too.
func (s *Scheduler) wakeLocked(by cause, nodes ...*node) {
	if by == 0 || s.queue.waiting.Len() == 0 {
		return
	}
	type outlook struct {
		hopeful bool
		by      cause
	}
	known := map[*shape]outlook{}
	s.queue.wake(by, func(it *item) bool {
		if len(nodes) > maxHints || it.by&(bySpread|byPodAffinity|byNoNodes|byVolumes)&by != 0 {
			return true
		}
		h := s.snap.shapeOf(it.info)
		o, ok := known[h]
		if !ok {
			for _, n := range nodes {
				use, by := hopeful(h, n)
				o.hopeful, o.by = o.hopeful || use, o.by|by
			}
			known[h] = o
		}
		it.by |= o.by
		return o.hopeful
	}, s.clock.Now())
}

// hopeful: a node may do for pods of a shape, if need be once pods of lower
// priority have left it. by is what refuses it now.
func hopeful(h *shape, n *node) (yes bool, by cause) {
	if n.obj == nil {
		return false, 0
	}
	v := filterNode(h, n)
	if v == nil {
		return true, 0
	}
	if v.lasting {
		return false, v.by
	}
	for _, p := range n.pods {
		if p.priority < h.pod.priority {
			return true, v.by
		}
	}
	return false, v.by
}
