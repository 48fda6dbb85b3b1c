package networking

import (
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

func ipAddressRow() *api.Kind {
	return api.Define(api.Spec[*networkingv1.IPAddress]{
		GVK: gvk("IPAddress"), Plural: "ipaddresses", Singular: "ipaddress", ShortNames: []string{"ip"}, UnconditionalUpdate: true,
		List:     &networkingv1.IPAddressList{},
		Validate: validateIPAddress,
		ValidateUpdate: func(a, old *networkingv1.IPAddress) field.ErrorList {
			r := meta.Report{Errs: validateIPAddress(a)}
			r.Add(meta.ValidateObjectMetaUpdate(&a.ObjectMeta, &old.ObjectMeta))
			r.Add(meta.Immutable(a.Spec.ParentRef, old.Spec.ParentRef, specPath.Child("parentRef")))
			return r.Errs
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("ParentRef", "The object that has the address."),
		},
		Row: func(a *networkingv1.IPAddress, _ time.Time) []any {
			parent := "<none>"
			if ref := a.Spec.ParentRef; ref != nil {
				parent = strings.ToLower(schema.GroupResource{Group: ref.Group, Resource: ref.Resource}.String())
				if ref.Namespace != "" {
					parent += "/" + ref.Namespace
				}
				parent += "/" + ref.Name
			}
			return []any{a.Name, parent}
		},
	})
}

// addressName is the rule for names that are an address in canonical form.
func addressName(name string, _ bool) []string {
	var msgs []string
	for _, e := range validation.IsValidIP(field.NewPath("name"), name) {
		msgs = append(msgs, e.Detail)
	}
	return msgs
}

func validateIPAddress(a *networkingv1.IPAddress) field.ErrorList {
	r := &meta.Report{Errs: meta.ValidateObjectMeta(&a.ObjectMeta, false, addressName)}
	p, ref := specPath.Child("parentRef"), a.Spec.ParentRef
	if ref == nil {
		r.Required(p, "")
		return r.Errs
	}
	// The empty group is that of services.
	if ref.Group != "" {
		r.InvalidAll(p.Child("group"), ref.Group, validation.IsDNS1123Subdomain(ref.Group))
	}
	requiredSegment(r, p.Child("resource"), ref.Resource)
	requiredSegment(r, p.Child("name"), ref.Name)
	if ref.Namespace != "" {
		r.Named(p.Child("namespace"), ref.Namespace, meta.PathSegment)
	}
	return r.Errs
}
