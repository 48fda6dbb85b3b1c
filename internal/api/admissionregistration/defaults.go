package admissionregistration

import (
	v1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	defaultTimeoutSeconds = int32(10)
	defaultServicePort    = int32(443)
)

func setDefault[T any](f **T, v T) {
	if *f == nil {
		*f = &v
	}
}

func defaultHook(failure **v1.FailurePolicyType, match **v1.MatchPolicyType, namespaces, objects **metav1.LabelSelector, timeout **int32,
	client *v1.WebhookClientConfig, rules []v1.RuleWithOperations) {
	setDefault(failure, v1.Fail)
	setDefault(match, v1.Equivalent)
	setDefault(namespaces, metav1.LabelSelector{})
	setDefault(objects, metav1.LabelSelector{})
	setDefault(timeout, defaultTimeoutSeconds)
	if client.Service != nil {
		setDefault(&client.Service.Port, defaultServicePort)
	}
	for i := range rules {
		setDefault(&rules[i].Scope, v1.AllScopes)
	}
}

func defaultValidatingWebhooks(c *v1.ValidatingWebhookConfiguration) {
	for i := range c.Webhooks {
		h := &c.Webhooks[i]
		defaultHook(&h.FailurePolicy, &h.MatchPolicy, &h.NamespaceSelector, &h.ObjectSelector, &h.TimeoutSeconds, &h.ClientConfig, h.Rules)
	}
}

func defaultMutatingWebhooks(c *v1.MutatingWebhookConfiguration) {
	for i := range c.Webhooks {
		h := &c.Webhooks[i]
		defaultHook(&h.FailurePolicy, &h.MatchPolicy, &h.NamespaceSelector, &h.ObjectSelector, &h.TimeoutSeconds, &h.ClientConfig, h.Rules)
		setDefault(&h.ReinvocationPolicy, v1.NeverReinvocationPolicy)
	}
}

func defaultMatch(m *v1.MatchResources) {
	if m == nil {
		return
	}
	setDefault(&m.MatchPolicy, v1.Equivalent)
	setDefault(&m.NamespaceSelector, metav1.LabelSelector{})
	setDefault(&m.ObjectSelector, metav1.LabelSelector{})
	for _, rules := range [][]v1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range rules {
			setDefault(&rules[i].Scope, v1.AllScopes)
		}
	}
}
