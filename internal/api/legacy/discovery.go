package legacy

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	discoveryv1beta1 "k8s.io/api/discovery/v1beta1"
	eventsv1 "k8s.io/api/events/v1"
	eventsv1beta1 "k8s.io/api/events/v1beta1"

	"github.com/monohull/monohull/internal/api"
)

func slicesAndEvents() []old {
	return []old{
		version(spec[*discoveryv1beta1.EndpointSlice, *discoveryv1.EndpointSlice]{
			gvk: discoveryv1beta1.SchemeGroupVersion.WithKind("EndpointSlice"), of: discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
			list: &discoveryv1beta1.EndpointSliceList{},
			toKind: func(from *discoveryv1beta1.EndpointSlice, to *discoveryv1.EndpointSlice) {
				for i := range from.Endpoints {
					splitTopology(from.Endpoints[i].Topology, &to.Endpoints[i])
				}
			},
			fromKind: func(from *discoveryv1.EndpointSlice, to *discoveryv1beta1.EndpointSlice) {
				for i := range from.Endpoints {
					to.Endpoints[i].Topology = joinTopology(&from.Endpoints[i])
				}
			},
		}),
		{of: corev1.SchemeGroupVersion.WithKind("Event"), derive: oldEvent},
	}
}

// splitTopology puts the zone of an old endpoint's map into its field. The host
// stays in the map only where it is not the node.
func splitTopology(topology map[string]string, to *discoveryv1.Endpoint) {
	if topology == nil {
		return
	}
	rest := maps.Clone(topology)
	if zone, ok := rest[corev1.LabelTopologyZone]; ok {
		to.Zone = &zone
		delete(rest, corev1.LabelTopologyZone)
	}
	if host, ok := rest[corev1.LabelHostname]; ok && to.NodeName != nil && *to.NodeName == host {
		delete(rest, corev1.LabelHostname)
	}
	to.DeprecatedTopology = nil
	if len(rest) > 0 {
		to.DeprecatedTopology = rest
	}
}

func joinTopology(e *discoveryv1.Endpoint) map[string]string {
	if e.DeprecatedTopology == nil && e.Zone == nil && e.NodeName == nil {
		return nil
	}
	out := map[string]string{}
	maps.Copy(out, e.DeprecatedTopology)
	if e.Zone != nil {
		out[corev1.LabelTopologyZone] = *e.Zone
	}
	if e.NodeName != nil && out[corev1.LabelHostname] == "" {
		out[corev1.LabelHostname] = *e.NodeName
	}
	return out
}

// oldEvent is events.k8s.io/v1 under an older name.
func oldEvent(k *api.Kind) *api.Version {
	newer := eventsv1.SchemeGroupVersion.WithKind("Event")
	i := slices.IndexFunc(k.Versions, func(v *api.Version) bool { return v.GVK == newer })
	v := *k.Versions[i]
	v.GVK = eventsv1beta1.SchemeGroupVersion.WithKind("Event")
	v.Old = true
	v.Deprecated = deprecation(v.GVK, newer, 0, 0, &eventsv1beta1.Event{})
	return &v
}
