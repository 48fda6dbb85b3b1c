package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/monohull/monohull/internal/host/netns"
)

// Bounds of the forwarder.
const (
	forwardsMax     = 1000             // questions under way
	cacheMax        = 10000            // answers remembered
	cacheTTLMax     = 30 * time.Second // how long an answer is remembered at most
	attemptTimeout  = 2 * time.Second  // for one upstream
	downTime        = time.Second      // an upstream that did not answer is left alone for so long
	resolvConfCheck = 5 * time.Second  // how often the file is looked at
	upstreamsMax    = 15
	forwardUDPSize  = 1232
)

// Where the node's own resolver is configured. When the first names only resolvers on the node's loopback, the second
// has the real ones.
const (
	defaultResolvConf = "/etc/resolv.conf"
	systemdResolvConf = "/run/systemd/resolve/resolv.conf"
)

var (
	errBusy       = errors.New("too many questions are being forwarded")
	errNoUpstream = errors.New("no upstream answers")
)

type forwardKey struct {
	name   string
	qtype  uint16
	dnssec bool
}

type cached struct {
	msg             *mdns.Msg
	stored, expires time.Time
}

// flight is a question under way; others who ask the same wait for it. That is the protection from loops, too: a
// question that comes back to us through an upstream ends here instead of going round.
type flight struct {
	done chan struct{}
	msg  *mdns.Msg
	err  error
}

type forwarder struct {
	netns    string
	fixed    []string
	path     string
	own      map[netip.Addr]bool
	now      func() time.Time
	inFlight chan struct{}

	mu        sync.Mutex
	cache     map[forwardKey]cached
	flights   map[forwardKey]*flight
	upstreams []string
	down      map[string]time.Time
	checked   time.Time
	modified  [2]time.Time
}

func newForwarder(cfg Config) *forwarder {
	f := &forwarder{netns: cfg.NetNS, path: cfg.ResolvConf, own: map[netip.Addr]bool{}, now: cfg.Now, inFlight: make(chan struct{}, forwardsMax),
		cache: map[forwardKey]cached{}, flights: map[forwardKey]*flight{}, down: map[string]time.Time{}}
	for _, a := range cfg.Addrs {
		f.own[a] = true
	}
	if cfg.Upstreams != nil {
		f.fixed = f.usable(cfg.Upstreams)
	}
	return f
}

// usable turns nameservers into addresses with ports, without those that are ourselves.
func (f *forwarder) usable(servers []string) []string {
	out := []string{}
	for _, s := range servers {
		if _, _, err := net.SplitHostPort(s); err != nil {
			s = net.JoinHostPort(s, "53")
		}
		ap, err := netip.ParseAddrPort(s)
		if err != nil || f.own[ap.Addr().Unmap()] || len(out) == upstreamsMax {
			continue
		}
		out = append(out, s)
	}
	return out
}

// serversLocked are the upstreams now, those that are not down first.
func (f *forwarder) serversLocked(now time.Time) []string {
	servers := f.fixed
	if servers == nil {
		if now.Sub(f.checked) >= resolvConfCheck {
			f.checked = now
			f.rereadLocked()
		}
		servers = f.upstreams
	}
	var up []string
	for _, s := range servers {
		if !now.Before(f.down[s]) {
			up = append(up, s)
		}
	}
	return up
}

func (f *forwarder) rereadLocked() {
	var modified [2]time.Time
	for i, p := range []string{f.path, systemdResolvConf} {
		if st, err := os.Stat(p); err == nil {
			modified[i] = st.ModTime()
		}
	}
	if f.upstreams != nil && modified == f.modified {
		return
	}
	f.modified = modified
	servers := nameservers(f.path)
	if f.path == defaultResolvConf && onlyLoopback(servers) {
		if real := nameservers(systemdResolvConf); len(real) > 0 {
			servers = real
		}
	}
	f.upstreams = f.usable(servers)
	f.down = map[string]time.Time{}
}

func nameservers(path string) []string {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "nameserver" {
			out = append(out, fields[1])
		}
	}
	return out
}

func onlyLoopback(servers []string) bool {
	for _, s := range servers {
		if a, err := netip.ParseAddr(s); err != nil || !a.IsLoopback() {
			return false
		}
	}
	return true
}

// resolve asks the upstreams, or remembers what they said. The message is the caller's own.
func (f *forwarder) resolve(ctx context.Context, q mdns.Question, dnssec bool) (*mdns.Msg, error) {
	key := forwardKey{strings.ToLower(q.Name), q.Qtype, dnssec}
	f.mu.Lock()
	now := f.now()
	if c, ok := f.cache[key]; ok {
		if now.Before(c.expires) {
			f.mu.Unlock()
			return aged(c.msg, now.Sub(c.stored)), nil
		}
		delete(f.cache, key)
	}
	if fl, ok := f.flights[key]; ok {
		f.mu.Unlock()
		select {
		case <-fl.done:
			if fl.err != nil {
				return nil, fl.err
			}
			return fl.msg.Copy(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	select {
	case f.inFlight <- struct{}{}:
	default:
		f.mu.Unlock()
		return nil, errBusy
	}
	fl := &flight{done: make(chan struct{})}
	f.flights[key] = fl
	servers := f.serversLocked(now)
	f.mu.Unlock()

	fl.msg, fl.err = f.ask(ctx, servers, q, dnssec)

	f.mu.Lock()
	delete(f.flights, key)
	if fl.err == nil {
		f.rememberLocked(key, fl.msg)
	}
	f.mu.Unlock()
	<-f.inFlight
	close(fl.done)
	if fl.err != nil {
		return nil, fl.err
	}
	return fl.msg.Copy(), nil
}

func (f *forwarder) ask(ctx context.Context, servers []string, q mdns.Question, dnssec bool) (*mdns.Msg, error) {
	err := errNoUpstream
	for _, s := range servers {
		msg, e := f.exchange(ctx, "udp", s, q, dnssec)
		if e == nil && msg.Truncated {
			msg, e = f.exchange(ctx, "tcp", s, q, dnssec)
		}
		if e == nil && msg.Rcode != mdns.RcodeServerFailure && msg.Rcode != mdns.RcodeRefused {
			return msg, nil
		}
		if e == nil {
			err = fmt.Errorf("upstream %s says %s", s, mdns.RcodeToString[msg.Rcode])
			continue
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		err = fmt.Errorf("ask upstream %s: %w", s, e)
		f.mu.Lock()
		f.down[s] = f.now().Add(downTime)
		f.mu.Unlock()
	}
	return nil, err
}

func (f *forwarder) exchange(ctx context.Context, network, server string, q mdns.Question, dnssec bool) (*mdns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	m := new(mdns.Msg)
	m.Id = mdns.Id()
	m.RecursionDesired = true
	m.Question = []mdns.Question{q}
	m.SetEdns0(forwardUDPSize, dnssec)
	c := &mdns.Client{Net: network, Timeout: attemptTimeout}
	var conn *mdns.Conn
	err := netns.Do(f.netns, func() (err error) {
		conn, err = c.DialContext(ctx, server)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	reply, _, err := c.ExchangeWithConnContext(ctx, m, conn)
	return reply, err
}

func (f *forwarder) rememberLocked(key forwardKey, msg *mdns.Msg) {
	if msg.Rcode != mdns.RcodeSuccess && msg.Rcode != mdns.RcodeNameError {
		return
	}
	life := cacheTTLMax
	records := msg.Answer
	if len(records) == 0 {
		records = msg.Ns
		if len(records) == 0 {
			return // an absence without a stated life is not remembered
		}
	}
	for _, rr := range records {
		life = min(life, time.Duration(rr.Header().Ttl)*time.Second)
		if soa, ok := rr.(*mdns.SOA); ok && len(msg.Answer) == 0 {
			life = min(life, time.Duration(soa.Minttl)*time.Second)
		}
	}
	if life <= 0 {
		return
	}
	for k := range f.cache { // any will do: the cache is small, and its entries short-lived
		if len(f.cache) < cacheMax {
			break
		}
		delete(f.cache, k)
	}
	now := f.now()
	f.cache[key] = cached{msg: msg.Copy(), stored: now, expires: now.Add(life)}
}

// aged is a copy of a message, as it would be said so much later.
func aged(msg *mdns.Msg, age time.Duration) *mdns.Msg {
	m := msg.Copy()
	for _, section := range [][]mdns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != mdns.TypeOPT {
				h.Ttl -= min(h.Ttl, uint32(age/time.Second))
			}
		}
	}
	return m
}
