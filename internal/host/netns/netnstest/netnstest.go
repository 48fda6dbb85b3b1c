// Package netnstest makes network namespaces for tests and speaks in them. Every namespace starts empty, with no link
// to the machine, so that no packet of a test leaves it. Only tests import it; it needs root and says so.
package netnstest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/monohull/monohull/internal/host/netns"
)

// Patience bounds every wait of a test; nothing sleeps for it.
const Patience = 3 * time.Second

// RequireRoot skips a test that needs the kernel's consent, loudly.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root to make network namespaces; run as root to test with packets")
	}
}

// New makes a namespace with lo up; it is gone when the test ends.
func New(t testing.TB) string {
	t.Helper()
	RequireRoot(t)
	path := filepath.Join(t.TempDir(), "netns")
	if err := netns.Create(netns.Config{Net: path}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.Remove(path); err != nil {
			t.Error(err)
		}
	})
	In(t, path, func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		lo, err := h.LinkByName("lo")
		if err != nil {
			return err
		}
		return h.LinkSetUp(lo)
	})
	return path
}

// In runs f in a namespace.
func In(t testing.TB, path string, f func() error) {
	t.Helper()
	if err := netns.Do(path, f); err != nil {
		t.Fatal(err)
	}
}

// Wire joins two namespaces with a link: addresses in CIDR form.
func Wire(t testing.TB, nsA, nameA, addrA, nsB, nameB, addrB string) {
	t.Helper()
	b, err := os.Open(nsB)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	In(t, nsA, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = nameA
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: nameB, PeerNamespace: netlink.NsFd(int(b.Fd()))}); err != nil {
			return err
		}
		return address(nameA, addrA)
	})
	In(t, nsB, func() error { return address(nameB, addrB) })
}

func address(name, cidr string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// Route adds a route in a namespace.
func Route(t testing.TB, ns, dst, via string) {
	t.Helper()
	In(t, ns, func() error {
		_, d, err := net.ParseCIDR(dst)
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: d, Gw: net.ParseIP(via)})
	})
}

// ServeTCP answers every connection in a namespace with "name peer-address" and closes it.
func ServeTCP(t testing.TB, ns, addr, name string) {
	t.Helper()
	var l net.Listener
	In(t, ns, func() (err error) { l, err = net.Listen("tcp4", addr); return err })
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s %s", name, host(c.RemoteAddr()))
			c.Close()
		}
	}()
}

// ServeUDP answers every datagram in a namespace with "name peer-address".
func ServeUDP(t testing.TB, ns, addr, name string) {
	t.Helper()
	var c net.PacketConn
	In(t, ns, func() (err error) { c, err = net.ListenPacket("udp4", addr); return err })
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			_, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo([]byte(name+" "+host(from)), from)
		}
	}()
}

func host(a net.Addr) string {
	h, _, _ := net.SplitHostPort(a.String())
	return h
}

// Ask connects from a namespace and returns the answer: the server's name and whom it saw.
func Ask(ns, network, addr string) (name, saw string, err error) {
	return AskFrom(ns, network, addr, nil)
}

// AskFrom is Ask with a local address.
func AskFrom(ns, network, addr string, local net.Addr) (name, saw string, err error) {
	err = netns.Do(ns, func() error {
		c, err := (&net.Dialer{Timeout: Patience, LocalAddr: local}).Dial(network, addr)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(Patience))
		buf := make([]byte, 512)
		var n int
		if network == "udp4" {
			if _, err := c.Write([]byte("?")); err != nil {
				return err
			}
			n, err = c.Read(buf)
		} else {
			var all []byte
			all, err = io.ReadAll(c)
			n = copy(buf, all)
		}
		if err != nil {
			return err
		}
		a, b, _ := bytes.Cut(buf[:n], []byte(" "))
		name, saw = string(a), string(b)
		return nil
	})
	return name, saw, err
}

// Expect fails the test unless the answer comes, from the server named (any when empty), who saw the client as saw
// (any when empty).
func Expect(t testing.TB, ns, network, addr, name, saw string) {
	t.Helper()
	gotName, gotSaw, err := Ask(ns, network, addr)
	if err != nil {
		t.Fatalf("%s to %s: %v", network, addr, err)
	}
	if name != "" && gotName != name {
		t.Fatalf("%s to %s was answered by %q, want %q", network, addr, gotName, name)
	}
	if saw != "" && gotSaw != saw {
		t.Fatalf("%s to %s came from %s, want %s", network, addr, gotSaw, saw)
	}
}
