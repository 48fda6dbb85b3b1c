package admissionregistration

import (
	"reflect"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

var webhooksPath = field.NewPath("webhooks")

var webhookColumns = []metav1.TableColumnDefinition{
	meta.NameColumn,
	meta.Number("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration"),
	meta.AgeColumn,
}

func validatingWebhookRow() *api.Kind {
	type kind = v1.ValidatingWebhookConfiguration
	return api.Define(api.Spec[*kind]{
		GVK: gvk("ValidatingWebhookConfiguration"), Plural: "validatingwebhookconfigurations", Singular: "validatingwebhookconfiguration",
		Categories: extensions, Generation: true,
		List: &v1.ValidatingWebhookConfigurationList{}, Default: defaultValidatingWebhooks,
		PrepareCreate: func(c *kind) { c.Generation = 1 },
		// An empty list counts as a change from none.
		PrepareUpdate: func(c, old *kind) {
			if !reflect.DeepEqual(c.Webhooks, old.Webhooks) {
				c.Generation = old.Generation + 1
			}
		},
		Validate: func(c *kind) field.ErrorList {
			return append(validateMeta(&c.ObjectMeta), validateHooks(validatingHooks(c), nil)...)
		},
		ValidateUpdate: func(c, old *kind) field.ErrorList {
			return append(validateMetaUpdate(&c.ObjectMeta, &old.ObjectMeta), validateHooks(validatingHooks(c), keptFrom(validatingHooks(c), validatingHooks(old)))...)
		},
		Warnings: func(c *kind) []string { return nameWarnings(c.Name) },
		Columns:  webhookColumns,
		Row: func(c *kind, now time.Time) []any {
			return []any{c.Name, int64(len(c.Webhooks)), meta.Age(c.CreationTimestamp, now)}
		},
	})
}

func mutatingWebhookRow() *api.Kind {
	type kind = v1.MutatingWebhookConfiguration
	return api.Define(api.Spec[*kind]{
		GVK: gvk("MutatingWebhookConfiguration"), Plural: "mutatingwebhookconfigurations", Singular: "mutatingwebhookconfiguration",
		Categories: extensions, Generation: true,
		List: &v1.MutatingWebhookConfigurationList{}, Default: defaultMutatingWebhooks,
		PrepareCreate: func(c *kind) { c.Generation = 1 },
		// An empty list counts as a change from none.
		PrepareUpdate: func(c, old *kind) {
			if !reflect.DeepEqual(c.Webhooks, old.Webhooks) {
				c.Generation = old.Generation + 1
			}
		},
		Validate: func(c *kind) field.ErrorList {
			return append(validateMeta(&c.ObjectMeta), validateHooks(mutatingHooks(c), nil)...)
		},
		ValidateUpdate: func(c, old *kind) field.ErrorList {
			return append(validateMetaUpdate(&c.ObjectMeta, &old.ObjectMeta), validateHooks(mutatingHooks(c), keptFrom(mutatingHooks(c), mutatingHooks(old)))...)
		},
		Warnings: func(c *kind) []string { return nameWarnings(c.Name) },
		Columns:  webhookColumns,
		Row: func(c *kind, now time.Time) []any {
			return []any{c.Name, int64(len(c.Webhooks)), meta.Age(c.CreationTimestamp, now)}
		},
	})
}

// hook is a webhook of either kind; only a mutating one may be called again.
type hook struct {
	v1.ValidatingWebhook
	again *v1.ReinvocationPolicyType
}

func validatingHooks(c *v1.ValidatingWebhookConfiguration) []hook {
	out := make([]hook, len(c.Webhooks))
	for i, h := range c.Webhooks {
		out[i].ValidatingWebhook = h
	}
	return out
}

func mutatingHooks(c *v1.MutatingWebhookConfiguration) []hook {
	out := make([]hook, len(c.Webhooks))
	for i, h := range c.Webhooks {
		out[i] = hook{again: h.ReinvocationPolicy, ValidatingWebhook: v1.ValidatingWebhook{
			Name: h.Name, ClientConfig: h.ClientConfig, Rules: h.Rules, FailurePolicy: h.FailurePolicy, MatchPolicy: h.MatchPolicy,
			NamespaceSelector: h.NamespaceSelector, ObjectSelector: h.ObjectSelector, SideEffects: h.SideEffects, TimeoutSeconds: h.TimeoutSeconds,
			AdmissionReviewVersions: h.AdmissionReviewVersions, MatchConditions: h.MatchConditions,
		}}
	}
	return out
}

// kept says which rules an update need not meet, because what was stored before
// them did not.
type kept struct {
	sideEffects, unknownVersions, sameNames, looseSelectors, conditions bool
	stored                                                              sets.Set[string]
}

func keptFrom(hooks, old []hook) *kept {
	k := &kept{stored: sets.Set[string]{}}
	names := sets.Set[string]{}
	for _, h := range old {
		k.sideEffects = k.sideEffects || h.SideEffects == nil || !slices.Contains(noSideEffects, *h.SideEffects)
		k.unknownVersions = k.unknownVersions || len(h.AdmissionReviewVersions) > 0 && !anyReviewVersion(h.AdmissionReviewVersions)
		k.sameNames = k.sameNames || names.Has(h.Name)
		names.Insert(h.Name)
		var r meta.Report
		selector(&r, h.NamespaceSelector, false, nil)
		selector(&r, h.ObjectSelector, false, nil)
		k.looseSelectors = k.looseSelectors || len(r.Errs) > 0
		for _, c := range h.MatchConditions {
			k.stored.Insert(c.Expression)
		}
	}
	k.conditions = slices.EqualFunc(hooks, old, func(a, b hook) bool { return reflect.DeepEqual(a.MatchConditions, b.MatchConditions) })
	return k
}

// The side effects a webhook may have, and those that older API versions
// allowed; the versions of AdmissionReview this server can send.
var (
	noSideEffects  = []v1.SideEffectClass{v1.SideEffectClassNone, v1.SideEffectClassNoneOnDryRun}
	anySideEffects = []v1.SideEffectClass{v1.SideEffectClassNone, v1.SideEffectClassNoneOnDryRun, v1.SideEffectClassSome, v1.SideEffectClassUnknown}
	reviewVersions = []string{"v1", "v1beta1"}
)

const (
	minTimeoutSeconds = 1
	maxTimeoutSeconds = 30
)

func anyReviewVersion(list []string) bool {
	return slices.ContainsFunc(list, func(v string) bool { return slices.Contains(reviewVersions, v) })
}

// validateHooks judges the webhooks of a configuration; k is nil for a new one.
func validateHooks(hooks []hook, k *kept) field.ErrorList {
	if k == nil {
		k = &kept{}
	}
	c := check{stored: k.stored}
	names := sets.Set[string]{}
	for i := range hooks {
		h, p := &hooks[i], webhooksPath.Index(i)
		c.hook(h, k, p)
		if !k.sameNames && h.Name != "" && names.Has(h.Name) {
			c.Duplicate(p.Child("name"), h.Name)
		}
		names.Insert(h.Name)
	}
	return c.Errs
}

func (c *check) hook(h *hook, k *kept, p *field.Path) {
	c.Add(validation.IsFullyQualifiedName(p.Child("name"), h.Name))
	for i := range h.Rules {
		ruleWithOperations(&c.Report, &h.Rules[i], p.Child("rules").Index(i))
	}
	failurePolicy(&c.Report, h.FailurePolicy, p)
	matchPolicy(&c.Report, h.MatchPolicy, p)
	effects := noSideEffects
	if k.sideEffects {
		effects = anySideEffects
	}
	if h.SideEffects == nil {
		words := make([]string, len(effects))
		for i, e := range effects {
			words[i] = string(e)
		}
		c.Required(p.Child("sideEffects"), "must specify one of "+strings.Join(words, ", "))
	}
	meta.AmongPtr(&c.Report, p.Child("sideEffects"), h.SideEffects, effects...)
	if t := h.TimeoutSeconds; t != nil && (*t < minTimeoutSeconds || *t > maxTimeoutSeconds) {
		c.Invalid(p.Child("timeoutSeconds"), *t, "the timeout value must be between 1 and 30 seconds")
	}
	selector(&c.Report, h.NamespaceSelector, k.looseSelectors, p.Child("namespaceSelector"))
	selector(&c.Report, h.ObjectSelector, k.looseSelectors, p.Child("objectSelector"))
	meta.AmongPtr(&c.Report, p.Child("reinvocationPolicy"), h.again, v1.IfNeededReinvocationPolicy, v1.NeverReinvocationPolicy)
	clientConfig(&c.Report, &h.ClientConfig, p.Child("clientConfig"))
	if !k.conditions {
		c.matchConditions(h.MatchConditions, p.Child("matchConditions"))
	}
	c.reviewVersions(h.AdmissionReviewVersions, k, p.Child("admissionReviewVersions"))
}

func (c *check) reviewVersions(list []string, k *kept, p *field.Path) {
	all := strings.Join(reviewVersions, ", ")
	if len(list) == 0 {
		c.Required(p, "must specify one of "+all)
		return
	}
	seen := sets.Set[string]{}
	for i, v := range list {
		if seen.Has(v) {
			c.Invalid(p.Index(i), v, "duplicate version")
			continue
		}
		seen.Insert(v)
		c.InvalidAll(p.Index(i), v, validation.IsDNS1035Label(v))
	}
	if !k.unknownVersions && !anyReviewVersion(list) {
		c.Invalid(p, list, "must include at least one of "+all)
	}
}
