package cluster

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// The parts that --disable can leave out.
const (
	PartDNS        = "dns"
	PartProxy      = "proxy"
	PartScheduler  = "scheduler"
	PartController = "controllers"
)

// Config is what the command line says.
type Config struct {
	DataDir         string
	WriteKubeconfig string // a further place for the administrator's kubeconfig
	BindAddress     string
	Port            int
	NodeName        string
	NodeIP          string // found by itself when empty
	NoNode          bool
	Ephemeral       bool // nothing is synced to disk: for clusters that are thrown away
	Disable         []string
	ServiceCIDR     netip.Prefix
	ClusterCIDR     netip.Prefix
	ClusterDomain   string
	EtcdEndpoints   []string
	TLSSANs         []string
	Identity        Identity
	KubeletConfig   string // a KubeletConfiguration file
	PodManifestPath string // a directory of static pods
	Admission       Admission
	Protection      Protection
	OldVersions     string // OldServed, OldListed or OldRefused; empty: OldServed
	Logger          *slog.Logger
}

// What becomes of API versions that upstream has ceased to serve: they are
// served to whoever names them, and kubectl finds them; listed in discovery like
// the others; served, and nothing says so; or refused.
const (
	OldServed   = "served"
	OldListed   = "listed"
	OldUnlisted = "unlisted"
	OldRefused  = "refused"
)

// Defaults of the command line.
const (
	DefaultDataDir     = "/var/lib/monohull"
	DefaultPort        = 6443
	DefaultServiceCIDR = "10.96.0.0/12"
	DefaultClusterCIDR = "10.244.0.0/16"
	DefaultDomain      = "cluster.local"
)

// complete checks the configuration and fills in what can be found out.
func (c *Config) complete() error {
	if c.DataDir == "" {
		c.DataDir = DefaultDataDir
	}
	c.Protection.complete()
	var err error
	if c.DataDir, err = filepath.Abs(c.DataDir); err != nil {
		return fmt.Errorf("the data directory: %w", err)
	}
	if c.ClusterDomain == "" {
		c.ClusterDomain = DefaultDomain
	}
	if !c.ServiceCIDR.IsValid() {
		c.ServiceCIDR = netip.MustParsePrefix(DefaultServiceCIDR)
	}
	if !c.ClusterCIDR.IsValid() {
		c.ClusterCIDR = netip.MustParsePrefix(DefaultClusterCIDR)
	}
	if c.ServiceCIDR.Overlaps(c.ClusterCIDR) {
		return fmt.Errorf("--service-cidr %s and --cluster-cidr %s overlap; give pods and services networks of their own", c.ServiceCIDR, c.ClusterCIDR)
	}
	if c.ServiceCIDR.Bits() > 28 {
		return fmt.Errorf("--service-cidr %s is too small: it needs at least 16 addresses", c.ServiceCIDR)
	}
	if c.NodeName == "" && !c.NoNode {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("finding a name for the node: %w; name it with --node-name", err)
		}
		c.NodeName = strings.ToLower(host)
	}
	if !c.NoNode {
		if errs := validation.IsDNS1123Subdomain(c.NodeName); len(errs) > 0 {
			return fmt.Errorf("the node name %q: %s; name the node with --node-name", c.NodeName, strings.Join(errs, "; "))
		}
	}
	if c.NodeIP == "" {
		c.NodeIP = hostAddress(c.ClusterCIDR, c.ServiceCIDR)
	}
	if c.NodeIP == "" {
		// a machine without a network: the pods' bridge is its only address
		c.NodeIP = first(c.podCIDR(), 1).String()
	}
	switch c.OldVersions {
	case "", OldServed, OldListed, OldUnlisted, OldRefused:
	default:
		return fmt.Errorf("--old-api-versions %s: it is one of %s, %s, %s, %s", c.OldVersions, OldServed, OldListed, OldUnlisted, OldRefused)
	}
	for _, d := range c.Disable {
		switch d {
		case PartDNS, PartProxy, PartScheduler, PartController:
		default:
			return fmt.Errorf("--disable %s: there is no such part; there are %s, %s, %s, %s", d, PartDNS, PartProxy, PartScheduler, PartController)
		}
	}
	return nil
}

func (c *Config) disabled(part string) bool {
	for _, d := range c.Disable {
		if d == part {
			return true
		}
	}
	return false
}

// podCIDR is the first node's share of the cluster's addresses.
func (c *Config) podCIDR() netip.Prefix {
	bits := 24
	if c.ClusterCIDR.Bits() > bits {
		bits = c.ClusterCIDR.Bits()
	}
	return netip.PrefixFrom(c.ClusterCIDR.Masked().Addr(), bits)
}

// first is the n-th address of a network.
func first(p netip.Prefix, n int) netip.Addr {
	a := p.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// hostAddress finds the address that this machine is known by: that of the
// link its default route leaves by, or else the first global one. Addresses of
// the cluster's own networks, which are on our own links, are not the machine's.
func hostAddress(ours ...netip.Prefix) string {
	usable := func(ip net.IP) bool {
		a, ok := netip.AddrFromSlice(ip.To4())
		if !ok || !ip.IsGlobalUnicast() {
			return false
		}
		for _, p := range ours {
			if p.Contains(a) {
				return false
			}
		}
		return true
	}
	if c, err := net.Dial("udp4", "192.0.2.1:9"); err == nil { // sends nothing
		defer c.Close()
		if a, ok := c.LocalAddr().(*net.UDPAddr); ok && usable(a.IP) {
			return a.IP.String()
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && usable(n.IP) {
			return n.IP.String()
		}
	}
	return ""
}
