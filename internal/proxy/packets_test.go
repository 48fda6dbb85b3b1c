package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/monohull/monohull/internal/host/netns"
	"github.com/monohull/monohull/internal/host/netns/netnstest"
	"github.com/monohull/monohull/internal/network"
)

// source is a Source that tests write to.
type source struct {
	mu       sync.Mutex
	services []*corev1.Service
	slices   []*discoveryv1.EndpointSlice
	changed  chan struct{}
}

func (s *source) Services() []*corev1.Service {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.services
}

func (s *source) EndpointSlices() []*discoveryv1.EndpointSlice {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slices
}

func (s *source) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// node is a namespace with a pod network and Service rules.
type node struct {
	t         testing.TB
	ns        string
	net       *network.Network
	outside   string
	table     *table
	in        Input
	installed *Ruleset
}

func newNode(t testing.TB) *node {
	t.Helper()
	n := &node{t: t, ns: netnstest.New(t), outside: netnstest.New(t)}
	n.in = Input{NodeName: "here", NodeAddresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
		ClusterCIDR: netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")}}
	var err error
	n.net, err = network.New(network.Config{DataDir: t.TempDir(), NetNS: n.ns, PodCIDR: netip.MustParsePrefix("10.244.0.0/24"),
		ClusterCIDR: n.in.ClusterCIDR, ServiceCIDR: n.in.ServiceCIDRs[0]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.net.Close() })
	if err := n.net.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	netnstest.Wire(t, n.ns, "up0", "192.0.2.1/24", n.outside, "eth0", "192.0.2.2/24")
	netnstest.Route(t, n.outside, "10.96.0.0/12", "192.0.2.1")
	if n.table, err = open(n.ns, DefaultTable); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.table.close)
	return n
}

func (n *node) pod(name string) (ns, ip string) {
	n.t.Helper()
	ns = netnstest.New(n.t)
	ips, err := n.net.Attach(n.t.Context(), "default", name, name, ns, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	return ns, ips[0]
}

// set replaces the node's Services: each with its slice.
func (n *node) set(objects ...any) {
	n.t.Helper()
	n.in.Services, n.in.EndpointSlices = nil, nil
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Service:
			n.in.Services = append(n.in.Services, o)
		case *discoveryv1.EndpointSlice:
			n.in.EndpointSlices = append(n.in.EndpointSlices, o)
		}
	}
	wanted := Compile(n.in)
	if err := n.table.sync(n.installed, wanted); err != nil {
		n.t.Fatal(err)
	}
	n.installed = wanted
}

func (n *node) refused(ns, network, addr string) {
	n.t.Helper()
	if name, _, err := netnstest.Ask(ns, network, addr); !errors.Is(err, syscall.ECONNREFUSED) {
		n.t.Fatalf("%s to %s: answer %q, error %v; want connection refused", network, addr, name, err)
	}
}

// whoAnswers asks until every name was heard, and fails when one is not within a bound that chance does not reach.
func (n *node) whoAnswers(ns, network, addr string, names ...string) {
	n.t.Helper()
	heard := map[string]bool{}
	for range 200 {
		name, _, err := netnstest.Ask(ns, network, addr)
		if err != nil {
			n.t.Fatalf("%s to %s: %v", network, addr, err)
		}
		heard[name] = true
		if len(heard) == len(names) {
			break
		}
	}
	for _, name := range names {
		if !heard[name] {
			n.t.Fatalf("%s to %s was answered by %v, want each of %v", network, addr, heard, names)
		}
	}
}

func TestClusterIP(t *testing.T) {
	for _, bridged := range []string{"0", "1"} {
		t.Run("bridge netfilter "+bridged, func(t *testing.T) {
			n := newNode(t)
			netnstest.In(t, n.ns, func() error { _ = writeSysctl("net/bridge/bridge-nf-call-iptables", bridged); return nil })
			client, ipClient := n.pod("client")
			a, ipA := n.pod("a")
			b, ipB := n.pod("b")
			for ns, name := range map[string]string{a: "a", b: "b"} {
				netnstest.ServeTCP(t, ns, ":8080", name)
				netnstest.ServeUDP(t, ns, ":8080", name)
			}
			tcp, udp := service("tcp", "10.96.0.7", 80, 0), service("udp", "10.96.0.8", 53, 0, udp)
			n.set(tcp, slice(tcp, 8080, ep(ipA, "here"), ep(ipB, "here")), udp, slice(udp, 8080, ep(ipA, "here"), ep(ipB, "here")))
			n.whoAnswers(client, "tcp4", "10.96.0.7:80", "a", "b")
			n.whoAnswers(client, "udp4", "10.96.0.8:53", "a", "b")
			n.whoAnswers(n.ns, "tcp4", "10.96.0.7:80", "a", "b")
			n.whoAnswers(n.ns, "udp4", "10.96.0.8:53", "a", "b")
			n.refused(client, "tcp4", "10.96.0.7:81") // no such port

			n.set(tcp, slice(tcp, 8080, ep(ipA, "here")))
			netnstest.Expect(t, client, "tcp4", "10.96.0.7:80", "a", ipClient) // a pod's address is kept
			netnstest.Expect(t, a, "tcp4", "10.96.0.7:80", "a", "10.244.0.1")  // itself: masqueraded
			netnstest.Expect(t, n.outside, "tcp4", "10.96.0.7:80", "a", "10.244.0.1")
			n.set(tcp)
			n.refused(client, "tcp4", "10.96.0.7:80")
			n.refused(n.ns, "tcp4", "10.96.0.7:80")
			n.set(tcp, slice(tcp, 8080, ep(ipB, "here")))
			netnstest.Expect(t, client, "tcp4", "10.96.0.7:80", "b", ipClient)
		})
	}
}

func TestTheNodeItselfIsAnEndpoint(t *testing.T) {
	n := newNode(t)
	netnstest.ServeTCP(t, n.ns, "192.0.2.1:6443", "apiserver")
	pod, ip := n.pod("pod")
	svc := service("kubernetes", "10.96.0.1", 443, 0)
	eps := slice(svc, 6443, ep("192.0.2.1", "here"))
	eps.Endpoints[0].NodeName = nil
	n.set(svc, eps)
	netnstest.Expect(t, pod, "tcp4", "10.96.0.1:443", "apiserver", ip)
	netnstest.Expect(t, n.ns, "tcp4", "10.96.0.1:443", "apiserver", "")
	netnstest.Expect(t, n.ns, "tcp4", "192.0.2.1:6443", "apiserver", "192.0.2.1")
}

func TestNodePort(t *testing.T) {
	n := newNode(t)
	client, ipClient := n.pod("client")
	a, ipA := n.pod("a")
	netnstest.ServeTCP(t, a, ":8080", "a")
	svc := service("s", "10.96.0.7", 80, 30080, func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeNodePort
		s.Spec.ExternalIPs = []string{"10.99.0.50"}
	})
	n.set(svc, slice(svc, 8080, ep(ipA, "here")))
	netnstest.Expect(t, n.outside, "tcp4", "192.0.2.1:30080", "a", "10.244.0.1")
	netnstest.Expect(t, n.outside, "tcp4", "10.99.0.50:80", "a", "10.244.0.1")
	netnstest.Expect(t, n.ns, "tcp4", "192.0.2.1:30080", "a", "")
	netnstest.Expect(t, n.ns, "tcp4", "127.0.0.1:30080", "a", "")
	netnstest.Expect(t, client, "tcp4", "192.0.2.1:30080", "a", "")
	netnstest.Expect(t, a, "tcp4", "192.0.2.1:30080", "a", "")
	n.set(svc)
	n.refused(n.outside, "tcp4", "192.0.2.1:30080")
	n.refused(client, "tcp4", "192.0.2.1:30080")

	local := svc.DeepCopy()
	local.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	n.set(local, slice(local, 8080, ep(ipA, "here"), ep("10.244.9.9", "there")))
	for range 20 {
		netnstest.Expect(t, n.outside, "tcp4", "192.0.2.1:30080", "a", "192.0.2.2") // the client's address is kept
	}
	// With nothing here the outside hears nothing, a pod is served by what is elsewhere.
	n.set(local, slice(local, 8080, ep(ipA, "there")))
	netnstest.Expect(t, client, "tcp4", "192.0.2.1:30080", "a", ipClient)
	err := netns.Do(n.outside, func() error {
		_, err := net.DialTimeout("tcp4", "192.0.2.1:30080", 100*time.Millisecond)
		return err
	})
	if e := net.Error(nil); !errors.As(err, &e) || !e.Timeout() {
		t.Fatalf("node port Local with nothing here: %v, want silence", err)
	}
}

func TestBalancerSourceRanges(t *testing.T) {
	n := newNode(t)
	a, ipA := n.pod("a")
	netnstest.ServeTCP(t, a, ":8080", "a")
	svc := service("s", "10.96.0.7", 80, 0, func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		s.Spec.LoadBalancerSourceRanges = []string{"192.0.2.2/32"}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "10.99.0.60"}}
	})
	n.set(svc, slice(svc, 8080, ep(ipA, "here")))
	netnstest.Expect(t, n.outside, "tcp4", "10.99.0.60:80", "a", "")
	svc = svc.DeepCopy()
	svc.Spec.LoadBalancerSourceRanges = []string{"198.51.100.0/24"}
	n.set(svc, slice(svc, 8080, ep(ipA, "here")))
	err := netns.Do(n.outside, func() error {
		_, err := net.DialTimeout("tcp4", "10.99.0.60:80", 100*time.Millisecond)
		return err
	})
	if e := net.Error(nil); !errors.As(err, &e) || !e.Timeout() {
		t.Fatalf("a source outside of the ranges: %v, want silence", err)
	}
}

func TestSessionAffinity(t *testing.T) {
	n := newNode(t)
	client, _ := n.pod("client")
	svc := service("s", "10.96.0.7", 80, 0, func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP })
	eps := slice(svc, 8080)
	for i := range 4 {
		name := fmt.Sprint("p", i)
		ns, ip := n.pod(name)
		netnstest.ServeTCP(t, ns, ":8080", name)
		eps.Endpoints = append(eps.Endpoints, ep(ip, "here"))
	}
	n.set(svc, eps)
	first := ""
	stick := func() {
		t.Helper()
		for range 30 {
			name, _, err := netnstest.Ask(client, "tcp4", "10.96.0.7:80")
			if err != nil {
				t.Fatal(err)
			}
			if first == "" {
				first = name
			}
			if name != first {
				t.Fatalf("a client of %s was led to %s", first, name)
			}
		}
	}
	stick()
	// Another endpoint leaves: the client stays.
	kept := eps.DeepCopy()
	kept.Endpoints = kept.Endpoints[:0]
	var own discoveryv1.Endpoint
	for i, e := range eps.Endpoints {
		if fmt.Sprint("p", i) == first {
			own = e
		} else {
			kept.Endpoints = append(kept.Endpoints, e)
		}
	}
	less := kept.DeepCopy()
	less.Endpoints = append(less.Endpoints[:2], own)
	n.set(svc, less)
	stick()
	// Its own leaves: it moves once and stays there.
	n.set(svc, kept)
	gone := first
	first = ""
	stick()
	if first == gone {
		t.Fatalf("the client is still led to %s, which is gone", gone)
	}
}

func TestAffinityEndsWithItsTimeout(t *testing.T) {
	n := newNode(t)
	client, ipClient := n.pod("client")
	svc := service("s", "10.96.0.7", 80, 0, func(s *corev1.Service) {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr(int32(600))}}
	})
	web, ip := n.pod("web")
	netnstest.ServeTCP(t, web, ":8080", "web")
	n.set(svc, slice(svc, 8080, ep(ip, "here")))
	netnstest.Expect(t, client, "tcp4", "10.96.0.7:80", "web", ipClient)
	// That the kernel expires what has a timeout is the kernel's; that every client has one, and which, is ours.
	netnstest.In(t, n.ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		set, err := c.GetSetByName(&nftables.Table{Name: DefaultTable, Family: nftables.TableFamilyIPv4}, "affinity/tcp/ns/s/p")
		if err != nil {
			return err
		}
		clients, err := c.GetSetElements(set)
		if err != nil {
			return err
		}
		if set.Timeout != 600*time.Second || len(clients) != 1 || net.IP(clients[0].Key).String() != ipClient ||
			clients[0].Expires == 0 || clients[0].Expires > 600*time.Second {
			t.Errorf("affinity map has timeout %v and clients %+v", set.Timeout, clients)
		}
		return nil
	})
}

func TestLocalVIPsAreLeftToTheNode(t *testing.T) {
	n := newNode(t)
	n.in.LocalVIPs = []netip.Addr{netip.MustParseAddr("10.96.0.10")}
	pod, ip := n.pod("pod")
	netnstest.In(t, n.ns, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		addr, _ := netlink.ParseAddr("10.96.0.10/32")
		return netlink.AddrAdd(lo, addr)
	})
	netnstest.ServeUDP(t, n.ns, "10.96.0.10:53", "dns")
	netnstest.ServeTCP(t, n.ns, "10.96.0.10:53", "dns")
	svc := service("kube-dns", "10.96.0.10", 53, 0, udp) // without endpoints, it would be rejected
	n.set(svc)
	for _, network := range []string{"udp4", "tcp4"} {
		netnstest.Expect(t, pod, network, "10.96.0.10:53", "dns", ip)
		netnstest.Expect(t, n.ns, network, "10.96.0.10:53", "dns", "")
	}
}

func TestUDPConversationsMoveWithTheirEndpoint(t *testing.T) {
	n := newNode(t)
	client, ipClient := n.pod("client")
	a, ipA := n.pod("a")
	b, ipB := n.pod("b")
	netnstest.ServeUDP(t, a, ":53", "a")
	netnstest.ServeUDP(t, b, ":53", "b")
	svc := service("dns", "10.96.0.8", 53, 0, udp)
	from := &net.UDPAddr{IP: net.ParseIP(ipClient), Port: 5000} // always the same conversation
	ask := func(want string) {
		t.Helper()
		if name, _, err := netnstest.AskFrom(client, "udp4", "10.96.0.8:53", from); err != nil || name != want {
			t.Fatalf("answered by %q, %v; want %s", name, err, want)
		}
	}
	n.set(svc, slice(svc, 53, ep(ipA, "here")))
	ask("a")
	n.set(svc, slice(svc, 53, ep(ipB, "here")))
	ask("b")
	n.set(svc)
	n.refused(client, "udp4", "10.96.0.8:53")
	n.set(svc, slice(svc, 53, ep(ipA, "here")))
	ask("a")
}

func TestRunFollowsItsSourceAndMendsAndResets(t *testing.T) {
	n := newNode(t)
	client, _ := n.pod("client")
	a, ipA := n.pod("a")
	b, ipB := n.pod("b")
	netnstest.ServeTCP(t, a, ":80", "a")
	netnstest.ServeTCP(t, b, ":80", "b")
	svc := service("s", "10.96.0.7", 80, 0)
	src := &source{services: []*corev1.Service{svc}, slices: []*discoveryv1.EndpointSlice{slice(svc, 80, ep(ipA, "here"))}}
	log := &signals{seen: make(chan string, 16)}
	p, err := New(Config{NodeName: "here", ClusterCIDR: n.in.ClusterCIDR, ServiceCIDRs: n.in.ServiceCIDRs, NetNS: n.ns, Source: src, Logger: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	<-p.Ready()
	netnstest.Expect(t, client, "tcp4", "10.96.0.7:80", "a", "")

	// Somebody else deletes the table: the next change fails, is reported once, and everything is there again.
	if err := n.table.remove(); err != nil {
		t.Fatal(err)
	}
	src.publish(slice(svc, 80, ep(ipB, "here")))
	for _, want := range []string{"Service rules could not be written; trying again", "Service rules are written again"} {
		if got := <-log.seen; got != want {
			t.Fatalf("logged %q, want %q", got, want)
		}
	}
	netnstest.Expect(t, client, "tcp4", "10.96.0.7:80", "b", "")
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	netnstest.Expect(t, client, "tcp4", "10.96.0.7:80", "b", "") // Services outlive the process
	for range 2 {
		if err := Reset(p.cfg.NetNS, p.cfg.Table); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *source) publish(slices ...*discoveryv1.EndpointSlice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slices = slices
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// TestTenThousandServices installs them and changes one, in the kernel.
func TestTenThousandServices(t *testing.T) {
	netnstest.RequireRoot(t)
	ns := netnstest.New(t)
	tab, err := open(ns, DefaultTable)
	if err != nil {
		t.Fatal(err)
	}
	defer tab.close()
	in := cluster(10000)
	start := time.Now()
	before := Compile(in)
	compiled := time.Since(start)
	start = time.Now()
	if err := tab.sync(nil, before); err != nil {
		t.Fatal(err)
	}
	t.Logf("compiled in %v, installed in %v", compiled, time.Since(start))
	in.EndpointSlices[3] = slice(in.Services[3], 8080, ep("10.1.0.3", "here"))
	start = time.Now()
	after := Compile(in)
	c := Diff(before, after)
	decided := time.Since(start)
	start = time.Now()
	if err := tab.change(c, before, after); err != nil {
		t.Fatal(err)
	}
	t.Logf("one endpoint: decided in %v, %d change, applied in %v", decided, c.Len(), time.Since(start))
}
