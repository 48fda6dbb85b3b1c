package proxy

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

type endpoint struct {
	addr                        netip.AddrPort
	ready, serving, terminating bool
	local                       bool
	hairpin                     bool
	zones, nodes                []string // hints
}

type portName struct {
	namespace, service, port string
	proto                    Protocol
}

// collect orders the slices' endpoints by Service port. Endpoints that are neither ready nor serving go nowhere.
func collect(in *Input) map[portName][]endpoint {
	byPort := make(map[portName][]endpoint, len(in.EndpointSlices))
	for _, s := range in.EndpointSlices {
		service := s.Labels[discoveryv1.LabelServiceName]
		if service == "" || s.AddressType != discoveryv1.AddressTypeIPv4 || s.DeletionTimestamp != nil {
			continue
		}
		for _, p := range s.Ports {
			if p.Port == nil || *p.Port < 1 || *p.Port > 65535 {
				continue
			}
			key := portName{namespace: s.Namespace, service: service, proto: protocol(corev1.ProtocolTCP)}
			if p.Name != nil {
				key.port = *p.Name
			}
			if p.Protocol != nil {
				key.proto = protocol(*p.Protocol)
			}
			eps := byPort[key]
			for i := range s.Endpoints {
				if e, ok := read(in, &s.Endpoints[i], uint16(*p.Port)); ok {
					eps = append(eps, e)
				}
			}
			byPort[key] = eps
		}
	}
	for key, eps := range byPort {
		// Slices overlap while an endpoint moves from one to another; the better of two conditions counts.
		slices.SortFunc(eps, func(a, b endpoint) int {
			if c := a.addr.Compare(b.addr); c != 0 {
				return c
			}
			return rank(b) - rank(a)
		})
		byPort[key] = slices.CompactFunc(eps, func(a, b endpoint) bool { return a.addr == b.addr })
	}
	return byPort
}

func rank(e endpoint) int {
	if e.ready {
		return 1
	}
	return 0
}

func read(in *Input, e *discoveryv1.Endpoint, port uint16) (endpoint, bool) {
	if len(e.Addresses) == 0 {
		return endpoint{}, false
	}
	addr, err := netip.ParseAddr(e.Addresses[0])
	if err != nil || !addr.Is4() {
		return endpoint{}, false
	}
	out := endpoint{addr: netip.AddrPortFrom(addr, port)}
	out.ready = e.Conditions.Ready == nil || *e.Conditions.Ready
	out.serving = out.ready
	if e.Conditions.Serving != nil {
		out.serving = *e.Conditions.Serving
	}
	out.terminating = e.Conditions.Terminating != nil && *e.Conditions.Terminating
	out.local = e.NodeName != nil && *e.NodeName == in.NodeName
	// An endpoint of no known node may be a process of this one.
	out.hairpin = out.local || e.NodeName == nil
	if e.Hints != nil {
		for _, z := range e.Hints.ForZones {
			out.zones = append(out.zones, z.Name)
		}
		for _, n := range e.Hints.ForNodes {
			out.nodes = append(out.nodes, n.Name)
		}
	}
	return out, out.ready || out.serving
}

// choose takes the ready endpoints among those that fit or, when there is none, those that terminate but still serve.
func choose(eps []endpoint, fits func(*endpoint) bool) []endpoint {
	var ready, ending []endpoint
	for i := range eps {
		switch e := &eps[i]; {
		case !fits(e):
		case e.ready:
			ready = append(ready, *e)
		case e.serving && e.terminating:
			ending = append(ending, *e)
		}
	}
	if len(ready) > 0 {
		return ready
	}
	return ending
}

// hinted narrows ready endpoints to those meant for this node or zone, provided that every one carries such a hint and
// one at least is meant for us; otherwise hints are not safe to follow.
func hinted(in *Input, eps []endpoint) []endpoint {
	narrow := func(us string, hints func(*endpoint) []string) []endpoint {
		var ours []endpoint
		for i := range eps {
			h := hints(&eps[i])
			if us == "" || !eps[i].ready || len(h) == 0 {
				return nil
			}
			if slices.Contains(h, us) {
				ours = append(ours, eps[i])
			}
		}
		return ours
	}
	if ours := narrow(in.NodeName, func(e *endpoint) []string { return e.nodes }); len(ours) > 0 {
		return ours
	}
	if ours := narrow(in.Zone, func(e *endpoint) []string { return e.zones }); len(ours) > 0 {
		return ours
	}
	return eps
}

func addrs(eps []endpoint) []netip.AddrPort {
	out := make([]netip.AddrPort, len(eps))
	for i := range eps {
		out[i] = eps[i].addr
	}
	return out
}
