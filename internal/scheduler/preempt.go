package scheduler

import (
	"math"
	"math/rand/v2"
	"sort"

	corev1 "k8s.io/api/core/v1"
)

// How many nodes are tried out for preemption: a share, and at least so many.
const (
	minCandidatePercent = 10
	minCandidates       = 100
)

// candidate is a node with the pods that would have to go, the most important
// first.
type candidate struct {
	node    *node
	victims []*podInfo
}

// preempt looks for pods of lower priority to give way, on nodes where that
// may help. It fills in the failure, and returns what is to be said.
func (t *search) preempt(f *failure, movable []*node, rng *rand.Rand) string {
	pod := t.p.pod
	if pp := pod.Spec.PreemptionPolicy; pp != nil && *pp == corev1.PreemptNever {
		f.keepNomination = true
		return preemptPrefix + reasonNeverPreempts
	}
	if t.waitsForVictims(movable) {
		f.keepNomination = true
		return preemptPrefix + reasonVictimsLeaving
	}
	g := histogram{}
	if rest := len(t.nodes) - len(movable); rest > 0 {
		g[reasonNotHelpful] = rest
	}
	candidates := t.candidates(movable, g, rng)
	if len(candidates) == 0 {
		return preemptPrefix + describe(len(t.nodes), "", g, "")
	}
	c := cheapest(candidates)
	f.nominated, f.victims = c.node.name, c.victims
	return ""
}

// waitsForVictims: pods preempted for this one are still on their way out of
// the node it was promised, and that node may still do.
func (t *search) waitsForVictims(movable []*node) bool {
	name, ok := t.s.nominated[t.p.pod.UID]
	if !ok {
		return false
	}
	for _, n := range movable {
		if n.name != name {
			continue
		}
		for _, p := range n.pods {
			if p.priority < t.p.priority && (t.s.leaving[p.pod.UID] || leavesByPreemption(p.pod)) {
				return true
			}
		}
	}
	return false
}

func leavesByPreemption(p *corev1.Pod) bool {
	if p.DeletionTimestamp == nil {
		return false
	}
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.DisruptionTarget {
			return c.Status == corev1.ConditionTrue && c.Reason == corev1.PodReasonPreemptionByScheduler
		}
	}
	return false
}

func (t *search) candidates(movable []*node, g histogram, rng *rand.Rand) []candidate {
	if len(movable) == 0 {
		return nil
	}
	want := min(max(len(movable)*minCandidatePercent/100, minCandidates), len(movable))
	from := rng.IntN(len(movable))
	var out []candidate
	for i := 0; i < len(movable) && len(out) < want; i++ {
		n := movable[(from+i)%len(movable)]
		victims, v := t.victims(n)
		if v != nil {
			g.add(v)
		} else if len(victims) > 0 {
			out = append(out, candidate{n, victims})
		}
	}
	return out
}

// victims finds the fewest and least important pods whose leaving makes room:
// all of lower priority go, then each comes back, the important first, that
// can.
func (t *search) victims(n *node) ([]*podInfo, *verdict) {
	var lower []*podInfo
	for _, p := range n.pods {
		if p.priority < t.p.priority {
			lower = append(lower, p)
		}
	}
	if len(lower) == 0 {
		return nil, noVictimsThere
	}
	sort.Slice(lower, func(i, j int) bool { return moreImportant(lower[i], lower[j]) })
	trial := n.copy()
	for _, p := range lower {
		trial.removePod(p.pod.UID)
	}
	if v := t.tryPromised(trial); v != nil {
		return nil, v
	}
	var victims []*podInfo
	for _, p := range lower {
		trial.addPod(p)
		if t.tryPromised(trial) != nil {
			trial.removePod(p.pod.UID)
			victims = append(victims, p)
		}
	}
	return victims, nil
}

// tryPromised is try, with and without the pods that were promised room.
func (t *search) tryPromised(trial *node) *verdict {
	if v := t.try(trial); v != nil {
		return v
	}
	return t.judgeNominated(trial)
}

// moreImportant orders by priority, then by who has run for longer.
func moreImportant(a, b *podInfo) bool {
	if a.priority != b.priority {
		return a.priority > b.priority
	}
	x, y := startNanos(a.pod), startNanos(b.pod)
	if x != y {
		return x < y
	}
	return a.pod.UID < b.pod.UID
}

// startNanos is when a pod started; one that has not is the youngest.
func startNanos(p *corev1.Pod) int64 {
	if p.Status.StartTime == nil {
		return math.MaxInt64
	}
	return p.Status.StartTime.UnixNano()
}

// cheapest picks the candidate whose victims matter least: by the highest
// priority among them, by the sum of priorities, by their number, by who of
// the highest started last; then the first.
func cheapest(list []candidate) candidate {
	best := list[0]
	for _, c := range list[1:] {
		if cheaper(c, best) {
			best = c
		}
	}
	return best
}

func cheaper(a, b candidate) bool {
	if x, y := a.victims[0].priority, b.victims[0].priority; x != y {
		return x < y
	}
	if x, y := prioritySum(a.victims), prioritySum(b.victims); x != y {
		return x < y
	}
	if x, y := len(a.victims), len(b.victims); x != y {
		return x < y
	}
	return earliestOfHighest(a.victims) > earliestOfHighest(b.victims)
}

// prioritySum moves all priorities above zero, so that more victims of
// negative priority are not better than fewer.
func prioritySum(list []*podInfo) int64 {
	var sum int64
	for _, p := range list {
		sum += int64(p.priority) + math.MaxInt32 + 1
	}
	return sum
}

func earliestOfHighest(list []*podInfo) int64 {
	earliest := int64(math.MaxInt64)
	for _, p := range list {
		if p.priority == list[0].priority {
			earliest = min(earliest, startNanos(p.pod))
		}
	}
	return earliest
}
