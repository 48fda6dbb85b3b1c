package network_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/host/netns"
	"github.com/monohull/monohull/internal/host/netns/netnstest"
	"github.com/monohull/monohull/internal/network"
)

type node struct {
	*network.Network
	cfg network.Config
	ns  string
}

func newNode(t testing.TB, podCIDR string) *node {
	t.Helper()
	n := &node{ns: netnstest.New(t)}
	n.cfg = network.Config{DataDir: t.TempDir(), NetNS: n.ns, PodCIDR: netip.MustParsePrefix(podCIDR),
		ClusterCIDR: netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/12")}
	n.open(t)
	return n
}

func (n *node) open(t testing.TB) {
	t.Helper()
	var err error
	if n.Network, err = network.New(n.cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	if err := n.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (n *node) pod(t testing.TB, id string, ports ...*runtimeapi.PortMapping) (ns, ip string) {
	t.Helper()
	ns = netnstest.New(t)
	ips, err := n.Attach(t.Context(), "default", id, id, ns, ports)
	if err != nil {
		t.Fatal(err)
	}
	return ns, ips[0]
}

// bridgeNetfilter sets whether bridged frames run through IP hooks; false when the kernel has no such thing.
func bridgeNetfilter(t testing.TB, ns, value string) bool {
	have := true
	netnstest.In(t, ns, func() error {
		err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte(value), 0o644)
		if os.IsNotExist(err) {
			have, err = false, nil
		}
		return err
	})
	return have
}

func TestPodsOfOneNodeSpeakWithoutTranslation(t *testing.T) {
	n := newNode(t, "10.244.1.0/24")
	a, ipA := n.pod(t, "a")
	b, ipB := n.pod(t, "b")
	netnstest.ServeTCP(t, b, ":80", "b")
	netnstest.ServeUDP(t, b, ":53", "b")
	netnstest.ServeTCP(t, n.ns, ":6443", "node")
	netnstest.Expect(t, a, "tcp4", ipB+":80", "b", ipA)
	netnstest.Expect(t, a, "udp4", ipB+":53", "b", ipA)
	netnstest.Expect(t, n.ns, "tcp4", ipB+":80", "b", "10.244.1.1")
	netnstest.Expect(t, a, "tcp4", "10.244.1.1:6443", "node", ipA)
}

func TestTrafficLeavingTheClusterIsMasqueraded(t *testing.T) {
	n := newNode(t, "10.244.1.0/24")
	outside := netnstest.New(t)
	netnstest.Wire(t, n.ns, "up0", "192.0.2.1/24", outside, "eth0", "192.0.2.2/24")
	netnstest.ServeTCP(t, outside, ":80", "outside")
	a, _ := n.pod(t, "a")
	netnstest.Expect(t, a, "tcp4", "192.0.2.2:80", "outside", "192.0.2.1")
}

func TestHostPorts(t *testing.T) {
	for _, bridged := range []string{"0", "1"} {
		t.Run("bridge netfilter "+bridged, func(t *testing.T) {
			n := newNode(t, "10.244.1.0/24")
			bridgeNetfilter(t, n.ns, bridged)
			outside := netnstest.New(t)
			netnstest.Wire(t, n.ns, "up0", "192.0.2.1/24", outside, "eth0", "192.0.2.2/24")
			web, ip := n.pod(t, "web",
				&runtimeapi.PortMapping{HostPort: 8080, ContainerPort: 80},
				&runtimeapi.PortMapping{HostPort: 5353, ContainerPort: 53, Protocol: runtimeapi.Protocol_UDP},
				&runtimeapi.PortMapping{HostPort: 9132, ContainerPort: 132, Protocol: runtimeapi.Protocol_SCTP},
				&runtimeapi.PortMapping{HostPort: 8081, ContainerPort: 80, HostIp: "127.0.0.1"},
				&runtimeapi.PortMapping{HostPort: 8082, ContainerPort: 80, HostIp: "192.0.2.1"},
				&runtimeapi.PortMapping{ContainerPort: 81})
			other, ipOther := n.pod(t, "other")
			netnstest.ServeTCP(t, web, ":80", "web")
			netnstest.ServeUDP(t, web, ":53", "web")

			netnstest.Expect(t, outside, "tcp4", "192.0.2.1:8080", "web", "192.0.2.2")
			netnstest.Expect(t, outside, "udp4", "192.0.2.1:5353", "web", "192.0.2.2")
			netnstest.Expect(t, outside, "tcp4", "192.0.2.1:8082", "web", "192.0.2.2")
			netnstest.Expect(t, n.ns, "tcp4", "127.0.0.1:8080", "web", "")
			netnstest.Expect(t, n.ns, "udp4", "127.0.0.1:5353", "web", "")
			netnstest.Expect(t, n.ns, "tcp4", "127.0.0.1:8081", "web", "")
			netnstest.Expect(t, n.ns, "tcp4", "192.0.2.1:8080", "web", "")
			netnstest.Expect(t, other, "tcp4", "192.0.2.1:8080", "web", ipOther)
			netnstest.Expect(t, web, "tcp4", "192.0.2.1:8080", "web", "10.244.1.1") // itself, through the node
			if _, _, err := netnstest.Ask(outside, "tcp4", "192.0.2.1:8081"); err == nil {
				t.Error("a host port of 127.0.0.1 answered on the node's address")
			}
			if _, err := n.Attach(t.Context(), "default", "thief", "thief", netnstest.New(t),
				[]*runtimeapi.PortMapping{{HostPort: 8080, ContainerPort: 1}}); err == nil || !strings.Contains(err.Error(), "default/web") {
				t.Errorf("a second pod got the host port: %v", err)
			}
			// A new process finds and keeps them.
			n.open(t)
			netnstest.Expect(t, outside, "tcp4", "192.0.2.1:8080", "web", "192.0.2.2")
			if err := n.Detach(t.Context(), "web", web); err != nil {
				t.Fatal(err)
			}
			if _, _, err := netnstest.Ask(outside, "tcp4", "192.0.2.1:8080"); err == nil {
				t.Error("a host port answers after its pod was detached")
			}
			again, ipAgain := n.pod(t, "again", &runtimeapi.PortMapping{HostPort: 5353, ContainerPort: 53, Protocol: runtimeapi.Protocol_UDP})
			if ipAgain == ip {
				t.Error("an address was reused at once")
			}
			netnstest.ServeUDP(t, again, ":53", "again")
			netnstest.Expect(t, outside, "udp4", "192.0.2.1:5353", "again", "192.0.2.2")
		})
	}
}

func TestPodsDoNotReachTheNodesLoopback(t *testing.T) {
	n := newNode(t, "10.244.1.0/24")
	a, _ := n.pod(t, "a")
	netnstest.ServeUDP(t, n.ns, "127.0.0.1:99", "secret")
	netnstest.In(t, a, func() error {
		// The pod gives up its own 127/8 and routes it to the node.
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/eth0/route_localnet", []byte("1"), 0o644); err != nil {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetDown(lo); err != nil {
			return err
		}
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		dst, _ := netlink.ParseIPNet("127.0.0.0/8")
		return netlink.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Dst: dst, Gw: n.Gateway().AsSlice(), Priority: 1})
	})
	netnstest.In(t, a, func() error {
		c, err := net.Dial("udp4", "127.0.0.1:99")
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write([]byte("?")); err != nil {
			return err
		}
		// A reply would be there within microseconds; silence has to be waited for.
		_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		buf := make([]byte, 64)
		if k, err := c.Read(buf); err == nil {
			t.Errorf("a pod reached %q on the node's loopback", buf[:k])
		}
		return nil
	})
}

func TestAttachAgainKeepsTheAddressAndMendsTheLink(t *testing.T) {
	n := newNode(t, "10.244.1.0/24")
	ns, ip := n.pod(t, "a")
	ips, err := n.Attach(t.Context(), "default", "a", "a", ns, nil)
	if err != nil || ips[0] != ip {
		t.Fatalf("second attach: %v, %v; want %s", ips, err, ip)
	}
	netnstest.ServeTCP(t, ns, ":80", "a")
	netnstest.Expect(t, n.ns, "tcp4", ip+":80", "a", "")
}

func TestAddressesSurviveTheProcessAndAreReclaimed(t *testing.T) {
	n := newNode(t, "10.244.1.0/24")
	a, ipA := n.pod(t, "a")
	_, ipB := n.pod(t, "b")
	netnstest.ServeTCP(t, a, ":80", "a")
	if err := os.WriteFile(filepath.Join(n.cfg.DataDir, "network/addresses/10.244.1.9"), []byte("{cut"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.open(t) // as after kill -9: nothing was closed in order
	if err := n.Reconcile([]string{"a"}); err != nil {
		t.Fatal(err)
	}
	netnstest.Expect(t, n.ns, "tcp4", ipA+":80", "a", "")
	files, _ := os.ReadDir(filepath.Join(n.cfg.DataDir, "network/addresses"))
	if len(files) != 1 || files[0].Name() != ipA {
		t.Errorf("after Reconcile the records are %v, want that of %s alone", files, ipA)
	}
	if _, ipC := n.pod(t, "c"); ipC == ipB || ipC == ipA {
		t.Errorf("pod c got %s at once after it was freed", ipC)
	}
	if got := len(links(t, n.ns)); got != 4 {
		t.Errorf("the node has %d links, want lo, the bridge and two pods", got)
	}
}

func links(t testing.TB, ns string) (names []string) {
	netnstest.In(t, ns, func() error {
		all, err := netlink.LinkList()
		for _, l := range all {
			names = append(names, l.Attrs().Name)
		}
		return err
	})
	return names
}

func TestDetachIsIdempotentAndAttachFailsWhole(t *testing.T) {
	n := newNode(t, "10.244.1.0/30") // one pod
	if _, err := n.Attach(t.Context(), "default", "x", "x", "/does/not/exist", nil); err == nil {
		t.Fatal("attach to no namespace succeeded")
	}
	ns, _ := n.pod(t, "a")
	if _, err := n.Attach(t.Context(), "default", "b", "b", netnstest.New(t), nil); err == nil || !strings.Contains(err.Error(), "no free address") {
		t.Fatalf("attach beyond the range: %v", err)
	}
	for range 2 {
		if err := n.Detach(t.Context(), "a", ns); err != nil {
			t.Fatal(err)
		}
	}
	n.pod(t, "c")
}

func TestResetLeavesNoTrace(t *testing.T) {
	n := newNode(t, "10.244.1.0/24")
	n.pod(t, "a", &runtimeapi.PortMapping{HostPort: 80, ContainerPort: 80})
	for range 2 {
		if err := network.Reset(context.Background(), n.cfg); err != nil {
			t.Fatal(err)
		}
	}
	if got := links(t, n.ns); len(got) != 1 {
		t.Errorf("links left: %v", got)
	}
	var tables []*nftables.Table
	netnstest.In(t, n.ns, func() (err error) {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err = c.ListTables()
		return err
	})
	if len(tables) != 0 {
		t.Errorf("nftables tables left: %v", tables)
	}
	netnstest.In(t, n.ns, func() error {
		v, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
		if string(v) != "0\n" {
			t.Errorf("ip_forward is %q after Reset, was 0", v)
		}
		return err
	})
	if _, err := os.Stat(filepath.Join(n.cfg.DataDir, "network")); !os.IsNotExist(err) {
		t.Errorf("files left: %v", err)
	}
}

func TestTwentyPodsAtOnce(t *testing.T) {
	n := newNode(t, "10.244.1.0/24")
	var spaces []string
	for range 20 {
		spaces = append(spaces, netnstest.New(t))
	}
	seen := sync.Map{}
	var wg sync.WaitGroup
	start := time.Now()
	for i, ns := range spaces {
		wg.Go(func() {
			ips, err := n.Attach(t.Context(), "default", fmt.Sprint("p", i), fmt.Sprint("sandbox", i), ns, nil)
			if err != nil {
				t.Error(err)
				return
			}
			if _, dup := seen.LoadOrStore(ips[0], i); dup {
				t.Errorf("address %s was given twice", ips[0])
			}
		})
	}
	wg.Wait()
	t.Logf("twenty pods attached in %v", time.Since(start))
}

func BenchmarkAttach(b *testing.B) {
	n := newNode(b, "10.244.0.0/16")
	dir := b.TempDir()
	for i := range b.N {
		b.StopTimer()
		ns, id := filepath.Join(dir, fmt.Sprint(i)), fmt.Sprint("sandbox", i)
		if err := netns.Create(netns.Config{Net: ns}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, err := n.Attach(b.Context(), "default", id, id, ns, nil); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := n.Detach(b.Context(), id, ns); err != nil {
			b.Fatal(err)
		}
		if err := netns.Remove(ns); err != nil {
			b.Fatal(err)
		}
	}
}
