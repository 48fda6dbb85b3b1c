package network

import (
	"net/netip"
	"testing"
)

func TestPoolGoesRoundAndNeverReusesAtOnce(t *testing.T) {
	p, err := newPool(netip.MustParsePrefix("10.244.0.77/29"))
	if err != nil {
		t.Fatal(err)
	}
	// .72/29: .72 network, .73 gateway, .74-.78 pods, .79 broadcast
	var got []string
	for range 5 {
		a, ok := p.next()
		if !ok {
			t.Fatal("pool is full too early")
		}
		p.take(a)
		got = append(got, a.String())
	}
	want := []string{"10.244.0.74", "10.244.0.75", "10.244.0.76", "10.244.0.77", "10.244.0.78"}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("addresses were given as %v, want %v", got, want)
		}
	}
	if a, ok := p.next(); ok {
		t.Fatalf("a full pool gave %s", a)
	}
	p.release(netip.MustParseAddr("10.244.0.75"))
	p.release(netip.MustParseAddr("10.244.0.77"))
	for _, want := range []string{"10.244.0.75", "10.244.0.77"} {
		a, ok := p.next()
		if !ok || a.String() != want {
			t.Fatalf("next is %s, want %s", a, want)
		}
		p.take(a)
	}
	p.release(p.recent)
	p.release(netip.MustParseAddr("10.244.0.74"))
	if a, _ := p.next(); a.String() != "10.244.0.74" {
		t.Fatalf("next is %s: the address given last was reused while another was free", a)
	}
}

func TestPoolRefusesRangesWithoutRoom(t *testing.T) {
	for _, s := range []string{"10.0.0.0/31", "10.0.0.0/32", "fd00::/64"} {
		if _, err := newPool(netip.MustParsePrefix(s)); err == nil {
			t.Errorf("range %s was accepted", s)
		}
	}
}

func TestLinkNamesFitAndDiffer(t *testing.T) {
	a, b := linkName("mh0", "aaaa"), linkName("mh0", "aaab")
	if len(a) != 15 || a == b || a != linkName("mh0", "aaaa") {
		t.Fatalf("link names %q and %q", a, b)
	}
}
