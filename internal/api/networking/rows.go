package networking

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

var specPath = field.NewPath("spec")

// Rows lists the kinds of the group in the order discovery shows them.
func Rows() []*api.Kind {
	return []*api.Kind{ingressClassRow(), ingressRow(), ipAddressRow(), networkPolicyRow(), serviceCIDRRow()}
}

func gvk(kind string) schema.GroupVersionKind { return networkingv1.SchemeGroupVersion.WithKind(kind) }

// requiredSegment judges a name that must be set and fit a URL.
func requiredSegment(r *meta.Report, p *field.Path, v string) {
	if v == "" {
		r.Required(p, "")
		return
	}
	r.Named(p, v, meta.PathSegment)
}
