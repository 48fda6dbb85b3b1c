// Package nft writes nftables transactions to the kernel.
//
// One Batch is one transaction: all of it happens, or none. It is encoded by hand into one buffer, without asking the
// kernel to acknowledge or echo each message: the kernel handles a batch within the send call and queues a reply only
// for what failed, so a transaction of any size can not overrun the receive buffer. Expressions are those of
// github.com/google/nftables. The room touches one netlink socket; its tests are the packet tests of network and proxy.
package nft

import (
	"encoding/binary"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Hooks, chain types and priorities of base chains.
const (
	HookPrerouting  = unix.NF_INET_PRE_ROUTING
	HookInput       = unix.NF_INET_LOCAL_IN
	HookForward     = unix.NF_INET_FORWARD
	HookOutput      = unix.NF_INET_LOCAL_OUT
	HookPostrouting = unix.NF_INET_POST_ROUTING

	PriorityRaw    = -300
	PriorityDNAT   = -100
	PriorityFilter = 0
	PrioritySNAT   = 100
)

// DataType is an nftables datatype: its number in nft's own table (so that `nft list` prints it) and its width.
type DataType struct {
	magic uint32
	bytes uint32 // as stored: concatenated parts are padded to four bytes
	parts []uint32
}

// The data types the rooms use.
var (
	Verdict     = DataType{magic: uint32(0xffffff00)}
	Integer     = DataType{magic: 4, bytes: 4}
	IPv4Addr    = DataType{magic: 7, bytes: 4}
	InetProto   = DataType{magic: 12, bytes: 1}
	InetService = DataType{magic: 13, bytes: 2}
)

// Concat is the concatenation of types.
func Concat(types ...DataType) DataType {
	var c DataType
	for _, t := range types {
		c.magic = c.magic<<6 | t.magic
		c.bytes += (t.bytes + 3) &^ 3
		c.parts = append(c.parts, t.bytes)
	}
	return c
}

// Set is a set or, where Data is not nil, a map.
type Set struct {
	Name      string
	Key       DataType
	Data      *DataType
	Anonymous bool          // belongs to one rule and dies with it
	Timeout   time.Duration // elements expire, counted from their last update
	Dynamic   bool          // written by the packet path
	Size      uint32        // bound, 0 for none
}

// Element is one member of a set: Key, and for a map Data or Verdict.
type Element struct {
	Key     []byte
	Data    []byte
	Verdict *expr.Verdict
}

// Hook makes a chain a base chain.
type Hook struct {
	Type     string // filter or nat
	Hook     uint32
	Priority int32
}

// elementsPerMessage keeps a list of elements under the 64 KiB an attribute can hold: a verdict element with the
// longest chain name takes about 330 bytes.
const elementsPerMessage = 150

// Batch is a transaction under construction, for one table of family ip.
type Batch struct {
	Table string
	buf   []byte
	seq   uint32
	sets  uint32
	what  []string // what each message attempts, by sequence number, for errors
	err   error
}

// NewBatch starts a transaction on a table.
func NewBatch(table string) *Batch {
	b := &Batch{Table: table, buf: make([]byte, 0, 64<<10)}
	b.message(unix.NFNL_MSG_BATCH_BEGIN, 0, "begin", func() {})
	return b
}

// Len is the number of messages so far.
func (b *Batch) Len() int { return len(b.what) - 1 }

// Bytes is the size so far.
func (b *Batch) Bytes() int { return len(b.buf) }

func (b *Batch) message(kind uint16, flags uint16, what string, body func()) {
	start := len(b.buf)
	control := kind == unix.NFNL_MSG_BATCH_BEGIN || kind == unix.NFNL_MSG_BATCH_END
	family, resource := byte(unix.NFPROTO_IPV4), uint16(0)
	if control {
		family, resource = 0, unix.NFNL_SUBSYS_NFTABLES
	} else {
		kind |= unix.NFNL_SUBSYS_NFTABLES << 8
	}
	b.buf = append(b.buf, 0, 0, 0, 0)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, kind)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, unix.NLM_F_REQUEST|flags)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, b.seq)
	b.buf = append(b.buf, 0, 0, 0, 0)
	b.buf = append(b.buf, family, 0)
	b.buf = binary.BigEndian.AppendUint16(b.buf, resource)
	b.seq++
	b.what = append(b.what, what)
	body()
	binary.NativeEndian.PutUint32(b.buf[start:], uint32(len(b.buf)-start))
}

func (b *Batch) attr(kind uint16, data []byte) {
	b.buf = binary.NativeEndian.AppendUint16(b.buf, uint16(4+len(data)))
	b.buf = binary.NativeEndian.AppendUint16(b.buf, kind)
	b.buf = append(b.buf, data...)
	for len(b.buf)%4 != 0 {
		b.buf = append(b.buf, 0)
	}
}

func (b *Batch) str(kind uint16, s string) {
	b.buf = binary.NativeEndian.AppendUint16(b.buf, uint16(5+len(s)))
	b.buf = binary.NativeEndian.AppendUint16(b.buf, kind)
	b.buf = append(b.buf, s...)
	b.buf = append(b.buf, 0)
	for len(b.buf)%4 != 0 {
		b.buf = append(b.buf, 0)
	}
}

func (b *Batch) u32(kind uint16, v uint32) {
	b.buf = binary.NativeEndian.AppendUint16(b.buf, 8)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, kind)
	b.buf = binary.BigEndian.AppendUint32(b.buf, v)
}

func (b *Batch) u64(kind uint16, v uint64) {
	b.buf = binary.NativeEndian.AppendUint16(b.buf, 12)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, kind)
	b.buf = binary.BigEndian.AppendUint64(b.buf, v)
}

func (b *Batch) nest(kind uint16, body func()) {
	start := len(b.buf)
	b.buf = append(b.buf, 0, 0)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, kind|unix.NLA_F_NESTED)
	body()
	binary.NativeEndian.PutUint16(b.buf[start:], uint16(len(b.buf)-start))
}

// AddTable makes the table unless it is there.
func (b *Batch) AddTable() {
	b.message(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, "add table", func() { b.str(unix.NFTA_TABLE_NAME, b.Table) })
}

// DeleteTable deletes the table with everything in it; it must be there (AddTable before it makes sure).
func (b *Batch) DeleteTable() {
	b.message(unix.NFT_MSG_DELTABLE, 0, "delete table", func() { b.str(unix.NFTA_TABLE_NAME, b.Table) })
}

// AddChain makes a chain unless it is there; hook is nil for one that is only jumped to.
func (b *Batch) AddChain(name string, hook *Hook) {
	b.message(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, "add chain "+name, func() {
		b.str(unix.NFTA_CHAIN_TABLE, b.Table)
		b.str(unix.NFTA_CHAIN_NAME, name)
		if hook != nil {
			b.nest(unix.NFTA_CHAIN_HOOK, func() {
				b.u32(unix.NFTA_HOOK_HOOKNUM, hook.Hook)
				b.u32(unix.NFTA_HOOK_PRIORITY, uint32(hook.Priority))
			})
			b.u32(unix.NFTA_CHAIN_POLICY, 1) // accept: a packet we have no opinion on is none of our business
			b.str(unix.NFTA_CHAIN_TYPE, hook.Type)
		}
	})
}

// FlushChain deletes the chain's rules.
func (b *Batch) FlushChain(name string) {
	b.message(unix.NFT_MSG_DELRULE, 0, "flush chain "+name, func() {
		b.str(unix.NFTA_RULE_TABLE, b.Table)
		b.str(unix.NFTA_RULE_CHAIN, name)
	})
}

// DeleteChain deletes a chain that nothing refers to any more.
func (b *Batch) DeleteChain(name string) {
	b.message(unix.NFT_MSG_DELCHAIN, 0, "delete chain "+name, func() {
		b.str(unix.NFTA_CHAIN_TABLE, b.Table)
		b.str(unix.NFTA_CHAIN_NAME, name)
	})
}

// AddRule appends a rule to a chain.
func (b *Batch) AddRule(chain string, exprs ...expr.Any) {
	b.message(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, "add rule to chain "+chain, func() {
		b.str(unix.NFTA_RULE_TABLE, b.Table)
		b.str(unix.NFTA_RULE_CHAIN, chain)
		b.nest(unix.NFTA_RULE_EXPRESSIONS, func() {
			for _, e := range exprs {
				data, err := expr.Marshal(unix.NFPROTO_IPV4, e)
				if err != nil && b.err == nil {
					b.err = err
				}
				b.attr(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, data)
			}
		})
	})
}

// Attributes of a set's description and of the user data that names the byte order of its key.
const (
	setDescSize     = 1
	setDescConcat   = 2
	setDescFieldLen = 1
	setConcat       = 0x80
	udataByteOrder  = 0
	byteOrderHost   = 1
	byteOrderBig    = 2
)

// AddSet makes a set with elements and returns the identity by which rules of this same batch refer to it.
func (b *Batch) AddSet(s Set, elements []Element) (id uint32) {
	b.sets++
	id = b.sets
	if s.Anonymous {
		s.Name = "__set%d"
		if s.Data != nil {
			s.Name = "__map%d"
		}
		s.Size = uint32(len(elements))
	}
	b.message(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, "add set "+s.Name, func() {
		b.str(unix.NFTA_SET_TABLE, b.Table)
		b.str(unix.NFTA_SET_NAME, s.Name)
		var flags uint32
		if s.Anonymous {
			flags |= unix.NFT_SET_ANONYMOUS | unix.NFT_SET_CONSTANT
		}
		if s.Data != nil {
			flags |= unix.NFT_SET_MAP
		}
		if s.Timeout > 0 {
			flags |= unix.NFT_SET_TIMEOUT
		}
		if s.Dynamic {
			flags |= unix.NFT_SET_EVAL
		}
		if len(s.Key.parts) > 0 {
			flags |= setConcat
		}
		b.u32(unix.NFTA_SET_FLAGS, flags)
		b.u32(unix.NFTA_SET_KEY_TYPE, s.Key.magic)
		b.u32(unix.NFTA_SET_KEY_LEN, s.Key.bytes)
		if s.Data != nil {
			b.u32(unix.NFTA_SET_DATA_TYPE, s.Data.magic)
			b.u32(unix.NFTA_SET_DATA_LEN, s.Data.bytes)
		}
		b.u32(unix.NFTA_SET_ID, id)
		if s.Timeout > 0 {
			b.u64(unix.NFTA_SET_TIMEOUT, uint64(s.Timeout.Milliseconds()))
		}
		if s.Size > 0 || len(s.Key.parts) > 0 {
			b.nest(unix.NFTA_SET_DESC, func() {
				if s.Size > 0 {
					b.u32(setDescSize, s.Size)
				}
				if len(s.Key.parts) > 0 {
					b.nest(setDescConcat, func() {
						for _, n := range s.Key.parts {
							b.nest(unix.NFTA_LIST_ELEM, func() { b.u32(setDescFieldLen, n) })
						}
					})
				}
			})
		}
		order := byte(byteOrderBig)
		if s.Key.magic == Integer.magic {
			order = byteOrderHost
		}
		b.attr(unix.NFTA_SET_USERDATA, []byte{udataByteOrder, 4, order, 0, 0, 0})
	})
	b.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, "add elements to ", s.Name, id, elements)
	return id
}

// DeleteSet deletes a set that nothing refers to any more.
func (b *Batch) DeleteSet(name string) {
	b.message(unix.NFT_MSG_DELSET, 0, "delete set "+name, func() {
		b.str(unix.NFTA_SET_TABLE, b.Table)
		b.str(unix.NFTA_SET_NAME, name)
	})
}

// AddElements adds elements to a named set. A key that is there with other data is an error: delete it before, in the
// same batch.
func (b *Batch) AddElements(set string, elements []Element) {
	b.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, "add elements to ", set, 0, elements)
}

// DeleteElements deletes elements that are there, by key.
func (b *Batch) DeleteElements(set string, elements []Element) {
	b.elements(unix.NFT_MSG_DELSETELEM, 0, "delete elements of ", set, 0, elements)
}

func (b *Batch) elements(kind, flags uint16, what, set string, id uint32, elements []Element) {
	for len(elements) > 0 {
		n := min(len(elements), elementsPerMessage)
		b.message(kind, flags, what+set, func() {
			b.str(unix.NFTA_SET_ELEM_LIST_TABLE, b.Table)
			b.str(unix.NFTA_SET_ELEM_LIST_SET, set)
			if id != 0 {
				b.u32(unix.NFTA_SET_ELEM_LIST_SET_ID, id)
			}
			b.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func() {
				for _, e := range elements[:n] {
					b.element(e)
				}
			})
		})
		elements = elements[n:]
	}
}

func (b *Batch) element(e Element) {
	b.nest(unix.NFTA_LIST_ELEM, func() {
		b.nest(unix.NFTA_SET_ELEM_KEY, func() { b.attr(unix.NFTA_DATA_VALUE, e.Key) })
		switch {
		case e.Verdict != nil:
			b.nest(unix.NFTA_SET_ELEM_DATA, func() {
				b.nest(unix.NFTA_DATA_VERDICT, func() {
					b.u32(unix.NFTA_VERDICT_CODE, uint32(e.Verdict.Kind))
					if e.Verdict.Chain != "" {
						b.str(unix.NFTA_VERDICT_CHAIN, e.Verdict.Chain)
					}
				})
			})
		case e.Data != nil:
			b.nest(unix.NFTA_SET_ELEM_DATA, func() { b.attr(unix.NFTA_DATA_VALUE, e.Data) })
		}
	})
}
