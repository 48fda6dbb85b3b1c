package scheduler

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// maxShapes bounds the shapes whose work is kept.
const maxShapes = 64

// shape is what pods of one signature have in common, compiled, with what was
// computed for each node.
type shape struct {
	key  string
	pod  *podInfo // the first of them: an example
	used uint64

	required  nodeaffinity.RequiredNodeAffinity
	only      map[string]bool // the names its affinity allows; nil for any
	preferred *nodeaffinity.PreferredSchedulingTerms
	images    []string
	hard      []*spreadTerm
	soft      []*spreadTerm
	// softAll: nodes without all topology keys of the soft terms get no score
	// from them. Not so for the system's default terms.
	softAll bool

	epoch      uint64
	imageEpoch uint64
	entries    []entry // by slot
	pairs      pairCounts

	// failed is the result for a snapshot of generation failedGen: the next pod
	// of the shape meets the same while nothing changes.
	failed    *failure
	failedGen uint64
}

// entry is what a shape knows of one node, true while the node's generation
// is gen. 0 is no node.
type entry struct {
	gen                    uint64
	local                  *verdict // nil: no filter that looks at one node alone refuses
	least, balanced, image int32
	taints, prefers        int32
	contested              bool // nominated pods hold room here
	contribution           *contribution
	hard, soft             []spreadAt
	softIgnored            bool
}

func newShape(s *snapshot, key string, p *podInfo) *shape {
	pod := p.pod
	h := &shape{key: key, pod: p, epoch: s.epoch, imageEpoch: s.imageEpoch, pairs: newPairCounts()}
	h.required = nodeaffinity.GetRequiredNodeAffinity(pod)
	h.only = namedNodes(pod)
	if a := pod.Spec.Affinity; a != nil && a.NodeAffinity != nil && len(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) > 0 {
		// an unreadable term prefers nothing: validation refuses it
		h.preferred, _ = nodeaffinity.NewPreferredSchedulingTerms(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	for _, name := range podImages(pod) {
		h.images = append(h.images, normalImage(name))
	}
	h.hard = compileSpread(pod, corev1.DoNotSchedule)
	if len(pod.Spec.TopologySpreadConstraints) > 0 {
		h.soft, h.softAll = compileSpread(pod, corev1.ScheduleAnyway), true
	} else {
		h.soft = defaultSpread(s.selectors(pod))
	}
	return h
}

// namedNodes are the names that a pod's required affinity allows where every
// term names nodes, the way daemon pods are made; nil where one does not.
func namedNodes(pod *corev1.Pod) map[string]bool {
	a := pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	terms := a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	if len(terms) == 0 {
		return nil
	}
	out := map[string]bool{}
	for _, t := range terms {
		var names []string
		found := false
		for _, r := range t.MatchFields {
			if r.Key != "metadata.name" || r.Operator != corev1.NodeSelectorOpIn {
				continue
			}
			if !found {
				names, found = slices.Clone(r.Values), true
			} else {
				names = slices.DeleteFunc(names, func(n string) bool { return !slices.Contains(r.Values, n) })
			}
		}
		if !found {
			return nil
		}
		for _, n := range names {
			out[n] = true
		}
	}
	return out
}

// shapeCache keeps the shapes used last.
type shapeCache struct {
	byKey map[string]*shape
	clock uint64
}

func newShapeCache() shapeCache { return shapeCache{byKey: map[string]*shape{}} }

// shapeOf finds or makes a pod's shape. One that allows few nodes by name is
// not worth keeping.
func (s *snapshot) shapeOf(p *podInfo) *shape {
	c := &s.shapes
	key := signature(p)
	c.clock++
	if h := c.byKey[key]; h != nil && h.epoch == s.epoch {
		h.used = c.clock
		return h
	}
	h := newShape(s, key, p)
	h.used = c.clock
	if h.only != nil {
		return h
	}
	if len(c.byKey) >= maxShapes && c.byKey[key] == nil {
		var oldest *shape
		for _, x := range c.byKey {
			if oldest == nil || x.used < oldest.used {
				oldest = x
			}
		}
		delete(c.byKey, oldest.key)
	}
	c.byKey[key] = h
	return h
}
