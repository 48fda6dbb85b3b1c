package core

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

func endpointsRow() *api.Kind {
	return api.Define(api.Spec[*corev1.Endpoints]{
		GVK: gvk("Endpoints"), Plural: "endpoints", Singular: "endpoints", ShortNames: []string{"ep"},
		Namespaced: true, Prefix: "services/endpoints", CreateOnUpdate: true, UnconditionalUpdate: true,
		List:       &corev1.EndpointsList{},
		Deprecated: "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
		Default: func(e *corev1.Endpoints) {
			for i := range e.Subsets {
				for j := range e.Subsets[i].Ports {
					setDefault(&e.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
				}
			}
		},
		Validate: func(e *corev1.Endpoints) field.ErrorList { return validateEndpoints(e, nil) },
		ValidateUpdate: func(e, old *corev1.Endpoints) field.ErrorList {
			return append(meta.ValidateObjectMetaUpdate(&e.ObjectMeta, &old.ObjectMeta), validateEndpoints(e, old)...)
		},
		Warnings: endpointsWarnings,
		Columns:  []metav1.TableColumnDefinition{meta.NameColumn, meta.Text("Endpoints", "The set of all endpoints is the union of all subsets."), meta.AgeColumn},
		Row: func(e *corev1.Endpoints, now time.Time) []any {
			return []any{e.Name, printEndpoints(e), meta.Age(e.CreationTimestamp, now)}
		},
	})
}

func validateEndpoints(e, old *corev1.Endpoints) field.ErrorList {
	r := &meta.Report{Errs: meta.ValidateObjectMeta(&e.ObjectMeta, true, meta.DNSSubdomain)}
	if old != nil && equality.Semantic.DeepEqual(old.Subsets, e.Subsets) {
		return r.Errs // what was accepted once does not become an obstacle
	}
	for i := range e.Subsets {
		ss, at := &e.Subsets[i], field.NewPath("subsets").Index(i)
		if len(ss.Addresses) == 0 && len(ss.NotReadyAddresses) == 0 {
			r.Required(at, "must specify `addresses` or `notReadyAddresses`")
		}
		for j := range ss.Addresses {
			endpointAddress(r, &ss.Addresses[j], at.Child("addresses").Index(j))
		}
		for j := range ss.NotReadyAddresses {
			endpointAddress(r, &ss.NotReadyAddresses[j], at.Child("notReadyAddresses").Index(j))
		}
		for j, port := range ss.Ports {
			at := at.Child("ports").Index(j)
			if port.Name != "" {
				r.Add(meta.Label1123(port.Name, at.Child("name")))
			} else {
				r.RequiredIf(len(ss.Ports) > 1, at.Child("name"))
			}
			r.InvalidAll(at.Child("port"), port.Port, validation.IsValidPortNum(int(port.Port)))
			meta.OneOf(r, at.Child("protocol"), port.Protocol, protocols...)
			if port.AppProtocol != nil {
				r.Add(meta.QualifiedName(*port.AppProtocol, at.Child("appProtocol")))
			}
		}
	}
	return r.Errs
}

func endpointAddress(r *meta.Report, a *corev1.EndpointAddress, p *field.Path) {
	r.Add(meta.IP(p.Child("ip"), a.IP, nil))
	if a.Hostname != "" {
		r.Add(meta.Label1123(a.Hostname, p.Child("hostname")))
	}
	if a.NodeName != nil {
		r.Named(p.Child("nodeName"), *a.NodeName, meta.DNSSubdomain)
	}
	r.Add(ValidateEndpointIP(a.IP, p.Child("ip")))
}

// ValidateEndpointIP refuses addresses that would let a service reach what only
// the node itself may.
func ValidateEndpointIP(v string, p *field.Path) field.ErrorList {
	var r meta.Report
	ip := netutils.ParseIPSloppy(v)
	if ip == nil {
		r.Invalid(p, v, "must be a valid IP address")
		return r.Errs
	}
	if ip.IsUnspecified() {
		r.Invalid(p, v, fmt.Sprintf("may not be unspecified (%v)", v))
	}
	if ip.IsLoopback() {
		r.Invalid(p, v, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
	}
	if ip.IsLinkLocalUnicast() {
		r.Invalid(p, v, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
	}
	if ip.IsLinkLocalMulticast() {
		r.Invalid(p, v, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
	}
	return r.Errs
}

func endpointsWarnings(e *corev1.Endpoints) (w []string) {
	if e.Labels["endpoints.kubernetes.io/managed-by"] == "endpoint-controller" {
		return nil
	}
	for i, ss := range e.Subsets {
		at := field.NewPath("subsets").Index(i)
		for j, a := range ss.Addresses {
			w = append(w, validation.GetWarningsForIP(at.Child("addresses").Index(j).Child("ip"), a.IP)...)
		}
		for j, a := range ss.NotReadyAddresses {
			w = append(w, validation.GetWarningsForIP(at.Child("notReadyAddresses").Index(j).Child("ip"), a.IP)...)
		}
	}
	return w
}

// maxShown bounds lists within one cell.
const maxShown = 3

func printEndpoints(e *corev1.Endpoints) string {
	if len(e.Subsets) == 0 {
		return "<none>"
	}
	var all []string
	for _, ss := range e.Subsets {
		if len(ss.Ports) == 0 {
			for _, a := range ss.Addresses {
				all = append(all, a.IP)
			}
		}
		for _, port := range ss.Ports {
			for _, a := range ss.Addresses {
				all = append(all, net.JoinHostPort(a.IP, strconv.Itoa(int(port.Port))))
			}
		}
	}
	if n := len(all) - maxShown; n > 0 {
		return fmt.Sprintf("%s + %d more...", strings.Join(all[:maxShown], ","), n)
	}
	return strings.Join(all, ",")
}
