package discovery

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/api/meta"
)

// The bounds of one slice.
const (
	maxEndpoints = 1000
	maxAddresses = 100
	maxPorts     = 20000
	maxTopology  = 16
	maxHints     = 8
	maxShown     = 3 // in a cell
)

func endpointSliceRow() *api.Kind {
	return api.Define(api.Spec[*discoveryv1.EndpointSlice]{
		GVK: gvk("EndpointSlice"), Plural: "endpointslices", Singular: "endpointslice",
		Namespaced: true, Generation: true, UnconditionalUpdate: true,
		List: &discoveryv1.EndpointSliceList{},
		Default: func(s *discoveryv1.EndpointSlice) {
			for i := range s.Ports {
				if p := &s.Ports[i]; p.Name == nil {
					p.Name = new(string)
				}
				if p := &s.Ports[i]; p.Protocol == nil {
					tcp := corev1.ProtocolTCP
					p.Protocol = &tcp
				}
			}
		},
		PrepareCreate: func(s *discoveryv1.EndpointSlice) {
			s.Generation = 1
			dropTopology(s, nil)
		},
		// Labels tell the service a slice is of: they count as its desired state.
		PrepareUpdate: func(s, old *discoveryv1.EndpointSlice) {
			if s.AddressType != old.AddressType || !equality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) ||
				!equality.Semantic.DeepEqual(s.Ports, old.Ports) || !equality.Semantic.DeepEqual(s.Labels, old.Labels) {
				s.Generation = old.Generation + 1
			}
			dropTopology(s, old)
		},
		Validate: func(s *discoveryv1.EndpointSlice) field.ErrorList { return validateSlice(s, nil) },
		ValidateUpdate: func(s, old *discoveryv1.EndpointSlice) field.ErrorList {
			r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&s.ObjectMeta, &old.ObjectMeta)}
			r.Add(validateSlice(s, old))
			r.Add(meta.Immutable(s.AddressType, old.AddressType, field.NewPath("addressType")))
			return r.Errs
		},
		Warnings: func(s *discoveryv1.EndpointSlice) (w []string) {
			if s.AddressType == discoveryv1.AddressTypeFQDN {
				w = append(w, "spec.addressType: FQDN endpoints are deprecated")
			}
			return append(w, addressWarnings(s)...)
		},
		UpdateWarnings: func(s, _ *discoveryv1.EndpointSlice) []string { return addressWarnings(s) },
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("AddressType", "The type of address carried by this slice."),
			meta.Text("Ports", "The ports exposed by each endpoint in this slice."),
			meta.Text("Endpoints", "The addresses of the endpoints in this slice."),
			meta.AgeColumn,
		},
		Row: func(s *discoveryv1.EndpointSlice, now time.Time) []any {
			var ports, addresses []string
			for _, p := range s.Ports {
				switch {
				case p.Port != nil:
					ports = append(ports, strconv.Itoa(int(*p.Port)))
				case p.Name != nil:
					ports = append(ports, *p.Name)
				default:
					ports = append(ports, "*")
				}
			}
			for _, e := range s.Endpoints {
				addresses = append(addresses, e.Addresses...)
			}
			return []any{s.Name, string(s.AddressType), shown(ports), shown(addresses), meta.Age(s.CreationTimestamp, now)}
		},
	})
}

func shown(list []string) string {
	if n := len(list) - maxShown; n > 0 {
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:maxShown], ","), n)
	}
	if s := strings.Join(list, ","); s != "" {
		return s
	}
	return "<unset>"
}

// dropTopology clears the field that only older versions of the API have,
// unless the endpoints stay as they are. A node name that the old object had
// there is kept in its own field.
func dropTopology(s, old *discoveryv1.EndpointSlice) {
	named := sets.Set[string]{}
	if old != nil {
		if equality.Semantic.DeepEqual(old.Endpoints, s.Endpoints) {
			return
		}
		for _, e := range old.Endpoints {
			if n := e.DeprecatedTopology[corev1.LabelHostname]; n != "" {
				named.Insert(n)
			}
		}
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if n := e.DeprecatedTopology[corev1.LabelHostname]; e.NodeName == nil && named.Has(n) && len(meta.DNSSubdomain(n, false)) == 0 {
			e.NodeName = &n
		}
		e.DeprecatedTopology = nil
	}
}

func validateSlice(s, old *discoveryv1.EndpointSlice) field.ErrorList {
	r := &meta.Report{Errs: meta.ValidateObjectMeta(&s.ObjectMeta, true, meta.DNSSubdomain)}
	meta.OneOf(r, field.NewPath("addressType"), s.AddressType, discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
	ports(r, s.Ports, field.NewPath("ports"))
	if old == nil || !equality.Semantic.DeepEqual(old.Endpoints, s.Endpoints) {
		endpoints(r, s, field.NewPath("endpoints"))
	}
	return r.Errs
}

func ports(r *meta.Report, list []discoveryv1.EndpointPort, p *field.Path) {
	if len(list) > maxPorts {
		r.TooMany(p, len(list), maxPorts)
		return
	}
	names := sets.Set[string]{}
	for i, port := range list {
		at := p.Index(i)
		name := ""
		if port.Name != nil {
			name = *port.Name
		}
		if name != "" {
			r.Add(meta.Label1123(name, at.Child("name")))
		}
		if names.Has(name) {
			r.Duplicate(at.Child("name"), port.Name)
		}
		names.Insert(name)
		if port.Protocol == nil {
			r.Required(at.Child("protocol"), "")
		} else {
			meta.Among(r, at.Child("protocol"), *port.Protocol, corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)
		}
		if port.AppProtocol != nil {
			r.Add(meta.QualifiedName(*port.AppProtocol, at.Child("appProtocol")))
		}
	}
}

func endpoints(r *meta.Report, s *discoveryv1.EndpointSlice, p *field.Path) {
	if len(s.Endpoints) > maxEndpoints {
		r.TooMany(p, len(s.Endpoints), maxEndpoints)
		return
	}
	for i := range s.Endpoints {
		e, at := &s.Endpoints[i], p.Index(i)
		addresses := at.Child("addresses")
		if len(e.Addresses) == 0 {
			r.Required(addresses, "must contain at least 1 address")
		} else if len(e.Addresses) > maxAddresses {
			r.TooMany(addresses, len(e.Addresses), maxAddresses)
		}
		for j, a := range e.Addresses {
			address(r, s.AddressType, a, addresses, j)
		}
		if e.NodeName != nil {
			r.Named(at.Child("nodeName"), *e.NodeName, meta.DNSSubdomain)
		}
		topology := at.Child("deprecatedTopology")
		if len(e.DeprecatedTopology) > maxTopology {
			r.TooMany(topology, len(e.DeprecatedTopology), maxTopology)
		}
		r.Add(meta.Labels(e.DeprecatedTopology, topology))
		if e.Hostname != nil {
			r.Add(meta.Label1123(*e.Hostname, at.Child("hostname")))
		}
		if e.Hints != nil {
			hints(r, e.Hints, at.Child("hints"))
		}
	}
}

func address(r *meta.Report, t discoveryv1.AddressType, a string, p *field.Path, i int) {
	var errs field.ErrorList
	family := netutils.IsIPv4String
	switch t {
	case discoveryv1.AddressTypeIPv4:
		errs = meta.IP(p.Index(i), a, nil)
	case discoveryv1.AddressTypeIPv6:
		errs, family = validation.IsValidIP(p.Index(i), a), netutils.IsIPv6String
	case discoveryv1.AddressTypeFQDN:
		r.Add(validation.IsFullyQualifiedDomainName(p.Index(i), a))
		return
	default:
		return
	}
	if len(errs) > 0 {
		r.Add(errs)
		return
	}
	if !family(a) {
		r.Invalid(p, a, fmt.Sprintf("must be an %s address", t))
	}
	r.Add(core.ValidateEndpointIP(a, p.Index(i)))
}

func hints(r *meta.Report, h *discoveryv1.EndpointHints, p *field.Path) {
	list := func(name string, n int, value func(int) string, rule func(string) []string) bool {
		at := p.Child(name)
		if n > maxHints {
			r.TooMany(at, n, maxHints)
			return false
		}
		seen := sets.Set[string]{}
		for i := range n {
			v, at := value(i), at.Index(i).Child("name")
			if seen.Has(v) {
				r.Duplicate(at, v)
			}
			seen.Insert(v)
			r.InvalidAll(at, v, rule(v))
		}
		return true
	}
	if list("forZones", len(h.ForZones), func(i int) string { return h.ForZones[i].Name }, validation.IsValidLabelValue) {
		list("forNodes", len(h.ForNodes), func(i int) string { return h.ForNodes[i].Name }, func(v string) []string { return meta.DNSSubdomain(v, false) })
	}
}

func addressWarnings(s *discoveryv1.EndpointSlice) (w []string) {
	switch s.Labels[discoveryv1.LabelManagedBy] {
	case "endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io":
		return w
	}
	for i, e := range s.Endpoints {
		for j, a := range e.Addresses {
			w = append(w, validation.GetWarningsForIP(field.NewPath("endpoints").Index(i).Child("addresses").Index(j), a)...)
		}
	}
	return w
}
