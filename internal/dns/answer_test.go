package dns

import (
	"net/netip"
	"sort"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func ptr[T any](v T) *T { return &v }

// world is a Source of plain lists.
type world struct {
	services []*corev1.Service
	slices   []*discoveryv1.EndpointSlice
}

func (w *world) Namespace(name string) bool { return name == "ns" || name == "kube-system" }

func (w *world) Service(namespace, name string) *corev1.Service {
	for _, s := range w.services {
		if s.Namespace == namespace && s.Name == name {
			return s
		}
	}
	return nil
}

func (w *world) ServiceByIP(ip netip.Addr) *corev1.Service {
	for _, s := range w.services {
		if s.Spec.ClusterIP == ip.String() {
			return s
		}
	}
	return nil
}

func (w *world) EndpointSlices(namespace, service string) (out []*discoveryv1.EndpointSlice) {
	for _, s := range w.slices {
		if s.Namespace == namespace && s.Labels[discoveryv1.LabelServiceName] == service {
			out = append(out, s)
		}
	}
	return out
}

func (w *world) EndpointSlicesByIP(ip netip.Addr) (out []*discoveryv1.EndpointSlice) {
	for _, s := range w.slices {
		for _, e := range s.Endpoints {
			if e.Addresses[0] == ip.String() {
				out = append(out, s)
				break
			}
		}
	}
	return out
}

func svc(name, ip string, edit ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
	s.Spec = corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{
		{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}, {Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53}}}
	for _, e := range edit {
		e(s)
	}
	return s
}

func externalName(host string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: host}
	}
}

func testWorld() *world {
	headless := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "ns", Name: "h-1", Labels: map[string]string{discoveryv1.LabelServiceName: "headless"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr("http"), Protocol: ptr(corev1.ProtocolTCP), Port: ptr(int32(8080))}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.244.0.2"}, Hostname: ptr("web-0")},
			{Addresses: []string{"10.244.0.3"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr(true)}},
			{Addresses: []string{"10.244.0.4"}, Hostname: ptr("web-2"), Conditions: discoveryv1.EndpointConditions{Ready: ptr(false)}},
		},
	}
	v6 := headless.DeepCopy()
	v6.Name, v6.AddressType = "h-6", discoveryv1.AddressTypeIPv6
	v6.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"fd00::2"}, Hostname: ptr("web-0")}}
	return &world{
		services: []*corev1.Service{
			svc("web", "10.96.0.7"), svc("headless", "None"), svc("empty", "None"),
			svc("dual", "10.96.0.9", func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"10.96.0.9", "fd00:96::9"} }),
			svc("ext", "", externalName("www.Example.com")), svc("alias", "", externalName("web.ns.svc.cluster.local")),
			svc("loop", "", externalName("loop.ns.svc.cluster.local")), svc("ip", "", externalName("192.0.2.1")),
		},
		slices: []*discoveryv1.EndpointSlice{headless, v6},
	}
}

var testZone = Zone{Domain: "cluster.local", Addrs: []netip.Addr{netip.MustParseAddr("10.96.0.10")}}

// short writes a record as "TYPE data".
func short(rrs []mdns.RR) string {
	var out []string
	for _, rr := range rrs {
		f := strings.Fields(rr.String())
		out = append(out, strings.Join(f[3:], " "))
	}
	sort.Strings(out)
	return strings.Join(out, ", ")
}

func TestAnswer(t *testing.T) {
	const nx = "NXDOMAIN"
	for _, tc := range []struct {
		name, kind, want, extra string
	}{
		{"web.ns.svc.cluster.local.", "A", "A 10.96.0.7", ""},
		{"WEB.ns.SVC.Cluster.Local.", "A", "A 10.96.0.7", ""},
		{"web.ns.cluster.local.", "A", "A 10.96.0.7", ""},
		{"web.ns.svc.cluster.local.", "AAAA", "", ""},
		{"web.ns.svc.cluster.local.", "TXT", "", ""},
		{"web.ns.svc.cluster.local.", "SRV", "SRV 0 50 53 web.ns.svc.cluster.local., SRV 0 50 80 web.ns.svc.cluster.local.", "A 10.96.0.7"},
		{"_http._tcp.web.ns.svc.cluster.local.", "SRV", "SRV 0 100 80 web.ns.svc.cluster.local.", "A 10.96.0.7"},
		{"_dns._udp.web.ns.svc.cluster.local.", "SRV", "SRV 0 100 53 web.ns.svc.cluster.local.", "A 10.96.0.7"},
		{"_http._udp.web.ns.svc.cluster.local.", "SRV", nx, ""},
		{"_http._tcp.web.ns.svc.cluster.local.", "A", "A 10.96.0.7", ""},
		{"dual.ns.svc.cluster.local.", "A", "A 10.96.0.9", ""},
		{"dual.ns.svc.cluster.local.", "AAAA", "AAAA fd00:96::9", ""},
		{"none.ns.svc.cluster.local.", "A", nx, ""},
		{"web.nons.svc.cluster.local.", "A", nx, ""},
		{"ns.svc.cluster.local.", "A", "", ""},
		{"nons.svc.cluster.local.", "A", nx, ""},
		{"svc.cluster.local.", "A", "", ""},
		{"a.b.c.d.svc.cluster.local.", "A", nx, ""},
		{"what.cluster.local.", "A", nx, ""},
		{"headless.ns.svc.cluster.local.", "A", "A 10.244.0.2, A 10.244.0.3", ""},
		{"headless.ns.svc.cluster.local.", "AAAA", "AAAA fd00::2", ""},
		{"web-0.headless.ns.svc.cluster.local.", "A", "A 10.244.0.2", ""},
		{"10-244-0-3.headless.ns.svc.cluster.local.", "A", "A 10.244.0.3", ""},
		{"web-2.headless.ns.svc.cluster.local.", "A", nx, ""},
		{"_http._tcp.headless.ns.svc.cluster.local.", "SRV", "SRV 0 50 8080 10-244-0-3.headless.ns.svc.cluster.local., SRV 0 50 8080 web-0.headless.ns.svc.cluster.local.",
			"A 10.244.0.2, A 10.244.0.3, AAAA fd00::2"},
		{"empty.ns.svc.cluster.local.", "A", nx, ""},
		{"ext.ns.svc.cluster.local.", "A", "CNAME www.example.com.", ""},
		{"ext.ns.svc.cluster.local.", "CNAME", "CNAME www.example.com.", ""},
		{"alias.ns.svc.cluster.local.", "A", "A 10.96.0.7, CNAME web.ns.svc.cluster.local.", ""},
		{"loop.ns.svc.cluster.local.", "A", "SERVFAIL", ""},
		{"ip.ns.svc.cluster.local.", "A", "", ""},
		{"10-1-2-3.ns.pod.cluster.local.", "A", "A 10.1.2.3", ""},
		{"10-1-2-3.ns.pod.cluster.local.", "AAAA", "", ""},
		{"fd00--2.ns.pod.cluster.local.", "AAAA", "AAAA fd00::2", ""},
		{"10-1-2-3.nons.pod.cluster.local.", "A", nx, ""},
		{"what.ns.pod.cluster.local.", "A", nx, ""},
		{"ns.pod.cluster.local.", "A", "", ""},
		{"dns-version.cluster.local.", "TXT", `TXT "1.1.0"`, ""},
		{"dns-version.cluster.local.", "A", "", ""},
		{"cluster.local.", "NS", "NS ns.dns.cluster.local.", "A 10.96.0.10"},
		{"cluster.local.", "SOA", "SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5", ""},
		{"ns.dns.cluster.local.", "A", "A 10.96.0.10", ""},
		{"7.0.96.10.in-addr.arpa.", "PTR", "PTR web.ns.svc.cluster.local.", ""},
		{"2.0.244.10.in-addr.arpa.", "PTR", "PTR web-0.headless.ns.svc.cluster.local.", ""},
		{"3.0.244.10.in-addr.arpa.", "PTR", "PTR 10-244-0-3.headless.ns.svc.cluster.local.", ""},
		{"4.0.244.10.in-addr.arpa.", "PTR", "forward", ""},
		{"1.2.0.192.in-addr.arpa.", "PTR", "forward", ""},
		{"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", "PTR", "PTR web-0.headless.ns.svc.cluster.local.", ""},
		{"example.com.", "A", "forward", ""},
		{"notcluster.local.", "A", "forward", ""},
	} {
		r, handled := Answer(testWorld(), testZone, mdns.Question{Name: tc.name, Qtype: mdns.StringToType[tc.kind], Qclass: mdns.ClassINET})
		got := short(r.Answer)
		switch {
		case !handled:
			got = "forward"
		case r.Rcode == mdns.RcodeServerFailure:
			got = "SERVFAIL"
		case r.Rcode == mdns.RcodeNameError:
			got = nx
		}
		if got != tc.want {
			t.Errorf("%s %s: %q, want %q", tc.kind, tc.name, got, tc.want)
		}
		if e := short(r.Extra); e != tc.extra {
			t.Errorf("%s %s: extra %q, want %q", tc.kind, tc.name, e, tc.extra)
		}
		if absent := handled && len(r.Answer) == 0; absent && (len(r.Authority) != 1 || r.Authority[0].Header().Ttl != negativeTTL) {
			t.Errorf("%s %s: absence without the zone's SOA: %v", tc.kind, tc.name, r.Authority)
		}
		for _, rr := range r.Answer {
			if rr.Header().Ttl != ttl || rr == r.Answer[0] && rr.Header().Name != tc.name {
				t.Errorf("%s %s: record %s", tc.kind, tc.name, rr)
			}
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add("web.ns.svc.cluster.local.", uint16(1))
	f.Add("..", uint16(33))
	f.Add("a.ip6.arpa", uint16(12))
	w := testWorld()
	f.Fuzz(func(t *testing.T, name string, kind uint16) {
		Answer(w, testZone, mdns.Question{Name: name, Qtype: kind})
	})
}
