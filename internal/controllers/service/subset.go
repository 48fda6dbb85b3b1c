package service

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/monohull/monohull/internal/controllers/podstate"
)

const (
	// maxAddresses is the most an Endpoints object lists.
	maxAddresses = 1000

	endpointsManagedBy = "endpoints.kubernetes.io/managed-by"
	endpointsManager   = "endpoint-controller"
)

// entry is one address behind one port; no port where the Service has none.
type entry struct {
	address corev1.EndpointAddress
	port    *corev1.EndpointPort
	ready   bool
}

// entries lists all that stands behind a Service.
func entries(s *corev1.Service, pods []*corev1.Pod) []entry {
	var out []entry
	v6 := firstFamilyIsV6(s)
	for _, p := range pods {
		if !listed(p, s.Spec.PublishNotReadyAddresses) {
			continue
		}
		ips := addressesOf(p, v6)
		if len(ips) == 0 {
			continue
		}
		node := p.Spec.NodeName
		a := corev1.EndpointAddress{IP: ips[0], NodeName: &node, TargetRef: podReference(p)}
		if namedByHost(p, s) {
			a.Hostname = p.Spec.Hostname
		}
		ready := s.Spec.PublishNotReadyAddresses || podstate.Ready(p)
		if len(s.Spec.Ports) == 0 && s.Spec.ClusterIP == corev1.ClusterIPNone {
			out = append(out, entry{a, nil, ready})
		}
		for i := range s.Spec.Ports {
			sp := &s.Spec.Ports[i]
			n, err := podstate.FindPort(p, sp)
			if err != nil {
				continue // the pod does not have a port of that name
			}
			out = append(out, entry{a, &corev1.EndpointPort{Name: sp.Name, Port: n, Protocol: sp.Protocol, AppProtocol: sp.AppProtocol}, ready})
		}
	}
	return out
}

// entriesOf undoes what pack does.
func entriesOf(subsets []corev1.EndpointSubset) []entry {
	var out []entry
	for _, s := range subsets {
		ports := []*corev1.EndpointPort{nil}
		if len(s.Ports) > 0 {
			ports = ports[:0]
			for i := range s.Ports {
				ports = append(ports, &s.Ports[i])
			}
		}
		for _, port := range ports {
			for _, a := range s.Addresses {
				out = append(out, entry{a, port, true})
			}
			for _, a := range s.NotReadyAddresses {
				out = append(out, entry{a, port, false})
			}
		}
	}
	return out
}

// pack joins ports that have the same addresses into one subset, and puts
// everything in order, so that equal content is an equal object. An address
// that is both ready and not is ready.
func pack(list []entry) []corev1.EndpointSubset {
	type portSet struct {
		port      *corev1.EndpointPort
		addresses map[string]entry
	}
	byPort := map[string]*portSet{}
	for _, e := range list {
		k := portKey(e.port)
		ps := byPort[k]
		if ps == nil {
			ps = &portSet{e.port, map[string]entry{}}
			byPort[k] = ps
		}
		ak := addressKey(&e.address)
		if had, ok := ps.addresses[ak]; !ok || (e.ready && !had.ready) {
			ps.addresses[ak] = e
		}
	}
	byAddresses := map[string]*corev1.EndpointSubset{}
	for _, k := range slices.Sorted(maps.Keys(byPort)) {
		ps := byPort[k]
		keys := slices.Sorted(maps.Keys(ps.addresses))
		var all strings.Builder
		for _, ak := range keys {
			fmt.Fprintf(&all, "%s %t\n", ak, ps.addresses[ak].ready)
		}
		sub := byAddresses[all.String()]
		if sub == nil {
			sub = &corev1.EndpointSubset{}
			for _, ak := range keys {
				e := ps.addresses[ak]
				if e.ready {
					sub.Addresses = append(sub.Addresses, e.address)
				} else {
					sub.NotReadyAddresses = append(sub.NotReadyAddresses, e.address)
				}
			}
			byAddresses[all.String()] = sub
		}
		if ps.port != nil {
			sub.Ports = append(sub.Ports, *ps.port)
		}
	}
	var out []corev1.EndpointSubset
	for _, k := range slices.Sorted(maps.Keys(byAddresses)) {
		s := byAddresses[k]
		slices.SortFunc(s.Ports, comparePorts)
		out = append(out, *s)
	}
	return out
}

func portKey(p *corev1.EndpointPort) string {
	if p == nil {
		return ""
	}
	app := ""
	if p.AppProtocol != nil {
		app = *p.AppProtocol
	}
	return fmt.Sprintf("%s/%s/%d/%s", p.Name, p.Protocol, p.Port, app)
}

func comparePorts(a, b corev1.EndpointPort) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
}

func addressKey(a *corev1.EndpointAddress) string {
	uid := ""
	if a.TargetRef != nil {
		uid = string(a.TargetRef.UID)
	}
	return a.IP + "/" + uid
}

// truncate takes addresses away until maxAddresses are left, ready ones last,
// in proportion from all subsets, and tells whether it had to.
func truncate(subsets []corev1.EndpointSubset) bool {
	ready, notReady := 0, 0
	for _, s := range subsets {
		ready += len(s.Addresses)
		notReady += len(s.NotReadyAddresses)
	}
	if ready+notReady <= maxAddresses {
		return false
	}
	cutReady := ready > maxAddresses
	room, of := maxAddresses-ready, notReady
	if cutReady {
		room, of = maxAddresses, ready
	}
	left := room
	for i := range subsets {
		s := &subsets[i]
		list := &s.NotReadyAddresses
		if cutReady {
			list, s.NotReadyAddresses = &s.Addresses, nil
		}
		n := min(left, len(*list), int(math.Ceil(float64(len(*list))/float64(of)*float64(room))))
		*list = (*list)[:n]
		left -= n
	}
	return true
}

// endpointsLabels are those of the Service, with a mark of who writes this.
func endpointsLabels(s *corev1.Service) map[string]string {
	l := maps.Clone(s.Labels)
	if l == nil {
		l = map[string]string{}
	}
	l[endpointsManagedBy] = endpointsManager
	if headless(s) {
		l[corev1.IsHeadlessService] = ""
	} else {
		delete(l, corev1.IsHeadlessService)
	}
	return l
}
