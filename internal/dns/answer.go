package dns

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// SpecVersion is the version of the Kubernetes DNS specification that is served.
const SpecVersion = "1.1.0"

// Seconds that answers, and absences, may be remembered.
const (
	ttl         = 30
	negativeTTL = 5
)

// externalNameDepth bounds how many names of the cluster an ExternalName may lead through.
const externalNameDepth = 8

// Source is where names are looked up. What it returns is shared and never written to.
type Source interface {
	Namespace(name string) bool
	Service(namespace, name string) *corev1.Service // nil when there is none
	ServiceByIP(ip netip.Addr) *corev1.Service
	EndpointSlices(namespace, service string) []*discoveryv1.EndpointSlice
	EndpointSlicesByIP(ip netip.Addr) []*discoveryv1.EndpointSlice
}

// Zone says what domain is answered for, and by whom.
type Zone struct {
	Domain string       // without final dot, lower case
	Addrs  []netip.Addr // of the name server
}

// Reply is what there is to say to a question.
type Reply struct {
	Rcode     int
	Answer    []mdns.RR
	Extra     []mdns.RR
	Authority []mdns.RR
	// Chase is a name outside of the domain that the answer leads to, whose records are to be added.
	Chase string
}

// name is a parsed name below the domain.
type name struct {
	kind                    string // svc or pod, empty above them
	namespace, service      string
	endpoint, port, proto   string
	apex, version, ns, none bool // the domain itself, dns-version, ns.dns or dns, and names that can not be
}

// Answer answers a question out of the source. It is not handled when it is outside of the domain, or asks for an
// address that is none of the cluster's: others may know.
func Answer(src Source, zone Zone, q mdns.Question) (reply Reply, handled bool) {
	qname := strings.ToLower(mdns.Fqdn(q.Name))
	if mdns.IsSubDomain("in-addr.arpa.", qname) || mdns.IsSubDomain("ip6.arpa.", qname) {
		return reverse(src, zone, q, qname)
	}
	domain := mdns.Fqdn(zone.Domain)
	if !mdns.IsSubDomain(domain, qname) {
		return Reply{}, false
	}
	a := answerer{src: src, zone: zone, domain: domain, q: q}
	a.answer(qname, 0)
	if len(a.reply.Answer) == 0 {
		a.reply.Authority = []mdns.RR{a.soa(negativeTTL)}
	}
	return a.reply, true
}

type answerer struct {
	src    Source
	zone   Zone
	domain string
	q      mdns.Question
	reply  Reply
}

func (a *answerer) header(owner string, kind uint16, seconds uint32) mdns.RR_Header {
	return mdns.RR_Header{Name: owner, Rrtype: kind, Class: mdns.ClassINET, Ttl: seconds}
}

func (a *answerer) soa(seconds uint32) mdns.RR {
	// The serial never changes: nobody transfers this zone.
	return &mdns.SOA{Hdr: a.header(a.domain, mdns.TypeSOA, seconds), Ns: "ns.dns." + a.domain, Mbox: "hostmaster." + a.domain,
		Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: negativeTTL}
}

// answer adds the records of a name to the reply; owner names keep the letters of the question.
func (a *answerer) answer(qname string, depth int) {
	owner := a.q.Name
	if depth > 0 {
		owner = qname
	}
	n := parse(strings.TrimSuffix(strings.TrimSuffix(qname, a.domain), "."))
	switch {
	case n.none:
		a.reply.Rcode = mdns.RcodeNameError
	case n.apex:
		a.apex(owner)
	case n.ns:
		for _, ip := range a.zone.Addrs {
			a.address(&a.reply.Answer, owner, ip, true)
		}
	case n.version:
		if a.q.Qtype == mdns.TypeTXT {
			a.reply.Answer = append(a.reply.Answer, &mdns.TXT{Hdr: a.header(owner, mdns.TypeTXT, ttl), Txt: []string{SpecVersion}})
		}
	case n.namespace == "":
		// svc and pod have names below them.
	case !a.src.Namespace(n.namespace):
		a.reply.Rcode = mdns.RcodeNameError
	case n.service == "":
	case n.kind == "pod":
		a.pod(owner, n)
	default:
		a.service(owner, n, depth)
	}
}

// parse reads a name relative to the domain: [endpoint | port protocol] service namespace svc, or address namespace pod.
// Without svc, two labels are a Service and its namespace: a short form that older documents use.
func parse(rel string) name {
	switch rel {
	case "":
		return name{apex: true}
	case "dns-version":
		return name{version: true}
	case "ns.dns":
		return name{ns: true}
	case "dns":
		return name{} // has names below it
	}
	labels := strings.Split(rel, ".")
	n := name{kind: labels[len(labels)-1]}
	labels = labels[:len(labels)-1]
	if n.kind != "svc" && n.kind != "pod" {
		if len(labels) != 1 {
			return name{none: true}
		}
		return name{kind: "short", namespace: n.kind, service: labels[0]}
	}
	take := func() (label string) {
		if len(labels) > 0 {
			label, labels = labels[len(labels)-1], labels[:len(labels)-1]
		}
		return label
	}
	n.namespace, n.service = take(), take()
	switch {
	case len(labels) == 0:
	case n.kind == "pod" || len(labels) > 2:
		return name{none: true}
	case len(labels) == 1:
		n.endpoint = take()
	default:
		n.proto, n.port = strings.TrimPrefix(take(), "_"), strings.TrimPrefix(take(), "_")
	}
	return n
}

func (a *answerer) apex(owner string) {
	switch a.q.Qtype {
	case mdns.TypeSOA:
		a.reply.Answer = append(a.reply.Answer, a.soa(ttl))
	case mdns.TypeNS:
		host := "ns.dns." + a.domain
		a.reply.Answer = append(a.reply.Answer, &mdns.NS{Hdr: a.header(owner, mdns.TypeNS, ttl), Ns: host})
		for _, ip := range a.zone.Addrs {
			a.address(&a.reply.Extra, host, ip, false)
		}
	}
}

// address adds an address record, if asked only one of the question's type.
func (a *answerer) address(to *[]mdns.RR, owner string, ip netip.Addr, asked bool) {
	kind, rr := mdns.TypeA, mdns.RR(nil)
	if ip.Is4() {
		rr = &mdns.A{Hdr: a.header(owner, mdns.TypeA, ttl), A: net.IP(ip.AsSlice())}
	} else {
		kind = mdns.TypeAAAA
		rr = &mdns.AAAA{Hdr: a.header(owner, mdns.TypeAAAA, ttl), AAAA: net.IP(ip.AsSlice())}
	}
	if !asked || a.q.Qtype == kind {
		*to = append(*to, rr)
	}
}

// pod answers with the address that the name spells, whether or not a pod has it.
func (a *answerer) pod(owner string, n name) {
	s := n.service
	ip, err := netip.ParseAddr(strings.ReplaceAll(s, "-", "."))
	if err != nil || !ip.Is4() {
		ip, err = netip.ParseAddr(strings.ReplaceAll(s, "-", ":"))
	}
	if err != nil {
		a.reply.Rcode = mdns.RcodeNameError
		return
	}
	a.address(&a.reply.Answer, owner, ip, true)
}

// target is one thing that a Service's name stands for.
type target struct {
	ip   netip.Addr
	host string // where an SRV record leads
	port uint16
}

func (a *answerer) service(owner string, n name, depth int) {
	svc := a.src.Service(n.namespace, n.service)
	if svc == nil {
		a.reply.Rcode = mdns.RcodeNameError
		return
	}
	base := n.service + "." + n.namespace + ".svc." + a.domain
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		if n.endpoint != "" || n.port != "" {
			a.reply.Rcode = mdns.RcodeNameError
			return
		}
		a.external(owner, svc, depth)
		return
	}
	var targets []target
	if svc.Spec.ClusterIP == corev1.ClusterIPNone || n.endpoint != "" {
		targets = a.endpoints(n, base)
	} else {
		targets = clusterIPs(svc, n, base)
	}
	if len(targets) == 0 {
		a.reply.Rcode = mdns.RcodeNameError
		return
	}
	if a.q.Qtype == mdns.TypeSRV {
		a.srv(owner, targets)
		return
	}
	seen := map[netip.Addr]bool{}
	for _, t := range targets {
		if !seen[t.ip] {
			seen[t.ip] = true
			a.address(&a.reply.Answer, owner, t.ip, true)
		}
	}
}

func clusterIPs(svc *corev1.Service, n name, base string) (targets []target) {
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{svc.Spec.ClusterIP}
	}
	for _, s := range ips {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			continue
		}
		for _, p := range svc.Spec.Ports {
			if matches(n, p.Name, p.Protocol) {
				targets = append(targets, target{ip: ip, host: base, port: uint16(p.Port)})
			}
		}
	}
	return targets
}

func matches(n name, port string, proto corev1.Protocol) bool {
	if n.port == "" && n.proto == "" {
		return true
	}
	if proto == "" {
		proto = corev1.ProtocolTCP
	}
	return strings.EqualFold(n.port, port) && strings.EqualFold(n.proto, string(proto))
}

// endpoints are the ready ones; one of a Service that publishes those not ready is marked ready in its slice.
func (a *answerer) endpoints(n name, base string) (targets []target) {
	for _, s := range a.src.EndpointSlices(n.namespace, n.service) {
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			if e.Conditions.Ready != nil && !*e.Conditions.Ready {
				continue
			}
			for _, addr := range e.Addresses {
				ip, err := netip.ParseAddr(addr)
				if err != nil {
					continue
				}
				host := hostname(e, ip)
				if n.endpoint != "" && n.endpoint != host {
					continue
				}
				if len(s.Ports) == 0 && n.port == "" && n.proto == "" {
					targets = append(targets, target{ip: ip, host: host + "." + base})
				}
				for _, p := range s.Ports {
					t := target{ip: ip, host: host + "." + base}
					var name string
					var proto corev1.Protocol
					if p.Name != nil {
						name = *p.Name
					}
					if p.Protocol != nil {
						proto = *p.Protocol
					}
					if p.Port != nil {
						t.port = uint16(*p.Port)
					}
					if matches(n, name, proto) {
						targets = append(targets, t)
					}
				}
			}
		}
	}
	return targets
}

// hostname is an endpoint's label: its own, or else its address with dashes.
func hostname(e *discoveryv1.Endpoint, ip netip.Addr) string {
	if e.Hostname != nil && *e.Hostname != "" {
		return strings.ToLower(*e.Hostname)
	}
	if ip.Is4() {
		return strings.ReplaceAll(ip.String(), ".", "-")
	}
	return strings.ReplaceAll(ip.String(), ":", "-")
}

func (a *answerer) srv(owner string, targets []target) {
	type key struct {
		host string
		port uint16
	}
	seen, hosts := map[key]bool{}, map[target]bool{}
	var distinct []target
	for _, t := range targets {
		if k := (key{t.host, t.port}); t.port != 0 && !seen[k] {
			seen[k] = true
			distinct = append(distinct, t)
		}
	}
	weight := uint16(max(1, 100/max(1, len(distinct))))
	for _, t := range distinct {
		a.reply.Answer = append(a.reply.Answer, &mdns.SRV{Hdr: a.header(owner, mdns.TypeSRV, ttl), Weight: weight, Port: t.port, Target: t.host})
	}
	for _, t := range targets {
		t.port = 0
		if !hosts[t] {
			hosts[t] = true
			a.address(&a.reply.Extra, t.host, t.ip, false)
		}
	}
}

// external leads to the name that the Service stands for; one of the cluster is followed here.
func (a *answerer) external(owner string, svc *corev1.Service, depth int) {
	host := mdns.Fqdn(strings.ToLower(svc.Spec.ExternalName))
	if _, err := netip.ParseAddr(svc.Spec.ExternalName); err == nil {
		return // an address is no name to lead to
	}
	if _, ok := mdns.IsDomainName(host); !ok {
		a.reply.Rcode = mdns.RcodeServerFailure
		return
	}
	a.reply.Answer = append(a.reply.Answer, &mdns.CNAME{Hdr: a.header(owner, mdns.TypeCNAME, ttl), Target: host})
	switch {
	case a.q.Qtype == mdns.TypeCNAME:
	case !mdns.IsSubDomain(a.domain, host):
		a.reply.Chase = host
	case depth < externalNameDepth && !slices.ContainsFunc(a.reply.Answer, func(rr mdns.RR) bool { return strings.EqualFold(rr.Header().Name, host) }):
		a.answer(host, depth+1)
	default:
		a.reply.Rcode = mdns.RcodeServerFailure // it leads to itself
	}
}

// reverse answers for the addresses of Services and of their endpoints.
func reverse(src Source, zone Zone, q mdns.Question, qname string) (Reply, bool) {
	ip, ok := reversed(qname)
	if !ok {
		return Reply{}, false
	}
	a := answerer{domain: mdns.Fqdn(zone.Domain), q: q}
	var names []string
	if svc := src.ServiceByIP(ip); svc != nil {
		names = append(names, svc.Name+"."+svc.Namespace+".svc."+a.domain)
	} else {
		for _, s := range src.EndpointSlicesByIP(ip) {
			service := s.Labels[discoveryv1.LabelServiceName]
			if service == "" {
				continue
			}
			for i := range s.Endpoints {
				e := &s.Endpoints[i]
				if ready := e.Conditions.Ready; ready != nil && !*ready || !slices.Contains(e.Addresses, ip.String()) {
					continue
				}
				names = append(names, hostname(e, ip)+"."+service+"."+s.Namespace+".svc."+a.domain)
			}
		}
	}
	if len(names) == 0 {
		return Reply{}, false
	}
	if q.Qtype == mdns.TypePTR {
		slices.Sort(names)
		for _, n := range slices.Compact(names) {
			a.reply.Answer = append(a.reply.Answer, &mdns.PTR{Hdr: a.header(q.Name, mdns.TypePTR, ttl), Ptr: n})
		}
	} else {
		a.reply.Authority = []mdns.RR{a.soa(negativeTTL)}
	}
	return a.reply, true
}

// reversed reads the address that a name under in-addr.arpa or ip6.arpa spells.
func reversed(qname string) (netip.Addr, bool) {
	if rest, ok := strings.CutSuffix(qname, ".in-addr.arpa."); ok {
		labels := strings.Split(rest, ".")
		slices.Reverse(labels)
		ip, err := netip.ParseAddr(strings.Join(labels, "."))
		return ip, err == nil && ip.Is4()
	}
	rest, ok := strings.CutSuffix(qname, ".ip6.arpa.")
	digits := strings.Split(rest, ".")
	if !ok || len(digits) != 32 {
		return netip.Addr{}, false
	}
	slices.Reverse(digits)
	var b strings.Builder
	for i, d := range digits {
		if len(d) != 1 {
			return netip.Addr{}, false
		}
		if i > 0 && i%4 == 0 {
			b.WriteByte(':')
		}
		b.WriteString(d)
	}
	ip, err := netip.ParseAddr(b.String())
	return ip, err == nil
}
