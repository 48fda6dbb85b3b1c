package node

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Sizes of the ranges that nodes get, upstream's.
const (
	nodeBits4 = 24
	nodeBits6 = 64
)

// blocks cuts a range into ranges for nodes.
type blocks struct {
	base netip.Prefix
	bits int // of a node's range
}

func blocksOf(p netip.Prefix) blocks {
	p = p.Masked()
	n := nodeBits4
	if p.Addr().Is6() {
		n = nodeBits6
	}
	return blocks{base: p, bits: max(n, p.Bits())}
}

// count is how many there are; no cluster has more nodes than fit 16 bits.
func (b blocks) count() int { return 1 << min(b.bits-b.base.Bits(), 16) }

func (b blocks) at(i int) netip.Prefix {
	if b.base.Addr().Is4() {
		a := b.base.Addr().As4()
		v := binary.BigEndian.Uint32(a[:]) + uint32(i)<<(32-b.bits)
		binary.BigEndian.PutUint32(a[:], v)
		return netip.PrefixFrom(netip.AddrFrom4(a), b.bits)
	}
	a := b.base.Addr().As16()
	hi, lo := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])
	shift := 128 - b.bits
	if shift >= 64 {
		hi += uint64(i) << (shift - 64)
	} else {
		var carry uint64
		lo, carry = bits.Add64(lo, uint64(i)<<shift, 0)
		hi += carry
		if shift > 0 {
			hi += uint64(i) >> (64 - shift)
		}
	}
	binary.BigEndian.PutUint64(a[:8], hi)
	binary.BigEndian.PutUint64(a[8:], lo)
	return netip.PrefixFrom(netip.AddrFrom16(a), b.bits)
}

// free finds a block that overlaps none of used, from the one at start on and
// around. It returns the index to go on from.
func (b blocks) free(used []netip.Prefix, start int) (p netip.Prefix, next int, ok bool) {
	taken := make(map[netip.Prefix]bool, len(used))
	var odd []netip.Prefix // ranges of another size, made by others
	for _, u := range used {
		if u.Bits() == b.bits {
			taken[u.Masked()] = true
		} else {
			odd = append(odd, u)
		}
	}
	n := b.count()
search:
	for i := range n {
		at := (start + i) % n
		p := b.at(at)
		if taken[p] {
			continue
		}
		for _, u := range odd {
			if u.Overlaps(p) {
				continue search
			}
		}
		return p, (at + 1) % n, true
	}
	return netip.Prefix{}, start, false
}
