package resource

import (
	"reflect"
	"strings"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

func claimRow() *api.Kind {
	type kind = resourcev1.ResourceClaim
	return api.Define(api.Spec[*kind]{
		GVK: gvk("ResourceClaim"), Plural: "resourceclaims", Singular: "resourceclaim", Namespaced: true, UnconditionalUpdate: true,
		List: &resourcev1.ResourceClaimList{},
		Default: func(c *kind) {
			defaultClaim(&c.Spec)
			if a := c.Status.Allocation; a != nil {
				for i := range a.Devices.Results {
					defaultTolerations(a.Devices.Results[i].Tolerations)
				}
			}
		},
		PrepareStatus: func(c, old *kind) {
			metav1.ResetObjectMetaForStatus(c, old)
			forgetFreed(&c.Status, &old.Status)
		},
		Validate: func(c *kind) field.ErrorList {
			return append(meta.ValidateObjectMeta(&c.ObjectMeta, true, meta.DNSSubdomain), validateClaim(&c.Spec.Devices, specPath.Child("devices"))...)
		},
		// A spec that may not change is not judged again.
		ValidateUpdate: func(c, old *kind) field.ErrorList {
			errs := meta.ValidateObjectMeta(&c.ObjectMeta, true, meta.DNSSubdomain)
			errs = append(errs, meta.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta)...)
			return append(errs, meta.Immutable(c.Spec, old.Spec, specPath)...)
		},
		ValidateStatus: validateClaimStatus,
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("State", "A summary of the current state (allocated, pending, reserved, etc.)."),
			meta.AgeColumn,
		},
		Row: func(c *kind, now time.Time) []any {
			return []any{c.Name, stateCell(c), meta.Age(c.CreationTimestamp, now)}
		},
	})
}

func claimTemplateRow() *api.Kind {
	type kind = resourcev1.ResourceClaimTemplate
	return api.Define(api.Spec[*kind]{
		GVK: gvk("ResourceClaimTemplate"), Plural: "resourceclaimtemplates", Singular: "resourceclaimtemplate", Namespaced: true, UnconditionalUpdate: true,
		List:     &resourcev1.ResourceClaimTemplateList{},
		Default:  func(t *kind) { defaultClaim(&t.Spec.Spec) },
		Validate: validateTemplate,
		ValidateUpdate: func(t, old *kind) field.ErrorList {
			errs := append(validateTemplate(t), meta.ValidateObjectMetaUpdate(&t.ObjectMeta, &old.ObjectMeta)...)
			return append(errs, meta.Immutable(t.Spec, old.Spec, specPath)...)
		},
		Columns: []metav1.TableColumnDefinition{meta.NameColumn, meta.AgeColumn},
		Row:     func(t *kind, now time.Time) []any { return []any{t.Name, meta.Age(t.CreationTimestamp, now)} },
	})
}

func stateCell(c *resourcev1.ResourceClaim) string {
	var states []string
	if c.DeletionTimestamp != nil {
		states = append(states, "deleted")
	}
	switch {
	case c.Status.Allocation != nil:
		states = append(states, "allocated")
		if len(c.Status.ReservedFor) > 0 {
			states = append(states, "reserved")
		}
	case c.DeletionTimestamp == nil:
		states = append(states, "pending")
	}
	return strings.Join(states, ",")
}

func defaultClaim(s *resourcev1.ResourceClaimSpec) {
	count := func(mode *resourcev1.DeviceAllocationMode, n *int64) {
		if *mode == "" {
			*mode = resourcev1.DeviceAllocationModeExactCount
		}
		if *mode == resourcev1.DeviceAllocationModeExactCount && *n == 0 {
			*n = 1
		}
	}
	for i := range s.Devices.Requests {
		req := &s.Devices.Requests[i]
		if e := req.Exactly; e != nil {
			count(&e.AllocationMode, &e.Count)
			defaultTolerations(e.Tolerations)
		}
		for j := range req.FirstAvailable {
			sub := &req.FirstAvailable[j]
			count(&sub.AllocationMode, &sub.Count)
			defaultTolerations(sub.Tolerations)
		}
	}
}

func defaultTolerations(list []resourcev1.DeviceToleration) {
	for i := range list {
		if list[i].Operator == "" {
			list[i].Operator = resourcev1.DeviceTolerationOpEqual
		}
	}
}

func validateTemplate(t *resourcev1.ResourceClaimTemplate) field.ErrorList {
	errs := meta.ValidateObjectMeta(&t.ObjectMeta, true, meta.DNSSubdomain)
	errs = append(errs, templateMeta(&t.Spec.ObjectMeta, specPath.Child("metadata"))...)
	return append(errs, validateClaim(&t.Spec.Spec.Devices, specPath.Child("spec", "devices"))...)
}

// requests are the names in a claim that others refer to: "a", and "a/b" for
// one of several that would do.
type requests map[string]sets.Set[string]

func requestsOf(c *resourcev1.DeviceClaim) requests {
	out := requests{}
	for _, req := range c.Requests {
		subs := sets.Set[string]{}
		for _, sub := range req.FirstAvailable {
			subs.Insert(sub.Name)
		}
		out[req.Name] = subs
	}
	return out
}

// refer judges a reference to a request.
func (r *report) refer(to requests, name string, p *field.Path) {
	const why = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
	parts := strings.Split(name, "/")
	if len(parts) > 2 {
		r.Invalid(p, name, why)
		return
	}
	for _, part := range parts {
		r.label(part, p)
	}
	subs, ok := to[parts[0]]
	if !ok || len(parts) == 2 && !subs.Has(parts[1]) {
		r.Invalid(p, name, why)
	}
}

func (r *report) refers(to requests, names []string, p *field.Path) {
	unique(r, names, resourcev1.DeviceRequestsMaxSize, p, itself, func(name *string, p *field.Path) { r.refer(to, *name, p) })
}

func validateClaim(c *resourcev1.DeviceClaim, p *field.Path) field.ErrorList {
	var r report
	names := requestsOf(c)
	unique(&r, c.Requests, resourcev1.DeviceRequestsMaxSize, p.Child("requests"), func(q *resourcev1.DeviceRequest) string { return q.Name }, r.request)
	each(&r, c.Constraints, resourcev1.DeviceConstraintsMaxSize, p.Child("constraints"), func(k *resourcev1.DeviceConstraint, p *field.Path) {
		r.refers(names, k.Requests, p.Child("requests"))
		switch {
		case k.MatchAttribute != nil:
			r.fullyQualified(string(*k.MatchAttribute), p.Child("matchAttribute"))
		case k.DistinctAttribute != nil:
			r.fullyQualified(string(*k.DistinctAttribute), p.Child("distinctAttribute"))
		default:
			r.Required(p, `exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`)
		}
	})
	each(&r, c.Config, resourcev1.DeviceConfigMaxSize, p.Child("config"), func(k *resourcev1.DeviceClaimConfiguration, p *field.Path) {
		r.refers(names, k.Requests, p.Child("requests"))
		r.config(&k.DeviceConfiguration, p, false)
	})
	return r.Errs
}

func (r *report) request(q *resourcev1.DeviceRequest, p *field.Path) {
	r.label(q.Name, p.Child("name"))
	switch e := q.Exactly; {
	case e != nil && len(q.FirstAvailable) > 0:
		r.Invalid(p, nil, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set")
	case e != nil:
		r.wanted(e.DeviceClassName, e.Selectors, e.AllocationMode, e.Count, e.Tolerations, p.Child("exactly"))
	case len(q.FirstAvailable) > 0:
		unique(r, q.FirstAvailable, resourcev1.FirstAvailableDeviceRequestMaxSize, p.Child("firstAvailable"),
			func(s *resourcev1.DeviceSubRequest) string { return s.Name },
			func(s *resourcev1.DeviceSubRequest, p *field.Path) {
				r.label(s.Name, p.Child("name"))
				r.wanted(s.DeviceClassName, s.Selectors, s.AllocationMode, s.Count, s.Tolerations, p)
			})
	default:
		r.Required(p, "exactly one of `exactly` or `firstAvailable` is required")
	}
}

// wanted judges the devices that a request is for.
func (r *report) wanted(class string, selectors []resourcev1.DeviceSelector, mode resourcev1.DeviceAllocationMode, count int64,
	tolerations []resourcev1.DeviceToleration, p *field.Path) {
	if class == "" {
		r.Required(p.Child("deviceClassName"), "")
	} else {
		r.Add(meta.Subdomain1123(class, p.Child("deviceClassName")))
	}
	r.selectors(selectors, p.Child("selectors"), false)
	switch at := p.Child("count"); mode {
	case resourcev1.DeviceAllocationModeAll:
		if count != 0 {
			r.Invalid(at, count, "must not be specified when allocationMode is 'All'")
		}
	case resourcev1.DeviceAllocationModeExactCount:
		if count <= 0 {
			r.Invalid(at, count, "must be greater than zero")
		}
	default:
		meta.Among(&r.Report, p.Child("allocationMode"), mode, resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount)
	}
	for i, t := range tolerations {
		r.toleration(&t, p.Child("tolerations").Index(i))
	}
}

func (r *report) toleration(t *resourcev1.DeviceToleration, p *field.Path) {
	if t.Key != "" {
		r.Add(meta.LabelName(t.Key, p.Child("key")))
	}
	switch t.Operator {
	case resourcev1.DeviceTolerationOpExists:
		if t.Value != "" {
			r.Invalid(p.Child("value"), t.Value, "must be empty for operator `Exists`")
		}
	case resourcev1.DeviceTolerationOpEqual:
		r.labelValue(t.Value, p.Child("value"))
	default:
		meta.OneOf(&r.Report, p.Child("operator"), t.Operator, resourcev1.DeviceTolerationOpEqual, resourcev1.DeviceTolerationOpExists)
	}
	if t.Effect != "" {
		r.effect(t.Effect, p.Child("effect"))
	}
}

// templateMeta judges the metadata that objects made from a template get: labels
// and annotations alone.
func templateMeta(m *metav1.ObjectMeta, p *field.Path) field.ErrorList {
	var r meta.Report
	r.Add(meta.Annotations(m.Annotations, p.Child("annotations")))
	r.Add(meta.Labels(m.Labels, p.Child("labels")))
	v := reflect.ValueOf(*m)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if name == "Annotations" || name == "Labels" || v.Field(i).IsZero() {
			continue
		}
		r.Forbidden(p.Child(strings.ToLower(name[:1])+name[1:]), "cannot be set")
	}
	return r.Errs
}
