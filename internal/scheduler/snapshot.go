package scheduler

import (
	"sort"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// snapshot is what is known of nodes, the pods on them, and namespaces. It is
// changed in place, by one goroutine at a time.
type snapshot struct {
	nodes map[string]*node
	slots []*node // nil where a node left
	free  []int
	order []*node // as nodes are tried: zones in turn
	stale bool    // order is to be made anew

	gen   uint64 // of the last change of any node
	epoch uint64 // of the last change that all shapes depend on

	where     map[types.UID]string // the node each counted pod is on
	nominated map[types.UID]string
	// leaving are pods that were chosen to make room and may not have been told
	// yet: nobody is to be chosen in their stead meanwhile.
	leaving    map[types.UID]bool
	namespaces map[string]labels.Set
	imageNodes map[string]int // how many nodes have an image
	imageEpoch uint64
	// affinityPods is how many counted pods have rules about other pods.
	affinityPods int

	// selectors gives what system default spreading groups a pod with: nil for
	// a pod that belongs to nothing. It looks into caches; epoch is raised when
	// its answers may change.
	selectors func(*corev1.Pod) labels.Selector
	shapes    shapeCache
	start     int // where in order the next search begins
}

func newSnapshot(selectors func(*corev1.Pod) labels.Selector) *snapshot {
	if selectors == nil {
		selectors = func(*corev1.Pod) labels.Selector { return nil }
	}
	return &snapshot{
		nodes: map[string]*node{}, where: map[types.UID]string{}, nominated: map[types.UID]string{},
		leaving:    map[types.UID]bool{},
		namespaces: map[string]labels.Set{}, imageNodes: map[string]int{},
		selectors: selectors, shapes: newShapeCache(),
	}
}

func (s *snapshot) touch(n *node) {
	s.gen++
	n.gen = s.gen
}

func (s *snapshot) node(name string) *node {
	n := s.nodes[name]
	if n == nil {
		n = newNode(name)
		s.nodes[name] = n
	}
	return n
}

// drop forgets a node of which nothing is known any more.
func (s *snapshot) drop(n *node) {
	if n.obj == nil && len(n.pods) == 0 && len(n.nominated) == 0 {
		delete(s.nodes, n.name)
	}
}

func (s *snapshot) setNode(obj *corev1.Node) {
	n := s.node(obj.Name)
	if n.obj == nil {
		if l := len(s.free); l > 0 {
			n.slot, s.free = s.free[l-1], s.free[:l-1]
			s.slots[n.slot] = n
		} else {
			n.slot = len(s.slots)
			s.slots = append(s.slots, n)
		}
		s.stale = true
		s.imageEpoch++
	} else if zoneOf(n.obj) != zoneOf(obj) {
		s.stale = true
	}
	before := n.images
	n.set(obj)
	s.countImages(before, n.images)
	s.touch(n)
}

func (s *snapshot) removeNode(name string) {
	n := s.nodes[name]
	if n == nil || n.obj == nil {
		return
	}
	s.countImages(n.images, nil)
	s.imageEpoch++
	n.obj, n.images = nil, nil
	s.slots[n.slot] = nil
	s.free = append(s.free, n.slot)
	n.slot = -1
	s.stale = true
	s.touch(n)
	s.drop(n)
}

func (s *snapshot) countImages(before, after map[string]int64) {
	for name := range before {
		if _, ok := after[name]; ok {
			continue
		}
		if s.imageNodes[name]--; s.imageNodes[name] == 0 {
			delete(s.imageNodes, name)
		}
		s.imageEpoch++
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			s.imageNodes[name]++
			s.imageEpoch++
		}
	}
}

// addPod counts a pod on a node, and no longer on any other.
func (s *snapshot) addPod(p *podInfo, nodeName string) {
	s.removePod(p.pod.UID)
	s.nominate(p, "")
	n := s.node(nodeName)
	n.addPod(p)
	if p.affinity != nil {
		s.affinityPods++
	}
	s.where[p.pod.UID] = nodeName
	s.touch(n)
}

// removePod frees what a pod holds. It returns the node it was on, if any.
func (s *snapshot) removePod(uid types.UID) *node {
	name, ok := s.where[uid]
	if !ok {
		return nil
	}
	delete(s.where, uid)
	n := s.nodes[name]
	if n.pods[uid].affinity != nil {
		s.affinityPods--
	}
	n.removePod(uid)
	s.touch(n)
	s.drop(n)
	return n
}

// nominate keeps room for a pending pod on a node, "" for none.
func (s *snapshot) nominate(p *podInfo, nodeName string) {
	uid := p.pod.UID
	if old, ok := s.nominated[uid]; ok {
		n := s.nodes[old]
		delete(n.nominated, uid)
		delete(s.nominated, uid)
		s.touch(n)
		s.drop(n)
	}
	if nodeName == "" {
		return
	}
	n := s.node(nodeName)
	if n.nominated == nil {
		n.nominated = map[types.UID]*podInfo{}
	}
	n.nominated[uid] = p
	s.nominated[uid] = nodeName
	s.touch(n)
}

func (s *snapshot) setNamespace(name string, l labels.Set) {
	if l == nil {
		delete(s.namespaces, name)
	} else {
		s.namespaces[name] = l
	}
	s.epoch++
}

// ordered lists the nodes in the order they are tried: one of each zone in
// turn, so that a search that ends early has seen all zones.
func (s *snapshot) ordered() []*node {
	if !s.stale {
		return s.order
	}
	s.stale = false
	zones := map[string][]*node{}
	var names []string
	for _, n := range s.slots {
		if n == nil {
			continue
		}
		z := zoneOf(n.obj)
		if zones[z] == nil {
			names = append(names, z)
		}
		zones[z] = append(zones[z], n)
	}
	sort.Strings(names)
	s.order = nil
	for i, more := 0, true; more; i++ {
		more = false
		for _, z := range names {
			if list := zones[z]; i < len(list) {
				s.order = append(s.order, list[i])
				more = true
			}
		}
	}
	return s.order
}

func zoneOf(n *corev1.Node) string {
	return n.Labels[corev1.LabelTopologyRegion] + "\x00" + n.Labels[corev1.LabelTopologyZone]
}

// find is a counted pod, or nil.
func (s *snapshot) find(uid types.UID) *podInfo {
	if name, ok := s.where[uid]; ok {
		return s.nodes[name].pods[uid]
	}
	return nil
}

// replacePod keeps the newest state of a counted pod of which nothing that
// counts has changed: preemption reads its conditions and its start.
func (s *snapshot) replacePod(p *corev1.Pod) {
	n := s.nodes[s.where[p.UID]]
	info := *n.pods[p.UID]
	info.pod = p
	n.pods[p.UID] = &info
}
