package networking

import (
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

func serviceCIDRRow() *api.Kind {
	return api.Define(api.Spec[*networkingv1.ServiceCIDR]{
		GVK: gvk("ServiceCIDR"), Plural: "servicecidrs", Singular: "servicecidr", UnconditionalUpdate: true,
		List: &networkingv1.ServiceCIDRList{},
		PrepareStatus: func(c, old *networkingv1.ServiceCIDR) {
			metav1.ResetObjectMetaForStatus(&c.ObjectMeta, old.ObjectMeta.DeepCopy())
		},
		Validate: func(c *networkingv1.ServiceCIDR) field.ErrorList {
			return append(meta.ValidateObjectMeta(&c.ObjectMeta, false, meta.DNSSubdomain), validateServiceCIDRs(&c.Spec)...)
		},
		ValidateUpdate: validateServiceCIDRUpdate,
		ValidateStatus: func(c, old *networkingv1.ServiceCIDR) field.ErrorList {
			return meta.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta)
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("CIDRs", "The networks services are given addresses from."),
			meta.AgeColumn,
		},
		Row: func(c *networkingv1.ServiceCIDR, now time.Time) []any {
			return []any{c.Name, strings.Join(c.Spec.CIDRs, ","), meta.Age(c.CreationTimestamp, now)}
		},
	})
}

func validateServiceCIDRs(s *networkingv1.ServiceCIDRSpec) field.ErrorList {
	var r meta.Report
	p := specPath.Child("cidrs")
	switch {
	case len(s.CIDRs) == 0:
		r.Required(p, "at least one CIDR required")
		return r.Errs
	case len(s.CIDRs) > 2:
		r.Invalid(p, s, "may only hold up to 2 values")
		return r.Errs
	}
	for i, v := range s.CIDRs {
		r.Add(validation.IsValidCIDR(p.Index(i), v))
	}
	if len(s.CIDRs) == 2 {
		family := netutils.IPFamilyOfCIDRString(s.CIDRs[0])
		if family != netutils.IPFamilyUnknown && family == netutils.IPFamilyOfCIDRString(s.CIDRs[1]) {
			r.Invalid(p, s.CIDRs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64")
		}
	}
	return r.Errs
}

// validateServiceCIDRUpdate lets a range of one family become one of two, and
// nothing else.
func validateServiceCIDRUpdate(c, old *networkingv1.ServiceCIDR) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta)}
	p := specPath.Child("cidrs")
	n, o := c.Spec.CIDRs, old.Spec.CIDRs
	grows := len(o) == 1 && len(n) == 2
	if len(n) != len(o) && !grows {
		r.Invalid(p, n, meta.IsImmutable)
		return r.Errs
	}
	for i, v := range o {
		if n[i] != v {
			r.Invalid(p.Index(i), n[i], meta.IsImmutable)
		}
	}
	if grows {
		r.Add(validateServiceCIDRs(&c.Spec))
	}
	return r.Errs
}
