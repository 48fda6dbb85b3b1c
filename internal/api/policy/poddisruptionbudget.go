package policy

import (
	"time"

	policyv1 "k8s.io/api/policy/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

// matchLabel tells a selector of no pod from one of all, which v1beta1 had the
// other way round. It is kept where it stands alone, dropped elsewhere.
const matchLabel = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match"

var metaPath = field.NewPath("metadata")

func podDisruptionBudgetRow() *api.Kind {
	return api.Define(api.Spec[*policyv1.PodDisruptionBudget]{
		GVK: gvk("PodDisruptionBudget"), Plural: "poddisruptionbudgets", Singular: "poddisruptionbudget", ShortNames: []string{"pdb"},
		Namespaced: true, Generation: true,
		List:          &policyv1.PodDisruptionBudgetList{},
		Default:       func(b *policyv1.PodDisruptionBudget) { dropMatchLabel(b.Spec.Selector) },
		PrepareCreate: func(b *policyv1.PodDisruptionBudget) { b.Generation = 1 },
		Validate: func(b *policyv1.PodDisruptionBudget) field.ErrorList {
			if errs := validateSpec(&b.Spec, nil, field.NewPath("spec")); len(errs) > 0 {
				return errs
			}
			return apivalidation.ValidateObjectMeta(&b.ObjectMeta, true, apivalidation.ValidateNameFunc(meta.PathSegment), metaPath)
		},
		ValidateUpdate: func(b, old *policyv1.PodDisruptionBudget) field.ErrorList {
			return append(apivalidation.ValidateObjectMetaUpdate(&b.ObjectMeta, &old.ObjectMeta, metaPath), validateSpec(&b.Spec, old.Spec.Selector, field.NewPath("spec"))...)
		},
		ValidateStatus: func(b, old *policyv1.PodDisruptionBudget) field.ErrorList {
			r := meta.Report{Errs: apivalidation.ValidateObjectMetaUpdate(&b.ObjectMeta, &old.ObjectMeta, metaPath)}
			s, p := &b.Status, field.NewPath("status")
			r.Add(metavalidation.ValidateConditions(s.Conditions, p.Child("conditions")))
			r.NonNegative(p.Child("disruptionsAllowed"), int64(s.DisruptionsAllowed))
			r.NonNegative(p.Child("currentHealthy"), int64(s.CurrentHealthy))
			r.NonNegative(p.Child("desiredHealthy"), int64(s.DesiredHealthy))
			r.NonNegative(p.Child("expectedPods"), int64(s.ExpectedPods))
			return r.Errs
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Min Available", "The minimum number of pods that must be available."),
			meta.Text("Max Unavailable", "The maximum number of pods that may be unavailable."),
			meta.Number("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
			meta.AgeColumn,
		},
		Row: func(b *policyv1.PodDisruptionBudget, now time.Time) []any {
			return []any{b.Name, bound(b.Spec.MinAvailable), bound(b.Spec.MaxUnavailable), int64(b.Status.DisruptionsAllowed), meta.Age(b.CreationTimestamp, now)}
		},
	})
}

func bound(v *intstr.IntOrString) string {
	if v == nil {
		return "N/A"
	}
	return v.String()
}

func dropMatchLabel(s *metav1.LabelSelector) {
	if s == nil {
		return
	}
	if len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 1 {
		if e := s.MatchExpressions[0]; e.Key == matchLabel && len(e.Values) == 0 && e.Operator == metav1.LabelSelectorOpExists {
			return
		}
	}
	kept := s.MatchExpressions[:0]
	for _, e := range s.MatchExpressions {
		if e.Key != matchLabel {
			kept = append(kept, e)
		}
	}
	s.MatchExpressions = kept
}

// validateSpec judges a specification. A selector with label values that
// cannot be may keep having them.
func validateSpec(s *policyv1.PodDisruptionBudgetSpec, old *metav1.LabelSelector, p *field.Path) field.ErrorList {
	var r meta.Report
	if s.MinAvailable != nil && s.MaxUnavailable != nil {
		r.Invalid(p, *s, "minAvailable and maxUnavailable cannot be both set")
	}
	amount(&r, s.MinAvailable, p.Child("minAvailable"))
	amount(&r, s.MaxUnavailable, p.Child("maxUnavailable"))
	lax := old != nil && len(meta.Selector(old, nil)) > 0
	r.Add(metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: lax}, p.Child("selector")))
	meta.AmongPtr(&r, p.Child("unhealthyPodEvictionPolicy"), s.UnhealthyPodEvictionPolicy, policyv1.AlwaysAllow, policyv1.IfHealthyBudget)
	return r.Errs
}

// amount judges a number of pods, or a percentage of them.
func amount(r *meta.Report, v *intstr.IntOrString, p *field.Path) {
	if v == nil {
		return
	}
	if v.Type == intstr.Int {
		r.NonNegative(p, int64(v.IntVal))
		return
	}
	if msgs := validation.IsValidPercent(v.StrVal); len(msgs) > 0 {
		r.InvalidAll(p, *v, msgs)
	} else if n, err := intstr.GetScaledValueFromIntOrPercent(v, 100, false); err != nil || n > 100 {
		r.Invalid(p, *v, "must not be greater than 100%")
	}
}
