package scheduler

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// requiredAffinityWeight is what another pod's required affinity to this one
// counts in the score.
const requiredAffinityWeight = 1

// podAffinity is a pod's rules about other pods, compiled.
type podAffinity struct {
	required, requiredAnti []affinityTerm
	// preferred terms have a positive weight, those of anti-affinity a negative.
	preferred []affinityTerm
}

type affinityTerm struct {
	topologyKey       string
	selector          labels.Selector
	namespaces        map[string]bool
	namespaceSelector labels.Selector
	weight            int64
}

func compileAffinity(p *corev1.Pod) *podAffinity {
	a := p.Spec.Affinity
	if a == nil || a.PodAffinity == nil && a.PodAntiAffinity == nil {
		return nil
	}
	out := &podAffinity{}
	if x := a.PodAffinity; x != nil {
		out.required = compileTerms(p, x.RequiredDuringSchedulingIgnoredDuringExecution)
		out.preferred = append(out.preferred, compileWeighted(p, x.PreferredDuringSchedulingIgnoredDuringExecution, 1)...)
	}
	if x := a.PodAntiAffinity; x != nil {
		out.requiredAnti = compileTerms(p, x.RequiredDuringSchedulingIgnoredDuringExecution)
		out.preferred = append(out.preferred, compileWeighted(p, x.PreferredDuringSchedulingIgnoredDuringExecution, -1)...)
	}
	return out
}

func compileTerms(p *corev1.Pod, list []corev1.PodAffinityTerm) []affinityTerm {
	var out []affinityTerm
	for i := range list {
		out = append(out, compileTerm(p, &list[i], 0))
	}
	return out
}

func compileWeighted(p *corev1.Pod, list []corev1.WeightedPodAffinityTerm, sign int64) []affinityTerm {
	var out []affinityTerm
	for i := range list {
		if w := int64(list[i].Weight); w != 0 {
			out = append(out, compileTerm(p, &list[i].PodAffinityTerm, sign*w))
		}
	}
	return out
}

// compileTerm: a selector that cannot be read matches nothing; validation
// keeps it from being stored.
func compileTerm(p *corev1.Pod, t *corev1.PodAffinityTerm, weight int64) affinityTerm {
	out := affinityTerm{topologyKey: t.TopologyKey, selector: selectorOf(t.LabelSelector), namespaceSelector: selectorOf(t.NamespaceSelector), weight: weight}
	out.namespaces = map[string]bool{}
	for _, ns := range t.Namespaces {
		out.namespaces[ns] = true
	}
	if len(t.Namespaces) == 0 && t.NamespaceSelector == nil {
		out.namespaces[p.Namespace] = true
	}
	return out
}

func selectorOf(s *metav1.LabelSelector) labels.Selector {
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return sel
}

func (t *affinityTerm) matches(s *snapshot, p *corev1.Pod) bool {
	if !t.namespaces[p.Namespace] && !t.namespaceSelector.Matches(s.namespaces[p.Namespace]) {
		return false
	}
	return t.selector.Matches(labels.Set(p.Labels))
}

func matchesAll(s *snapshot, terms []affinityTerm, p *corev1.Pod) bool {
	for i := range terms {
		if !terms[i].matches(s, p) {
			return false
		}
	}
	return len(terms) > 0
}

// pairs are sums per topology key and value.
type pairs map[string]map[string]int64

func (p pairs) add(key, value string, n int64) {
	m := p[key]
	if m == nil {
		m = map[string]int64{}
		p[key] = m
	}
	if m[value] += n; m[value] != 0 {
		return
	}
	if delete(m, value); len(m) == 0 {
		delete(p, key)
	}
}

// pairCounts are the sums over all nodes that pod affinity needs.
type pairCounts struct {
	existing pairs // pods whose anti-affinity refuses this shape
	affinity pairs // pods that satisfy all its required affinity
	anti     pairs // pods its anti-affinity refuses
	score    pairs // weights
}

func newPairCounts() pairCounts { return pairCounts{pairs{}, pairs{}, pairs{}, pairs{}} }

// contribution is one node's share of pairCounts.
type contribution struct{ existing, affinity, anti, score []share }

type share struct {
	key, value string
	n          int64
}

func (c *pairCounts) apply(from *contribution, sign int64) {
	if from == nil {
		return
	}
	for _, x := range []struct {
		to   pairs
		list []share
	}{{c.existing, from.existing}, {c.affinity, from.affinity}, {c.anti, from.anti}, {c.score, from.score}} {
		for _, sh := range x.list {
			x.to.add(sh.key, sh.value, sign*sh.n)
		}
	}
}

// contributionOf matches the shape's terms with a node's pods, and theirs with
// the shape. nil where there is nothing.
func (h *shape) contributionOf(s *snapshot, n *node) *contribution {
	mine := h.pod.affinity
	var out *contribution
	put := func(pick func(*contribution) *[]share, t *affinityTerm, weight int64) {
		value, ok := n.obj.Labels[t.topologyKey]
		if !ok || weight == 0 {
			return
		}
		if out == nil {
			out = &contribution{}
		}
		list := pick(out)
		for i := range *list {
			if x := &(*list)[i]; x.key == t.topologyKey {
				x.n += weight
				return
			}
		}
		*list = append(*list, share{t.topologyKey, value, weight})
	}
	for _, p := range n.pods {
		if mine == nil && p.affinity == nil {
			continue
		}
		if theirs := p.affinity; theirs != nil {
			for i := range theirs.requiredAnti {
				if t := &theirs.requiredAnti[i]; t.matches(s, h.pod.pod) {
					put(func(c *contribution) *[]share { return &c.existing }, t, 1)
				}
			}
			for i := range theirs.required {
				if t := &theirs.required[i]; t.matches(s, h.pod.pod) {
					put(func(c *contribution) *[]share { return &c.score }, t, requiredAffinityWeight)
				}
			}
			for i := range theirs.preferred {
				if t := &theirs.preferred[i]; t.matches(s, h.pod.pod) {
					put(func(c *contribution) *[]share { return &c.score }, t, t.weight)
				}
			}
		}
		if mine == nil {
			continue
		}
		if matchesAll(s, mine.required, p.pod) {
			for i := range mine.required {
				put(func(c *contribution) *[]share { return &c.affinity }, &mine.required[i], 1)
			}
		}
		for i := range mine.requiredAnti {
			if t := &mine.requiredAnti[i]; t.matches(s, p.pod) {
				put(func(c *contribution) *[]share { return &c.anti }, t, 1)
			}
		}
		for i := range mine.preferred {
			if t := &mine.preferred[i]; t.matches(s, p.pod) {
				put(func(c *contribution) *[]share { return &c.score }, t, t.weight)
			}
		}
	}
	return out
}

// filterPodAffinity judges a node by the sums over all nodes.
func (h *shape) filterPodAffinity(s *snapshot, n *node) *verdict {
	c, have := &h.pairs, n.obj.Labels
	if mine := h.pod.affinity; mine != nil {
		met := true
		for i := range mine.required {
			value, ok := have[mine.required[i].topologyKey]
			if !ok {
				return notWithItsPods
			}
			met = met && c.affinity[mine.required[i].topologyKey][value] > 0
		}
		// the first of a group that wants to be together may go anywhere
		if !met && !(len(c.affinity) == 0 && matchesAll(s, mine.required, h.pod.pod)) {
			return notWithItsPods
		}
		for i := range mine.requiredAnti {
			key := mine.requiredAnti[i].topologyKey
			if value, ok := have[key]; ok && c.anti[key][value] > 0 {
				return withWrongPods
			}
		}
	}
	for key, values := range c.existing {
		if value, ok := have[key]; ok && values[value] > 0 {
			return unwantedByOthers
		}
	}
	return nil
}

// podAffinityScore sums the weights of a node's topology.
func (h *shape) podAffinityScore(n *node) int64 {
	var sum int64
	for key, values := range h.pairs.score {
		if value, ok := n.obj.Labels[key]; ok {
			sum += values[value]
		}
	}
	return sum
}
