package service

import (
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	mirrorManager = "endpointslicemirroring-controller.k8s.io"
	// maxMirrored is how many addresses of a subset are mirrored.
	maxMirrored = 1000

	leaderAnnotation = "control-plane.alpha.kubernetes.io/leader"
)

// mirrored tells whether Endpoints are of the kind that somebody makes by hand
// for a Service without a selector.
func mirrored(e *corev1.Endpoints) bool {
	_, leader := e.Annotations[leaderAnnotation]
	return e.Labels[discoveryv1.LabelSkipMirror] != "true" && !leader
}

// mirrorGroups sorts the addresses of Endpoints by family and ports. It tells
// how many were no addresses, and how many too many.
func mirrorGroups(e *corev1.Endpoints) (groups map[discoveryv1.AddressType]map[string]*portGroup, invalid, over int) {
	groups = map[discoveryv1.AddressType]map[string]*portGroup{}
	for _, sub := range pack(entriesOf(e.Subsets)) {
		ports := make([]discoveryv1.EndpointPort, len(sub.Ports))
		for i, p := range sub.Ports {
			ports[i] = discoveryv1.EndpointPort{Name: &p.Name, Port: &p.Port, Protocol: &p.Protocol, AppProtocol: p.AppProtocol}
		}
		key := portsKey(ports)
		added := 0
		add := func(a corev1.EndpointAddress, ready bool) {
			ip, err := netip.ParseAddr(a.IP)
			switch {
			case added >= maxMirrored:
				over++
				return
			case err != nil:
				invalid++
				return
			}
			added++
			family := discoveryv1.AddressTypeIPv4
			if ip.Unmap().Is6() {
				family = discoveryv1.AddressTypeIPv6
			}
			if groups[family] == nil {
				groups[family] = map[string]*portGroup{}
			}
			g := groups[family][key]
			if g == nil {
				g = &portGroup{ports: ports}
				groups[family][key] = g
			}
			ep := discoveryv1.Endpoint{
				Addresses:  []string{ip.Unmap().String()},
				Conditions: discoveryv1.EndpointConditions{Ready: &ready},
				TargetRef:  a.TargetRef.DeepCopy(), NodeName: a.NodeName,
			}
			if a.Hostname != "" {
				ep.Hostname = &a.Hostname
			}
			g.endpoints = append(g.endpoints, ep)
		}
		for _, a := range sub.Addresses {
			add(a, true)
		}
		for _, a := range sub.NotReadyAddresses {
			add(a, false)
		}
	}
	return groups, invalid, over
}

func mirrorLabels(e *corev1.Endpoints) map[string]string {
	l := maps.Clone(e.Labels)
	if l == nil {
		l = map[string]string{}
	}
	l[discoveryv1.LabelServiceName] = e.Name
	l[discoveryv1.LabelManagedBy] = mirrorManager
	return l
}

func mirrorAnnotations(e *corev1.Endpoints) map[string]string {
	a := maps.Clone(e.Annotations)
	delete(a, corev1.EndpointsLastChangeTriggerTime)
	delete(a, corev1.LastAppliedConfigAnnotation)
	return a
}

func mirrorSlice(e *corev1.Endpoints, family discoveryv1.AddressType, ports []discoveryv1.EndpointPort) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: e.Namespace, GenerateName: e.Name + "-", Labels: mirrorLabels(e), Annotations: mirrorAnnotations(e),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(e, corev1.SchemeGroupVersion.WithKind("Endpoints"))},
		},
		AddressType: family, Ports: ports, Endpoints: []discoveryv1.Endpoint{},
	}
}
