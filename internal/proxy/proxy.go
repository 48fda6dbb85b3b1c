package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/monohull/monohull/internal/host/netns"
	"github.com/monohull/monohull/internal/host/nft"
)

// DefaultTable is the nftables table's name unless Config says otherwise.
const DefaultTable = "monohull-proxy"

// A failed transaction is tried again after retryMin, doubling to retryMax.
const (
	retryMin = 50 * time.Millisecond
	retryMax = 30 * time.Second
)

// Source is where Services and their endpoints are read. What it returns is shared and never written to. Changed
// returns a channel that is closed or sent to when anything changed since the call: it is called before reading. A source
// is whole before Run starts: what it does not have is taken out of the kernel.
type Source interface {
	Services() []*corev1.Service
	EndpointSlices() []*discoveryv1.EndpointSlice
	Changed() <-chan struct{}
}

// Config says what node the rules are for.
type Config struct {
	NodeName      string
	Zone          string
	NodeAddresses []netip.Addr
	ClusterCIDR   netip.Prefix
	ServiceCIDRs  []netip.Prefix
	LocalVIPs     []netip.Addr // Service addresses the node answers itself: that of cluster DNS
	Table         string       // DefaultTable unless set
	NetNS         string       // path of the node's network namespace; empty for the process's own
	Source        Source
	// Revision, where set, tells how new the EndpointSlices are that Source
	// gives; Applied then tells when rules as new are in the kernel.
	Revision func() int64
	Logger   *slog.Logger
}

// Proxy keeps one node's Service rules.
type Proxy struct {
	cfg    Config
	log    *slog.Logger
	synced chan struct{}
	once   sync.Once

	mu       sync.Mutex // guards what follows
	applied  int64
	advanced chan struct{} // closed and replaced when applied grows
}

// New prepares a proxy; Run makes it work.
func New(cfg Config) (*Proxy, error) {
	if cfg.Source == nil {
		return nil, fmt.Errorf("the proxy has no source of Services")
	}
	if cfg.Table == "" {
		cfg.Table = DefaultTable
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Proxy{cfg: cfg, log: cfg.Logger, synced: make(chan struct{}), advanced: make(chan struct{})}, nil
}

// Ready is closed when every Service known at the start is in the kernel.
func (p *Proxy) Ready() <-chan struct{} { return p.synced }

// Run keeps the rules as the source has them until ctx ends. The rules stay: Services go on while the process is
// replaced. A change is applied at once; changes that come during a transaction are one transaction after it.
func (p *Proxy) Run(ctx context.Context) error {
	t, err := open(p.cfg.NetNS, p.cfg.Table)
	if err != nil {
		return err
	}
	defer t.close()
	var installed *Ruleset // nil when the kernel's state is not known
	retry, failing := retryMin, false
	for {
		changed := p.cfg.Source.Changed()
		revision := int64(0)
		if p.cfg.Revision != nil {
			revision = p.cfg.Revision() // before reading: what is read is as new at least
		}
		wanted := Compile(p.input())
		err := t.sync(installed, wanted)
		var again <-chan time.Time
		if err != nil {
			// Whatever is there now, the whole is written next.
			installed = nil
			if !failing {
				p.log.Error("Service rules could not be written; trying again", "error", err)
			}
			failing = true
			again, retry = time.After(retry), min(2*retry, retryMax)
			changed = nil // the retry reads what changed meanwhile
		} else {
			if failing {
				p.log.Info("Service rules are written again")
			}
			installed, retry, failing = wanted, retryMin, false
			p.once.Do(func() { close(p.synced) })
			p.becomeApplied(revision)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-again:
		}
	}
}

func (p *Proxy) becomeApplied(revision int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if revision > p.applied {
		p.applied = revision
		close(p.advanced)
		p.advanced = make(chan struct{})
	}
}

// Applied returns when the kernel's rules are as new as the EndpointSlices were at
// a revision, as Config.Revision counts, or with ctx's error.
func (p *Proxy) Applied(ctx context.Context, revision int64) error {
	for {
		p.mu.Lock()
		done, advanced := p.applied >= revision, p.advanced
		p.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *Proxy) input() Input {
	return Input{Services: p.cfg.Source.Services(), EndpointSlices: p.cfg.Source.EndpointSlices(), NodeName: p.cfg.NodeName,
		Zone: p.cfg.Zone, NodeAddresses: p.cfg.NodeAddresses, ClusterCIDR: p.cfg.ClusterCIDR, ServiceCIDRs: p.cfg.ServiceCIDRs,
		LocalVIPs: p.cfg.LocalVIPs}
}

// sync leads from what is installed, nil for unknown, to what is wanted.
func (t *table) sync(installed, wanted *Ruleset) error {
	if installed == nil {
		if err := t.install(wanted); err != nil {
			return err
		}
		// Conversations of a former run may be with endpoints that are gone since.
		return t.forget(staleUDP(newRuleset(0), wanted, Diff(newRuleset(0), wanted)))
	}
	c := Diff(installed, wanted)
	if c.Len() == 0 {
		return nil
	}
	if c.Static {
		if err := t.install(wanted); err != nil {
			return err
		}
	} else if err := t.change(c, installed, wanted); err != nil {
		return err
	}
	return t.forget(staleUDP(installed, wanted, c))
}

func open(netnsPath, name string) (*table, error) {
	t := &table{name: name}
	var err error
	if t.nft, err = nft.Dial(netnsPath); err != nil {
		return nil, err
	}
	err = netns.Do(netnsPath, func() error {
		t.ct, err = netlink.NewHandle(unix.NETLINK_NETFILTER)
		return err
	})
	if err != nil {
		t.nft.Close()
		return nil, fmt.Errorf("open connection tracking socket: %w", err)
	}
	return t, nil
}

func (t *table) close() {
	t.nft.Close()
	t.ct.Close()
}

// Reset removes the proxy's rules from a network namespace. An empty table name is DefaultTable.
func Reset(netnsPath, tableName string) error {
	if tableName == "" {
		tableName = DefaultTable
	}
	t, err := open(netnsPath, tableName)
	if err != nil {
		return err
	}
	defer t.close()
	return t.remove()
}

func addrFrom(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip)
	return a.Unmap(), ok
}

func addrPort(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }
