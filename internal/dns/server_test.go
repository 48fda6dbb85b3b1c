package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/host/netns"
	"github.com/monohull/monohull/internal/host/netns/netnstest"
	"github.com/monohull/monohull/internal/network"
)

// upstream is a resolver in a namespace that counts what it is asked.
func upstream(t *testing.T, ns, addr string, asked *atomic.Int32) {
	t.Helper()
	h := mdns.HandlerFunc(func(w mdns.ResponseWriter, req *mdns.Msg) {
		asked.Add(1)
		m := new(mdns.Msg)
		m.SetReply(req)
		switch req.Question[0].Name {
		case "www.example.com.":
			rr, _ := mdns.NewRR("www.example.com. 60 IN A 192.0.2.80")
			m.Answer = []mdns.RR{rr}
		case "large.example.com.":
			if w.RemoteAddr().Network() == "udp" {
				m.Truncated = true
				break
			}
			for i := range 100 {
				rr, _ := mdns.NewRR(fmt.Sprintf("large.example.com. 60 IN A 192.0.2.%d", i))
				m.Answer = append(m.Answer, rr)
			}
		default:
			m.Rcode = mdns.RcodeNameError
			soa, _ := mdns.NewRR("example.com. 60 IN SOA a. b. 1 2 3 4 5")
			m.Ns = []mdns.RR{soa}
		}
		_ = w.WriteMsg(m)
	})
	netnstest.In(t, ns, func() error {
		pc, err := net.ListenPacket("udp4", addr)
		if err != nil {
			return err
		}
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			return err
		}
		for _, s := range []*mdns.Server{{PacketConn: pc, Handler: h}, {Listener: l, Handler: h}} {
			go func() { _ = s.ActivateAndServe() }()
		}
		t.Cleanup(func() { pc.Close(); l.Close() })
		return nil
	})
}

func ask(t *testing.T, ns, network, name string, kind uint16, edns uint16) *mdns.Msg {
	t.Helper()
	m := new(mdns.Msg)
	m.SetQuestion(name, kind)
	if edns > 0 {
		m.SetEdns0(edns, false)
	}
	c := mdns.Client{Net: network, Timeout: netnstest.Patience, UDPSize: edns}
	var conn *mdns.Conn
	netnstest.In(t, ns, func() (err error) { conn, err = c.Dial("10.96.0.10:53"); return err })
	defer conn.Close()
	r, _, err := c.ExchangeWithConn(m, conn)
	if err != nil {
		t.Fatalf("ask %s over %s: %v", name, network, err)
	}
	return r
}

func serve(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-s.Ready():
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	return s
}

func TestPodsAndTheNodeResolve(t *testing.T) {
	ns, outside := netnstest.New(t), netnstest.New(t)
	netnstest.Wire(t, ns, "up0", "192.0.2.1/24", outside, "eth0", "192.0.2.2/24")
	var asked atomic.Int32
	upstream(t, outside, "192.0.2.2:53", &asked)
	n, err := network.New(network.Config{DataDir: t.TempDir(), NetNS: ns, PodCIDR: netip.MustParsePrefix("10.244.0.0/24"), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/12")})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := n.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	pod := netnstest.New(t)
	if _, err := n.Attach(t.Context(), "ns", "pod", "pod", pod, nil); err != nil {
		t.Fatal(err)
	}
	w := testWorld()
	many := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "many", Labels: map[string]string{discoveryv1.LabelServiceName: "many"}},
		Ports: []discoveryv1.EndpointPort{{Port: ptr(int32(1))}}}
	for i := range 100 {
		many.Endpoints = append(many.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.244.1.%d", i)}})
	}
	w.services, w.slices = append(w.services, svc("many", corev1.ClusterIPNone)), append(w.slices, many)
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	// The first two are ourselves and nobody.
	if err := os.WriteFile(resolv, []byte("# ours\nnameserver 10.96.0.10\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := serve(t, Config{Addrs: testZone.Addrs, NetNS: ns, Source: w, ResolvConf: resolv})

	for _, from := range []string{pod, ns} {
		for _, network := range []string{"udp", "tcp"} {
			if r := ask(t, from, network, "web.ns.svc.cluster.local.", mdns.TypeA, 0); short(r.Answer) != "A 10.96.0.7" || !r.Authoritative {
				t.Fatalf("over %s: %v", network, r)
			}
			if r := ask(t, from, network, "www.example.com.", mdns.TypeA, 0); short(r.Answer) != "A 192.0.2.80" {
				t.Fatalf("over %s: %v", network, r)
			}
		}
	}
	if asked.Load() != 1 {
		t.Errorf("the upstream was asked %d times for one name", asked.Load())
	}
	if r := ask(t, pod, "udp", "ext.ns.svc.cluster.local.", mdns.TypeA, 0); short(r.Answer) != "A 192.0.2.80, CNAME www.example.com." {
		t.Errorf("ExternalName: %v", r)
	}
	for range 2 {
		if r := ask(t, pod, "udp", "no.example.com.", mdns.TypeA, 0); r.Rcode != mdns.RcodeNameError || len(r.Ns) != 1 {
			t.Errorf("absent upstream: %v", r)
		}
	}
	if asked.Load() != 2 {
		t.Errorf("an absence was not remembered: %d questions", asked.Load())
	}
	if r := ask(t, pod, "udp", "many.ns.svc.cluster.local.", mdns.TypeA, 0); !r.Truncated || len(r.Answer) == 100 {
		t.Errorf("100 records in a plain datagram: truncated %v, %d records", r.Truncated, len(r.Answer))
	}
	if r := ask(t, pod, "udp", "many.ns.svc.cluster.local.", mdns.TypeA, 4096); r.Truncated || len(r.Answer) != 100 || r.IsEdns0() == nil {
		t.Errorf("100 records with EDNS0: truncated %v, %d records", r.Truncated, len(r.Answer))
	}
	if r := ask(t, pod, "tcp", "many.ns.svc.cluster.local.", mdns.TypeA, 0); len(r.Answer) != 100 {
		t.Errorf("100 records over TCP: %d", len(r.Answer))
	}
	if r := ask(t, pod, "tcp", "large.example.com.", mdns.TypeA, 0); len(r.Answer) != 100 {
		t.Errorf("an answer the upstream truncates: %d records", len(r.Answer))
	}
	// The system's own resolver in a process of the pod.
	netnstest.In(t, pod, func() error {
		res := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var c net.Conn
			err := netns.Do(pod, func() (err error) {
				c, err = (&net.Dialer{}).DialContext(ctx, network, "10.96.0.10:53")
				return err
			})
			return c, err
		}}
		names, err := res.LookupAddr(t.Context(), "10.96.0.7")
		if err == nil && (len(names) != 1 || names[0] != "web.ns.svc.cluster.local.") {
			t.Errorf("reverse lookup: %v", names)
		}
		_, srvs, err2 := res.LookupSRV(t.Context(), "http", "tcp", "headless.ns.svc.cluster.local")
		if err2 == nil && len(srvs) != 2 {
			t.Errorf("SRV lookup: %v", srvs)
		}
		if err != nil {
			return err
		}
		return err2
	})
	if err := Reset(s.cfg); err != nil {
		t.Fatal(err)
	}
}

func TestWithoutNetworkForwardingFailsAtOnce(t *testing.T) {
	ns := netnstest.New(t)
	serve(t, Config{Addrs: testZone.Addrs, NetNS: ns, Source: testWorld(), Upstreams: []string{"192.0.2.2"}})
	start := time.Now()
	if r := ask(t, ns, "udp", "www.example.com.", mdns.TypeA, 0); r.Rcode != mdns.RcodeServerFailure {
		t.Fatalf("reply is %v", r)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("it took %v to say so", d)
	}
	if r := ask(t, ns, "udp", "web.ns.svc.cluster.local.", mdns.TypeA, 0); short(r.Answer) != "A 10.96.0.7" {
		t.Fatalf("the cluster's own names: %v", r)
	}
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	s, err := New(Config{Addrs: testZone.Addrs, Source: testWorld(), Upstreams: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	q := func(edit func(*mdns.Msg)) *mdns.Msg {
		m := new(mdns.Msg)
		m.SetQuestion("web.ns.svc.cluster.local.", mdns.TypeA)
		edit(m)
		return m
	}
	for name, tc := range map[string]struct {
		req  *mdns.Msg
		want int
	}{
		"two questions": {q(func(m *mdns.Msg) { m.Question = append(m.Question, m.Question[0]) }), mdns.RcodeFormatError},
		"no question":   {q(func(m *mdns.Msg) { m.Question = nil }), mdns.RcodeFormatError},
		"update":        {q(func(m *mdns.Msg) { m.Opcode = mdns.OpcodeUpdate }), mdns.RcodeNotImplemented},
		"class chaos":   {q(func(m *mdns.Msg) { m.Question[0].Qclass = mdns.ClassCHAOS }), mdns.RcodeRefused},
		"edns 1":        {q(func(m *mdns.Msg) { m.SetEdns0(512, false); m.IsEdns0().SetVersion(1) }), mdns.RcodeBadVers},
		"no upstream":   {q(func(m *mdns.Msg) { m.Question[0].Name = "example.com." }), mdns.RcodeServerFailure},
	} {
		r := s.respond(t.Context(), tc.req)
		if r.Rcode != tc.want {
			t.Errorf("%s: %s, want %s", name, mdns.RcodeToString[r.Rcode], mdns.RcodeToString[tc.want])
		}
		if _, err := r.Pack(); err != nil {
			t.Errorf("%s: reply can not be packed: %v", name, err)
		}
	}
}

func TestCacheAgesAndIsBounded(t *testing.T) {
	now := time.Unix(0, 0)
	f := newForwarder(Config{Upstreams: []string{}, Now: func() time.Time { return now }})
	rr, _ := mdns.NewRR("a.example. 20 IN A 192.0.2.1")
	msg := &mdns.Msg{Answer: []mdns.RR{rr}}
	f.rememberLocked(forwardKey{name: "a.example.", qtype: mdns.TypeA}, msg)
	q := mdns.Question{Name: "A.example.", Qtype: mdns.TypeA, Qclass: mdns.ClassINET}
	now = now.Add(15 * time.Second)
	if got, err := f.resolve(t.Context(), q, false); err != nil || got.Answer[0].Header().Ttl != 5 {
		t.Fatalf("after 15 of 20 s: %v, %v", got, err)
	}
	now = now.Add(6 * time.Second)
	if got, err := f.resolve(t.Context(), q, false); err == nil {
		t.Fatalf("after 21 of 20 s: %v", got)
	}
	for i := range cacheMax + 50 {
		f.rememberLocked(forwardKey{name: fmt.Sprint(i)}, msg)
	}
	if len(f.cache) > cacheMax {
		t.Fatalf("the cache holds %d answers", len(f.cache))
	}
}
