package legacy

import (
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	admissionregistrationv1beta1 "k8s.io/api/admissionregistration/v1beta1"
)

// Defaults of v1beta1 webhooks that differ from today's.
const (
	oldWebhookTimeout = 30 // seconds
	oldReviewVersion  = "v1beta1"
)

func webhooks() []old {
	v1, b1 := admissionregistrationv1.SchemeGroupVersion, admissionregistrationv1beta1.SchemeGroupVersion
	return []old{
		version(spec[*admissionregistrationv1beta1.ValidatingWebhookConfiguration, *admissionregistrationv1.ValidatingWebhookConfiguration]{
			gvk: b1.WithKind("ValidatingWebhookConfiguration"), of: v1.WithKind("ValidatingWebhookConfiguration"), deprecated: 16, removed: 22,
			list: &admissionregistrationv1beta1.ValidatingWebhookConfigurationList{},
			defaults: func(c *admissionregistrationv1beta1.ValidatingWebhookConfiguration) {
				for i := range c.Webhooks {
					w := &c.Webhooks[i]
					fill(&w.FailurePolicy, admissionregistrationv1beta1.Ignore)
					fill(&w.MatchPolicy, admissionregistrationv1beta1.Exact)
					defaultWebhook(&w.SideEffects, &w.TimeoutSeconds, &w.AdmissionReviewVersions)
				}
			},
			warnings: func(c *admissionregistrationv1beta1.ValidatingWebhookConfiguration) (out []string) {
				for i := range c.Webhooks {
					out = append(out, unknownEffects(i, c.Webhooks[i].SideEffects)...)
				}
				return out
			},
		}),
		version(spec[*admissionregistrationv1beta1.MutatingWebhookConfiguration, *admissionregistrationv1.MutatingWebhookConfiguration]{
			gvk: b1.WithKind("MutatingWebhookConfiguration"), of: v1.WithKind("MutatingWebhookConfiguration"), deprecated: 16, removed: 22,
			list: &admissionregistrationv1beta1.MutatingWebhookConfigurationList{},
			defaults: func(c *admissionregistrationv1beta1.MutatingWebhookConfiguration) {
				for i := range c.Webhooks {
					w := &c.Webhooks[i]
					fill(&w.FailurePolicy, admissionregistrationv1beta1.Ignore)
					fill(&w.MatchPolicy, admissionregistrationv1beta1.Exact)
					defaultWebhook(&w.SideEffects, &w.TimeoutSeconds, &w.AdmissionReviewVersions)
				}
			},
			warnings: func(c *admissionregistrationv1beta1.MutatingWebhookConfiguration) (out []string) {
				for i := range c.Webhooks {
					out = append(out, unknownEffects(i, c.Webhooks[i].SideEffects)...)
				}
				return out
			},
		}),
	}
}

// defaultWebhook fills what both kinds share. A webhook that does not say what
// its side effects are could be written then and cannot now: it is taken to
// have none.
func defaultWebhook(effects **admissionregistrationv1beta1.SideEffectClass, timeout **int32, versions *[]string) {
	if *effects == nil || **effects == admissionregistrationv1beta1.SideEffectClassUnknown || **effects == admissionregistrationv1beta1.SideEffectClassSome {
		none := admissionregistrationv1beta1.SideEffectClassNone
		*effects = &none
	}
	fill(timeout, oldWebhookTimeout)
	if len(*versions) == 0 {
		*versions = []string{oldReviewVersion}
	}
}

func unknownEffects(i int, e *admissionregistrationv1beta1.SideEffectClass) []string {
	if e != nil && (*e == admissionregistrationv1beta1.SideEffectClassNone || *e == admissionregistrationv1beta1.SideEffectClassNoneOnDryRun) {
		return nil
	}
	return []string{fmt.Sprintf("webhooks[%d].sideEffects: must be None or NoneOnDryRun in admissionregistration.k8s.io/v1; it is taken as None", i)}
}
