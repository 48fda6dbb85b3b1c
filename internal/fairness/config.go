package fairness

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"github.com/monohull/monohull/internal/api/flowcontrol"
)

// snapshot is the configuration that requests read; it never changes.
type snapshot struct {
	schemas  []*schema // in the order in which they are asked
	catchAll *schema
}

// schema is a FlowSchema of a snapshot.
type schema struct {
	name string
	// uid and levelUID are header values, shared by all answers.
	uid, levelUID []string
	spec          *flowcontrolv1.FlowSchemaSpec
	method        *flowcontrolv1.FlowDistinguisherMethod
	queues        int // of its level
	level         *state
	meters        *flowMeters
}

// classify finds the first schema that speaks of a request.
func (s *snapshot) classify(r *Request) *schema {
	for _, x := range s.schemas {
		if matches(x.spec, r) {
			return x
		}
	}
	return s.catchAll
}

// state is a level with what the sharing out knows of it, under Fairness.mu.
type state struct {
	level  *level
	object *flowcontrolv1.PriorityLevelConfiguration
	terms  terms
	share  share
	demand demand
	limit  int
	// quiescing: its object is gone; it lives until its requests are served.
	quiescing bool
	most      atomic.Int64 // most seats of one request; 0 no bound
}

// digest takes in the cluster's objects. What is missing of the mandatory ones
// is imagined, what is broken is left out.
func (f *Fairness) digest(levels []*flowcontrolv1.PriorityLevelConfiguration, schemas []*flowcontrolv1.FlowSchema) {
	levels, schemas = slices.Clone(levels), slices.Clone(schemas)
	levels = slices.DeleteFunc(levels, func(l *flowcontrolv1.PriorityLevelConfiguration) bool { return !sound(l) })
	for _, o := range flowcontrol.Bootstrap() {
		if !flowcontrol.Mandatory(o) {
			continue
		}
		switch o := o.(type) {
		case *flowcontrolv1.PriorityLevelConfiguration:
			if !slices.ContainsFunc(levels, func(l *flowcontrolv1.PriorityLevelConfiguration) bool { return l.Name == o.Name }) {
				levels = append(levels, o)
			}
		case *flowcontrolv1.FlowSchema:
			if !slices.ContainsFunc(schemas, func(s *flowcontrolv1.FlowSchema) bool { return s.Name == o.Name }) {
				schemas = append(schemas, o)
			}
		}
	}
	slices.SortFunc(schemas, func(a, b *flowcontrolv1.FlowSchema) int {
		return cmp.Or(cmp.Compare(a.Spec.MatchingPrecedence, b.Spec.MatchingPrecedence), cmp.Compare(a.Name, b.Name))
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	wanted := map[string]bool{}
	for _, o := range levels {
		wanted[o.Name] = true
		st := f.levels[o.Name]
		if st == nil {
			st = &state{level: &level{name: o.Name, exempt: o.Spec.Type == flowcontrolv1.PriorityLevelEnablementExempt, meters: f.meters.level(o.Name), now: time.Now()}}
			st.limit = -1
			f.levels[o.Name] = st
		}
		st.object, st.terms, st.quiescing = o, termsOf(&o.Spec), false
	}
	for name, st := range f.levels {
		if !wanted[name] {
			st.quiescing = true
		}
	}
	f.divideLocked()
	s := &snapshot{}
	for _, o := range schemas {
		st := f.levels[o.Spec.PriorityLevelConfiguration.Name]
		if st == nil || st.quiescing {
			continue // dangling
		}
		x := &schema{
			name: o.Name, uid: []string{string(o.UID)}, levelUID: []string{string(st.object.UID)}, spec: &o.Spec, method: o.Spec.DistinguisherMethod,
			queues: queuingOf(&st.object.Spec).queues, level: st, meters: f.meters.flow(st.level.name, o.Name),
		}
		s.schemas = append(s.schemas, x)
		if x.name == flowcontrolv1.FlowSchemaNameCatchAll {
			s.catchAll = x
		}
	}
	f.current.Store(s)
}

// sound tells whether a level's object can be acted on; validation sees to it.
func sound(l *flowcontrolv1.PriorityLevelConfiguration) bool {
	exempt := l.Spec.Type == flowcontrolv1.PriorityLevelEnablementExempt
	if exempt != (l.Spec.Exempt != nil) || exempt == (l.Spec.Limited != nil) || exempt != (l.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt) {
		return false
	}
	if exempt {
		return true
	}
	q := l.Spec.Limited.LimitResponse.Queuing
	if (l.Spec.Limited.LimitResponse.Type == flowcontrolv1.LimitResponseTypeReject) != (q == nil) {
		return false
	}
	return q == nil || q.Queues > 0 && q.HandSize > 0 && q.HandSize <= q.Queues && q.HandSize <= maxHand
}

func queuingOf(spec *flowcontrolv1.PriorityLevelConfigurationSpec) queuing {
	if spec.Limited == nil || spec.Limited.LimitResponse.Queuing == nil {
		return queuing{}
	}
	q := spec.Limited.LimitResponse.Queuing
	return queuing{int(q.Queues), int(q.HandSize), int(q.QueueLengthLimit)}
}

// divideLocked gives each level what its shares are worth, and lets go of
// levels that are gone and empty.
func (f *Fairness) divideLocked() {
	var names []string
	var all []terms
	for name, st := range f.levels {
		if st.quiescing && st.level.idle() {
			delete(f.levels, name)
			f.drops.forget(name)
			continue
		}
		names, all = append(names, name), append(all, st.terms)
	}
	for i, s := range divide(f.Seats, all) {
		st := f.levels[names[i]]
		st.share = s
		if st.limit < 0 { // new
			st.limit = s.nominal - (s.nominal-s.least)/2
		}
		st.most.Store(int64(mostSeats(s.nominal, queuingOf(&st.object.Spec).hand)))
		st.level.meters.configured(s)
	}
	f.lendLocked()
}

// adjust lends seats anew, by the demand of the period that ends.
func (f *Fairness) adjust() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, st := range f.levels {
		if st.quiescing && st.level.idle() {
			delete(f.levels, name)
			f.drops.forget(name)
			f.divideLocked()
			return
		}
	}
	f.lendLocked()
}

func (f *Fairness) lendLocked() {
	var states []*state
	var claims []claim
	for _, st := range f.levels {
		st.demand.update(st.level.takePeriod())
		states = append(states, st)
		claims = append(claims, claim{st.share, st.demand, st.level.exempt})
	}
	current, fair := lend(claims)
	f.meters.fair.Set(fair)
	for i, st := range states {
		st.limit = current[i]
		st.level.configure(queuingOf(&st.object.Spec), current[i])
		st.level.meters.adjusted(st.demand, claims[i].target(), current[i])
	}
}
