package scheduler

// sync brings a shape's entries up to the snapshot: it looks at the nodes that
// changed since, and only at them.
func (h *shape) sync(s *snapshot) {
	for len(h.entries) < len(s.slots) {
		h.entries = append(h.entries, entry{})
	}
	images := h.imageEpoch != s.imageEpoch
	h.imageEpoch = s.imageEpoch
	for i, n := range s.slots {
		e := &h.entries[i]
		switch {
		case n == nil:
			if e.gen != 0 {
				h.retract(e)
				*e = entry{}
			}
		case e.gen != n.gen:
			h.retract(e)
			*e = h.evaluate(s, n)
			h.contribute(e)
		case images && e.local == nil:
			e.image = int32(imageScore(s, h, n))
		}
	}
}

// evaluate computes all that a shape needs of one node alone.
func (h *shape) evaluate(s *snapshot, n *node) entry {
	e := entry{gen: n.gen, contested: len(n.nominated) > 0}
	e.contribution = h.contributionOf(s, n)
	e.hard = spreadOf(h.hard, h, n, true)
	e.soft = spreadOf(h.soft, h, n, h.softAll)
	e.softIgnored = h.softAll && len(h.soft) > 0 && !hasKeys(n.obj, h.soft)
	if e.local = filterNode(h, n); e.local == nil {
		h.score(s, n, &e)
	}
	return e
}

func (h *shape) retract(e *entry) {
	if e.gen != 0 {
		h.count(e, -1)
	}
}

func (h *shape) contribute(e *entry) { h.count(e, 1) }

// count adds a node's share to what filters and scores sum over all nodes.
func (h *shape) count(e *entry, sign int) {
	h.pairs.apply(e.contribution, int64(sign))
	countSpread(h.hard, e.hard, sign)
	countSpread(h.soft, e.soft, sign)
}

// with lets fn judge the shape as if a node were as trial is.
func (h *shape) with(s *snapshot, trial *node, fn func(e *entry)) {
	old := h.entries[trial.slot]
	h.retract(&old)
	now := h.evaluate(s, trial)
	h.contribute(&now)
	h.entries[trial.slot] = now
	fn(&now)
	h.retract(&now)
	h.contribute(&old)
	h.entries[trial.slot] = old
}
