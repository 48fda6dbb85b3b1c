package service

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/controllers/podstate"
)

const (
	// maxEndpointsPerSlice is how many endpoints a slice is filled up to.
	maxEndpointsPerSlice = 100

	sliceManager = "endpointslice-controller.k8s.io"
)

// portGroup is endpoints that have the same ports: they share slices.
type portGroup struct {
	ports     []discoveryv1.EndpointPort
	endpoints []discoveryv1.Endpoint
}

// familiesOf lists the address types that a Service has slices of.
func familiesOf(s *corev1.Service) []discoveryv1.AddressType {
	var out []discoveryv1.AddressType
	for _, f := range s.Spec.IPFamilies {
		switch f {
		case corev1.IPv4Protocol:
			out = append(out, discoveryv1.AddressTypeIPv4)
		case corev1.IPv6Protocol:
			out = append(out, discoveryv1.AddressTypeIPv6)
		}
	}
	if len(out) > 0 {
		return out
	}
	if !headless(s) {
		if a, err := netip.ParseAddr(s.Spec.ClusterIP); err == nil && a.Unmap().Is6() {
			return []discoveryv1.AddressType{discoveryv1.AddressTypeIPv6}
		}
		return []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4}
	}
	return []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6}
}

// zoneOf tells the zone of a node ("" for none), and whether there is such a
// node.
type zoneOf func(node string) (zone string, exists bool)

// groupsOf sorts the pods of a Service into groups of equal ports.
func groupsOf(s *corev1.Service, pods []*corev1.Pod, family discoveryv1.AddressType, zone zoneOf) map[string]*portGroup {
	out := map[string]*portGroup{}
	for _, p := range pods {
		if !listed(p, true) {
			continue
		}
		z, exists := zone(p.Spec.NodeName)
		if !exists && !s.Spec.PublishNotReadyAddresses {
			continue // the pod's node is gone; its deletion wakes the pod's collector
		}
		ports := portsOf(s, p)
		key := portsKey(ports)
		g := out[key]
		if g == nil {
			g = &portGroup{ports: ports}
			out[key] = g
		}
		if e := endpointOf(s, p, family, z); len(e.Addresses) > 0 {
			g.endpoints = append(g.endpoints, e)
		}
	}
	return out
}

func portsOf(s *corev1.Service, p *corev1.Pod) []discoveryv1.EndpointPort {
	out := []discoveryv1.EndpointPort{}
	for i := range s.Spec.Ports {
		sp := &s.Spec.Ports[i]
		n, err := podstate.FindPort(p, sp)
		if err != nil {
			continue
		}
		name, proto := sp.Name, sp.Protocol
		out = append(out, discoveryv1.EndpointPort{Name: &name, Port: &n, Protocol: &proto, AppProtocol: sp.AppProtocol})
	}
	return out
}

// portsKey is equal for equal sets of ports.
func portsKey(ports []discoveryv1.EndpointPort) string {
	keys := make([]string, len(ports))
	for i, p := range ports {
		k := &corev1.EndpointPort{AppProtocol: p.AppProtocol}
		if p.Name != nil {
			k.Name = *p.Name
		}
		if p.Protocol != nil {
			k.Protocol = *p.Protocol
		}
		if p.Port != nil {
			k.Port = *p.Port
		}
		keys[i] = portKey(k)
	}
	slices.Sort(keys)
	out := ""
	for _, k := range keys {
		out += k + "\n"
	}
	return out
}

func endpointOf(s *corev1.Service, p *corev1.Pod, family discoveryv1.AddressType, zone string) discoveryv1.Endpoint {
	serving := podstate.Ready(p)
	terminating := p.DeletionTimestamp != nil
	ready := s.Spec.PublishNotReadyAddresses || (serving && !terminating)
	e := discoveryv1.Endpoint{
		Addresses:  addressesOf(p, family == discoveryv1.AddressTypeIPv6),
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		TargetRef:  podReference(p),
	}
	if node := p.Spec.NodeName; node != "" {
		e.NodeName = &node
	}
	if zone != "" {
		e.Zone = &zone
	}
	if namedByHost(p, s) {
		host := p.Spec.Hostname
		e.Hostname = &host
	}
	if ready {
		e.Hints = hintsFor(s.Spec.TrafficDistribution, e.Zone, e.NodeName)
	}
	return e
}

// hintsFor keeps traffic near where the Service asks for that.
func hintsFor(distribution, zone, node *string) *discoveryv1.EndpointHints {
	if distribution == nil {
		return nil
	}
	switch *distribution {
	case corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode:
	default:
		return nil
	}
	h := &discoveryv1.EndpointHints{}
	if zone != nil {
		h.ForZones = []discoveryv1.ForZone{{Name: *zone}}
	}
	if node != nil && *distribution == corev1.ServiceTrafficDistributionPreferSameNode {
		h.ForNodes = []discoveryv1.ForNode{{Name: *node}}
	}
	if h.ForZones == nil && h.ForNodes == nil {
		return nil
	}
	return h
}

// sliceLabels are the Service's but for those that only slices may have.
func sliceLabels(s *corev1.Service) map[string]string {
	l := maps.Clone(s.Labels)
	if l == nil {
		l = map[string]string{}
	}
	delete(l, corev1.IsHeadlessService)
	if headless(s) {
		l[corev1.IsHeadlessService] = ""
	}
	l[discoveryv1.LabelServiceName] = s.Name
	l[discoveryv1.LabelManagedBy] = sliceManager
	return l
}

// emptySlice is a slice of a Service with nothing in it.
func emptySlice(s *corev1.Service, family discoveryv1.AddressType, ports []discoveryv1.EndpointPort) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, GenerateName: s.Name + "-", Labels: sliceLabels(s),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(s, corev1.SchemeGroupVersion.WithKind("Service"))},
		},
		AddressType: family, Ports: ports, Endpoints: []discoveryv1.Endpoint{},
	}
}

func ownedBy(o metav1.Object, s *corev1.Service) bool {
	for _, r := range o.GetOwnerReferences() {
		if r.UID == s.UID && r.Kind == "Service" && r.APIVersion == "v1" {
			return true
		}
	}
	return false
}
