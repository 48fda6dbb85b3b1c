package proxy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func ptr[T any](v T) *T { return &v }

func service(name, ip string, port, nodePort int32, edit ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
	s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip},
		Ports: []corev1.ServicePort{{Name: "p", Protocol: corev1.ProtocolTCP, Port: port, NodePort: nodePort}}}
	for _, e := range edit {
		e(s)
	}
	return s
}

func udp(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolUDP }

func slice(svc *corev1.Service, port int32, eps ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: svc.Namespace, Name: svc.Name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: svc.Name}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: eps,
		Ports: []discoveryv1.EndpointPort{{Name: ptr("p"), Protocol: ptr(svc.Spec.Ports[0].Protocol), Port: ptr(port)}}}
}

func ep(ip, node string, conditions ...bool) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{ip}, NodeName: ptr(node)}
	if len(conditions) == 3 {
		e.Conditions = discoveryv1.EndpointConditions{Ready: &conditions[0], Serving: &conditions[1], Terminating: &conditions[2]}
	}
	return e
}

func compile(svc *corev1.Service, slices ...*discoveryv1.EndpointSlice) *Ruleset {
	return Compile(Input{Services: []*corev1.Service{svc}, EndpointSlices: slices, NodeName: "here", Zone: "z1",
		ClusterCIDR: netip.MustParsePrefix("10.244.0.0/16"), LocalVIPs: []netip.Addr{netip.MustParseAddr("10.96.0.10")}})
}

// endsAt walks the chain like a packet from outside (or from a pod) would.
func (rs *Ruleset) endsAt(chain string, fromPod bool) []string {
	c := rs.Chains[chain]
	if c == nil {
		return nil
	}
	if fromPod && c.ShortCircuit != "" {
		return rs.endsAt(c.ShortCircuit, fromPod)
	}
	if c.Next != "" {
		return rs.endsAt(c.Next, fromPod)
	}
	var out []string
	for _, e := range c.Endpoints {
		out = append(out, e.String())
	}
	return out
}

func TestCompile(t *testing.T) {
	local := corev1.ServiceExternalTrafficPolicyLocal
	nodePort := func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }
	etpLocal := func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = local }
	itpLocal := func(s *corev1.Service) {
		s.Spec.InternalTrafficPolicy = ptr(corev1.ServiceInternalTrafficPolicyLocal)
	}
	a, b := "10.244.0.2:8080", "10.244.1.2:8080"
	for _, tc := range []struct {
		name                              string
		edit                              []func(*corev1.Service)
		eps                               []discoveryv1.Endpoint
		clusterIP                         []string
		clusterRefusal                    Refusal
		nodePort, nodePortFromPod         []string
		nodePortRefusal, externalRefusals Refusal
	}{
		{name: "two ready", eps: []discoveryv1.Endpoint{ep("10.244.0.2", "here"), ep("10.244.1.2", "there")}, clusterIP: []string{a, b}},
		{name: "none", clusterRefusal: Reject},
		{name: "none, node port", edit: []func(*corev1.Service){nodePort}, clusterRefusal: Reject, nodePortRefusal: Reject},
		{name: "not ready", eps: []discoveryv1.Endpoint{ep("10.244.0.2", "here", false, false, false)}, clusterRefusal: Reject},
		{name: "terminating serves when nothing is ready", eps: []discoveryv1.Endpoint{ep("10.244.0.2", "here", false, true, true)}, clusterIP: []string{a}},
		{name: "terminating gives way to ready", eps: []discoveryv1.Endpoint{ep("10.244.0.2", "here", false, true, true), ep("10.244.1.2", "there")}, clusterIP: []string{b}},
		{name: "internal Local", edit: []func(*corev1.Service){itpLocal}, eps: []discoveryv1.Endpoint{ep("10.244.0.2", "here"), ep("10.244.1.2", "there")}, clusterIP: []string{a}},
		{name: "internal Local, none here", edit: []func(*corev1.Service){itpLocal}, eps: []discoveryv1.Endpoint{ep("10.244.1.2", "there")}, clusterRefusal: Drop},
		{name: "node port", edit: []func(*corev1.Service){nodePort}, eps: []discoveryv1.Endpoint{ep("10.244.0.2", "here"), ep("10.244.1.2", "there")},
			clusterIP: []string{a, b}, nodePort: []string{a, b}, nodePortFromPod: []string{a, b}},
		{name: "node port Local", edit: []func(*corev1.Service){nodePort, etpLocal}, eps: []discoveryv1.Endpoint{ep("10.244.0.2", "here"), ep("10.244.1.2", "there")},
			clusterIP: []string{a, b}, nodePort: []string{a}, nodePortFromPod: []string{a, b}},
		{name: "node port Local, none here", edit: []func(*corev1.Service){nodePort, etpLocal}, eps: []discoveryv1.Endpoint{ep("10.244.1.2", "there")},
			clusterIP: []string{b}, nodePortFromPod: []string{b}, nodePortRefusal: Drop},
		{name: "node port Local, terminating here", edit: []func(*corev1.Service){nodePort, etpLocal},
			eps:       []discoveryv1.Endpoint{ep("10.244.0.2", "here", false, true, true), ep("10.244.1.2", "there")},
			clusterIP: []string{b}, nodePort: []string{a}, nodePortFromPod: []string{b}},
		{name: "both Local", edit: []func(*corev1.Service){nodePort, etpLocal, itpLocal}, eps: []discoveryv1.Endpoint{ep("10.244.0.2", "here"), ep("10.244.1.2", "there")},
			clusterIP: []string{a}, nodePort: []string{a}, nodePortFromPod: []string{a, b}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			np := int32(0)
			svc := service("s", "10.96.0.7", 80, 0, tc.edit...)
			if svc.Spec.Type == corev1.ServiceTypeNodePort {
				np = 30080
				svc.Spec.Ports[0].NodePort = np
			}
			rs := compile(svc, slice(svc, 8080, tc.eps...))
			vip := VIP{netip.MustParseAddr("10.96.0.7"), 6, 80}
			if got := rs.endsAt(rs.VIPs[vip], true); !reflect.DeepEqual(got, tc.clusterIP) {
				t.Errorf("ClusterIP leads to %v, want %v", got, tc.clusterIP)
			}
			if got := rs.RefusedVIPs[vip]; got != tc.clusterRefusal {
				t.Errorf("ClusterIP refusal is %v, want %v", got, tc.clusterRefusal)
			}
			key := PortKey{6, 30080}
			if got := rs.endsAt(rs.NodePorts[key], false); !reflect.DeepEqual(got, tc.nodePort) {
				t.Errorf("node port leads to %v, want %v", got, tc.nodePort)
			}
			if got := rs.endsAt(rs.NodePorts[key], true); !reflect.DeepEqual(got, tc.nodePortFromPod) {
				t.Errorf("node port leads a pod to %v, want %v", got, tc.nodePortFromPod)
			}
			if got := rs.RefusedPorts[key]; got != tc.nodePortRefusal {
				t.Errorf("node port refusal is %v, want %v", got, tc.nodePortRefusal)
			}
		})
	}
}

func TestCompileLeavesOut(t *testing.T) {
	for name, edit := range map[string]func(*corev1.Service){
		"headless":      func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "None", []string{"None"} },
		"ExternalName":  func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName },
		"another proxy": func(s *corev1.Service) { s.Labels = map[string]string{serviceProxyName: "other"} },
		"local VIP":     func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.10", []string{"10.96.0.10"} },
	} {
		svc := service("s", "10.96.0.7", 80, 0, edit)
		if rs := compile(svc, slice(svc, 8080, ep("10.244.0.2", "here"))); len(rs.VIPs)+len(rs.RefusedVIPs)+len(rs.ClusterIPs) != 0 {
			t.Errorf("%s Service was compiled: %v", name, rs.VIPs)
		}
	}
}

func TestCompileBalancersAndExternalIPs(t *testing.T) {
	svc := service("s", "10.96.0.7", 80, 0, func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		s.Spec.ExternalIPs = []string{"192.0.2.50", "2001:db8::1"}
		s.Spec.LoadBalancerSourceRanges = []string{"198.51.100.0/24"}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.60"}, {IP: "192.0.2.61", IPMode: ptr(corev1.LoadBalancerIPModeProxy)}}
	})
	rs := compile(svc, slice(svc, 8080, ep("10.244.0.2", "here")))
	if len(rs.VIPs) != 3 {
		t.Fatalf("VIPs are %v", rs.VIPs)
	}
	ext, lb := rs.VIPs[VIP{netip.MustParseAddr("192.0.2.50"), 6, 80}], rs.Chains[rs.VIPs[VIP{netip.MustParseAddr("192.0.2.60"), 6, 80}]]
	if rs.Chains[ext] == nil || rs.Chains[ext].Mark != MarkAll || !lb.Filtered || lb.Next != ext || len(lb.Sources) != 1 {
		t.Fatalf("external %+v, balancer %+v", rs.Chains[ext], lb)
	}
}

func TestHintsAreFollowedOnlyWhenEveryEndpointHasOne(t *testing.T) {
	svc := service("s", "10.96.0.7", 80, 0)
	in := func(ip, zone string) discoveryv1.Endpoint {
		e := ep(ip, "there")
		if zone != "" {
			e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: zone}}}
		}
		return e
	}
	vip := VIP{netip.MustParseAddr("10.96.0.7"), 6, 80}
	for _, tc := range []struct {
		second string
		want   int
	}{{"z2", 1}, {"", 2}, {"z1", 2}} {
		rs := compile(svc, slice(svc, 1, in("10.244.1.1", "z1"), in("10.244.1.2", tc.second)))
		if got := len(rs.endsAt(rs.VIPs[vip], true)); got != tc.want {
			t.Errorf("second endpoint for zone %q: %d endpoints, want %d", tc.second, got, tc.want)
		}
	}
}

func TestClaimsToOneAddressAreSettledWhateverTheOrder(t *testing.T) {
	a := service("a", "10.96.0.7", 80, 0)
	b := service("b", "10.96.0.8", 80, 0, func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"10.96.0.7", "192.0.2.9"} })
	c := service("c", "10.96.0.9", 80, 0, func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.9"} })
	eps := []*discoveryv1.EndpointSlice{slice(a, 1, ep("10.244.0.2", "here")), slice(b, 1, ep("10.244.0.3", "here")), slice(c, 1, ep("10.244.0.4", "here"))}
	one := Compile(Input{Services: []*corev1.Service{a, b, c}, EndpointSlices: eps})
	two := Compile(Input{Services: []*corev1.Service{c, b, a}, EndpointSlices: eps})
	if d := Diff(one, two); d.Len() != 0 {
		t.Fatalf("order of Services matters: %+v", d)
	}
	if got := one.VIPs[VIP{netip.MustParseAddr("10.96.0.7"), 6, 80}]; got != "service/tcp/ns/a/p" {
		t.Errorf("the ClusterIP leads to %s", got)
	}
}

// cluster makes n Services of two endpoints each.
func cluster(n int) Input {
	in := Input{NodeName: "here", ClusterCIDR: netip.MustParsePrefix("10.0.0.0/8")}
	for i := range n {
		svc := service(fmt.Sprintf("svc-%05d", i), fmt.Sprintf("172.%d.%d.%d", 16+i>>16, i>>8&255, i&255), 80, 0)
		in.Services = append(in.Services, svc)
		in.EndpointSlices = append(in.EndpointSlices, slice(svc, 8080,
			ep(fmt.Sprintf("10.1.%d.%d", i>>8&255, i&255), "here"), ep(fmt.Sprintf("10.2.%d.%d", i>>8&255, i&255), "there")))
	}
	return in
}

func TestOneEndpointChangeCostsTheSameWhateverTheSize(t *testing.T) {
	for _, n := range []int{10, 2000} {
		in := cluster(n)
		before := Compile(in)
		in.EndpointSlices[3] = slice(in.Services[3], 8080, ep("10.1.0.3", "here"))
		if d := Diff(before, Compile(in)); d.Len() != 1 || len(d.UpdateChains) != 1 {
			t.Errorf("of %d Services, one lost an endpoint: %d changes, want one chain", n, d.Len())
		}
	}
}

// TestChangesLeadFromAnyRulesetToAnyOther applies diffs to a model of the kernel.
func TestChangesLeadFromAnyRulesetToAnyOther(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func() *Ruleset {
		in := cluster(12)
		for i, s := range in.Services {
			if r.IntN(3) == 0 {
				s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, int32(30000+r.IntN(20))
				if r.IntN(2) == 0 {
					s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
				}
			}
			if r.IntN(3) == 0 {
				s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
				s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr(int32(1 + r.IntN(3)))}}
			}
			if r.IntN(4) == 0 {
				in.EndpointSlices[i].Endpoints = in.EndpointSlices[i].Endpoints[:r.IntN(2)]
			}
		}
		in.Services = in.Services[:1+r.IntN(12)]
		return Compile(in)
	}
	now := newRuleset(0)
	now.PodRange = random().PodRange
	for i := range 200 {
		want := random()
		d := Diff(now, want)
		patch(now.VIPs, d.VIPs)
		patch(now.NodePorts, d.NodePorts)
		patch(now.RefusedVIPs, d.RefusedVIPs)
		patch(now.RefusedPorts, d.RefusedPorts)
		patch(now.ClusterIPs, d.ClusterIPs)
		patch(now.Hairpins, d.Hairpins)
		patch(now.Affinities, d.Affinities)
		for _, c := range d.DeleteChains {
			delete(now.Chains, c)
		}
		for _, c := range append(d.AddChains, d.UpdateChains...) {
			now.Chains[c] = want.Chains[c]
		}
		if !reflect.DeepEqual(now, want) {
			t.Fatalf("step %d: changes do not lead to what is wanted: %+v", i, d)
		}
	}
}

func patch[K comparable, V any](m map[K]V, e Entries[K, V]) {
	for k := range e.Delete {
		delete(m, k)
	}
	for k, v := range e.Add {
		m[k] = v
	}
}

func TestAffinityTimeoutChangeRewritesItsChains(t *testing.T) {
	svc := service("s", "10.96.0.7", 80, 0, func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP })
	eps := slice(svc, 1, ep("10.244.0.2", "here"))
	before := compile(svc, eps)
	if before.Affinities["affinity/tcp/ns/s/p"] != 3*time.Hour {
		t.Fatalf("default timeout is %v", before.Affinities)
	}
	svc = svc.DeepCopy()
	svc.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr(int32(5))}}
	if d := Diff(before, compile(svc, eps)); len(d.UpdateChains) != 1 || d.Affinities.Len() != 2 {
		t.Fatalf("changes are %+v", d)
	}
}

func BenchmarkCompile10000(b *testing.B) {
	in := cluster(10000)
	for b.Loop() {
		Compile(in)
	}
}

func BenchmarkDiff10000(b *testing.B) {
	in := cluster(10000)
	before := Compile(in)
	in.EndpointSlices[3] = slice(in.Services[3], 8080, ep("10.1.0.3", "here"))
	after := Compile(in)
	for b.Loop() {
		Diff(before, after)
	}
}
