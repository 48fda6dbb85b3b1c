package resource

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

func deviceClassRow() *api.Kind {
	type kind = resourcev1.DeviceClass
	return api.Define(api.Spec[*kind]{
		GVK: gvk("DeviceClass"), Plural: "deviceclasses", Singular: "deviceclass", Generation: true, UnconditionalUpdate: true,
		List:          &resourcev1.DeviceClassList{},
		PrepareCreate: func(c *kind) { c.Generation = 1 },
		Validate: func(c *kind) field.ErrorList {
			return append(meta.ValidateObjectMeta(&c.ObjectMeta, false, dnsName), validateDeviceClass(&c.Spec, nil)...)
		},
		ValidateUpdate: func(c, old *kind) field.ErrorList {
			errs := meta.ValidateObjectMeta(&c.ObjectMeta, false, dnsName)
			errs = append(errs, meta.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta)...)
			return append(errs, validateDeviceClass(&c.Spec, &old.Spec)...)
		},
		Columns: []metav1.TableColumnDefinition{meta.NameColumn, meta.AgeColumn},
		Row:     func(c *kind, now time.Time) []any { return []any{c.Name, meta.Age(c.CreationTimestamp, now)} },
	})
}

// dnsName judges the name itself, not what it was generated from.
func dnsName(name string, prefix bool) []string {
	if prefix {
		return nil
	}
	return content.IsDNS1123Subdomain(name)
}

func validateDeviceClass(s, old *resourcev1.DeviceClassSpec) field.ErrorList {
	var r report
	same := func(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }
	r.selectors(s.Selectors, specPath.Child("selectors"), old != nil && same(s.Selectors, old.Selectors))
	stored := old != nil && same(s.Config, old.Config)
	each(&r, s.Config, resourcev1.DeviceConfigMaxSize, specPath.Child("config"), func(c *resourcev1.DeviceClassConfiguration, p *field.Path) {
		r.config(&c.DeviceConfiguration, p, stored)
	})
	if n := s.ExtendedResourceName; n != nil && !isExtended(*n) {
		r.Invalid(specPath.Child("extendedResourceName"), *n, "must be a valid extended resource name")
	}
	return r.Errs
}

// isNative tells whether Kubernetes itself defines a resource.
func isNative(name string) bool {
	return !strings.Contains(name, "/") || strings.Contains(name, corev1.ResourceDefaultNamespacePrefix)
}

// isExtended tells whether a name is one of a resource that others define, with
// room for the prefix it has in quotas.
func isExtended(name string) bool {
	return !isNative(name) && !strings.HasPrefix(name, corev1.DefaultResourceRequestsPrefix) &&
		len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+name)) == 0
}

// config judges what a driver is told; p is the path of what holds it.
func (r *report) config(c *resourcev1.DeviceConfiguration, p *field.Path, stored bool) {
	p = p.Child("opaque")
	if c.Opaque == nil {
		r.Required(p, "")
		return
	}
	r.driver(c.Opaque.Driver, p.Child("driver"))
	r.raw(c.Opaque.Parameters, p.Child("parameters"), stored, resourcev1.OpaqueParametersMaxLength)
}
