package scheduler

import (
	"math"

	corev1 "k8s.io/api/core/v1"
)

// Weights of the scores, upstream's defaults.
const (
	weightLeast       = 1
	weightBalanced    = 1
	weightImages      = 1
	weightAffinity    = 2
	weightPodAffinity = 2
	weightSpread      = 2
	weightTaints      = 3
)

const (
	maxScore          = 100
	minImageBytes     = 23 << 20
	maxContainerBytes = 1000 << 20
)

// score fills in the parts of a node's score that depend on it alone. Those of
// taints and affinity are raw: they are put in proportion among candidates.
func (h *shape) score(s *snapshot, n *node, e *entry) {
	e.least = int32(leastAllocated(h.pod, n))
	e.balanced = int32(balancedAllocation(h.pod, n))
	e.image = int32(imageScore(s, h, n))
	e.taints = int32(softTaints(n.obj.Spec.Taints, h.pod.pod.Spec.Tolerations))
	if h.preferred != nil {
		e.prefers = int32(h.preferred.Score(n.obj))
	}
}

// leastAllocated is high where much would be left.
func leastAllocated(p *podInfo, n *node) int64 {
	var sum, parts int64
	part := func(used, all int64) {
		if all == 0 {
			return
		}
		parts++
		if used <= all {
			sum += (all - used) * maxScore / all
		}
	}
	part(n.scoredCPU+p.scoredCPU, n.allocatable.milliCPU)
	part(n.scoredMem+p.scoredMem, n.allocatable.memory)
	if parts == 0 {
		return 0
	}
	return sum / parts
}

// balancedAllocation is high where the pod makes processor and memory more
// evenly used. A pod that asks for nothing has no say.
func balancedAllocation(p *podInfo, n *node) int64 {
	if p.requests.milliCPU == 0 && p.requests.memory == 0 {
		return 0
	}
	u, a, r := &n.requested, &n.allocatable, &p.requests
	with := evenness(u.milliCPU+r.milliCPU, a.milliCPU, u.memory+r.memory, a.memory)
	without := evenness(u.milliCPU, a.milliCPU, u.memory, a.memory)
	return maxScore/2 + (maxScore/2+with-without)/2
}

// evenness is the complement of the standard deviation of the two fractions in
// use; one fraction alone deviates from nothing.
func evenness(cpu, allCPU, mem, allMem int64) int64 {
	if allCPU == 0 || allMem == 0 {
		return maxScore
	}
	a := min(float64(cpu)/float64(allCPU), 1)
	b := min(float64(mem)/float64(allMem), 1)
	return int64((1 - math.Abs((a-b)/2)) * maxScore)
}

// imageScore is high where the pod's images lie already, the more so the more
// nodes have them: else the first node to have an image would draw all pods.
func imageScore(s *snapshot, h *shape, n *node) int64 {
	if len(h.images) == 0 || len(n.images) == 0 {
		return 0
	}
	total := len(s.slots) - len(s.free)
	var sum int64
	for _, name := range h.images {
		if size, ok := n.images[name]; ok {
			sum += int64(float64(size) * float64(s.imageNodes[name]) / float64(total))
		}
	}
	most := int64(maxContainerBytes) * int64(len(h.images))
	sum = min(max(sum, minImageBytes), most)
	return maxScore * (sum - minImageBytes) / (most - minImageBytes)
}

// softTaints counts the taints that would rather not have the pod.
func softTaints(taints []corev1.Taint, tolerations []corev1.Toleration) int {
	count := 0
	for i := range taints {
		if t := &taints[i]; t.Effect == corev1.TaintEffectPreferNoSchedule && !tolerated(tolerations, t) {
			count++
		}
	}
	return count
}

// rank gives each candidate its total. The slice belongs to the caller until
// the next call.
func (h *shape) rank(s *snapshot, candidates []*node) []int64 {
	total := make([]int64, len(candidates))
	var mostTaints, mostPrefers int32
	for _, n := range candidates {
		e := &h.entries[n.slot]
		mostTaints, mostPrefers = max(mostTaints, e.taints), max(mostPrefers, e.prefers)
	}
	for i, n := range candidates {
		e := &h.entries[n.slot]
		sum := int64(e.least)*weightLeast + int64(e.balanced)*weightBalanced + int64(e.image)*weightImages
		taints := int64(maxScore)
		if mostTaints > 0 {
			taints -= maxScore * int64(e.taints) / int64(mostTaints)
		}
		sum += taints * weightTaints
		if mostPrefers > 0 {
			sum += maxScore * int64(e.prefers) / int64(mostPrefers) * weightAffinity
		}
		total[i] = sum
	}
	h.rankPodAffinity(candidates, total)
	h.rankSpread(candidates, total)
	return total
}

func (h *shape) rankPodAffinity(candidates []*node, total []int64) {
	if len(h.pairs.score) == 0 {
		return
	}
	raw := make([]int64, len(candidates))
	low, high := int64(math.MaxInt64), int64(math.MinInt64)
	for i, n := range candidates {
		raw[i] = h.podAffinityScore(n)
		low, high = min(low, raw[i]), max(high, raw[i])
	}
	if high == low {
		return
	}
	for i := range candidates {
		total[i] += int64(maxScore*(float64(raw[i]-low)/float64(high-low))) * weightPodAffinity
	}
}

// rankSpread favours candidates in domains with few pods of the group.
func (h *shape) rankSpread(candidates []*node, total []int64) {
	if len(h.soft) == 0 {
		return
	}
	s := &spreadRank{weights: make([]float64, len(h.soft))}
	s.weigh(h, candidates)
	raw := make([]int64, len(candidates))
	low, high := int64(math.MaxInt64), int64(0)
	for i, n := range candidates {
		e := &h.entries[n.slot]
		if e.softIgnored {
			continue
		}
		raw[i] = s.of(h, e)
		low, high = min(low, raw[i]), max(high, raw[i])
	}
	for i, n := range candidates {
		switch {
		case h.entries[n.slot].softIgnored:
		case high == 0:
			total[i] += maxScore * weightSpread
		default:
			total[i] += maxScore * (high + low - raw[i]) / high * weightSpread
		}
	}
}

type spreadRank struct{ weights []float64 }

// weigh gives a term more weight the more domains its candidates have.
func (s *spreadRank) weigh(h *shape, candidates []*node) {
	counted := 0
	for _, n := range candidates {
		if !h.entries[n.slot].softIgnored {
			counted++
		}
	}
	for i, t := range h.soft {
		size := counted
		if t.key != corev1.LabelHostname {
			seen := map[string]bool{}
			for _, n := range candidates {
				if e := &h.entries[n.slot]; !e.softIgnored {
					seen[e.soft[i].value] = true
				}
			}
			size = len(seen)
		}
		s.weights[i] = math.Log(float64(size + 2))
	}
}

func (s *spreadRank) of(h *shape, e *entry) int64 {
	var sum float64
	for i, t := range h.soft {
		at := &e.soft[i]
		if !at.present {
			continue
		}
		pods := at.pods
		if t.key != corev1.LabelHostname {
			pods = 0
			if d := t.domains[at.value]; d != nil {
				pods = d.pods
			}
		}
		sum += float64(pods)*s.weights[i] + float64(t.maxSkew-1)
	}
	return int64(math.Round(sum))
}
