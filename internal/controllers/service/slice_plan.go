package service

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
)

// plan is what is to be done to a set of slices. Updates are private copies.
type plan struct {
	create, update, remove []*discoveryv1.EndpointSlice
}

// planFamily brings the slices of one address family to what groups ask for.
// blank makes an empty slice with the right metadata for some ports; owned
// tells slices of this very owner from those of a namesake that is gone.
// Metadata of slices that stay is compared with meta and corrected.
func planFamily(existing []*discoveryv1.EndpointSlice, groups map[string]*portGroup, most int,
	owned func(*discoveryv1.EndpointSlice) bool,
	blank func([]discoveryv1.EndpointPort) *discoveryv1.EndpointSlice,
	stale func(*discoveryv1.EndpointSlice) bool,
	correct func(*discoveryv1.EndpointSlice),
) plan {
	var p plan
	byPorts := map[string][]*discoveryv1.EndpointSlice{}
	for _, s := range existing {
		key := portsKey(s.Ports)
		if !owned(s) || groups[key] == nil {
			p.remove = append(p.remove, s)
			continue
		}
		byPorts[key] = append(byPorts[key], s)
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		g := groups[key]
		q := planGroup(byPorts[key], g, most, blank, stale, correct)
		p.create = append(p.create, q.create...)
		p.update = append(p.update, q.update...)
		p.remove = append(p.remove, q.remove...)
	}
	// one slice stays, if an empty one: it says that there is nobody
	if len(p.create) == 0 && len(p.remove) == len(existing) {
		p.placeholder(blank([]discoveryv1.EndpointPort{}), owned, stale, correct)
	}
	p.reuse(owned, correct)
	return p
}

// placeholder keeps an empty slice that is there already, or adds one.
func (p *plan) placeholder(empty *discoveryv1.EndpointSlice, owned, stale func(*discoveryv1.EndpointSlice) bool, correct func(*discoveryv1.EndpointSlice)) {
	for i, s := range p.remove {
		if owned(s) && len(s.Endpoints) == 0 && len(s.Ports) == 0 {
			p.remove = slices.Delete(p.remove, i, i+1)
			if stale(s) {
				c := s.DeepCopy()
				correct(c)
				p.update = append(p.update, c)
			}
			return
		}
	}
	p.create = append(p.create, empty)
}

// reuse turns a deletion and a creation into an update.
func (p *plan) reuse(owned func(*discoveryv1.EndpointSlice) bool, correct func(*discoveryv1.EndpointSlice)) {
	for i := 0; i < len(p.remove) && len(p.create) > 0; {
		old := p.remove[i]
		if !owned(old) {
			i++
			continue
		}
		n := len(p.create) - 1
		made := p.create[n]
		c := old.DeepCopy()
		c.Ports, c.Endpoints = made.Ports, made.Endpoints
		correct(c)
		p.update, p.create = append(p.update, c), p.create[:n]
		p.remove = slices.Delete(p.remove, i, i+1)
	}
}

// planGroup distributes endpoints of equal ports over slices. Those in place
// stay where they are, so that a change touches as few slices as it can: first
// slices that are written anyway take what is new, then the one that the rest
// fills best, then new ones.
func planGroup(existing []*discoveryv1.EndpointSlice, g *portGroup, most int,
	blank func([]discoveryv1.EndpointPort) *discoveryv1.EndpointSlice,
	stale func(*discoveryv1.EndpointSlice) bool, correct func(*discoveryv1.EndpointSlice),
) plan {
	var p plan
	pending := map[string]discoveryv1.Endpoint{}
	for _, e := range g.endpoints {
		pending[endpointKey(&e)] = e
	}
	var untouched []*discoveryv1.EndpointSlice
	for _, s := range existing {
		var kept []discoveryv1.Endpoint
		changed := stale(s)
		for i := range s.Endpoints {
			key := endpointKey(&s.Endpoints[i])
			want, ok := pending[key]
			if !ok {
				changed = true
				continue
			}
			delete(pending, key)
			kept = append(kept, want)
			changed = changed || !equal(want, s.Endpoints[i])
		}
		switch {
		case len(kept) == 0:
			p.remove = append(p.remove, s)
		case changed:
			c := s.DeepCopy()
			c.Endpoints = kept
			correct(c)
			p.update = append(p.update, c)
		default:
			untouched = append(untouched, s)
		}
	}
	var rest []discoveryv1.Endpoint
	for _, key := range slices.Sorted(maps.Keys(pending)) {
		rest = append(rest, pending[key])
	}
	take := func(s *discoveryv1.EndpointSlice) {
		n := min(len(rest), most-len(s.Endpoints))
		if n > 0 {
			s.Endpoints, rest = append(s.Endpoints, rest[:n]...), rest[n:]
		}
	}
	if len(rest) > 0 {
		slices.SortStableFunc(p.update, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(len(b.Endpoints), len(a.Endpoints)) })
		for _, s := range p.update {
			take(s)
		}
		// one that would be deleted may as well be filled again
		for len(rest) > 0 && len(p.remove) > 0 {
			c := p.remove[0].DeepCopy()
			p.remove = p.remove[1:]
			c.Endpoints = nil
			correct(c)
			take(c)
			p.update = append(p.update, c)
		}
	}
	for len(rest) > 0 {
		if best := fitting(untouched, len(rest), most); best >= 0 {
			c := untouched[best].DeepCopy()
			take(c)
			p.update = append(p.update, c)
			break
		}
		s := blank(g.ports)
		take(s)
		p.create = append(p.create, s)
	}
	return p
}

// fitting is the slice that n more endpoints come closest to filling, -1 for
// none.
func fitting(list []*discoveryv1.EndpointSlice, n, most int) int {
	best, least := -1, most
	if n >= most {
		return best
	}
	for i, s := range list {
		if left := most - len(s.Endpoints) - n; left >= 0 && left < least {
			best, least = i, left
		}
	}
	return best
}

// endpointKey identifies an endpoint; what is not in it may change in place.
func endpointKey(e *discoveryv1.Endpoint) string {
	parts := slices.Sorted(slices.Values(e.Addresses))
	if e.Hostname != nil {
		parts = append(parts, "host="+*e.Hostname)
	}
	if e.TargetRef != nil {
		parts = append(parts, "ref="+e.TargetRef.Kind+"/"+e.TargetRef.Namespace+"/"+e.TargetRef.Name+"/"+string(e.TargetRef.UID))
	}
	return strings.Join(parts, " ")
}
