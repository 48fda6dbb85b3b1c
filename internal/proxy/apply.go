package proxy

import (
	"fmt"
	"slices"

	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/monohull/monohull/internal/host/nft"
)

// installBatchBytes is the size from which a first installation starts another transaction. It is far below what the
// socket takes, and so large that ten thousand Services are a handful of commits.
const installBatchBytes = 2 << 20

// table writes rulesets into the kernel.
type table struct {
	name string
	nft  *nft.Conn
	ct   *netlink.Handle
}

// install makes the table anew with everything in it. Chains go first, in several transactions when they are many;
// the maps that lead to them follow, so that a Service works whole or not yet.
func (t *table) install(rs *Ruleset) error {
	b := nft.NewBatch(t.name)
	skeleton(b, rs)
	flush := func(last bool) error {
		if !last && b.Bytes() < installBatchBytes {
			return nil
		}
		err := t.nft.Apply(b)
		b = nft.NewBatch(t.name)
		return err
	}
	for _, name := range sortedKeys(rs.Affinities) {
		addAffinityMap(b, name, rs.Affinities[name])
		if err := flush(false); err != nil {
			return fmt.Errorf("install Service rules: %w", err)
		}
	}
	// A chain is made before another leads to it: endpoint chains, then entries, then firewalls.
	for _, layer := range []func(*Chain) bool{
		func(c *Chain) bool { return len(c.Endpoints) > 0 },
		func(c *Chain) bool { return len(c.Endpoints) == 0 && !c.Filtered },
		func(c *Chain) bool { return c.Filtered },
	} {
		for name, c := range rs.Chains {
			if !layer(c) {
				continue
			}
			b.AddChain(name, nil)
			addRules(b, name, c, rs.PodRange)
			if err := flush(false); err != nil {
				return fmt.Errorf("install Service rules: %w", err)
			}
		}
	}
	// Members come after the rules that use their map: see pick.
	shards := map[string][]nft.Element{}
	var live []nft.Element
	for name, c := range rs.Chains {
		e, l := members(name, c)
		shard := shardOf(name)
		shards[shard], live = append(shards[shard], e...), append(live, l...)
	}
	for _, shard := range sortedKeys(shards) {
		b.AddElements(shard, shards[shard])
	}
	b.AddElements(setLive, live)
	empty := newRuleset(0)
	all := &Changes{
		VIPs: diff(empty.VIPs, rs.VIPs), NodePorts: diff(empty.NodePorts, rs.NodePorts),
		RefusedVIPs: diff(empty.RefusedVIPs, rs.RefusedVIPs), RefusedPorts: diff(empty.RefusedPorts, rs.RefusedPorts),
		ClusterIPs: diff(empty.ClusterIPs, rs.ClusterIPs), Hairpins: diff(empty.Hairpins, rs.Hairpins),
	}
	addEntries(b, all)
	if err := flush(true); err != nil {
		return fmt.Errorf("install Service rules: %w", err)
	}
	return nil
}

// change applies changes in one transaction.
func (t *table) change(c *Changes, installed, rs *Ruleset) error {
	b := nft.NewBatch(t.name)
	// References go before what they refer to, and come after it: map members and rules, then chains, then maps.
	deleteEntries(b, c)
	for _, name := range c.UpdateChains {
		b.FlushChain(name)
	}
	for _, name := range c.DeleteChains {
		b.FlushChain(name)
	}
	for _, name := range c.DeleteChains {
		b.DeleteChain(name)
	}
	for _, name := range sortedKeys(c.Affinities.Delete) {
		b.DeleteSet(name)
	}
	for _, name := range slices.Concat(c.DeleteChains, c.UpdateChains) {
		hadEndpoints, hadLive := members(name, installed.Chains[name])
		endpoints, live := members(name, rs.Chains[name])
		b.DeleteElements(shardOf(name), without(hadEndpoints, endpoints))
		b.DeleteElements(setLive, without(hadLive, live))
	}
	for _, name := range slices.Concat(c.AddChains, c.UpdateChains) {
		hadEndpoints, hadLive := members(name, installed.Chains[name])
		endpoints, live := members(name, rs.Chains[name])
		b.AddElements(shardOf(name), without(endpoints, hadEndpoints))
		b.AddElements(setLive, without(live, hadLive))
	}
	for _, name := range sortedKeys(c.Affinities.Add) {
		addAffinityMap(b, name, c.Affinities.Add[name])
	}
	for _, name := range c.AddChains {
		b.AddChain(name, nil)
	}
	for _, names := range [][]string{c.AddChains, c.UpdateChains} {
		for _, name := range names {
			addRules(b, name, rs.Chains[name], rs.PodRange)
		}
	}
	addEntries(b, c)
	if err := t.nft.Apply(b); err != nil {
		return fmt.Errorf("change Service rules: %w", err)
	}
	return nil
}

func addEntries(b *nft.Batch, c *Changes) {
	b.AddElements(mapVIPs, elements(c.VIPs.Add, VIP.key, nft.Goto))
	b.AddElements(mapNodePorts, elements(c.NodePorts.Add, PortKey.key, nft.Goto))
	b.AddElements(mapRefusedVIPs, elements(c.RefusedVIPs.Add, VIP.key, Refusal.verdict))
	b.AddElements(mapRefusedPorts, elements(c.RefusedPorts.Add, PortKey.key, Refusal.verdict))
	b.AddElements(setClusterIPs, elements(c.ClusterIPs.Add, addrKey, none))
	b.AddElements(setHairpins, elements(c.Hairpins.Add, pairKey, none))
}

func deleteEntries(b *nft.Batch, c *Changes) {
	b.DeleteElements(mapVIPs, elements(c.VIPs.Delete, VIP.key, nft.Goto))
	b.DeleteElements(mapNodePorts, elements(c.NodePorts.Delete, PortKey.key, nft.Goto))
	b.DeleteElements(mapRefusedVIPs, elements(c.RefusedVIPs.Delete, VIP.key, Refusal.verdict))
	b.DeleteElements(mapRefusedPorts, elements(c.RefusedPorts.Delete, PortKey.key, Refusal.verdict))
	b.DeleteElements(setClusterIPs, elements(c.ClusterIPs.Delete, addrKey, none))
	b.DeleteElements(setHairpins, elements(c.Hairpins.Delete, pairKey, none))
}

// none is the verdict of a plain set's members.
func none(struct{}) *expr.Verdict { return nil }

// remove deletes the table, there or not.
func (t *table) remove() error {
	b := nft.NewBatch(t.name)
	b.AddTable()
	b.DeleteTable()
	if err := t.nft.Apply(b); err != nil {
		return fmt.Errorf("remove Service rules: %w", err)
	}
	return nil
}

// MatchConntrackFlow tells that a tracked conversation is with a frontend that changed, and its peer no longer serves it.
func (s *stale) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	if f.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to, ok := addrFrom(f.Forward.DstIP)
	peer, ok2 := addrFrom(f.Reverse.SrcIP)
	if !ok || !ok2 {
		return false
	}
	serving, ok := s.vips[VIP{to, unix.IPPROTO_UDP, f.Forward.DstPort}]
	if !ok {
		if serving, ok = s.ports[f.Forward.DstPort]; !ok {
			return false
		}
	}
	_, still := serving[addrPort(peer, f.Reverse.SrcPort)]
	return !still
}

// forget deletes stale tracking entries.
func (t *table) forget(s *stale) error {
	if s.empty() {
		return nil
	}
	if _, err := t.ct.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, s); err != nil {
		return fmt.Errorf("drop tracked UDP flows: %w", err)
	}
	return nil
}
