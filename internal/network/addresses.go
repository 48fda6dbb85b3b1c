package network

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
)

// pool decides which address is next. It is pure: who holds what is told to it.
type pool struct {
	prefix netip.Prefix
	first  netip.Addr // first address of a pod
	last   netip.Addr // last address of a pod
	recent netip.Addr // the address given last
	used   map[netip.Addr]struct{}
}

func newPool(prefix netip.Prefix) (*pool, error) {
	prefix = prefix.Masked()
	if !prefix.Addr().Is4() {
		return nil, fmt.Errorf("pod range %s: only IPv4 is supported", prefix)
	}
	if prefix.Bits() > 30 {
		return nil, fmt.Errorf("pod range %s has no room for a gateway and a pod", prefix)
	}
	last := binary.BigEndian.Uint32(prefix.Addr().AsSlice()) | ^uint32(0)>>prefix.Bits()
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], last-1) // the last address is the broadcast address
	return &pool{
		prefix: prefix,
		first:  gatewayOf(prefix).Next(),
		last:   netip.AddrFrom4(b),
		used:   map[netip.Addr]struct{}{},
	}, nil
}

// gatewayOf is the node's own address in its pod range: the first one.
func gatewayOf(prefix netip.Prefix) netip.Addr { return prefix.Masked().Addr().Next() }

// next is the first free address after the one given last, going round; false when the range is full.
func (p *pool) next() (netip.Addr, bool) {
	start := p.first
	if p.recent.IsValid() && !p.recent.Less(p.first) && p.recent.Less(p.last) {
		start = p.recent.Next()
	}
	for a := start; ; {
		if _, taken := p.used[a]; !taken {
			return a, true
		}
		if a == p.last {
			a = p.first
		} else {
			a = a.Next()
		}
		if a == start {
			return netip.Addr{}, false
		}
	}
}

func (p *pool) take(a netip.Addr)    { p.used[a], p.recent = struct{}{}, a }
func (p *pool) release(a netip.Addr) { delete(p.used, a) }

// macOf derives a link address from an IP: a neighbour's cache entry for an address stays right when the address has
// moved to another pod.
func macOf(a netip.Addr) net.HardwareAddr {
	b := a.As16()
	return net.HardwareAddr{0x0a, 0x58, b[12], b[13], b[14], b[15]}
}
