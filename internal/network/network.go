package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/monohull/monohull/internal/host/netns"
	"github.com/monohull/monohull/internal/host/nft"
)

// DefaultBridge is the bridge's name unless Config says otherwise.
const DefaultBridge = "mh0"

const (
	linkPrefix = "mhv" // every host end of a pod's link starts so
	nameMax    = unix.IFNAMSIZ - 1
	podLink    = "eth0"
	defaultMTU = 1500
)

// Config says which addresses a node's pods have and where the room keeps its files.
type Config struct {
	DataDir     string // files go to DataDir/network
	Bridge      string // DefaultBridge unless set; at most 15 characters
	PodCIDR     netip.Prefix
	ClusterCIDR netip.Prefix // traffic of pods to outside of it is masqueraded; PodCIDR unless set
	ServiceCIDR netip.Prefix // routed to the bridge when set
	MTU         int          // that of the link of the default route unless set
	NetNS       string       // path of the node's network namespace; empty for the process's own
	Logger      *slog.Logger
}

// Network is one node's pod network.
type Network struct {
	cfg     Config
	gateway netip.Addr
	store   recordStore
	log     *slog.Logger
	host    *netlink.Handle
	nft     *nft.Conn

	mu      sync.Mutex
	pool    *pool
	records map[string]*record // by sandbox ID
	bridge  int                // link index, 0 before Setup
	mtu     int
}

// New opens the node's network: it reads the addresses that are given out, and changes nothing yet.
func New(cfg Config) (*Network, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	n := &Network{cfg: cfg, log: cfg.Logger, gateway: gatewayOf(cfg.PodCIDR),
		store: recordStore{dir: filepath.Join(cfg.DataDir, "network")}, records: map[string]*record{}}
	var err error
	if n.pool, err = newPool(cfg.PodCIDR); err != nil {
		return nil, err
	}
	records, recent, bad, err := n.store.load()
	if err != nil {
		return nil, err
	}
	for _, name := range bad {
		n.log.Warn("address record was unreadable and is released", "address", name)
	}
	for _, r := range records {
		n.records[r.SandboxID] = r
		n.pool.take(r.Address)
	}
	n.pool.recent = recent
	if n.host, err = openRoute(cfg.NetNS); err != nil {
		return nil, err
	}
	if n.nft, err = nft.Dial(cfg.NetNS); err != nil {
		n.host.Close()
		return nil, err
	}
	return n, nil
}

func (c *Config) complete() error {
	if c.Bridge == "" {
		c.Bridge = DefaultBridge
	}
	if len(c.Bridge) > nameMax {
		return fmt.Errorf("bridge name %q is longer than %d characters", c.Bridge, nameMax)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if !c.PodCIDR.IsValid() {
		return errors.New("the node has no pod range")
	}
	c.PodCIDR = c.PodCIDR.Masked()
	if !c.ClusterCIDR.IsValid() {
		c.ClusterCIDR = c.PodCIDR
	}
	c.ClusterCIDR = c.ClusterCIDR.Masked()
	return nil
}

// Close closes the room's sockets; pods keep their network.
func (n *Network) Close() error {
	n.host.Close()
	return n.nft.Close()
}

// Gateway is the node's address on the pod network.
func (n *Network) Gateway() netip.Addr { return n.gateway }

func openRoute(netnsPath string) (h *netlink.Handle, err error) {
	err = netns.Do(netnsPath, func() error {
		if h, err = netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER); err != nil {
			return fmt.Errorf("open netlink sockets: %w", err)
		}
		return nil
	})
	return h, err
}

// Setup makes the bridge, its address and route, the sysctls and the nftables table. It may run any number of times:
// what is right is left alone, and the table is replaced in one transaction.
func (n *Network) Setup(ctx context.Context) error {
	mtu := n.cfg.MTU
	if mtu == 0 {
		mtu = n.uplinkMTU()
	}
	bridge, err := n.ensureBridge(mtu)
	if err != nil {
		return err
	}
	if err := n.applySettings(); err != nil {
		return err
	}
	if n.cfg.ServiceCIDR.IsValid() {
		err := n.host.RouteReplace(&netlink.Route{LinkIndex: bridge, Dst: ipNet(n.cfg.ServiceCIDR.Masked()),
			Scope: netlink.SCOPE_LINK, Src: n.gateway.AsSlice()})
		if err != nil {
			return fmt.Errorf("route Service range %s to %s: %w", n.cfg.ServiceCIDR, n.cfg.Bridge, err)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.bridge, n.mtu = bridge, mtu
	records := make([]*record, 0, len(n.records))
	for _, r := range n.records {
		records = append(records, r)
	}
	if err := n.nft.Apply(n.table(records)); err != nil {
		return fmt.Errorf("install node network rules: %w", err)
	}
	return nil
}

func (n *Network) ensureBridge(mtu int) (int, error) {
	name := n.cfg.Bridge
	link, err := n.host.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		noSnooping := false
		attrs := netlink.NewLinkAttrs()
		// The address is set so that it does not follow that of the first port; up at once saves a message.
		attrs.Name, attrs.MTU, attrs.HardwareAddr, attrs.Flags = name, mtu, macOf(n.gateway), net.FlagUp
		if err := n.host.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &noSnooping}); err != nil && !errors.Is(err, unix.EEXIST) {
			return 0, fmt.Errorf("add bridge %s: %w", name, err)
		}
		link, err = n.host.LinkByName(name)
	}
	if err != nil {
		return 0, fmt.Errorf("find bridge %s: %w", name, err)
	}
	if link.Type() != "bridge" {
		return 0, fmt.Errorf("link %s is a %s where the pod bridge should be: name another bridge or remove it", name, link.Type())
	}
	if err := n.host.LinkSetUp(link); err != nil {
		return 0, fmt.Errorf("set bridge %s up: %w", name, err)
	}
	want := ipNet(netip.PrefixFrom(n.gateway, n.cfg.PodCIDR.Bits()))
	addrs, err := n.host.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return 0, fmt.Errorf("list addresses of %s: %w", name, err)
	}
	have := false
	for _, a := range addrs {
		if a.IPNet.String() == want.String() {
			have = true
			continue
		}
		// An address of a former pod range would keep attracting that range.
		if err := n.host.AddrDel(link, &a); err != nil {
			return 0, fmt.Errorf("delete address %s of %s: %w", a.IPNet, name, err)
		}
	}
	if !have {
		if err := n.host.AddrAdd(link, &netlink.Addr{IPNet: want}); err != nil && !errors.Is(err, unix.EEXIST) {
			return 0, fmt.Errorf("add address %s to %s: %w", want, name, err)
		}
	}
	return link.Attrs().Index, nil
}

// uplinkMTU is that of the link the default route leaves by.
func (n *Network) uplinkMTU() int {
	routes, err := n.host.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return defaultMTU
	}
	for _, r := range routes {
		if r.Dst != nil && !r.Dst.IP.IsUnspecified() || r.LinkIndex == 0 {
			continue
		}
		if link, err := n.host.LinkByIndex(r.LinkIndex); err == nil && link.Attrs().MTU >= 576 && link.Attrs().MTU <= 65535 {
			return link.Attrs().MTU
		}
	}
	return defaultMTU
}

// linkName is the host end's name for a sandbox: found again without any state.
func linkName(bridge, sandboxID string) string {
	sum := sha256.Sum256([]byte(bridge + "/" + sandboxID))
	return linkPrefix + hex.EncodeToString(sum[:])[:nameMax-len(linkPrefix)]
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Reset removes every trace: the pods' links, the bridge with its routes, the table, the sysctls' new values, the
// files. It needs nothing but the configuration, so that it also cleans up after a node that no longer starts.
func Reset(ctx context.Context, cfg Config) error {
	if cfg.Bridge == "" {
		cfg.Bridge = DefaultBridge
	}
	dir := filepath.Join(cfg.DataDir, "network")
	var errs []error
	if h, err := openRoute(cfg.NetNS); err != nil {
		errs = append(errs, err)
	} else {
		defer h.Close()
		errs = append(errs, deleteLinks(h, cfg.Bridge))
	}
	if c, err := nft.Dial(cfg.NetNS); err != nil {
		errs = append(errs, err)
	} else {
		defer c.Close()
		b := nft.NewBatch(tableName(cfg.Bridge))
		b.AddTable()
		b.DeleteTable()
		errs = append(errs, c.Apply(b))
	}
	if err := restoreSettings(cfg.NetNS, dir); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("reset node network: %w", err)
	}
	return os.RemoveAll(dir)
}

func deleteLinks(h *netlink.Handle, bridge string) error {
	link, err := h.LinkByName(bridge)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", bridge, err)
	}
	links, err := h.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, l := range links {
		if l.Attrs().MasterIndex == link.Attrs().Index && strings.HasPrefix(l.Attrs().Name, linkPrefix) {
			errs = append(errs, deleteLink(h, l))
		}
	}
	return errors.Join(append(errs, deleteLink(h, link))...)
}

func deleteLink(h *netlink.Handle, l netlink.Link) error {
	err := h.LinkDel(l)
	if err == nil || errors.Is(err, unix.ENODEV) || errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	return fmt.Errorf("delete link %s: %w", l.Attrs().Name, err)
}
