package admissionregistration

import (
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/meta"
)

// check gathers errors, knowing what an update may keep.
type check struct {
	meta.Report
	// stored are the expressions the old object has: they compiled once, and
	// stay valid when the rules for new ones tighten.
	stored sets.Set[string]
	// params tells that the expressions may speak of params.
	params bool
}

func failurePolicy(r *meta.Report, v *v1.FailurePolicyType, p *field.Path) {
	meta.AmongPtr(r, p.Child("failurePolicy"), v, v1.Fail, v1.Ignore)
}

func matchPolicy(r *meta.Report, v *v1.MatchPolicyType, p *field.Path) {
	meta.AmongPtr(r, p.Child("matchPolicy"), v, v1.Equivalent, v1.Exact)
}

func selector(r *meta.Report, s *metav1.LabelSelector, loose bool, p *field.Path) {
	if s != nil {
		r.Add(metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: loose}, p))
	}
}

// ruleWithOperations judges which requests a webhook or policy is asked about.
func ruleWithOperations(r *meta.Report, rule *v1.RuleWithOperations, p *field.Path) {
	at := p.Child("operations")
	r.RequiredIf(len(rule.Operations) == 0, at)
	if len(rule.Operations) > 1 && slices.Contains(rule.Operations, v1.OperationAll) {
		r.Invalid(at, rule.Operations, "if '*' is present, must not specify other operations")
	}
	for i, op := range rule.Operations {
		meta.Among(r, at.Index(i), op, v1.OperationAll, v1.Connect, v1.Create, v1.Delete, v1.Update)
	}
	wild(r, rule.APIGroups, "API groups", p.Child("apiGroups")) // an empty group is the core's
	at = p.Child("apiVersions")
	wild(r, rule.APIVersions, "API versions", at)
	for i, v := range rule.APIVersions {
		r.RequiredIf(v == "", at.Index(i))
	}
	resources(r, rule.Resources, p.Child("resources"))
	meta.AmongPtr(r, p.Child("scope"), rule.Scope, v1.AllScopes, v1.ClusterScope, v1.NamespacedScope)
}

func wild(r *meta.Report, list []string, what string, p *field.Path) {
	r.RequiredIf(len(list) == 0, p)
	if len(list) > 1 && slices.Contains(list, "*") {
		r.Invalid(p, list, "if '*' is present, must not specify other "+what)
	}
}

// resources judges names like pods, pods/log, */scale, pods/* and wildcards
// that make others superfluous. Of "*" only the last plain name counts.
func resources(r *meta.Report, list []string, p *field.Path) {
	r.RequiredIf(len(list) == 0, p)
	allOf, ofAll := sets.Set[string]{}, sets.Set[string]{} // x of x/*, y of */y
	everything, single, plain := false, false, false
	for i, name := range list {
		if name == "" {
			r.Required(p.Index(i), "")
			continue
		}
		everything = everything || name == "*/*"
		single = single || name == "*"
		res, sub, deep := strings.Cut(name, "/")
		if !deep {
			plain = name != "*"
			continue
		}
		if allOf.Has(res) {
			r.Invalid(p.Index(i), name, fmt.Sprintf("if '%s/*' is present, must not specify %s", res, name))
		}
		if ofAll.Has(sub) {
			r.Invalid(p.Index(i), name, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, name))
		}
		if sub == "*" {
			allOf.Insert(res)
		}
		if res == "*" {
			ofAll.Insert(sub)
		}
	}
	if len(list) > 1 && everything {
		r.Invalid(p, list, "if '*/*' is present, must not specify other resources")
	}
	if single && plain {
		r.Invalid(p, list, "if '*' is present, must not specify other resources without subresources")
	}
}

// matchResources judges what a policy or binding matches; nil is everything.
func matchResources(r *meta.Report, m *v1.MatchResources, p *field.Path) {
	if m == nil {
		return
	}
	r.RequiredIf(m.MatchPolicy == nil, p.Child("matchPolicy"))
	matchPolicy(r, m.MatchPolicy, p)
	r.RequiredIf(m.NamespaceSelector == nil, p.Child("namespaceSelector"))
	selector(r, m.NamespaceSelector, false, p.Child("namespaceSelector"))
	r.RequiredIf(m.ObjectSelector == nil, p.Child("objectSelector"))
	selector(r, m.ObjectSelector, false, p.Child("objectSelector"))
	named := func(rules []v1.NamedRuleWithOperations, p *field.Path) {
		for i := range rules {
			at, seen := p.Index(i), sets.Set[string]{}
			for j, name := range rules[i].ResourceNames {
				at := at.Child("resourceNames").Index(j)
				r.InvalidAll(at, name, content.IsPathSegmentName(name))
				if seen.Has(name) {
					r.Duplicate(at, name)
				}
				seen.Insert(name)
			}
			ruleWithOperations(r, &rules[i].RuleWithOperations, at)
		}
	}
	named(m.ResourceRules, p.Child("resourceRules"))
	named(m.ExcludeResourceRules, p.Child("excludeResourceRules"))
}

// matchConstraints is matchResources of a policy, which needs rules to know the
// types it is about.
func matchConstraints(r *meta.Report, m *v1.MatchResources, p *field.Path) {
	if m == nil {
		r.Required(p, "")
		return
	}
	matchResources(r, m, p)
	r.RequiredIf(len(m.ResourceRules) == 0, p.Child("resourceRules"))
}

// onlyMutable refuses operations whose object cannot be changed.
func onlyMutable(r *meta.Report, m *v1.MatchResources, p *field.Path) {
	if m == nil {
		return
	}
	for _, rule := range m.ResourceRules {
		for _, op := range rule.Operations {
			meta.Among(r, p.Child("resourceRules", "operations"), op, v1.OperationAll, v1.Connect, v1.Create, v1.Update)
		}
	}
}
