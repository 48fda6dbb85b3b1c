package pipeline

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func service(name string, ports ...int32) *corev1.Service {
	s := &corev1.Service{ObjectMeta: meta(name), Spec: corev1.ServiceSpec{Selector: map[string]string{"a": "b"}}}
	for _, p := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprint("p", p), Port: p})
	}
	return s
}

func nodePort(name string, ports ...int32) *corev1.Service {
	s := service(name)
	s.Spec.Type = corev1.ServiceTypeNodePort
	for i, p := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprint("p", i), Port: int32(80 + i), NodePort: p})
	}
	return s
}

func TestServiceGetsAnAddressOfItsNetwork(t *testing.T) {
	r := newRig(t)
	seen := map[string]bool{}
	for i := range 30 {
		s := create(r, service(fmt.Sprint("s", i), 80))
		ip, err := netip.ParseAddr(s.Spec.ClusterIP)
		if err != nil || !netip.MustParsePrefix("10.0.0.0/24").Contains(ip) || seen[s.Spec.ClusterIP] {
			t.Fatalf("service %d got %q", i, s.Spec.ClusterIP)
		}
		if b := ip.As4(); b[3] <= 16 {
			t.Errorf("%s lies in the band for chosen addresses", ip)
		}
		seen[s.Spec.ClusterIP] = true
		if !slices.Equal(s.Spec.ClusterIPs, []string{s.Spec.ClusterIP}) || s.Spec.IPFamilies[0] != corev1.IPv4Protocol || *s.Spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack {
			t.Fatalf("service %d is %+v", i, s.Spec)
		}
	}
}

func TestServiceWithAChosenAddress(t *testing.T) {
	r := newRig(t)
	svcs := kind[*corev1.Service](r)
	chosen := service("a", 80)
	chosen.Spec.ClusterIP = "10.0.0.10"
	create(r, chosen)
	taken := service("b", 80)
	taken.Spec.ClusterIP = "10.0.0.10"
	_, err := svcs.Create(r.ctx, taken.DeepCopy())
	s := refused(t, err, 422, metav1.StatusReasonInvalid, "provided IP is already allocated")
	if causes(s) != "FieldValueInvalid spec.clusterIPs" {
		t.Errorf("the causes are %q", causes(s))
	}
	outside := service("c", 80)
	outside.Spec.ClusterIP = "10.1.0.10"
	_, err = svcs.Create(r.ctx, outside)
	refused(t, err, 422, metav1.StatusReasonInvalid, "the provided network does not match the current range")
	if _, err := del[*corev1.Service](r, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := create(r, taken); got.Spec.ClusterIP != "10.0.0.10" {
		t.Errorf("the released address went to nobody, got %s", got.Spec.ClusterIP)
	}
	// it is kept by an update that leaves it out, and cannot be changed
	up := get[*corev1.Service](r, "b").DeepCopy()
	up.Spec.ClusterIP, up.Spec.ClusterIPs = "", nil
	if got, err := svcs.Update(r.ctx, up); err != nil || got.Spec.ClusterIP != "10.0.0.10" {
		t.Errorf("an update without the address: %v", err)
	}
	up = get[*corev1.Service](r, "b").DeepCopy()
	up.Spec.ClusterIP, up.Spec.ClusterIPs = "10.0.0.11", []string{"10.0.0.11"}
	_, err = svcs.Update(r.ctx, up)
	refused(t, err, 422, metav1.StatusReasonInvalid, "may not change once set")
	free := service("d", 80)
	free.Spec.ClusterIP = "10.0.0.11"
	create(r, free) // the refused update holds nothing
}

func TestServiceWithoutAnAddress(t *testing.T) {
	r := newRig(t)
	headless := service("h", 80)
	headless.Spec.ClusterIP = corev1.ClusterIPNone
	if got := create(r, headless); got.Spec.ClusterIP != "None" || !slices.Equal(got.Spec.ClusterIPs, []string{"None"}) {
		t.Errorf("a headless service got %q", got.Spec.ClusterIP)
	}
	name := service("e")
	name.Spec.Type, name.Spec.ExternalName, name.Spec.Selector = corev1.ServiceTypeExternalName, "example.com", nil
	if got := create(r, name); got.Spec.ClusterIP != "" || len(got.Spec.ClusterIPs) != 0 {
		t.Errorf("an external name got %q", got.Spec.ClusterIP)
	}
	if n := len(r.pipe.Services.ips); n != 0 {
		t.Errorf("%d addresses are taken by services that have none", n)
	}
	// it may become an ordinary one, and back
	svcs := kind[*corev1.Service](r)
	got, err := svcs.Modify(r.ctx, "ns", "e", "", func(s *corev1.Service) error {
		s.Spec.Type, s.Spec.ExternalName, s.Spec.Ports = corev1.ServiceTypeClusterIP, "", service("", 80).Spec.Ports
		return nil
	})
	if err != nil || got.Spec.ClusterIP == "" {
		t.Fatalf("an external name that becomes ordinary: %v", err)
	}
	if _, err = svcs.Modify(r.ctx, "ns", "e", "", func(s *corev1.Service) error {
		s.Spec.Type, s.Spec.ExternalName, s.Spec.ClusterIP, s.Spec.ClusterIPs = corev1.ServiceTypeExternalName, "example.com", "", nil
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n := len(r.pipe.Services.ips); n != 0 {
		t.Errorf("%d addresses are still taken", n)
	}
}

func TestNodePorts(t *testing.T) {
	r := newRig(t)
	svcs := kind[*corev1.Service](r)
	auto := create(r, nodePort("auto", 0, 0))
	a, b := auto.Spec.Ports[0].NodePort, auto.Spec.Ports[1].NodePort
	for _, p := range []int32{a, b} {
		if p < DefaultNodePorts.First || p > DefaultNodePorts.Last {
			t.Fatalf("the node port is %d", p)
		}
	}
	if a == b {
		t.Fatal("two ports share a node port")
	}
	create(r, nodePort("chosen", 30080))
	_, err := svcs.Create(r.ctx, nodePort("clash", 30080))
	s := refused(t, err, 422, metav1.StatusReasonInvalid, "provided port is already allocated")
	if causes(s) != "FieldValueInvalid spec.ports[0].nodePort" {
		t.Errorf("the causes are %q", causes(s))
	}
	_, err = svcs.Create(r.ctx, nodePort("out", 80))
	refused(t, err, 422, metav1.StatusReasonInvalid, "provided port is not in the valid range. The range of valid ports is 30000-32767")
	_, err = svcs.Create(r.ctx, nodePort("half", 30081, 30080))
	refused(t, err, 422, metav1.StatusReasonInvalid, "provided port is already allocated")
	create(r, nodePort("whole", 30081)) // the refused one holds nothing

	if _, err := del[*corev1.Service](r, "chosen", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	create(r, nodePort("clash", 30080))

	// a change of type gives them back
	if _, err := svcs.Modify(r.ctx, "ns", "clash", "", func(s *corev1.Service) error {
		s.Spec.Type = corev1.ServiceTypeClusterIP
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := get[*corev1.Service](r, "clash"); got.Spec.Ports[0].NodePort != 0 {
		t.Errorf("a ClusterIP service keeps node port %d", got.Spec.Ports[0].NodePort)
	}
	create(r, nodePort("next", 30080))

	// an update that leaves them out keeps them
	up := get[*corev1.Service](r, "auto").DeepCopy()
	up.Spec.Ports[0].NodePort, up.Spec.Ports[1].NodePort = 0, 0
	got, err := svcs.Update(r.ctx, up)
	if err != nil || got.Spec.Ports[0].NodePort != a || got.Spec.Ports[1].NodePort != b {
		t.Errorf("an update without node ports: %v, %v", got, err)
	}
}

func TestOneNodePortMayServeTwoProtocols(t *testing.T) {
	r := newRig(t)
	s := nodePort("dns", 30053, 30053)
	s.Spec.Ports[0].Port, s.Spec.Ports[1].Port = 53, 53
	s.Spec.Ports[1].Protocol = corev1.ProtocolUDP
	got := create(r, s)
	if got.Spec.Ports[0].NodePort != 30053 || got.Spec.Ports[1].NodePort != 30053 {
		t.Fatalf("the ports are %+v", got.Spec.Ports)
	}
	if _, err := del[*corev1.Service](r, "dns", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := len(r.pipe.Services.nodes); n != 0 {
		t.Errorf("%d node ports are still taken", n)
	}
}

func TestLoadBalancerMayDoWithoutNodePorts(t *testing.T) {
	r := newRig(t)
	s := service("lb", 80)
	s.Spec.Type = corev1.ServiceTypeLoadBalancer
	if got := create(r, s); got.Spec.Ports[0].NodePort == 0 {
		t.Error("a load balancer got no node port")
	}
	s = service("lean", 80)
	s.Spec.Type, s.Spec.AllocateLoadBalancerNodePorts = corev1.ServiceTypeLoadBalancer, ptr(false)
	if got := create(r, s); got.Spec.Ports[0].NodePort != 0 {
		t.Error("a load balancer that wants none got a node port")
	}
}

func TestFullServiceNetworkIsSaidSo(t *testing.T) {
	r := newRig(t)
	r.pipe.Services = NewAllocator(netip.MustParsePrefix("10.0.0.0/29"), PortRange{30000, 30001})
	for i := range 6 {
		create(r, service(fmt.Sprint("s", i), 80))
	}
	if _, err := kind[*corev1.Service](r).Create(r.ctx, service("more", 80)); err == nil {
		t.Fatal("a seventh service found an address of six")
	}
	if _, err := del[*corev1.Service](r, "s3", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	create(r, service("more", 80))
}

func TestAllocatorTakesWhatIsStored(t *testing.T) {
	r := newRig(t)
	create(r, nodePort("old", 30080))
	old := get[*corev1.Service](r, "old")
	r.pipe.Services = NewAllocator(netip.MustParsePrefix("10.0.0.0/24"), DefaultNodePorts)
	r.pipe.Services.Load(r.caches.Of(r.table.ByGVK(corev1.SchemeGroupVersion.WithKind("Service"))).Snapshot())
	_, err := kind[*corev1.Service](r).Create(r.ctx, nodePort("new", 30080))
	refused(t, err, 422, metav1.StatusReasonInvalid)
	s := service("new", 80)
	s.Spec.ClusterIP = old.Spec.ClusterIP
	_, err = kind[*corev1.Service](r).Create(r.ctx, s)
	refused(t, err, 422, metav1.StatusReasonInvalid)
	// and the owner may still be changed
	if _, err := kind[*corev1.Service](r).Patch(r.ctx, "ns", "old", "", types.MergePatchType, []byte(`{"spec":{"selector":{"x":"y"}}}`)); err != nil {
		t.Error(err)
	}
}

func TestRacingServicesNeverShare(t *testing.T) {
	r := newRig(t)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			name := fmt.Sprint("s", i)
			if _, err := kind[*corev1.Service](r).Create(r.ctx, nodePort(name, 0)); err != nil {
				t.Errorf("creating %s: %v", name, err)
			}
			if i%3 == 0 {
				_ = kind[*corev1.Service](r).Delete(r.ctx, "ns", name, metav1.DeleteOptions{})
			}
		})
	}
	wg.Wait()
	ips, ports := map[string]string{}, map[int32]string{}
	for _, s := range kind[*corev1.Service](r).List("ns", nil) {
		if o := ips[s.Spec.ClusterIP] + ports[s.Spec.Ports[0].NodePort]; o != "" {
			t.Errorf("%s and %s share", s.Name, o)
		}
		ips[s.Spec.ClusterIP], ports[s.Spec.Ports[0].NodePort] = s.Name, s.Name
	}
	if len(r.pipe.Services.ips) != len(ips) || len(r.pipe.Services.nodes) != len(ports) {
		t.Errorf("%d addresses and %d ports are taken by %d services", len(r.pipe.Services.ips), len(r.pipe.Services.nodes), len(ips))
	}
}
