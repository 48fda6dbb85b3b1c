package proxy

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// serviceProxyName is the label by which a Service asks for another proxy than the cluster's own.
const serviceProxyName = "service.kubernetes.io/service-proxy-name"

// Input is what a ruleset depends on.
type Input struct {
	Services       []*corev1.Service
	EndpointSlices []*discoveryv1.EndpointSlice
	NodeName       string
	Zone           string         // of the node: its topology.kubernetes.io/zone label
	NodeAddresses  []netip.Addr   // addresses of the node itself: endpoints there need no masquerade to reach themselves
	ClusterCIDR    netip.Prefix   // where pods are; others are masqueraded on their way to a ClusterIP
	ServiceCIDRs   []netip.Prefix // packets to unallocated addresses herein are dropped
	LocalVIPs      []netip.Addr   // answered by the node itself
}

func protocol(p corev1.Protocol) Protocol {
	switch p {
	case corev1.ProtocolUDP:
		return unix.IPPROTO_UDP
	case corev1.ProtocolSCTP:
		return unix.IPPROTO_SCTP
	}
	return unix.IPPROTO_TCP
}

func (p Protocol) String() string {
	switch p {
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_SCTP:
		return "sctp"
	}
	return "tcp"
}

// Compile decides what a node does for its cluster's Services.
func Compile(in Input) *Ruleset {
	rs := newRuleset(len(in.Services))
	rs.PodRange = in.ClusterCIDR
	for _, p := range in.ServiceCIDRs {
		if p.Addr().Is4() {
			rs.ServiceRanges = append(rs.ServiceRanges, p.Masked())
		}
	}
	for _, a := range in.LocalVIPs {
		if a.Is4() {
			rs.LocalVIPs[a] = struct{}{}
		}
	}
	endpoints := collect(&in)
	for _, svc := range in.Services {
		if skip(svc) {
			continue
		}
		clusterIPs := clusterIPsOf(svc)
		for _, a := range clusterIPs {
			if _, local := rs.LocalVIPs[a]; !local {
				rs.ClusterIPs[a] = struct{}{}
			}
		}
		for i := range svc.Spec.Ports {
			c := portCompiler{in: &in, rs: rs, svc: svc, port: &svc.Spec.Ports[i], proto: protocol(svc.Spec.Ports[i].Protocol)}
			c.name = c.proto.String() + "/" + svc.Namespace + "/" + svc.Name + "/" + c.port.Name
			c.compile(clusterIPs, endpoints[portName{svc.Namespace, svc.Name, c.port.Name, c.proto}])
		}
	}
	return rs
}

// skip leaves out Services without packets of their own.
func skip(svc *corev1.Service) bool {
	if svc.Spec.Type == corev1.ServiceTypeExternalName || svc.Spec.ClusterIP == corev1.ClusterIPNone || svc.Spec.ClusterIP == "" {
		return true
	}
	_, other := svc.Labels[serviceProxyName]
	return other
}

func clusterIPsOf(svc *corev1.Service) []netip.Addr {
	list := svc.Spec.ClusterIPs
	if len(list) == 0 {
		list = []string{svc.Spec.ClusterIP}
	}
	return parse(list)
}

func parse(list []string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
			out = append(out, a)
		}
	}
	return out
}

// portCompiler compiles one port of one Service.
type portCompiler struct {
	in    *Input
	rs    *Ruleset
	svc   *corev1.Service
	port  *corev1.ServicePort
	proto Protocol
	name  string
}

func (c *portCompiler) compile(clusterIPs []netip.Addr, eps []endpoint) {
	spec := &c.svc.Spec
	internalLocal := spec.InternalTrafficPolicy != nil && *spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal
	external := c.externalIPs()
	balancers := c.balancerIPs()
	nodePort := uint16(c.port.NodePort)
	outside := len(external) > 0 || len(balancers) > 0 || nodePort != 0
	externalLocal := outside && spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal

	cluster := hinted(c.in, choose(eps, func(*endpoint) bool { return true }))
	var local []endpoint
	if internalLocal || externalLocal {
		local = choose(eps, func(e *endpoint) bool { return e.local })
	}
	usable := len(cluster) > 0 || len(local) > 0
	for _, set := range [][]endpoint{cluster, local} {
		for i := range set {
			// The node reaches itself through lo, where every packet passes translation both ways.
			if a := set[i].addr.Addr(); set[i].hairpin && !slices.Contains(c.in.NodeAddresses, a) {
				c.rs.Hairpins[a] = struct{}{}
			}
		}
	}
	affinity := ""
	if usable && spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		affinity = "affinity/" + c.name
		c.rs.Affinities[affinity] = affinityTimeout(spec)
	}

	// The chain of the cluster policy serves ClusterIPs and, past their own entry, everything else. Packets that an
	// entry marked are marked already: one more test of their source changes nothing.
	clusterChain := ""
	if len(cluster) > 0 && (!internalLocal || outside) {
		clusterChain = "service/" + c.name
		c.rs.Chains[clusterChain] = &Chain{Mark: MarkExternal, Affinity: affinity, Endpoints: addrs(cluster)}
	}
	inChain, inRefusal := clusterChain, Reject
	if internalLocal {
		inChain = ""
		if usable {
			inRefusal = Drop
		}
		if len(local) > 0 {
			inChain = "internal/" + c.name
			c.rs.Chains[inChain] = &Chain{Mark: MarkExternal, Affinity: affinity, Endpoints: addrs(local)}
		}
	}
	for _, a := range clusterIPs {
		c.vip(a, inChain, inRefusal)
	}
	if !outside {
		return
	}

	outChain, outRefusal := "", Reject
	if usable {
		outChain = "external/" + c.name
		entry := &Chain{Mark: MarkAll, Next: clusterChain}
		if externalLocal {
			entry = &Chain{ShortCircuit: clusterChain}
			outRefusal = Drop
			if len(local) > 0 {
				entry.Next = "local/" + c.name
				c.rs.Chains[entry.Next] = &Chain{Affinity: affinity, Endpoints: addrs(local)}
			}
		}
		c.rs.Chains[outChain] = entry
	}
	// With the Local policy and nothing local, pods and the node still get through; what is left over is dropped, so
	// that a balancer's health check tells, not a reset.
	refuseRest := outChain == "" || externalLocal && len(local) == 0
	for _, a := range external {
		c.vip(a, outChain, outRefusal)
		c.refuseRest(a, refuseRest, outRefusal)
	}
	balancerChain := outChain
	if sources, filtered := balancerSources(spec); filtered && outChain != "" && len(balancers) > 0 {
		balancerChain = "firewall/" + c.name
		c.rs.Chains[balancerChain] = &Chain{Filtered: true, Sources: sources, Next: outChain}
	}
	for _, a := range balancers {
		c.vip(a, balancerChain, outRefusal)
		c.refuseRest(a, refuseRest, outRefusal)
	}
	if nodePort != 0 {
		key := PortKey{c.proto, nodePort}
		if outChain != "" {
			put(c.rs.NodePorts, key, outChain)
		}
		if refuseRest {
			c.rs.RefusedPorts[key] = outRefusal
		}
	}
}

// vip leads an address to a chain, or refuses it where there is none.
func (c *portCompiler) vip(a netip.Addr, chain string, refusal Refusal) {
	if _, local := c.rs.LocalVIPs[a]; local {
		return
	}
	key := VIP{a, c.proto, uint16(c.port.Port)}
	if chain == "" {
		c.rs.RefusedVIPs[key] = refusal
		return
	}
	put(c.rs.VIPs, key, chain)
}

func (c *portCompiler) refuseRest(a netip.Addr, refuse bool, refusal Refusal) {
	if _, local := c.rs.LocalVIPs[a]; refuse && !local {
		c.rs.RefusedVIPs[VIP{a, c.proto, uint16(c.port.Port)}] = refusal
	}
}

// put resolves two Services' claims to one address the same way whatever their order: a ClusterIP ("internal" or
// "service") is allocated once and wins over an address somebody wrote down; among equals the lesser name wins.
func put[K comparable](m map[K]string, key K, chain string) {
	old, taken := m[key]
	if !taken || claim(chain) > claim(old) || claim(chain) == claim(old) && chain < old {
		m[key] = chain
	}
}

func claim(chain string) int {
	if chain[0] == 's' || chain[0] == 'i' {
		return 1
	}
	return 0
}

func (c *portCompiler) externalIPs() []netip.Addr { return parse(c.svc.Spec.ExternalIPs) }

func (c *portCompiler) balancerIPs() []netip.Addr {
	if c.svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	var out []netip.Addr
	for i := range c.svc.Status.LoadBalancer.Ingress {
		ing := &c.svc.Status.LoadBalancer.Ingress[i]
		if ing.IPMode != nil && *ing.IPMode == corev1.LoadBalancerIPModeProxy {
			continue // the balancer wants to see these packets itself
		}
		out = append(out, parse([]string{ing.IP})...)
	}
	return out
}

func balancerSources(spec *corev1.ServiceSpec) (ranges []netip.Prefix, filtered bool) {
	for _, s := range spec.LoadBalancerSourceRanges {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			continue
		}
		filtered = true
		if p.Addr().Is4() {
			if p.Bits() == 0 {
				return nil, false
			}
			ranges = append(ranges, p.Masked())
		}
	}
	return ranges, filtered
}

func affinityTimeout(spec *corev1.ServiceSpec) time.Duration {
	seconds := corev1.DefaultClientIPServiceAffinitySeconds
	if a := spec.SessionAffinityConfig; a != nil && a.ClientIP != nil && a.ClientIP.TimeoutSeconds != nil {
		seconds = *a.ClientIP.TimeoutSeconds
	}
	return time.Duration(seconds) * time.Second
}
