package admissionregistration

import (
	"time"

	v1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

var bindingColumns = []metav1.TableColumnDefinition{
	meta.NameColumn,
	meta.Text("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
	meta.Text("ParamRef", "ParamRef indicates the param resource which sets the configuration param"),
	meta.AgeColumn,
}

func bindingRow(m *metav1.ObjectMeta, policy string, ref *v1.ParamRef, now time.Time) []any {
	cell := unset
	switch {
	case ref == nil:
	case ref.Name != "" && ref.Namespace != "":
		cell = ref.Namespace + "/" + ref.Name
	case ref.Name != "":
		cell = "*/" + ref.Name // of the cluster, or of any namespace
	case ref.Selector != nil:
		cell = ref.Selector.String()
	}
	return []any{m.Name, policy, cell, meta.Age(m.CreationTimestamp, now)}
}

func validatingBindingRow() *api.Kind {
	type kind = v1.ValidatingAdmissionPolicyBinding
	return api.Define(api.Spec[*kind]{
		GVK: gvk("ValidatingAdmissionPolicyBinding"), Plural: "validatingadmissionpolicybindings", Singular: "validatingadmissionpolicybinding",
		Categories: extensions, Generation: true,
		List:          &v1.ValidatingAdmissionPolicyBindingList{},
		Default:       func(o *kind) { defaultMatch(o.Spec.MatchResources) },
		PrepareCreate: func(o *kind) { o.Generation = 1 },
		Validate: func(o *kind) field.ErrorList {
			return append(validateMeta(&o.ObjectMeta), validateValidatingBinding(&o.Spec)...)
		},
		ValidateUpdate: func(o, old *kind) field.ErrorList {
			return append(validateMetaUpdate(&o.ObjectMeta, &old.ObjectMeta), validateValidatingBinding(&o.Spec)...)
		},
		Warnings: func(o *kind) []string { return nameWarnings(o.Name) },
		Columns:  bindingColumns,
		Row: func(o *kind, now time.Time) []any {
			return bindingRow(&o.ObjectMeta, o.Spec.PolicyName, o.Spec.ParamRef, now)
		},
	})
}

func mutatingBindingRow() *api.Kind {
	type kind = v1.MutatingAdmissionPolicyBinding
	return api.Define(api.Spec[*kind]{
		GVK: gvk("MutatingAdmissionPolicyBinding"), Plural: "mutatingadmissionpolicybindings", Singular: "mutatingadmissionpolicybinding",
		Categories: extensions, Generation: true,
		List:          &v1.MutatingAdmissionPolicyBindingList{},
		Default:       func(o *kind) { defaultMatch(o.Spec.MatchResources) },
		PrepareCreate: func(o *kind) { o.Generation = 1 },
		Validate: func(o *kind) field.ErrorList {
			return append(validateMeta(&o.ObjectMeta), validateMutatingBinding(&o.Spec)...)
		},
		ValidateUpdate: func(o, old *kind) field.ErrorList {
			return append(validateMetaUpdate(&o.ObjectMeta, &old.ObjectMeta), validateMutatingBinding(&o.Spec)...)
		},
		Warnings: func(o *kind) []string { return nameWarnings(o.Name) },
		Columns:  bindingColumns,
		Row: func(o *kind, now time.Time) []any {
			return bindingRow(&o.ObjectMeta, o.Spec.PolicyName, o.Spec.ParamRef, now)
		},
	})
}

func validateValidatingBinding(s *v1.ValidatingAdmissionPolicyBindingSpec) field.ErrorList {
	var r meta.Report
	bound(&r, s.PolicyName, s.ParamRef, s.MatchResources)
	p := specPath.Child("validationActions")
	seen := sets.Set[v1.ValidationAction]{}
	for i, a := range s.ValidationActions {
		meta.Among(&r, p.Index(i), a, v1.Audit, v1.Deny, v1.Warn)
		if seen.Has(a) {
			r.Duplicate(p.Index(i), a)
		}
		seen.Insert(a)
	}
	if seen.HasAll(v1.Deny, v1.Warn) {
		r.Invalid(p, s.ValidationActions, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)")
	}
	if len(seen) == 0 {
		r.Required(p, "at least one validation action is required")
	}
	return r.Errs
}

func validateMutatingBinding(s *v1.MutatingAdmissionPolicyBindingSpec) field.ErrorList {
	var r meta.Report
	bound(&r, s.PolicyName, s.ParamRef, s.MatchResources)
	onlyMutable(&r, s.MatchResources, specPath.Child("matchResources"))
	return r.Errs
}

// bound judges what both kinds of bindings say: a policy, its parameters, and
// what to narrow it to.
func bound(r *meta.Report, policy string, ref *v1.ParamRef, match *v1.MatchResources) {
	if policy == "" {
		r.Required(specPath.Child("policyName"), "")
	} else {
		r.Named(specPath.Child("policyName"), policy, meta.DNSSubdomain)
	}
	matchResources(r, match, specPath.Child("matchResources"))
	if ref == nil {
		return
	}
	p := specPath.Child("paramRef")
	const both = "name and selector are mutually exclusive"
	if ref.Name != "" {
		r.InvalidAll(p.Child("name"), ref.Name, content.IsPathSegmentName(ref.Name))
		r.ForbiddenIf(ref.Selector != nil, p.Child("name"), both)
		r.ForbiddenIf(ref.Selector != nil, p.Child("selector"), both)
	} else if ref.Selector == nil {
		r.Required(p, "one of name or selector must be specified")
	}
	r.Add(meta.Selector(ref.Selector, p.Child("selector")))
	if a := ref.ParameterNotFoundAction; a == nil || *a == "" {
		r.Required(p.Child("parameterNotFoundAction"), "")
	} else {
		meta.Among(r, p.Child("parameterNotFoundAction"), *a, v1.DenyAction, v1.AllowAction)
	}
}
