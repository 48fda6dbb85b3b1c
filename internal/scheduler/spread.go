package scheduler

import (
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// Skews of the system's default terms.
const (
	defaultHostSkew = 3
	defaultZoneSkew = 5
)

// spreadTerm is a topology spread constraint of a shape, with the pods counted
// in each domain.
type spreadTerm struct {
	key                        string
	maxSkew, minDomains        int64
	selector                   labels.Selector
	honorAffinity, honorTaints bool
	self                       int64 // 1 where the shape's pods count themselves
	domains                    map[string]*domain
}

type domain struct {
	nodes, pods int64
}

// spreadAt is a term on one node.
type spreadAt struct {
	value   string
	present bool // the node has the key
	counted bool // it is one of the nodes among which pods are spread
	pods    int64
	domain  *domain
}

func compileSpread(p *corev1.Pod, action corev1.UnsatisfiableConstraintAction) []*spreadTerm {
	var out []*spreadTerm
	for i := range p.Spec.TopologySpreadConstraints {
		c := &p.Spec.TopologySpreadConstraints[i]
		if c.WhenUnsatisfiable != action {
			continue
		}
		t := &spreadTerm{key: c.TopologyKey, maxSkew: int64(c.MaxSkew), minDomains: 1, selector: selectorOf(c.LabelSelector), honorAffinity: true, domains: map[string]*domain{}}
		if c.MinDomains != nil {
			t.minDomains = int64(*c.MinDomains)
		}
		if c.NodeAffinityPolicy != nil {
			t.honorAffinity = *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor
		}
		if c.NodeTaintsPolicy != nil {
			t.honorTaints = *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor
		}
		for _, key := range c.MatchLabelKeys {
			if value, ok := p.Labels[key]; ok {
				if r, err := labels.NewRequirement(key, selection.In, []string{value}); err == nil {
					t.selector = t.selector.Add(*r)
				}
			}
		}
		if t.selector.Matches(labels.Set(p.Labels)) {
			t.self = 1
		}
		out = append(out, t)
	}
	return out
}

// defaultSpread is how pods of one service or workload are kept apart where
// they do not say so themselves.
func defaultSpread(sel labels.Selector) []*spreadTerm {
	if sel == nil || sel.Empty() {
		return nil
	}
	term := func(key string, skew int64) *spreadTerm {
		return &spreadTerm{key: key, maxSkew: skew, selector: sel, honorAffinity: true, domains: map[string]*domain{}}
	}
	return []*spreadTerm{term(corev1.LabelHostname, defaultHostSkew), term(corev1.LabelTopologyZone, defaultZoneSkew)}
}

func hasKeys(n *corev1.Node, terms []*spreadTerm) bool {
	for _, t := range terms {
		if _, ok := n.Labels[t.key]; !ok {
			return false
		}
	}
	return true
}

// spreadOf counts a node's pods for each term. With all, a node without one of
// the keys is in none of their domains.
func spreadOf(terms []*spreadTerm, h *shape, n *node, all bool) []spreadAt {
	if len(terms) == 0 {
		return nil
	}
	out := make([]spreadAt, len(terms))
	eligible := !all || hasKeys(n.obj, terms)
	for i, t := range terms {
		at := &out[i]
		at.value, at.present = n.obj.Labels[t.key]
		at.counted = eligible
		if at.counted && t.honorAffinity {
			if ok, err := h.required.Match(n.obj); err != nil || !ok {
				at.counted = false
			}
		}
		if at.counted && t.honorTaints && hardTaint(n.obj.Spec.Taints, h.pod.pod.Spec.Tolerations) {
			at.counted = false
		}
		if t.selector.Empty() {
			continue
		}
		for _, p := range n.pods {
			if p.pod.Namespace == h.pod.pod.Namespace && p.pod.DeletionTimestamp == nil && t.selector.Matches(labels.Set(p.pod.Labels)) {
				at.pods++
			}
		}
	}
	return out
}

func countSpread(terms []*spreadTerm, at []spreadAt, sign int) {
	for i, t := range terms {
		a := &at[i]
		if !a.counted {
			continue
		}
		if a.domain == nil || t.domains[a.value] != a.domain {
			if a.domain = t.domains[a.value]; a.domain == nil {
				a.domain = &domain{}
				t.domains[a.value] = a.domain
			}
		}
		a.domain.nodes += int64(sign)
		a.domain.pods += int64(sign) * a.pods
		if a.domain.nodes == 0 {
			delete(t.domains, a.value)
		}
	}
}

// least is the number of pods in the emptiest domain, or 0 where there are
// fewer domains than wanted.
func (t *spreadTerm) least() int64 {
	if int64(len(t.domains)) < t.minDomains {
		return 0
	}
	least := int64(math.MaxInt32)
	for _, d := range t.domains {
		least = min(least, d.pods)
	}
	return least
}

// filterSpread judges a node by its domains; least has each term's least.
func (h *shape) filterSpread(e *entry, least []int64) *verdict {
	for i, t := range h.hard {
		at := &e.hard[i]
		if !at.present {
			return noSpreadKey
		}
		var pods int64
		if d := t.domains[at.value]; d != nil {
			pods = d.pods
		}
		if pods+t.self-least[i] > t.maxSkew {
			return tooSkewed
		}
	}
	return nil
}

func (h *shape) leasts() []int64 {
	if len(h.hard) == 0 {
		return nil
	}
	out := make([]int64, len(h.hard))
	for i, t := range h.hard {
		out[i] = t.least()
	}
	return out
}
