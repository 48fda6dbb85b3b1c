package proxy

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/monohull/monohull/internal/host/nft"
)

// masqueradeMark is the bit of a packet's mark that asks for masquerade; it is cleared before the packet leaves.
const masqueradeMark = 0x4000

// affinityClientsMax bounds the clients remembered per Service port. A client beyond it is served without affinity.
const affinityClientsMax = 65536

// dynsetDelete is the operation that takes a key out of a set; golang.org/x/sys/unix does not name it.
const dynsetDelete = 2

// Names of maps, sets and chains of the table.
const (
	mapVIPs         = "service-ips"
	mapNodePorts    = "node-ports"
	mapRefusedVIPs  = "refused-ips"
	mapRefusedPorts = "refused-node-ports"
	setClusterIPs   = "cluster-ips"
	setHairpins     = "hairpins"
	setLocalVIPs    = "local-ips"
	mapEndpoints    = "endpoints-"     // and the shard: chain . index → endpoint
	setLive         = "live-endpoints" // chain . endpoint, of chains with affinity
	chainReject     = "reject"
)

var (
	typeVIP      = nft.Concat(nft.IPv4Addr, nft.InetProto, nft.InetService)
	typePort     = nft.Concat(nft.InetProto, nft.InetService)
	typeEndpoint = nft.Concat(nft.IPv4Addr, nft.InetService)
	typeIndexed  = nft.Concat(nft.Integer, nft.Integer, nft.Integer, nft.Integer)
	typeLive     = nft.Concat(nft.Integer, nft.Integer, nft.Integer, nft.IPv4Addr, nft.InetService)
	typePair     = nft.Concat(nft.IPv4Addr, nft.IPv4Addr)
)

// skeleton makes the table with what does not depend on any Service, in place of whatever is there.
func skeleton(b *nft.Batch, rs *Ruleset) {
	b.AddTable()
	b.DeleteTable()
	b.AddTable()
	b.AddSet(nft.Set{Name: mapVIPs, Key: typeVIP, Data: &nft.Verdict}, nil)
	b.AddSet(nft.Set{Name: mapNodePorts, Key: typePort, Data: &nft.Verdict}, nil)
	b.AddSet(nft.Set{Name: mapRefusedVIPs, Key: typeVIP, Data: &nft.Verdict}, nil)
	b.AddSet(nft.Set{Name: mapRefusedPorts, Key: typePort, Data: &nft.Verdict}, nil)
	b.AddSet(nft.Set{Name: setClusterIPs, Key: nft.IPv4Addr}, nil)
	b.AddSet(nft.Set{Name: setHairpins, Key: typePair}, nil)
	for i := range endpointShards {
		b.AddSet(nft.Set{Name: shardName(i), Key: typeIndexed, Data: &typeEndpoint}, nil)
	}
	b.AddSet(nft.Set{Name: setLive, Key: typeLive}, nil)
	var local []nft.Element
	for a := range rs.LocalVIPs {
		local = append(local, nft.Element{Key: a.AsSlice()})
	}
	b.AddSet(nft.Set{Name: setLocalVIPs, Key: nft.IPv4Addr}, local)

	b.AddChain(chainReject, nil)
	// Code 3: port unreachable, which a connecting client hears as "connection refused".
	b.AddRule(chainReject, &expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 3})

	vipKey := []expr.Any{nft.DestinationIP(nft.Reg0), nft.L4Proto(nft.Reg1), nft.DestinationPort(nft.Reg2)}
	portKey := []expr.Any{nft.L4Proto(nft.Reg0), nft.DestinationPort(nft.Reg1)}
	b.AddChain("services", nil)
	b.AddRule("services", nft.Join(vipKey, []expr.Any{nft.VerdictMap(nft.Reg0, mapVIPs, 0)})...)
	b.AddRule("services", nft.Join(
		[]expr.Any{nft.DestinationIP(nft.Reg0), &expr.Lookup{SourceRegister: nft.Reg0, SetName: setLocalVIPs, Invert: true}},
		nft.DestinationLocal(), portKey, []expr.Any{nft.VerdictMap(nft.Reg0, mapNodePorts, 0)})...)
	for _, base := range []struct {
		name string
		hook uint32
	}{{"nat-prerouting", nft.HookPrerouting}, {"nat-output", nft.HookOutput}} {
		b.AddChain(base.name, &nft.Hook{Type: "nat", Hook: base.hook, Priority: nft.PriorityDNAT})
		b.AddRule(base.name, nft.Jump("services"))
	}

	b.AddChain("nat-postrouting", &nft.Hook{Type: "nat", Hook: nft.HookPostrouting, Priority: nft.PrioritySNAT})
	b.AddRule("nat-postrouting", append(nft.Join(nft.MarkHas(masqueradeMark), nft.MarkClear(masqueradeMark)), nft.Masquerade())...)
	b.AddRule("nat-postrouting", nft.SourceIP(nft.Reg0), nft.DestinationIP(nft.Reg1),
		&expr.Lookup{SourceRegister: nft.Reg0, SetName: setHairpins}, nft.Masquerade())

	// What was not translated and is still addressed to a Service has no endpoint, or no such port.
	refuseVIP := nft.Join(nft.StateNew(), vipKey, []expr.Any{nft.VerdictMap(nft.Reg0, mapRefusedVIPs, 0)})
	b.AddChain("filter-input", &nft.Hook{Type: "filter", Hook: nft.HookInput, Priority: nft.PriorityFilter - 10})
	b.AddRule("filter-input", refuseVIP...)
	b.AddRule("filter-input", nft.Join(nft.StateNew(), portKey, []expr.Any{nft.VerdictMap(nft.Reg0, mapRefusedPorts, 0)})...)
	for _, base := range []struct {
		name string
		hook uint32
	}{{"filter-forward", nft.HookForward}, {"filter-output", nft.HookOutput}} {
		b.AddChain(base.name, &nft.Hook{Type: "filter", Hook: base.hook, Priority: nft.PriorityFilter - 10})
		b.AddRule(base.name, refuseVIP...)
		b.AddRule(base.name, nft.Join(nft.StateNew(), []expr.Any{nft.DestinationIP(nft.Reg0),
			&expr.Lookup{SourceRegister: nft.Reg0, SetName: setLocalVIPs}, nft.Accept()})...)
		b.AddRule(base.name, nft.Join(nft.StateNew(), []expr.Any{nft.DestinationIP(nft.Reg0),
			&expr.Lookup{SourceRegister: nft.Reg0, SetName: setClusterIPs}, nft.Goto(chainReject)})...)
		for _, p := range rs.ServiceRanges {
			b.AddRule(base.name, nft.Join(nft.StateNew(), nft.DestinationIn(p), []expr.Any{nft.Drop()})...)
		}
	}
}

// addRules writes a chain's rules.
func addRules(b *nft.Batch, name string, c *Chain, pods netip.Prefix) {
	switch {
	case c.Filtered:
		for _, p := range c.Sources {
			b.AddRule(name, append(nft.SourceIn(p), nft.Goto(c.Next))...)
		}
		b.AddRule(name, nft.Drop())
		return
	case len(c.Endpoints) == 0:
		if c.ShortCircuit != "" {
			if pods.IsValid() {
				b.AddRule(name, append(nft.SourceIn(pods), nft.Goto(c.ShortCircuit))...)
			}
			b.AddRule(name, nft.Join(nft.SourceLocal(), nft.MarkOr(masqueradeMark), []expr.Any{nft.Goto(c.ShortCircuit)})...)
		}
		if c.Mark == MarkAll {
			b.AddRule(name, nft.MarkOr(masqueradeMark)...)
		}
		if c.Next != "" {
			b.AddRule(name, nft.Goto(c.Next))
		}
		return
	}
	if c.Mark == MarkExternal && pods.IsValid() {
		b.AddRule(name, nft.Join(nft.SourceNotIn(pods), nft.MarkOr(masqueradeMark))...)
	}
	if c.Affinity != "" {
		addAffinity(b, name, c)
	}
	b.AddRule(name, append(pick(name, c.Endpoints), nft.DNAT(nft.Reg8, nft.Reg9))...)
}

// chainID stands for a chain in the keys of the maps that all chains share. Names are chosen by users: the hash is one
// in which nobody finds two with the same.
func chainID(name string) []byte {
	sum := sha256.Sum256([]byte(name))
	return sum[:12]
}

// endpointShards is the number of maps that hold endpoints.
const endpointShards = 64

func shardName(i int) string      { return mapEndpoints + strconv.Itoa(i) }
func shardOf(chain string) string { return shardName(int(chainID(chain)[0]) % endpointShards) }

// pick loads one endpoint, all as likely, into Reg8 (address) and Reg9 (port). It uses Reg4 to Reg7.
//
// Chains share the maps chain . index → endpoint. A map per chain would be simpler to read, but the kernel looks through
// all sets of a table for every one it makes; and through all members of a map for every rule that comes to use it,
// hence the shards.
func pick(name string, endpoints []netip.AddrPort) []expr.Any {
	if len(endpoints) == 1 {
		data := nft.AddrPortBytes(endpoints[0])
		return []expr.Any{&expr.Immediate{Register: nft.Reg8, Data: data[:4]}, &expr.Immediate{Register: nft.Reg9, Data: data[4:6]}}
	}
	return []expr.Any{
		&expr.Immediate{Register: nft.Reg4, Data: chainID(name)},
		&expr.Numgen{Register: nft.Reg7, Modulus: uint32(len(endpoints)), Type: unix.NFT_NG_RANDOM},
		&expr.Lookup{SourceRegister: nft.Reg4, SetName: shardOf(name), DestRegister: nft.Reg8, IsDestRegSet: true},
	}
}

// addAffinity writes two rules. The first leads a client that is remembered, with an endpoint that is still there, to
// it, and remembers it anew. The second picks and remembers; the old entry goes first, for an update leaves the value
// as it was. When the map is full the second rule breaks off and the plain one after it serves.
func addAffinity(b *nft.Batch, name string, c *Chain) {
	remember := func(op uint32) expr.Any {
		return &expr.Dynset{SrcRegKey: nft.Reg1, SrcRegData: nft.Reg8, SetName: c.Affinity, Operation: op}
	}
	b.AddRule(name, nft.SourceIP(nft.Reg1),
		&expr.Lookup{SourceRegister: nft.Reg1, SetName: c.Affinity, DestRegister: nft.Reg8, IsDestRegSet: true},
		&expr.Immediate{Register: nft.Reg5, Data: chainID(name)}, // Reg5 to Reg7, in front of the endpoint
		&expr.Lookup{SourceRegister: nft.Reg5, SetName: setLive},
		remember(unix.NFT_DYNSET_OP_UPDATE), nft.DNAT(nft.Reg8, nft.Reg9))
	exprs := append([]expr.Any{nft.SourceIP(nft.Reg1)}, pick(name, c.Endpoints)...)
	b.AddRule(name, append(exprs, remember(dynsetDelete), remember(unix.NFT_DYNSET_OP_UPDATE), nft.DNAT(nft.Reg8, nft.Reg9))...)
}

// members are a chain's entries in the shared maps.
func members(name string, c *Chain) (endpoints, live []nft.Element) {
	if c == nil || len(c.Endpoints) < 2 && c.Affinity == "" {
		return nil, nil
	}
	id := chainID(name)
	for i, e := range c.Endpoints {
		if len(c.Endpoints) > 1 {
			key := binary.NativeEndian.AppendUint32(slices.Clone(id), uint32(i))
			endpoints = append(endpoints, nft.Element{Key: key, Data: nft.AddrPortBytes(e)})
		}
		if c.Affinity != "" {
			live = append(live, nft.Element{Key: slices.Concat(id, nft.AddrPortBytes(e))})
		}
	}
	return endpoints, live
}

// without leaves out what is in other, too.
func without(list, other []nft.Element) []nft.Element {
	if len(list) == 0 || len(other) == 0 {
		return list
	}
	known := make(map[string]struct{}, len(other))
	id := func(e nft.Element) string { return string(e.Key) + string(e.Data) } // keys of one map are of one length
	for _, e := range other {
		known[id(e)] = struct{}{}
	}
	return slices.DeleteFunc(slices.Clone(list), func(e nft.Element) bool {
		_, both := known[id(e)]
		return both
	})
}

func addAffinityMap(b *nft.Batch, name string, timeout time.Duration) {
	b.AddSet(nft.Set{Name: name, Key: nft.IPv4Addr, Data: &typeEndpoint, Dynamic: true, Timeout: timeout, Size: affinityClientsMax}, nil)
}

func (r Refusal) verdict() *expr.Verdict {
	if r == Drop {
		return nft.Drop()
	}
	return nft.Goto(chainReject)
}

func (v VIP) key() []byte     { return nft.AddrProtoPortBytes(v.Addr, uint8(v.Proto), v.Port) }
func (p PortKey) key() []byte { return nft.ProtoPortBytes(uint8(p.Proto), p.Port) }

// elements turns map entries into set members.
func elements[K comparable, V any](m map[K]V, key func(K) []byte, verdict func(V) *expr.Verdict) []nft.Element {
	out := make([]nft.Element, 0, len(m))
	for k, v := range m {
		e := nft.Element{Key: key(k)}
		if verdict != nil {
			e.Verdict = verdict(v)
		}
		out = append(out, e)
	}
	return out
}

func addrKey(a netip.Addr) []byte { return a.AsSlice() }
func pairKey(a netip.Addr) []byte { return append(a.AsSlice(), a.AsSlice()...) }
