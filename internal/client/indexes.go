package client

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
)

// Names of the indexes that components may ask for.
const (
	// ByOwner files every kind under the UIDs of its owner references.
	ByOwner = "owner"
	// ByNode files pods under spec.nodeName ("" while unbound).
	ByNode = "node"
	// ByPodIP files pods under each of their addresses.
	ByPodIP = "ip"
	// ByService files endpoint slices under "namespace/service".
	ByService = "service"
	// ByInvolved files events under the UID of the object they are about.
	ByInvolved = "involved"
	// ByClusterIP files services under each of their cluster IPs.
	ByClusterIP = "clusterip"
	// ByEndpointIP files endpoint slices under each address in them.
	ByEndpointIP = "endpoint"
)

// Indexes gives the indexes of every kind in the table, for cache.Config.
func Indexes(t *api.Table) map[*api.Kind][]cache.Index {
	out := map[*api.Kind][]cache.Index{}
	for _, k := range t.Kinds() {
		out[k] = append(out[k], cache.Index{Name: ByOwner, Values: func(o api.Object) []string {
			var uids []string
			for _, r := range o.GetOwnerReferences() {
				uids = append(uids, string(r.UID))
			}
			return uids
		}})
	}
	add(t, out, ByNode, func(p *corev1.Pod) []string { return []string{p.Spec.NodeName} })
	add(t, out, ByPodIP, func(p *corev1.Pod) []string {
		var ips []string
		for _, ip := range p.Status.PodIPs {
			ips = append(ips, ip.IP)
		}
		return ips
	})
	add(t, out, ByService, func(s *discoveryv1.EndpointSlice) []string {
		return []string{s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]}
	})
	add(t, out, ByInvolved, func(e *corev1.Event) []string { return []string{string(e.InvolvedObject.UID)} })
	add(t, out, ByClusterIP, func(s *corev1.Service) []string { return s.Spec.ClusterIPs })
	add(t, out, ByEndpointIP, func(s *discoveryv1.EndpointSlice) []string {
		seen := map[string]bool{}
		var ips []string
		for _, e := range s.Endpoints {
			for _, a := range e.Addresses {
				if !seen[a] {
					seen[a] = true
					ips = append(ips, a)
				}
			}
		}
		return ips
	})
	return out
}

func add[T api.Object](t *api.Table, out map[*api.Kind][]cache.Index, name string, values func(T) []string) {
	k := api.For[T](t)
	out[k] = append(out[k], cache.Index{Name: name, Values: func(o api.Object) []string { return values(o.(T)) }})
}
