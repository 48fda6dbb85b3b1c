package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Registers: sixteen of four bytes each, so that neighbours form a concatenation.
const (
	Reg0 uint32 = unix.NFT_REG32_00 + iota
	Reg1
	Reg2
	Reg3
	Reg4
	Reg5
	Reg6
	Reg7
	Reg8
	Reg9
)

// SourceIP and DestinationIP load an address of the packet.
func SourceIP(reg uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}
}

// DestinationIP loads the packet's destination address.
func DestinationIP(reg uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}
}

// L4Proto loads the transport protocol's number.
func L4Proto(reg uint32) expr.Any {
	return &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}
}

// DestinationPort loads the destination port: the same two bytes in TCP, UDP and SCTP.
func DestinationPort(reg uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
}

// Equal and NotEqual compare a register with bytes.
func Equal(reg uint32, data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: data}
}

// NotEqual compares a register with bytes.
func NotEqual(reg uint32, data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: data}
}

func in(prefix netip.Prefix, load expr.Any, op expr.CmpOp) []expr.Any {
	mask := make([]byte, 4)
	binary.BigEndian.PutUint32(mask, ^uint32(0)<<(32-prefix.Bits()))
	if prefix.Bits() == 0 {
		mask = []byte{0, 0, 0, 0}
	}
	return []expr.Any{load,
		&expr.Bitwise{SourceRegister: Reg0, DestRegister: Reg0, Len: 4, Mask: mask, Xor: []byte{0, 0, 0, 0}},
		&expr.Cmp{Op: op, Register: Reg0, Data: prefix.Masked().Addr().AsSlice()}}
}

// SourceIn matches packets from an IPv4 prefix; it uses Reg0.
func SourceIn(p netip.Prefix) []expr.Any { return in(p, SourceIP(Reg0), expr.CmpOpEq) }

// SourceNotIn matches packets from outside an IPv4 prefix; it uses Reg0.
func SourceNotIn(p netip.Prefix) []expr.Any { return in(p, SourceIP(Reg0), expr.CmpOpNeq) }

// DestinationIn matches packets to an IPv4 prefix; it uses Reg0.
func DestinationIn(p netip.Prefix) []expr.Any { return in(p, DestinationIP(Reg0), expr.CmpOpEq) }

// DestinationNotIn matches packets to outside an IPv4 prefix; it uses Reg0.
func DestinationNotIn(p netip.Prefix) []expr.Any { return in(p, DestinationIP(Reg0), expr.CmpOpNeq) }

func local(fib *expr.Fib) []expr.Any {
	fib.Register, fib.ResultADDRTYPE = Reg0, true
	return []expr.Any{fib, Equal(Reg0, binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL))}
}

// DestinationLocal matches packets to an address of this host.
func DestinationLocal() []expr.Any { return local(&expr.Fib{FlagDADDR: true}) }

// SourceLocal matches packets from an address of this host.
func SourceLocal() []expr.Any { return local(&expr.Fib{FlagSADDR: true}) }

// StateNew matches the first packet of a connection.
func StateNew() []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: Reg0, Key: expr.CtKeySTATE},
		&expr.Bitwise{SourceRegister: Reg0, DestRegister: Reg0, Len: 4,
			Mask: binary.NativeEndian.AppendUint32(nil, expr.CtStateBitNEW), Xor: []byte{0, 0, 0, 0}},
		NotEqual(Reg0, []byte{0, 0, 0, 0}),
	}
}

// MarkOr sets bits of the packet's mark.
func MarkOr(bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: Reg0},
		&expr.Bitwise{SourceRegister: Reg0, DestRegister: Reg0, Len: 4,
			Mask: binary.NativeEndian.AppendUint32(nil, ^bits), Xor: binary.NativeEndian.AppendUint32(nil, bits)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: Reg0},
	}
}

// MarkHas matches packets with these bits in their mark.
func MarkHas(bits uint32) []expr.Any {
	b := binary.NativeEndian.AppendUint32(nil, bits)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: Reg0},
		&expr.Bitwise{SourceRegister: Reg0, DestRegister: Reg0, Len: 4, Mask: b, Xor: []byte{0, 0, 0, 0}},
		Equal(Reg0, b),
	}
}

// MarkClear clears bits of the packet's mark.
func MarkClear(bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: Reg0},
		&expr.Bitwise{SourceRegister: Reg0, DestRegister: Reg0, Len: 4,
			Mask: binary.NativeEndian.AppendUint32(nil, ^bits), Xor: []byte{0, 0, 0, 0}},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: Reg0},
	}
}

// Masquerade rewrites the source to the address of the outgoing link, with a random port.
func Masquerade() expr.Any { return &expr.Masq{FullyRandom: true} }

// DNAT rewrites the destination to the address and port held in two registers.
func DNAT(addrReg, portReg uint32) expr.Any {
	return &expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: addrReg, RegProtoMin: portReg}
}

// InterfaceName is a link's name as the kernel compares it.
func InterfaceName(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// AddrPortBytes is an address and a port as a concatenation.
func AddrPortBytes(a netip.AddrPort) []byte {
	b := append(make([]byte, 0, 8), a.Addr().AsSlice()...)
	return append(binary.BigEndian.AppendUint16(b, a.Port()), 0, 0)
}

// ProtoPortBytes is a protocol number and a port as a concatenation.
func ProtoPortBytes(proto uint8, port uint16) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{proto, 0, 0, 0}, port), 0, 0)
}

// AddrProtoPortBytes is an address, a protocol number and a port as a concatenation.
func AddrProtoPortBytes(a netip.Addr, proto uint8, port uint16) []byte {
	return append(append(make([]byte, 0, 12), a.AsSlice()...), ProtoPortBytes(proto, port)...)
}

// Goto ends in another chain.
func Goto(chain string) *expr.Verdict { return &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain} }

// Jump continues in another chain and comes back.
func Jump(chain string) *expr.Verdict { return &expr.Verdict{Kind: expr.VerdictJump, Chain: chain} }

// Accept ends this base chain.
func Accept() *expr.Verdict { return &expr.Verdict{Kind: expr.VerdictAccept} }

// Drop drops the packet.
func Drop() *expr.Verdict { return &expr.Verdict{Kind: expr.VerdictDrop} }

// VerdictMap looks a key up in a map of verdicts.
func VerdictMap(reg uint32, set string, id uint32) expr.Any {
	return &expr.Lookup{SourceRegister: reg, SetName: set, SetID: id, DestRegister: 0, IsDestRegSet: true}
}

// Join concatenates lists of expressions into one rule.
func Join(parts ...[]expr.Any) []expr.Any {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}
