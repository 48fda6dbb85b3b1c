package core

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

func resourceQuotaRow() *api.Kind {
	return api.Define(api.Spec[*corev1.ResourceQuota]{
		GVK: gvk("ResourceQuota"), Plural: "resourcequotas", Singular: "resourcequota", ShortNames: []string{"quota"},
		Namespaced: true, UnconditionalUpdate: true,
		List: &corev1.ResourceQuotaList{},
		Default: func(q *corev1.ResourceQuota) {
			roundUp(q.Spec.Hard)
			roundUp(q.Status.Hard)
			roundUp(q.Status.Used)
		},
		Validate: func(q *corev1.ResourceQuota) field.ErrorList {
			r := meta.Report{Errs: meta.ValidateObjectMeta(&q.ObjectMeta, true, meta.DNSSubdomain)}
			quotaSpec(&r, &q.Spec, specPath)
			quotaStatus(&r, &q.Status, statusPath)
			return r.Errs
		},
		ValidateUpdate: func(q, old *corev1.ResourceQuota) field.ErrorList {
			r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&q.ObjectMeta, &old.ObjectMeta)}
			quotaSpec(&r, &q.Spec, specPath)
			if !sets.New(q.Spec.Scopes...).Equal(sets.New(old.Spec.Scopes...)) {
				r.Invalid(specPath.Child("scopes"), q.Spec.Scopes, meta.IsImmutable)
			}
			return r.Errs
		},
		ValidateStatus: func(q, old *corev1.ResourceQuota) field.ErrorList {
			r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&q.ObjectMeta, &old.ObjectMeta)}
			quotaStatus(&r, &q.Status, statusPath)
			return r.Errs
		},
		Warnings: quotaWarnings, UpdateWarnings: api.NoWarnings[*corev1.ResourceQuota],
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
			meta.Text("Limit", "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node."),
			meta.AgeColumn,
		},
		Row: func(q *corev1.ResourceQuota, now time.Time) []any {
			var requests, limits []string
			for _, n := range sortedNames(q.Status.Hard) {
				used, hard := q.Status.Used[n], q.Status.Hard[n]
				cell := fmt.Sprintf("%s: %s/%s", n, used.String(), hard.String())
				if strings.HasPrefix(string(n), "limits.") {
					limits = append(limits, cell)
				} else {
					requests = append(requests, cell)
				}
			}
			return []any{q.Name, strings.Join(requests, ", "), strings.Join(limits, ", "), meta.Age(q.CreationTimestamp, now)}
		},
	})
}

func quotaWarnings(q *corev1.ResourceQuota) (w []string) {
	for _, n := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceStorage, corev1.ResourceEphemeralStorage} {
		asked, most := "requests."+n, "limits."+n
		request, ok := q.Spec.Hard[asked]
		if !ok && (n == corev1.ResourceCPU || n == corev1.ResourceMemory) {
			if request, ok = q.Spec.Hard[n]; ok {
				asked = n
			}
		}
		if limit, limited := q.Spec.Hard[most]; ok && limited && request.Cmp(limit) > 0 {
			w = append(w, fmt.Sprintf("ResourceQuota %s (%s) should be less than %s (%s)", asked, request.String(), most, limit.String()))
		}
	}
	return w
}

// isQuotaResource tells whether a name without a domain may be in a quota.
func isQuotaResource(n corev1.ResourceName) bool { return isStandard(n) && n != corev1.ResourceStorage }

func quotaList(r *meta.Report, list corev1.ResourceList, p *field.Path) {
	for _, n := range sortedNames(list) {
		at := p.Key(string(n))
		r.Add(ValidateResourceName(n, at))
		if !strings.Contains(string(n), "/") && !isQuotaResource(n) {
			r.Invalid(at, n, "must be a standard resource for quota")
		}
		r.Add(ValidateQuantity(n, list[n], at))
	}
}

func quotaStatus(r *meta.Report, s *corev1.ResourceQuotaStatus, p *field.Path) {
	quotaList(r, s.Hard, p.Child("hard"))
	quotaList(r, s.Used, p.Child("used"))
}

var quotaScopes = []corev1.ResourceQuotaScope{
	corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort,
	corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeVolumeAttributesClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity,
}

// scopeCovers tells whether a scope can pick the objects that use a resource.
func scopeCovers(s corev1.ResourceQuotaScope, n corev1.ResourceName) bool {
	switch s {
	case corev1.ResourceQuotaScopeBestEffort:
		return n == corev1.ResourcePods
	case corev1.ResourceQuotaScopeVolumeAttributesClass:
		return n == corev1.ResourcePersistentVolumeClaims || n == corev1.ResourceRequestsStorage
	case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeNotBestEffort,
		corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		switch n {
		case corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
			corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory:
			return true
		}
		return false
	}
	return true
}

func quotaSpec(r *meta.Report, s *corev1.ResourceQuotaSpec, p *field.Path) {
	quotaList(r, s.Hard, p.Child("hard"))
	uncovered := func(scope corev1.ResourceQuotaScope, p *field.Path, v any) {
		for _, n := range sortedNames(s.Hard) {
			if (isQuotaResource(n)) && !scopeCovers(scope, n) {
				r.Invalid(p, v, "unsupported scope applied to resource")
			}
		}
	}
	conflicts := func(seen []corev1.ResourceQuotaScope, p *field.Path) {
		for _, pair := range [][2]corev1.ResourceQuotaScope{
			{corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort},
			{corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating},
		} {
			if slices.Contains(seen, pair[0]) && slices.Contains(seen, pair[1]) {
				r.Invalid(p, s.Scopes, "conflicting scopes")
			}
		}
	}
	at := p.Child("scopes")
	for _, scope := range s.Scopes {
		if !slices.Contains(quotaScopes, scope) {
			r.Invalid(at, s.Scopes, "unsupported scope")
		}
		uncovered(scope, at, s.Scopes)
	}
	conflicts(s.Scopes, at)
	if s.ScopeSelector == nil {
		return
	}
	at = p.Child("scopeSelector", "matchExpressions")
	var seen []corev1.ResourceQuotaScope
	for _, e := range s.ScopeSelector.MatchExpressions {
		if !slices.Contains(quotaScopes, e.ScopeName) {
			r.Invalid(at.Child("scopeName"), e.ScopeName, "unsupported scope")
		}
		uncovered(e.ScopeName, at, s.ScopeSelector)
		scopeRequirement(r, &e, at)
		seen = append(seen, e.ScopeName)
	}
	conflicts(seen, at)
}

func scopeRequirement(r *meta.Report, e *corev1.ScopedResourceSelectorRequirement, p *field.Path) {
	switch e.ScopeName {
	case corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopeTerminating,
		corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		if e.Operator != corev1.ScopeSelectorOpExists {
			r.Invalid(p.Child("operator"), e.Operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "+
				"ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity")
		}
	}
	switch e.Operator {
	case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
		if len(e.Values) == 0 {
			r.Required(p.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")
		}
	case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
		if len(e.Values) != 0 {
			r.Invalid(p.Child("values"), e.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")
		}
	default:
		r.Invalid(p.Child("operator"), e.Operator, "not a valid selector operator")
	}
}
