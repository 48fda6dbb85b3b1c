package proxy

import (
	"net/netip"
	"slices"
	"time"
)

// Protocol is a transport protocol by its number.
type Protocol uint8

// VIP is an address and port that packets are sent to.
type VIP struct {
	Addr  netip.Addr
	Proto Protocol
	Port  uint16
}

// PortKey is a port of every address of the node.
type PortKey struct {
	Proto Protocol
	Port  uint16
}

// Refusal is what happens to a packet that has nowhere to go.
type Refusal uint8

// The refusals: an ICMP error, or silence where other nodes may serve it.
const (
	Reject Refusal = iota + 1
	Drop
)

// Mark says which packets of a chain get the node's address as source.
type Mark uint8

// The choices.
const (
	MarkNone     Mark = iota
	MarkExternal      // those from outside of the pods' range
	MarkAll
)

// Chain is one chain of rules. Exactly one of Endpoints and Next is set.
type Chain struct {
	Mark      Mark
	Affinity  string // name of the affinity map, empty for none
	Endpoints []netip.AddrPort

	// An entry chain. Sources, if any, are the only ones let in. ShortCircuit is where pods and the node itself go,
	// past a policy that is for the outside.
	Sources      []netip.Prefix
	Filtered     bool // Sources bind, even if empty
	ShortCircuit string
	Next         string // goto; empty in an entry chain where nothing is local
}

func (c *Chain) equal(o *Chain) bool {
	return c == o || c.Mark == o.Mark && c.Affinity == o.Affinity && c.Filtered == o.Filtered && c.ShortCircuit == o.ShortCircuit &&
		c.Next == o.Next && slices.Equal(c.Endpoints, o.Endpoints) && slices.Equal(c.Sources, o.Sources)
}

// Ruleset is everything the node does for Services. It is a value: nobody changes it after Compile.
type Ruleset struct {
	Chains        map[string]*Chain
	VIPs          map[VIP]string     // → chain
	NodePorts     map[PortKey]string // → chain
	RefusedVIPs   map[VIP]Refusal
	RefusedPorts  map[PortKey]Refusal
	ClusterIPs    map[netip.Addr]struct{} // other ports of these are rejected
	Hairpins      map[netip.Addr]struct{} // endpoints that may reach themselves
	Affinities    map[string]time.Duration
	LocalVIPs     map[netip.Addr]struct{}
	ServiceRanges []netip.Prefix // packets to unknown addresses herein are dropped
	PodRange      netip.Prefix
}

func newRuleset(size int) *Ruleset {
	return &Ruleset{
		Chains: make(map[string]*Chain, size), VIPs: make(map[VIP]string, size), NodePorts: map[PortKey]string{},
		RefusedVIPs: map[VIP]Refusal{}, RefusedPorts: map[PortKey]Refusal{}, ClusterIPs: make(map[netip.Addr]struct{}, size),
		Hairpins: make(map[netip.Addr]struct{}, size), Affinities: map[string]time.Duration{}, LocalVIPs: map[netip.Addr]struct{}{},
	}
}
