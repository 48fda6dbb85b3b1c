package pipeline

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
)

// PortRange is an inclusive range of ports.
type PortRange struct{ First, Last int32 }

// DefaultNodePorts is upstream's range for node ports.
var DefaultNodePorts = PortRange{30000, 32767}

// Allocator gives services their cluster IPs and node ports. What is taken is
// what the stored services hold, plus what writes under way are about to.
type Allocator struct {
	cidr  netip.Prefix
	ports PortRange

	mu    sync.Mutex
	ips   map[netip.Addr]string // owner: namespace/name
	nodes map[portKey]string
}

type portKey struct {
	protocol corev1.Protocol
	port     int32
}

// NewAllocator makes an allocator for a service network.
func NewAllocator(cidr netip.Prefix, ports PortRange) *Allocator {
	return &Allocator{cidr: cidr.Masked(), ports: ports, ips: map[netip.Addr]string{}, nodes: map[portKey]string{}}
}

// Load takes what the stored services hold. Call it once the caches are loaded.
func (a *Allocator) Load(services cache.Snapshot) {
	a.mu.Lock()
	defer a.mu.Unlock()
	services.Ascend("", "", func(it *cache.Item) bool {
		svc := it.Obj.(*corev1.Service)
		for _, ip := range ipsOf(svc) {
			a.ips[ip] = it.Key
		}
		for _, p := range portsOf(svc) {
			a.nodes[p] = it.Key
		}
		return true
	})
}

// grant is what one write took and gives up. Exactly one of undo and done
// takes effect; both may be called on a nil grant.
type grant struct {
	a       *Allocator
	taken   []any // netip.Addr or portKey
	givenUp []any
}

func (g *grant) undo() { g.release(func(g *grant) []any { return g.taken }) }
func (g *grant) done() { g.release(func(g *grant) []any { return g.givenUp }) }

func (g *grant) release(which func(*grant) []any) {
	if g == nil {
		return
	}
	g.a.mu.Lock()
	defer g.a.mu.Unlock()
	for _, x := range which(g) {
		g.a.dropLocked(x)
	}
	g.taken, g.givenUp = nil, nil
}

func (a *Allocator) dropLocked(x any) {
	switch x := x.(type) {
	case netip.Addr:
		delete(a.ips, x)
	case portKey:
		delete(a.nodes, x)
	}
}

// released gives back what a removed service held.
func (a *Allocator) released(k *api.Kind, obj api.Object) {
	svc, ok := obj.(*corev1.Service)
	if !ok || a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, ip := range ipsOf(svc) {
		a.dropLocked(ip)
	}
	for _, p := range portsOf(svc) {
		a.dropLocked(p)
	}
}

// allocate fills in the addresses and ports a service wants and has not. old
// is nil for a new one.
func (a *Allocator) allocate(k *api.Kind, obj, old api.Object) (*grant, error) {
	svc, ok := obj.(*corev1.Service)
	if !ok || a == nil {
		return nil, nil
	}
	was := &corev1.Service{}
	if old != nil {
		was = old.(*corev1.Service)
	}
	g := &grant{a: a}
	a.mu.Lock()
	errs := a.addressesLocked(g, svc, was)
	errs = append(errs, a.nodePortsLocked(g, svc, was)...)
	a.mu.Unlock()
	if len(errs) > 0 {
		g.undo()
		return nil, apierrors.NewInvalid(k.GVK.GroupKind(), svc.Name, errs)
	}
	held := map[any]bool{}
	for _, ip := range ipsOf(svc) {
		held[ip] = true
	}
	for _, p := range portsOf(svc) {
		held[p] = true
	}
	for _, ip := range ipsOf(was) {
		if !held[ip] {
			g.givenUp = append(g.givenUp, ip)
		}
	}
	for _, p := range portsOf(was) {
		if !held[p] {
			g.givenUp = append(g.givenUp, p)
		}
	}
	return g, nil
}

func (a *Allocator) addressesLocked(g *grant, svc, was *corev1.Service) field.ErrorList {
	s := &svc.Spec
	if s.Type == corev1.ServiceTypeExternalName {
		s.ClusterIP, s.ClusterIPs, s.IPFamilies, s.IPFamilyPolicy = "", nil, nil, nil
		return nil
	}
	if s.ClusterIP == "" && len(s.ClusterIPs) > 0 {
		s.ClusterIP = s.ClusterIPs[0]
	}
	if s.ClusterIP == "" && was.Spec.ClusterIP != "" && was.Spec.Type != corev1.ServiceTypeExternalName {
		s.ClusterIP, s.ClusterIPs = was.Spec.ClusterIP, was.Spec.ClusterIPs // left out of an update: keeps
	}
	family := corev1.IPv4Protocol
	if a.cidr.Addr().Is6() {
		family = corev1.IPv6Protocol
	}
	if len(s.IPFamilies) == 0 {
		s.IPFamilies = []corev1.IPFamily{family}
	}
	if s.IPFamilyPolicy == nil {
		p := corev1.IPFamilyPolicySingleStack
		s.IPFamilyPolicy = &p
	}
	if s.IPFamilies[0] != family || *s.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack {
		return field.ErrorList{field.Invalid(field.NewPath("spec", "ipFamilies").Index(0), s.IPFamilies[0], "not configured on this cluster")}
	}
	switch s.ClusterIP {
	case corev1.ClusterIPNone:
		s.ClusterIPs = []string{corev1.ClusterIPNone}
		return nil
	case "":
		ip, ok := a.freeLocked()
		if !ok {
			return field.ErrorList{field.InternalError(field.NewPath("spec", "clusterIPs"), fmt.Errorf("failed to allocate a serviceIP: range is full"))}
		}
		s.ClusterIP = ip.String()
	}
	s.ClusterIPs = []string{s.ClusterIP}
	path := field.NewPath("spec", "clusterIPs")
	ip, err := netip.ParseAddr(s.ClusterIP)
	if err != nil {
		return nil // validation has said so
	}
	if !a.cidr.Contains(ip) {
		return field.ErrorList{field.Invalid(path, s.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: the provided network does not match the current range", ip))}
	}
	if holder := a.ips[ip]; holder == svc.Namespace+"/"+svc.Name && was.Spec.ClusterIP == s.ClusterIP {
		return nil
	} else if holder != "" {
		return field.ErrorList{field.Invalid(path, s.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: provided IP is already allocated", ip))}
	}
	a.ips[ip] = svc.Namespace + "/" + svc.Name
	g.taken = append(g.taken, ip)
	return nil
}

// freeLocked picks a free address: at random above the band that upstream
// leaves for chosen addresses, then wherever there is one.
func (a *Allocator) freeLocked() (netip.Addr, bool) {
	bits := a.cidr.Addr().BitLen() - a.cidr.Bits()
	size := uint64(1) << min(bits, 20)
	usable := size - 2 // neither the network nor, in IPv4, the broadcast address
	band := min(max(16, size/16), 256)
	if usable <= band {
		band = 0
	}
	for range 64 {
		ip := a.at(1 + band + rand.Uint64N(usable-band))
		if a.ips[ip] == "" {
			return ip, true
		}
	}
	for i := usable; i >= 1; i-- {
		if ip := a.at(i); a.ips[ip] == "" {
			return ip, true
		}
	}
	return netip.Addr{}, false
}

func (a *Allocator) at(offset uint64) netip.Addr {
	b := a.cidr.Addr().As16()
	low := binary.BigEndian.Uint64(b[8:])
	binary.BigEndian.PutUint64(b[8:], low+offset)
	ip := netip.AddrFrom16(b)
	if a.cidr.Addr().Is4() {
		ip = ip.Unmap()
	}
	return ip
}

func (a *Allocator) nodePortsLocked(g *grant, svc, was *corev1.Service) field.ErrorList {
	if !wantsNodePorts(svc) {
		if svc.Spec.Type == corev1.ServiceTypeClusterIP && wantsNodePorts(was) {
			for i := range svc.Spec.Ports {
				svc.Spec.Ports[i].NodePort = 0
			}
		}
		return nil
	}
	owner := svc.Namespace + "/" + svc.Name
	had := map[portKey]bool{}
	for _, p := range portsOf(was) {
		had[p] = true
	}
	mine := map[int32]corev1.Protocol{}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		path := field.NewPath("spec", "ports").Index(i).Child("nodePort")
		if p.NodePort == 0 {
			p.NodePort = sameService(was, svc, i)
		}
		if p.NodePort == 0 {
			n, ok := a.freePortLocked(p.Protocol)
			if !ok {
				return field.ErrorList{field.InternalError(path, fmt.Errorf("failed to allocate a nodePort: range is full"))}
			}
			p.NodePort = n
		}
		k := portKey{p.Protocol, p.NodePort}
		if had[k] || a.nodes[k] == owner && mine[p.NodePort] != p.Protocol {
			mine[p.NodePort] = p.Protocol
			continue
		}
		if p.NodePort < a.ports.First || p.NodePort > a.ports.Last {
			return field.ErrorList{field.Invalid(path, p.NodePort, fmt.Sprintf("provided port is not in the valid range. The range of valid ports is %d-%d", a.ports.First, a.ports.Last))}
		}
		if a.takenLocked(p.NodePort, owner) || a.nodes[k] != "" {
			return field.ErrorList{field.Invalid(path, p.NodePort, "provided port is already allocated")}
		}
		a.nodes[k] = owner
		mine[p.NodePort] = p.Protocol
		g.taken = append(g.taken, k)
	}
	return nil
}

// sameService finds the node port an updated service had for the same port.
func sameService(was, svc *corev1.Service, i int) int32 {
	p := svc.Spec.Ports[i]
	for _, o := range was.Spec.Ports {
		if o.Port == p.Port && o.Protocol == p.Protocol && o.NodePort != 0 {
			for j := range svc.Spec.Ports {
				if j != i && svc.Spec.Ports[j].NodePort == o.NodePort {
					return 0
				}
			}
			return o.NodePort
		}
	}
	return 0
}

func (a *Allocator) takenLocked(port int32, owner string) bool {
	for _, proto := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP} {
		if h := a.nodes[portKey{proto, port}]; h != "" && h != owner {
			return true
		}
	}
	return false
}

func (a *Allocator) freePortLocked(proto corev1.Protocol) (int32, bool) {
	size := a.ports.Last - a.ports.First + 1
	band := min(max(16, size/32), 128)
	if size <= band {
		band = 0
	}
	for range 64 {
		if n := a.ports.First + band + rand.Int32N(size-band); !a.takenLocked(n, "") {
			return n, true
		}
	}
	for n := a.ports.Last; n >= a.ports.First; n-- {
		if !a.takenLocked(n, "") {
			return n, true
		}
	}
	return 0, false
}

func wantsNodePorts(s *corev1.Service) bool {
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeLoadBalancer:
		return s.Spec.AllocateLoadBalancerNodePorts == nil || *s.Spec.AllocateLoadBalancerNodePorts
	}
	return false
}

func ipsOf(s *corev1.Service) []netip.Addr {
	var out []netip.Addr
	for _, v := range s.Spec.ClusterIPs {
		if ip, err := netip.ParseAddr(v); err == nil {
			out = append(out, ip)
		}
	}
	return out
}

func portsOf(s *corev1.Service) []portKey {
	var out []portKey
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			out = append(out, portKey{p.Protocol, p.NodePort})
		}
	}
	return out
}
