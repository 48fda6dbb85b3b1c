package proxy

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Entries are changes to one map of the ruleset: what goes away and what comes. A key whose value changes is in both.
type Entries[K comparable, V any] struct {
	Delete map[K]V
	Add    map[K]V
}

// Len is the number of changes.
func (e Entries[K, V]) Len() int { return len(e.Delete) + len(e.Add) }

// Changes lead from one ruleset to another.
type Changes struct {
	AddChains    []string // made anew, sorted
	UpdateChains []string // rewritten
	DeleteChains []string

	VIPs         Entries[VIP, string]
	NodePorts    Entries[PortKey, string]
	RefusedVIPs  Entries[VIP, Refusal]
	RefusedPorts Entries[PortKey, Refusal]
	ClusterIPs   Entries[netip.Addr, struct{}]
	Hairpins     Entries[netip.Addr, struct{}]
	Affinities   Entries[string, time.Duration]

	// Static is true when what every rule rests on changed, and the table has to be made anew.
	Static bool
}

// Len is the number of things that change.
func (c *Changes) Len() int {
	n := len(c.AddChains) + len(c.UpdateChains) + len(c.DeleteChains) + c.VIPs.Len() + c.NodePorts.Len() + c.RefusedVIPs.Len() +
		c.RefusedPorts.Len() + c.ClusterIPs.Len() + c.Hairpins.Len() + c.Affinities.Len()
	if c.Static {
		n++
	}
	return n
}

// Diff decides what to change in an installed ruleset so that it is the wanted one.
func Diff(installed, wanted *Ruleset) *Changes {
	c := &Changes{
		VIPs:         diff(installed.VIPs, wanted.VIPs),
		NodePorts:    diff(installed.NodePorts, wanted.NodePorts),
		RefusedVIPs:  diff(installed.RefusedVIPs, wanted.RefusedVIPs),
		RefusedPorts: diff(installed.RefusedPorts, wanted.RefusedPorts),
		ClusterIPs:   diff(installed.ClusterIPs, wanted.ClusterIPs),
		Hairpins:     diff(installed.Hairpins, wanted.Hairpins),
		Affinities:   diff(installed.Affinities, wanted.Affinities),
		Static: installed.PodRange != wanted.PodRange || !slices.Equal(installed.ServiceRanges, wanted.ServiceRanges) ||
			!maps.Equal(installed.LocalVIPs, wanted.LocalVIPs),
	}
	for name, chain := range wanted.Chains {
		old, ok := installed.Chains[name]
		switch {
		case !ok:
			c.AddChains = append(c.AddChains, name)
		case !old.equal(chain) || chain.Affinity != "" && c.Affinities.Len() > 0 && c.affinityChanged(chain.Affinity):
			c.UpdateChains = append(c.UpdateChains, name)
		}
	}
	for name := range installed.Chains {
		if _, ok := wanted.Chains[name]; !ok {
			c.DeleteChains = append(c.DeleteChains, name)
		}
	}
	slices.Sort(c.AddChains)
	slices.Sort(c.UpdateChains)
	slices.Sort(c.DeleteChains)
	return c
}

// affinityChanged tells that a map with this name is made anew: rules that refer to the old one have to follow.
func (c *Changes) affinityChanged(name string) bool {
	_, changed := c.Affinities.Add[name]
	return changed
}

func diff[K comparable, V comparable](old, want map[K]V) Entries[K, V] {
	var e Entries[K, V]
	for k, v := range want {
		if o, ok := old[k]; !ok || o != v {
			if e.Add == nil {
				e.Add = map[K]V{}
			}
			e.Add[k] = v
		}
	}
	for k, o := range old {
		if v, ok := want[k]; !ok || o != v {
			if e.Delete == nil {
				e.Delete = map[K]V{}
			}
			e.Delete[k] = o
		}
	}
	return e
}

// stale decides which tracked UDP conversations a change leaves behind: for each frontend whose endpoints changed,
// those that may still serve it. A conversation to a frontend with another peer has to start anew.
type stale struct {
	vips  map[VIP]map[netip.AddrPort]struct{}
	ports map[uint16]map[netip.AddrPort]struct{}
}

func (s *stale) empty() bool { return len(s.vips)+len(s.ports) == 0 }

func staleUDP(installed, wanted *Ruleset, c *Changes) *stale {
	s := &stale{vips: map[VIP]map[netip.AddrPort]struct{}{}, ports: map[uint16]map[netip.AddrPort]struct{}{}}
	shrunk := map[string]bool{}
	for _, name := range slices.Concat(c.UpdateChains, c.DeleteChains) {
		if len(name) == 0 || !lost(installed.Chains[name], wanted.Chains[name]) {
			continue
		}
		shrunk[name] = true
	}
	affected := func(chain string) bool {
		if chain == "" {
			return false
		}
		for range chainDepth {
			if shrunk[chain] {
				return true
			}
			next := installed.Chains[chain]
			if next == nil {
				return false
			}
			if next.ShortCircuit != "" && shrunk[next.ShortCircuit] {
				return true
			}
			chain = next.Next
		}
		return false
	}
	vip := func(k VIP) {
		if k.Proto == unix.IPPROTO_UDP {
			s.vips[k] = wanted.reachable(wanted.VIPs[k])
		}
	}
	port := func(k PortKey) {
		if k.Proto == unix.IPPROTO_UDP {
			s.ports[k.Port] = wanted.reachable(wanted.NodePorts[k])
		}
	}
	if len(shrunk) > 0 {
		for k, chain := range installed.VIPs {
			if k.Proto == unix.IPPROTO_UDP && affected(chain) {
				vip(k)
			}
		}
		for k, chain := range installed.NodePorts {
			if k.Proto == unix.IPPROTO_UDP && affected(chain) {
				port(k)
			}
		}
	}
	// A frontend that comes or goes: packets sent before were tracked without translation, or with a former one.
	for _, e := range []map[VIP]string{c.VIPs.Add, c.VIPs.Delete} {
		for k := range e {
			vip(k)
		}
	}
	for _, e := range []map[PortKey]string{c.NodePorts.Add, c.NodePorts.Delete} {
		for k := range e {
			port(k)
		}
	}
	return s
}

// chainDepth is the longest way from a map to endpoints: firewall, external, service.
const chainDepth = 4

// reachable are the endpoints at the end of a chain.
func (rs *Ruleset) reachable(chain string) map[netip.AddrPort]struct{} {
	out := map[netip.AddrPort]struct{}{}
	var walk func(name string, depth int)
	walk = func(name string, depth int) {
		c := rs.Chains[name]
		if c == nil || depth == 0 {
			return
		}
		for _, e := range c.Endpoints {
			out[e] = struct{}{}
		}
		walk(c.ShortCircuit, depth-1)
		walk(c.Next, depth-1)
	}
	walk(chain, chainDepth)
	return out
}

// lost tells that a chain no longer has an endpoint that it had.
func lost(old, now *Chain) bool {
	if old == nil {
		return false
	}
	if now == nil {
		return true
	}
	for _, e := range old.Endpoints {
		if _, found := slices.BinarySearchFunc(now.Endpoints, e, netip.AddrPort.Compare); !found {
			return true
		}
	}
	return old.Next != now.Next || old.ShortCircuit != now.ShortCircuit
}

// sortedKeys makes transactions, and their errors, the same from run to run.
func sortedKeys[V any](m map[string]V) []string {
	return slices.SortedFunc(maps.Keys(m), cmp.Compare[string])
}
