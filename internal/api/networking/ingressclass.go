package networking

import (
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

const maxController = 250

func ingressClassRow() *api.Kind {
	return api.Define(api.Spec[*networkingv1.IngressClass]{
		GVK: gvk("IngressClass"), Plural: "ingressclasses", Singular: "ingressclass", Generation: true, UnconditionalUpdate: true,
		List: &networkingv1.IngressClassList{},
		Default: func(c *networkingv1.IngressClass) {
			if p := c.Spec.Parameters; p != nil && p.Scope == nil {
				scope := networkingv1.IngressClassParametersReferenceScopeCluster
				p.Scope = &scope
			}
		},
		PrepareCreate: func(c *networkingv1.IngressClass) { c.Generation = 1 },
		Validate:      validateIngressClass,
		ValidateUpdate: func(c, old *networkingv1.IngressClass) field.ErrorList {
			r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta)}
			r.Add(meta.Immutable(c.Spec.Controller, old.Spec.Controller, specPath.Child("controller")))
			r.Add(validateIngressClass(c))
			return r.Errs
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Controller", "Who serves the ingresses of this class."),
			meta.Text("Parameters", "The object that configures the class."),
			meta.AgeColumn,
		},
		Row: func(c *networkingv1.IngressClass, now time.Time) []any {
			name, parameters := c.Name, "<none>"
			if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
				name += " (default)"
			}
			if p := c.Spec.Parameters; p != nil {
				parameters = p.Kind
				if p.APIGroup != nil {
					parameters += "." + *p.APIGroup
				}
				parameters += "/" + p.Name
			}
			return []any{name, c.Spec.Controller, parameters, meta.Age(c.CreationTimestamp, now)}
		},
	})
}

func validateIngressClass(c *networkingv1.IngressClass) field.ErrorList {
	r := &meta.Report{Errs: meta.ValidateObjectMeta(&c.ObjectMeta, false, meta.DNSSubdomain)}
	at := specPath.Child("controller")
	if len(c.Spec.Controller) > maxController {
		r.TooLong(at, maxController)
	}
	r.Add(validation.IsDomainPrefixedPath(at, c.Spec.Controller))
	if c.Spec.Parameters != nil {
		parametersReference(r, c.Spec.Parameters, specPath.Child("parameters"))
	}
	return r.Errs
}

func parametersReference(r *meta.Report, ref *networkingv1.IngressClassParametersReference, p *field.Path) {
	if ref.APIGroup != nil {
		r.InvalidAll(p.Child("apiGroup"), *ref.APIGroup, validation.IsDNS1123Subdomain(*ref.APIGroup))
	}
	requiredSegment(r, p.Child("kind"), ref.Kind)
	requiredSegment(r, p.Child("name"), ref.Name)
	if ref.Scope == nil {
		r.Required(p.Child("scope"), "")
		return
	}
	ns := p.Child("namespace")
	switch *ref.Scope {
	case networkingv1.IngressClassParametersReferenceScopeNamespace:
		if ref.Namespace == nil {
			r.Required(ns, "`parameters.scope` is set to 'Namespace'")
		} else {
			r.Named(ns, *ref.Namespace, meta.Namespace)
		}
	case networkingv1.IngressClassParametersReferenceScopeCluster:
		r.ForbiddenIf(ref.Namespace != nil, ns, "`parameters.scope` is set to 'Cluster'")
	default:
		meta.Among(r, p.Child("scope"), *ref.Scope, networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace)
	}
}
