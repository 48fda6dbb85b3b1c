package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Attach links the network namespace at netnsPath to the pod network and returns the pod's addresses. A sandbox that
// was attached before keeps its address and has its link made anew; on error nothing is left behind.
func (n *Network) Attach(ctx context.Context, podNamespace, podName, sandboxID, netnsPath string, portMappings []*runtimeapi.PortMapping) (ips []string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ports, err := hostPorts(portMappings)
	if err != nil {
		return nil, fmt.Errorf("attach pod %s/%s: %w", podNamespace, podName, err)
	}
	r, bridge, mtu, err := n.reserve(&record{SandboxID: sandboxID, Namespace: podNamespace, Name: podName, HostPorts: ports})
	if err != nil {
		return nil, fmt.Errorf("attach pod %s/%s: %w", podNamespace, podName, err)
	}
	if err := n.link(r, bridge, mtu, netnsPath); err != nil {
		return nil, errors.Join(fmt.Errorf("attach pod %s/%s: %w", podNamespace, podName, err), n.Detach(context.WithoutCancel(ctx), sandboxID, netnsPath))
	}
	return []string{r.Address.String()}, nil
}

// reserve writes the pod's record, with an address of its own, and opens its host ports.
func (n *Network) reserve(r *record) (*record, int, int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.bridge == 0 {
		return nil, 0, 0, errors.New("the node's network is not set up yet")
	}
	if holder := portConflict(n.records, r.SandboxID, r.HostPorts); holder != nil {
		return nil, 0, 0, fmt.Errorf("a host port it asks for is held by pod %s/%s", holder.Namespace, holder.Name)
	}
	if old, ok := n.records[r.SandboxID]; ok {
		r.Address = old.Address
		if err := n.deletePorts(old); err != nil {
			return nil, 0, 0, err
		}
		if err := n.store.replace(r); err != nil {
			return nil, 0, 0, errors.Join(err, n.addPorts(old))
		}
	} else {
		a, ok := n.pool.next()
		if !ok {
			return nil, 0, 0, fmt.Errorf("no free address in pod range %s: all %d are held", n.cfg.PodCIDR, len(n.pool.used))
		}
		r.Address = a
		if err := n.store.create(r); err != nil {
			return nil, 0, 0, err
		}
		n.pool.take(a)
	}
	n.records[r.SandboxID] = r
	if err := n.addPorts(r); err != nil {
		delete(n.records, r.SandboxID)
		n.pool.release(r.Address)
		return nil, 0, 0, errors.Join(err, n.store.remove(r.Address))
	}
	n.forgetFlows(r)
	return r, n.bridge, n.mtu, nil
}

// link makes the veth pair, one end a port of the bridge, the other eth0 in the pod, and configures the pod's side.
func (n *Network) link(r *record, bridge, mtu int, netnsPath string) error {
	ns, err := os.Open(netnsPath)
	if err != nil {
		return fmt.Errorf("open its network namespace: %w", err)
	}
	defer ns.Close()
	name := linkName(n.cfg.Bridge, r.SandboxID)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.Flags, attrs.TxQLen = name, mtu, net.FlagUp, 0
	attrs.Alias = r.Namespace + "/" + r.Name
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: podLink, PeerMTU: uint32(mtu), PeerNamespace: netlink.NsFd(int(ns.Fd())),
		PeerHardwareAddr: macOf(r.Address)}
	err = n.host.LinkAdd(veth)
	if errors.Is(err, unix.EEXIST) {
		// Left by an attempt that was cut short: on either side, under names that are ours alone.
		if err := n.clear(name, netnsPath); err != nil {
			return err
		}
		err = n.host.LinkAdd(veth)
	}
	if err != nil {
		return fmt.Errorf("add its link %s: %w", name, err)
	}
	if err := n.host.LinkSetMasterByIndex(veth, bridge); err != nil {
		return fmt.Errorf("make link %s a port of %s: %w", name, n.cfg.Bridge, err)
	}
	// A Service may lead a pod to itself; where bridge netfilter is on, that packet leaves by the port it came from.
	if err := n.host.LinkSetHairpin(veth, true); err != nil {
		return fmt.Errorf("set hairpin mode of link %s: %w", name, err)
	}
	pod, err := openRoute(netnsPath)
	if err != nil {
		return err
	}
	defer pod.Close()
	return configurePod(pod, r.Address, n.gateway)
}

func configurePod(pod *netlink.Handle, address, gateway netip.Addr) error {
	lo := netlink.LinkAttrs{Name: "lo", Index: 1} // the kernel makes it first in every namespace
	if err := pod.LinkSetUp(&netlink.Device{LinkAttrs: lo}); err != nil {
		return fmt.Errorf("set lo up in the pod: %w", err)
	}
	eth0, err := pod.LinkByName(podLink)
	if err != nil {
		return fmt.Errorf("find %s in the pod: %w", podLink, err)
	}
	bits := address.BitLen()
	if err := pod.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(address, bits))}); err != nil {
		return fmt.Errorf("add address %s in the pod: %w", address, err)
	}
	if err := pod.LinkSetUp(eth0); err != nil {
		return fmt.Errorf("set %s up in the pod: %w", podLink, err)
	}
	index := eth0.Attrs().Index
	if err := pod.RouteAdd(&netlink.Route{LinkIndex: index, Scope: netlink.SCOPE_LINK, Dst: ipNet(netip.PrefixFrom(gateway, bits)), Src: address.AsSlice()}); err != nil {
		return fmt.Errorf("add route to %s in the pod: %w", gateway, err)
	}
	if err := pod.RouteAdd(&netlink.Route{LinkIndex: index, Gw: gateway.AsSlice(), Src: address.AsSlice()}); err != nil {
		return fmt.Errorf("add default route in the pod: %w", err)
	}
	return nil
}

// clear removes a former link of the sandbox from the host and from the pod.
func (n *Network) clear(name, netnsPath string) error {
	if err := n.unlink(name); err != nil {
		return err
	}
	pod, err := openRoute(netnsPath)
	if err != nil {
		return err
	}
	defer pod.Close()
	link, err := pod.LinkByName(podLink)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find %s in the pod: %w", podLink, err)
	}
	return deleteLink(pod, link)
}

func (n *Network) unlink(name string) error {
	link, err := n.host.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	return deleteLink(n.host, link)
}

// Detach removes a sandbox's link and host ports and gives its address back. It may be called again, for a sandbox
// that was never attached, and after the pod's namespace is gone.
func (n *Network) Detach(ctx context.Context, sandboxID, netnsPath string) error {
	// The link goes before the address is free, so that no two pods answer for it.
	if err := n.unlink(linkName(n.cfg.Bridge, sandboxID)); err != nil {
		return fmt.Errorf("detach sandbox %s: %w", sandboxID, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	r, ok := n.records[sandboxID]
	if !ok {
		return nil
	}
	if err := n.deletePorts(r); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("detach sandbox %s: %w", sandboxID, err)
	}
	if err := n.store.remove(r.Address); err != nil {
		return fmt.Errorf("detach sandbox %s: %w", sandboxID, err)
	}
	delete(n.records, sandboxID)
	n.pool.release(r.Address)
	n.forgetFlows(r)
	return nil
}

// Reconcile detaches every sandbox that is not live, and deletes links of ours that belong to none. It is for the
// start of a node, before the first Attach: a sandbox it was not told of is gone.
func (n *Network) Reconcile(liveSandboxIDs []string) error {
	live := map[string]bool{}
	for _, id := range liveSandboxIDs {
		live[id] = true
	}
	// Links before records: a link seen here and of an Attach under way has its record already.
	links, err := n.host.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var gone []string
	keep := map[string]bool{}
	n.mu.Lock()
	bridge := n.bridge
	for id := range n.records {
		if live[id] {
			keep[linkName(n.cfg.Bridge, id)] = true
		} else {
			gone = append(gone, id)
		}
	}
	n.mu.Unlock()
	var errs []error
	for _, id := range gone {
		errs = append(errs, n.Detach(context.Background(), id, ""))
	}
	for _, l := range links {
		a := l.Attrs()
		if bridge != 0 && a.MasterIndex == bridge && strings.HasPrefix(a.Name, linkPrefix) && !keep[a.Name] {
			errs = append(errs, deleteLink(n.host, l))
		}
	}
	if len(gone) > 0 {
		n.log.Info("addresses of sandboxes that are gone were reclaimed", "count", len(gone))
	}
	return errors.Join(errs...)
}

// flowFilter chooses connection tracking entries.
type flowFilter func(*netlink.ConntrackFlow) bool

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f flowFilter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool { return f(flow) }

// forgetFlows drops the tracking of UDP conversations through a record's host ports: unlike TCP they have no end, and
// a client that keeps its port would be led to where the port led before.
func (n *Network) forgetFlows(r *record) {
	ports := map[uint16]bool{}
	for _, p := range r.HostPorts {
		if p.Protocol == unix.IPPROTO_UDP {
			ports[p.HostPort] = true
		}
	}
	if len(ports) == 0 {
		return
	}
	_, err := n.host.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, flowFilter(func(f *netlink.ConntrackFlow) bool {
		return f.Forward.Protocol == unix.IPPROTO_UDP && ports[f.Forward.DstPort]
	}))
	if err != nil {
		n.log.Warn("tracked UDP flows of a host port could not be dropped", "pod", r.Namespace+"/"+r.Name, "error", err)
	}
}
