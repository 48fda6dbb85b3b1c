package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/monohull/monohull/internal/host/netns"
)

// udpSizeMax bounds what a client may ask to get in one datagram: larger ones are fragmented, and fragments get lost.
const udpSizeMax = 4096

// shutdownTimeout bounds the wait for questions under way when the server ends.
const shutdownTimeout = 2 * time.Second

// Config says where to listen and what to answer.
type Config struct {
	Domain     string       // cluster.local unless set
	Addrs      []netip.Addr // put on lo and listened on: the cluster DNS address
	Port       uint16       // 53 unless set
	Upstreams  []string     // address or address:port; nil for those of ResolvConf, empty for none
	ResolvConf string       // /etc/resolv.conf unless set; reread when it changes
	NetNS      string       // path of the node's network namespace; empty for the process's own
	Source     Source
	Now        func() time.Time // time.Now unless set
	Logger     *slog.Logger
}

// Server answers questions.
type Server struct {
	cfg     Config
	zone    Zone
	log     *slog.Logger
	forward *forwarder
	ready   chan struct{}
}

// New prepares a server; Run makes it listen.
func New(cfg Config) (*Server, error) {
	if cfg.Source == nil {
		return nil, errors.New("the DNS server has no source of names")
	}
	if len(cfg.Addrs) == 0 {
		return nil, errors.New("the DNS server has no address to listen on")
	}
	if cfg.Domain == "" {
		cfg.Domain = "cluster.local"
	}
	cfg.Domain = strings.TrimSuffix(strings.ToLower(cfg.Domain), ".")
	if _, ok := mdns.IsDomainName(cfg.Domain); !ok {
		return nil, fmt.Errorf("cluster domain %q is not a domain name", cfg.Domain)
	}
	if cfg.Port == 0 {
		cfg.Port = 53
	}
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = defaultResolvConf
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg, zone: Zone{Domain: cfg.Domain, Addrs: cfg.Addrs}, log: cfg.Logger, forward: newForwarder(cfg),
		ready: make(chan struct{})}, nil
}

// Ready is closed when the server listens.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run listens and answers until ctx ends. The addresses stay on lo for the next run; Reset takes them away.
func (s *Server) Run(ctx context.Context) error {
	if err := s.assign(); err != nil {
		return err
	}
	servers, err := s.listen(ctx)
	if err != nil {
		return err
	}
	close(s.ready)
	failed := make(chan error, len(servers))
	var wg sync.WaitGroup
	for _, srv := range servers {
		wg.Go(func() {
			if err := srv.ActivateAndServe(); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("serve DNS: %w", err)
			}
		})
	}
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	for _, srv := range servers {
		if e := srv.ShutdownContext(end); e != nil {
			// Not started yet, or slow to end: the closed socket ends it.
			if srv.PacketConn != nil {
				srv.PacketConn.Close()
			} else {
				srv.Listener.Close()
			}
		}
	}
	wg.Wait()
	return err
}

// assign puts the addresses on lo, unless the node has them already. Host scope keeps them from being chosen as the
// source of other traffic.
func (s *Server) assign() error {
	return s.onLoopback(func(h *netlink.Handle, lo netlink.Link) error {
		have, err := h.AddrList(nil, netlink.FAMILY_ALL)
		if err != nil {
			return fmt.Errorf("list addresses: %w", err)
		}
		for _, a := range s.cfg.Addrs {
			found := a.IsLoopback()
			for _, b := range have {
				found = found || b.IP.Equal(net.IP(a.AsSlice()))
			}
			if found {
				continue
			}
			err := h.AddrAdd(lo, &netlink.Addr{IPNet: single(a), Scope: int(netlink.SCOPE_HOST)})
			if err != nil && !errors.Is(err, unix.EEXIST) {
				return fmt.Errorf("add DNS address %s to lo: %w", a, err)
			}
		}
		return nil
	})
}

// Reset removes the addresses of a server that does not run any more. Of the
// configuration it wants the addresses and the namespace alone.
func Reset(cfg Config) error {
	s := &Server{cfg: cfg}
	return s.onLoopback(func(h *netlink.Handle, lo netlink.Link) error {
		for _, a := range s.cfg.Addrs {
			if a.IsLoopback() {
				continue
			}
			if err := h.AddrDel(lo, &netlink.Addr{IPNet: single(a)}); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return fmt.Errorf("delete DNS address %s from lo: %w", a, err)
			}
		}
		return nil
	})
}

func (s *Server) onLoopback(f func(*netlink.Handle, netlink.Link) error) error {
	return netns.Do(s.cfg.NetNS, func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open route socket: %w", err)
		}
		defer h.Close()
		lo, err := h.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("find lo: %w", err)
		}
		return f(h, lo)
	})
}

func single(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

func (s *Server) listen(ctx context.Context) (servers []*mdns.Server, err error) {
	err = netns.Do(s.cfg.NetNS, func() error {
		var lc net.ListenConfig
		for _, a := range s.cfg.Addrs {
			addr := netip.AddrPortFrom(a, s.cfg.Port).String()
			pc, err := lc.ListenPacket(ctx, "udp", addr)
			if err != nil {
				return fmt.Errorf("listen for DNS on %s: %w", addr, err)
			}
			servers = append(servers, &mdns.Server{PacketConn: pc, UDPSize: mdns.MinMsgSize * 8, Handler: s.handler(ctx, false)})
			l, err := lc.Listen(ctx, "tcp", addr)
			if err != nil {
				return fmt.Errorf("listen for DNS on %s: %w", addr, err)
			}
			servers = append(servers, &mdns.Server{Listener: l, Handler: s.handler(ctx, true)})
		}
		return nil
	})
	if err != nil {
		for _, srv := range servers {
			if srv.PacketConn != nil {
				srv.PacketConn.Close()
			} else {
				srv.Listener.Close()
			}
		}
		return nil, err
	}
	return servers, nil
}

func (s *Server) handler(ctx context.Context, tcp bool) mdns.Handler {
	return mdns.HandlerFunc(func(w mdns.ResponseWriter, req *mdns.Msg) {
		m := s.respond(ctx, req)
		size := mdns.MaxMsgSize
		if !tcp {
			size = mdns.MinMsgSize
			if o := req.IsEdns0(); o != nil {
				size = max(size, min(int(o.UDPSize()), udpSizeMax))
			}
		}
		m.Truncate(size)
		_ = w.WriteMsg(m) // a client that is gone asks again or does not care
	})
}

// respond makes the reply to a request.
func (s *Server) respond(ctx context.Context, req *mdns.Msg) *mdns.Msg {
	m := new(mdns.Msg)
	m.SetReply(req)
	m.RecursionAvailable, m.Compress = true, true
	opt := req.IsEdns0()
	dnssec := opt != nil && opt.Do()
	defer func() {
		if opt != nil {
			m.SetEdns0(udpSizeMax, dnssec)
		}
	}()
	switch {
	case opt != nil && opt.Version() != 0:
		m.Rcode = mdns.RcodeBadVers
		return m
	case req.Opcode != mdns.OpcodeQuery:
		m.Rcode = mdns.RcodeNotImplemented
		return m
	case len(req.Question) != 1:
		m.Rcode = mdns.RcodeFormatError
		return m
	case req.Question[0].Qclass != mdns.ClassINET:
		m.Rcode = mdns.RcodeRefused
		return m
	}
	q := req.Question[0]
	r, handled := Answer(s.cfg.Source, s.zone, q)
	if !handled {
		s.pass(ctx, m, q, dnssec)
		return m
	}
	m.Authoritative = true
	m.Rcode, m.Answer, m.Extra, m.Ns = r.Rcode, r.Answer, r.Extra, r.Authority
	if r.Chase != "" {
		// What the other name leads to is added; that it can not be found now does not take the alias away.
		up, err := s.forward.resolve(ctx, mdns.Question{Name: r.Chase, Qtype: q.Qtype, Qclass: mdns.ClassINET}, dnssec)
		if err == nil {
			m.Answer = append(m.Answer, up.Answer...)
		} else {
			s.log.Debug("external name not resolved", "name", r.Chase, "error", err)
		}
	}
	shuffle(m.Answer)
	return m
}

// pass answers with what the upstreams say.
func (s *Server) pass(ctx context.Context, m *mdns.Msg, q mdns.Question, dnssec bool) {
	up, err := s.forward.resolve(ctx, q, dnssec)
	if errors.Is(err, errBusy) {
		m.Rcode = mdns.RcodeRefused
		return
	}
	if err != nil {
		s.log.Debug("question not forwarded", "name", q.Name, "error", err)
		m.Rcode = mdns.RcodeServerFailure
		return
	}
	m.Rcode, m.Answer, m.Ns, m.AuthenticatedData = up.Rcode, up.Answer, up.Ns, up.AuthenticatedData
	for _, rr := range up.Extra {
		if rr.Header().Rrtype != mdns.TypeOPT {
			m.Extra = append(m.Extra, rr)
		}
	}
	shuffle(m.Answer)
}

// shuffle puts address records in random order among themselves: many clients take the first. Aliases stay in front.
func shuffle(rrs []mdns.RR) {
	var at []int
	for i, rr := range rrs {
		if t := rr.Header().Rrtype; t == mdns.TypeA || t == mdns.TypeAAAA {
			at = append(at, i)
		}
	}
	rand.Shuffle(len(at), func(i, j int) { rrs[at[i]], rrs[at[j]] = rrs[at[j]], rrs[at[i]] })
}
