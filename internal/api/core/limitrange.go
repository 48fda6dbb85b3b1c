package core

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

func limitRangeRow() *api.Kind {
	return api.Define(api.Spec[*corev1.LimitRange]{
		GVK: gvk("LimitRange"), Plural: "limitranges", Singular: "limitrange", ShortNames: []string{"limits"},
		Namespaced: true, CreateOnUpdate: true, UnconditionalUpdate: true,
		List: &corev1.LimitRangeList{},
		Default: func(l *corev1.LimitRange) {
			for i := range l.Spec.Limits {
				defaultLimits(&l.Spec.Limits[i])
			}
		},
		// A limit range need not have a name; its UID is as good as any.
		PrepareCreate: func(l *corev1.LimitRange) {
			if l.Name == "" {
				l.Name = string(l.UID)
			}
		},
		Validate: validateLimitRange,
		ValidateUpdate: func(l, old *corev1.LimitRange) field.ErrorList {
			return append(meta.ValidateObjectMetaUpdate(&l.ObjectMeta, &old.ObjectMeta), validateLimitRange(l)...)
		},
		Columns: []metav1.TableColumnDefinition{meta.NameColumn, {Name: "Created At", Type: "date", Description: meta.AgeColumn.Description}},
		Row: func(l *corev1.LimitRange, _ time.Time) []any {
			return []any{l.Name, l.CreationTimestamp.UTC().Format(time.RFC3339)}
		},
	})
}

// defaultLimits derives what containers get from what they may have: the limit
// from the maximum, the request from the limit, else from the minimum.
func defaultLimits(l *corev1.LimitRangeItem) {
	fill := func(into, from corev1.ResourceList) {
		for n, q := range from {
			if _, ok := into[n]; !ok {
				into[n] = q.DeepCopy()
			}
		}
	}
	if l.Type == corev1.LimitTypeContainer {
		if l.Default == nil {
			l.Default = corev1.ResourceList{}
		}
		if l.DefaultRequest == nil {
			l.DefaultRequest = corev1.ResourceList{}
		}
		fill(l.Default, l.Max)
		fill(l.DefaultRequest, l.Default)
		fill(l.DefaultRequest, l.Min)
	}
	for _, list := range []corev1.ResourceList{l.Max, l.Min, l.Default, l.DefaultRequest, l.MaxLimitRequestRatio} {
		roundUp(list)
	}
}

func validateLimitRange(l *corev1.LimitRange) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMeta(&l.ObjectMeta, true, meta.DNSSubdomain)}
	seen := map[corev1.LimitType]bool{}
	for i := range l.Spec.Limits {
		limit, p := &l.Spec.Limits[i], specPath.Child("limits").Index(i)
		limitType(&r, limit.Type, p.Child("type"))
		if seen[limit.Type] {
			r.Duplicate(p.Child("type"), limit.Type)
		}
		seen[limit.Type] = true
		limitItem(&r, limit, p)
	}
	return r.Errs
}

func limitType(r *meta.Report, t corev1.LimitType, p *field.Path) {
	if msgs := validation.IsQualifiedName(string(t)); len(msgs) > 0 {
		r.InvalidAll(p, t, msgs)
		return
	}
	switch t {
	case corev1.LimitTypePod, corev1.LimitTypeContainer, corev1.LimitTypePersistentVolumeClaim:
	default:
		if !strings.Contains(string(t), "/") {
			r.Invalid(p, t, "must be a standard limit type or fully qualified")
		}
	}
}

func limitItem(r *meta.Report, l *corev1.LimitRangeItem, p *field.Path) {
	all := corev1.ResourceList{}
	names := func(list corev1.ResourceList, field string) {
		for _, n := range sortedNames(list) {
			at := p.Child(field).Key(string(n))
			if l.Type == corev1.LimitTypePod || l.Type == corev1.LimitTypeContainer {
				containerResourceName(r, n, at)
			} else {
				r.Add(ValidateResourceName(n, at))
			}
			all[n] = list[n]
		}
	}
	names(l.Max, "max")
	names(l.Min, "min")
	ofContainer, ofRequest := l.Default, l.DefaultRequest
	if l.Type == corev1.LimitTypePod {
		r.ForbiddenIf(len(ofContainer) > 0, p.Child("default"), "may not be specified when `type` is 'Pod'")
		r.ForbiddenIf(len(ofRequest) > 0, p.Child("defaultRequest"), "may not be specified when `type` is 'Pod'")
		ofContainer, ofRequest = nil, nil
	}
	names(ofContainer, "default")
	names(ofRequest, "defaultRequest")
	if l.Type == corev1.LimitTypePersistentVolumeClaim {
		_, least := l.Min[corev1.ResourceStorage]
		_, most := l.Max[corev1.ResourceStorage]
		if !least && !most {
			r.Required(p.Child("limits"), "either minimum or maximum storage value is required, but neither was provided")
		}
	}
	names(l.MaxLimitRequestRatio, "maxLimitRequestRatio")
	for _, n := range sortedNames(all) {
		limitOrder(r, n, l, ofContainer, ofRequest, p)
	}
}

// limitOrder judges the amounts of one resource against each other: minimum,
// default request, default limit, maximum, in that order.
func limitOrder(r *meta.Report, n corev1.ResourceName, l *corev1.LimitRangeItem, ofContainer, ofRequest corev1.ResourceList, p *field.Path) {
	least, hasLeast := l.Min[n]
	most, hasMost := l.Max[n]
	limit, hasLimit := ofContainer[n]
	request, hasRequest := ofRequest[n]
	ratio, hasRatio := l.MaxLimitRequestRatio[n]
	at := func(field string) *field.Path { return p.Child(field).Key(string(n)) }
	if hasLeast && hasMost && least.Cmp(most) > 0 {
		r.Invalid(at("min"), least, fmt.Sprintf("min value %s is greater than max value %s", least.String(), most.String()))
	}
	if hasRequest && hasLeast && least.Cmp(request) > 0 {
		r.Invalid(at("defaultRequest"), request, fmt.Sprintf("min value %s is greater than default request value %s", least.String(), request.String()))
	}
	if hasRequest && hasMost && request.Cmp(most) > 0 {
		r.Invalid(at("defaultRequest"), request, fmt.Sprintf("default request value %s is greater than max value %s", request.String(), most.String()))
	}
	if hasRequest && hasLimit && request.Cmp(limit) > 0 {
		r.Invalid(at("defaultRequest"), request, fmt.Sprintf("default request value %s is greater than default limit value %s", request.String(), limit.String()))
	}
	if hasLimit && hasLeast && least.Cmp(limit) > 0 {
		r.Invalid(at("default"), least, fmt.Sprintf("min value %s is greater than default value %s", least.String(), limit.String()))
	}
	if hasLimit && hasMost && limit.Cmp(most) > 0 {
		r.Invalid(at("default"), most, fmt.Sprintf("default value %s is greater than max value %s", limit.String(), most.String()))
	}
	if hasRatio {
		limitRatio(r, ratio, least, most, hasLeast && hasMost, at("maxLimitRequestRatio"))
	}
	if !isOvercommitAllowed(n) && hasLimit && hasRequest && limit.Cmp(request) != 0 {
		r.Invalid(at("defaultRequest"), request, fmt.Sprintf("default value %s must equal to defaultRequest value %s in %s", limit.String(), request.String(), n))
	}
}

func limitRatio(r *meta.Report, ratio, least, most resource.Quantity, bounded bool, p *field.Path) {
	if ratio.Cmp(*resource.NewQuantity(1, resource.DecimalSI)) < 0 {
		r.Invalid(p, ratio, fmt.Sprintf("ratio %s is less than 1", ratio.String()))
	}
	if !bounded {
		return
	}
	asked, from, to := float64(ratio.Value()), least.Value(), most.Value()
	if ratio.Value() < resource.MaxMilliValue && from < resource.MaxMilliValue && to < resource.MaxMilliValue {
		asked, from, to = float64(ratio.MilliValue())/1000, least.MilliValue(), most.MilliValue()
	}
	if limit := float64(to) / float64(from); asked > limit {
		r.Invalid(p, ratio, fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), limit))
	}
}
