package network

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables/expr"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/host/nft"
	"golang.org/x/sys/unix"
)

// Names within the table.
const (
	setPortsAny = "host-ports"       // protocol . port → pod address . port
	setPortsIP  = "host-ports-of-ip" // node address . protocol . port → pod address . port
	setHairpin  = "host-port-pods"   // pod . pod: a pod that reaches itself through a host port
)

var (
	typePod     = nft.Concat(nft.IPv4Addr, nft.InetService)
	typePort    = nft.Concat(nft.InetProto, nft.InetService)
	typeIPPort  = nft.Concat(nft.IPv4Addr, nft.InetProto, nft.InetService)
	typePodPair = nft.Concat(nft.IPv4Addr, nft.IPv4Addr)
)

func tableName(bridge string) string { return "monohull-network-" + bridge }

// table is the whole ruleset for the records: it replaces what is there in one transaction.
func (n *Network) table(records []*record) *nft.Batch {
	b := nft.NewBatch(tableName(n.cfg.Bridge))
	b.AddTable()
	b.DeleteTable()
	b.AddTable()
	var anyElems, ipElems, hairpin []nft.Element
	for _, r := range records {
		any, ip, self := portElements(r)
		anyElems, ipElems, hairpin = append(anyElems, any...), append(ipElems, ip...), append(hairpin, self...)
	}
	b.AddSet(nft.Set{Name: setPortsAny, Key: typePort, Data: &typePod}, anyElems)
	b.AddSet(nft.Set{Name: setPortsIP, Key: typeIPPort, Data: &typePod}, ipElems)
	b.AddSet(nft.Set{Name: setHairpin, Key: typePodPair}, hairpin)

	b.AddChain("host-ports", nil)
	b.AddRule("host-ports", nft.DestinationIP(nft.Reg0), nft.L4Proto(nft.Reg1), nft.DestinationPort(nft.Reg2),
		&expr.Lookup{SourceRegister: nft.Reg0, SetName: setPortsIP, DestRegister: nft.Reg4, IsDestRegSet: true},
		nft.DNAT(nft.Reg4, nft.Reg5))
	b.AddRule("host-ports", nft.L4Proto(nft.Reg0), nft.DestinationPort(nft.Reg1),
		&expr.Lookup{SourceRegister: nft.Reg0, SetName: setPortsAny, DestRegister: nft.Reg4, IsDestRegSet: true},
		nft.DNAT(nft.Reg4, nft.Reg5))
	for name, hook := range map[string]uint32{"prerouting": nft.HookPrerouting, "output": nft.HookOutput} {
		b.AddChain(name, &nft.Hook{Type: "nat", Hook: hook, Priority: nft.PriorityDNAT})
		b.AddRule(name, append(nft.DestinationLocal(), nft.Jump("host-ports"))...)
	}

	// Nothing comes from a pod for 127/8, not even replies: those are still addressed to the bridge here.
	b.AddChain("loopback-guard", &nft.Hook{Type: "filter", Hook: nft.HookPrerouting, Priority: nft.PriorityRaw})
	b.AddRule("loopback-guard", append(nft.Join([]expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: nft.Reg0},
		nft.Equal(nft.Reg0, nft.InterfaceName(n.cfg.Bridge)),
	}, nft.DestinationIn(netip.MustParsePrefix("127.0.0.0/8"))), nft.Drop())...)

	outBridge := func(op expr.CmpOp) []expr.Any {
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: nft.Reg0},
			&expr.Cmp{Op: op, Register: nft.Reg0, Data: nft.InterfaceName(n.cfg.Bridge)}}
	}
	b.AddChain("postrouting", &nft.Hook{Type: "nat", Hook: nft.HookPostrouting, Priority: nft.PrioritySNAT})
	b.AddRule("postrouting", append(nft.Join(outBridge(expr.CmpOpEq),
		nft.SourceIn(netip.MustParsePrefix("127.0.0.0/8"))), nft.Masquerade())...)
	b.AddRule("postrouting", nft.SourceIP(nft.Reg0), nft.DestinationIP(nft.Reg1),
		&expr.Lookup{SourceRegister: nft.Reg0, SetName: setHairpin}, nft.Masquerade())
	b.AddRule("postrouting", append(nft.Join(outBridge(expr.CmpOpNeq),
		nft.SourceIn(n.cfg.PodCIDR), nft.DestinationNotIn(n.cfg.ClusterCIDR),
		nft.DestinationNotIn(netip.MustParsePrefix("224.0.0.0/4"))), nft.Masquerade())...)
	return b
}

// portElements are the set members that make a record's host ports.
func portElements(r *record) (anyIP, oneIP, hairpin []nft.Element) {
	for _, p := range r.HostPorts {
		to := nft.AddrPortBytes(netip.AddrPortFrom(r.Address, p.ContainerPort))
		if p.HostIP.IsValid() {
			oneIP = append(oneIP, nft.Element{Key: nft.AddrProtoPortBytes(p.HostIP, p.Protocol, p.HostPort), Data: to})
		} else {
			anyIP = append(anyIP, nft.Element{Key: nft.ProtoPortBytes(p.Protocol, p.HostPort), Data: to})
		}
	}
	if len(r.HostPorts) > 0 {
		a := r.Address.AsSlice()
		hairpin = append(hairpin, nft.Element{Key: append(append([]byte{}, a...), a...)})
	}
	return anyIP, oneIP, hairpin
}

// addPorts and deletePorts change the host ports of one record.
func (n *Network) addPorts(r *record) error    { return n.changePorts(r, (*nft.Batch).AddElements) }
func (n *Network) deletePorts(r *record) error { return n.changePorts(r, (*nft.Batch).DeleteElements) }

func (n *Network) changePorts(r *record, change func(*nft.Batch, string, []nft.Element)) error {
	if len(r.HostPorts) == 0 {
		return nil
	}
	b := nft.NewBatch(tableName(n.cfg.Bridge))
	anyIP, oneIP, hairpin := portElements(r)
	change(b, setPortsAny, anyIP)
	change(b, setPortsIP, oneIP)
	change(b, setHairpin, hairpin)
	if err := n.nft.Apply(b); err != nil {
		return fmt.Errorf("change host ports of %s/%s: %w", r.Namespace, r.Name, err)
	}
	return nil
}

// hostPorts reads the mappings a sandbox asks for. One without a host port, or for an address of the other family,
// asks nothing of us.
func hostPorts(mappings []*runtimeapi.PortMapping) ([]hostPort, error) {
	var ports []hostPort
	for _, m := range mappings {
		if m.GetHostPort() == 0 {
			continue
		}
		if m.GetHostPort() < 0 || m.GetHostPort() > 65535 || m.GetContainerPort() < 1 || m.GetContainerPort() > 65535 {
			return nil, fmt.Errorf("port mapping %d → %d is out of range", m.GetHostPort(), m.GetContainerPort())
		}
		p := hostPort{HostPort: uint16(m.GetHostPort()), ContainerPort: uint16(m.GetContainerPort())}
		switch m.GetProtocol() {
		case runtimeapi.Protocol_TCP:
			p.Protocol = unix.IPPROTO_TCP
		case runtimeapi.Protocol_UDP:
			p.Protocol = unix.IPPROTO_UDP
		case runtimeapi.Protocol_SCTP:
			p.Protocol = unix.IPPROTO_SCTP
		default:
			return nil, fmt.Errorf("port mapping %d: unknown protocol %v", m.GetHostPort(), m.GetProtocol())
		}
		if m.GetHostIp() != "" {
			ip, err := netip.ParseAddr(m.GetHostIp())
			if err != nil {
				return nil, fmt.Errorf("port mapping %d: host address %q: %w", m.GetHostPort(), m.GetHostIp(), err)
			}
			if ip = ip.Unmap(); !ip.Is4() && !ip.IsUnspecified() {
				continue
			}
			if !ip.IsUnspecified() {
				p.HostIP = ip
			}
		}
		ports = append(ports, p)
	}
	return ports, nil
}

// portConflict names the pod that holds a host port already: the same protocol, port, and address or any address.
func portConflict(held map[string]*record, self string, ports []hostPort) *record {
	for id, r := range held {
		if id == self {
			continue
		}
		for _, h := range r.HostPorts {
			for _, p := range ports {
				if h.Protocol == p.Protocol && h.HostPort == p.HostPort && h.HostIP == p.HostIP {
					return r
				}
			}
		}
	}
	return nil
}
