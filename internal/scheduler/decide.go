package scheduler

import (
	"math/rand/v2"
)

// A search among many nodes ends once it has found enough that would do: all
// below minSearched, else a share that shrinks as the cluster grows.
const (
	minSearched        = 100
	minSearchedPercent = 5
)

// decision is a node, or why there is none.
type decision struct {
	node string
	fail *failure
}

// failure says why no node was found, and what may be done about it. It does
// not change: pods of one shape may share it.
type failure struct {
	message string
	by      cause
	// nominated is the node that the pod gets once its victims have left it.
	nominated string
	victims   []*podInfo
	// keepNomination: the pod waits for earlier victims still.
	keepNomination bool
}

// enough is how many fitting nodes a search among n has to find.
func enough(n int) int {
	if n < minSearched {
		return n
	}
	percent := max(50-n/125, minSearchedPercent)
	return max(n*percent/100, minSearched)
}

// decide finds a pod's node. The snapshot's bookkeeping of searches and shapes
// changes, what it holds does not.
func decide(s *snapshot, p *podInfo, rng *rand.Rand) decision {
	nodes := s.ordered()
	if len(nodes) == 0 {
		return decision{fail: &failure{message: messageNoNodes, by: byNoNodes}}
	}
	if why := preflight(p.pod); why != "" {
		g := histogram{reasonNotHelpful: len(nodes)}
		return decision{fail: &failure{
			message: describe(len(nodes), why, nil, preemptPrefix+describe(len(nodes), "", g, "")), by: byVolumes,
		}}
	}
	h := s.shapeOf(p)
	nominated, isNominated := s.nominated[p.pod.UID]
	if !isNominated && h.failed != nil && h.failedGen == s.gen {
		return decision{fail: h.failed}
	}
	t := &search{s: s, h: h, p: p, nodes: nodes}
	t.prepare()
	if isNominated {
		if n := s.nodes[nominated]; n != nil && n.obj != nil && t.judge(n) == nil {
			return decision{node: n.name}
		}
	}
	fit := t.run()
	switch len(fit) {
	case 0:
		f := t.failure(rng)
		if !isNominated && f.nominated == "" {
			h.failed, h.failedGen = f, s.gen
		}
		return decision{fail: f}
	case 1:
		return decision{node: fit[0].name}
	}
	return decision{node: best(fit, h.rank(s, fit), rng).name}
}

// best picks one of the highest, each with the same chance.
func best(nodes []*node, scores []int64, rng *rand.Rand) *node {
	at, ties := 0, 1
	for i := 1; i < len(nodes); i++ {
		switch {
		case scores[i] > scores[at]:
			at, ties = i, 1
		case scores[i] == scores[at]:
			ties++
			if rng.IntN(ties) == 0 {
				at = i
			}
		}
	}
	return nodes[at]
}

// search is one pod's look at the nodes.
type search struct {
	s     *snapshot
	h     *shape
	p     *podInfo
	nodes []*node
	least []int64
	// single: nothing but the named nodes themselves matters
	single bool
}

func (t *search) prepare() {
	h, s := t.h, t.s
	t.single = len(h.only) == 1 && len(h.hard) == 0 && h.pod.affinity == nil && s.affinityPods == 0
	if !t.single {
		h.sync(s)
		t.least = h.leasts()
		return
	}
	for len(h.entries) < len(s.slots) {
		h.entries = append(h.entries, entry{})
	}
	for name := range h.only {
		if n := s.nodes[name]; n != nil && n.obj != nil {
			h.entries[n.slot] = h.evaluate(s, n)
		}
	}
}

// run collects nodes that fit, from where the search before ended.
func (t *search) run() []*node {
	if t.h.only != nil {
		var fit []*node
		for _, n := range t.named() {
			if t.judge(n) == nil {
				fit = append(fit, n)
			}
		}
		return fit
	}
	want := enough(len(t.nodes))
	fit := make([]*node, 0, want)
	at := t.s.start % len(t.nodes)
	looked := 0
	for looked < len(t.nodes) && len(fit) < want {
		n := t.nodes[at]
		if looked++; looked < len(t.nodes) {
			if at++; at == len(t.nodes) {
				at = 0
			}
		}
		if t.judge(n) == nil {
			fit = append(fit, n)
		}
	}
	t.s.start = (t.s.start + looked) % len(t.nodes)
	return fit
}

// named are the nodes that the pod's affinity names, in the common order where
// there are several.
func (t *search) named() []*node {
	if len(t.h.only) == 1 {
		for name := range t.h.only {
			if n := t.s.nodes[name]; n != nil && n.obj != nil {
				return []*node{n}
			}
		}
		return nil
	}
	var out []*node
	for _, n := range t.nodes {
		if t.h.only[n.name] {
			out = append(out, n)
		}
	}
	return out
}

// judge asks all filters about a node: alone, and with the pods that were
// promised room on it and come before this one.
func (t *search) judge(n *node) *verdict {
	e := &t.h.entries[n.slot]
	if v := t.weigh(n, e, t.least); v != nil || !e.contested {
		return v
	}
	return t.judgeNominated(n)
}

func (t *search) weigh(n *node, e *entry, least []int64) *verdict {
	if e.local != nil {
		return e.local
	}
	if v := t.h.filterSpread(e, least); v != nil {
		return v
	}
	return t.h.filterPodAffinity(t.s, n)
}

func (t *search) judgeNominated(n *node) *verdict {
	var trial *node
	for uid, p := range n.nominated {
		if uid == t.p.pod.UID || p.priority < t.p.priority {
			continue
		}
		if trial == nil {
			trial = n.copy()
		}
		trial.addPod(p)
	}
	if trial == nil {
		return nil
	}
	return t.try(trial)
}

// try judges a changed copy of a node in the place of the node.
func (t *search) try(trial *node) (v *verdict) {
	t.h.with(t.s, trial, func(e *entry) { v = t.weigh(trial, e, t.h.leasts()) })
	return v
}

// failure collects what each node said, and looks for pods to preempt.
func (t *search) failure(rng *rand.Rand) *failure {
	f := &failure{}
	g := histogram{}
	var movable []*node
	looked := t.nodes
	if t.h.only != nil {
		looked = t.named()
		if rest := len(t.nodes) - len(looked); rest > 0 {
			g[reasonNotInNames] = rest
			f.by |= byNodeAffinity
		}
	}
	for _, n := range looked {
		v := t.judge(n)
		g.add(v)
		f.by |= v.by
		if !v.lasting {
			movable = append(movable, n)
		}
	}
	after := t.preempt(f, movable, rng)
	f.message = describe(len(t.nodes), "", g, after)
	return f
}
