package admission

import (
	"context"
	"fmt"
	"slices"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
)

// security is the plugin PodSecurity: pods are held to the levels that their
// namespace's labels name.
type security struct {
	cfg        securityConfig
	defaults   psa.Policy
	evaluator  func() (policy.Evaluator, error)
	namespaces client.Kind[*corev1.Namespace]
	pods       client.Kind[*corev1.Pod]
	d          Deps
}

func podSecurity(d Deps, config []byte) (Plugin, error) {
	cfg, defaults, err := readSecurityConfig(config)
	if err != nil {
		return Plugin{}, err
	}
	s := &security{
		cfg: cfg, defaults: defaults, d: d,
		namespaces: client.Of[*corev1.Namespace](d.Client), pods: client.Of[*corev1.Pod](d.Client),
		// made when the first namespace asks for it
		evaluator: sync.OnceValues(func() (policy.Evaluator, error) { return policy.NewEvaluator(policy.DefaultChecks(), nil) }),
	}
	return Plugin{Validate: s.validate}, nil
}

func (s *security) validate(_ context.Context, a *Attributes) error {
	if !a.does(Create, Update) {
		return nil
	}
	switch o := a.Object.(type) {
	case *corev1.Namespace:
		return s.namespace(a, o)
	case *corev1.Pod:
		return s.pod(a, o)
	}
	if a.Subresource != "" {
		return nil
	}
	if m, spec := template(a.Object); spec != nil {
		return s.workload(a, m, spec)
	}
	return nil
}

// template is what an object of a workload makes pods of, nil for others.
func template(o api.Object) (*metav1.ObjectMeta, *corev1.PodSpec) {
	var t *corev1.PodTemplateSpec
	switch o := o.(type) {
	case *corev1.PodTemplate:
		t = &o.Template
	case *corev1.ReplicationController:
		t = o.Spec.Template
	case *appsv1.ReplicaSet:
		t = &o.Spec.Template
	case *appsv1.Deployment:
		t = &o.Spec.Template
	case *appsv1.DaemonSet:
		t = &o.Spec.Template
	case *appsv1.StatefulSet:
		t = &o.Spec.Template
	case *batchv1.Job:
		t = &o.Spec.Template
	case *batchv1.CronJob:
		t = &o.Spec.JobTemplate.Spec.Template
	}
	if t == nil {
		return nil, nil
	}
	return &t.ObjectMeta, &t.Spec
}

func (s *security) audit(a *Attributes, key, value string) {
	a.audit(psa.AuditAnnotationPrefix+key, value)
}

// exempt tells whether the configuration leaves the request alone.
func (s *security) exempt(a *Attributes) bool {
	switch {
	case slices.Contains(s.cfg.Exemptions.Namespaces, a.Namespace):
		s.audit(a, psa.ExemptionReasonAnnotationKey, "namespace")
	case a.User != nil && a.User.GetName() != "" && slices.Contains(s.cfg.Exemptions.Usernames, a.User.GetName()):
		s.audit(a, psa.ExemptionReasonAnnotationKey, "user")
	default:
		return false
	}
	return true
}

func (s *security) exemptRuntime(class *string) bool {
	return class != nil && *class != "" && slices.Contains(s.cfg.Exemptions.RuntimeClasses, *class)
}

// ignoredPodParts are the subresources of pods that change nothing a policy
// looks at.
func ignoredPodPart(sub string) bool {
	switch sub {
	case "exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status":
		return true
	}
	return false
}

func (s *security) pod(a *Attributes, pod *corev1.Pod) error {
	if ignoredPodPart(a.Subresource) || !a.is("", "pods") || s.exempt(a) {
		return nil
	}
	ns, ok := s.namespaces.Get("", a.Namespace)
	if !ok {
		s.audit(a, "error", fmt.Sprintf("failed to lookup namespace %q", a.Namespace))
		return apierrors.NewInternalError(fmt.Errorf("failed to lookup namespace %q", a.Namespace))
	}
	p, errs := psa.PolicyToEvaluate(ns.Labels, s.defaults)
	if len(errs) == 0 && p.FullyPrivileged() {
		s.audit(a, psa.EnforcedPolicyAnnotationKey, psa.LevelVersion{Level: psa.LevelPrivileged, Version: psa.LatestVersion()}.String())
		return nil
	}
	if old, ok := a.Old.(*corev1.Pod); ok && a.Operation == Update && !newImages(pod, old) {
		return nil
	}
	return s.evaluate(a, p, errs, &pod.ObjectMeta, &pod.Spec, true)
}

func (s *security) workload(a *Attributes, m *metav1.ObjectMeta, spec *corev1.PodSpec) error {
	if s.exempt(a) {
		return nil
	}
	ns, ok := s.namespaces.Get("", a.Namespace)
	if !ok {
		s.audit(a, "error", fmt.Sprintf("failed to lookup namespace %q: namespaces %q not found", a.Namespace, a.Namespace))
		return nil
	}
	p, errs := psa.PolicyToEvaluate(ns.Labels, s.defaults)
	if len(errs) == 0 && p.Warn.Level == psa.LevelPrivileged && p.Audit.Level == psa.LevelPrivileged {
		return nil
	}
	return s.evaluate(a, p, errs, m, spec, false)
}

// evaluate holds a pod to the policy: it is refused where enforce is set and
// it is against the level to enforce.
func (s *security) evaluate(a *Attributes, p psa.Policy, bad field.ErrorList, m *metav1.ObjectMeta, spec *corev1.PodSpec, enforce bool) error {
	if s.exemptRuntime(spec.RuntimeClassName) {
		s.audit(a, psa.ExemptionReasonAnnotationKey, "runtimeClass")
		return nil
	}
	if err := bad.ToAggregate(); err != nil {
		s.audit(a, "error", fmt.Sprintf("Failed to parse policy: %v", err))
	}
	evaluator, err := s.evaluator()
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	results := map[psa.LevelVersion]policy.AggregateCheckResult{}
	judge := func(lv psa.LevelVersion) policy.AggregateCheckResult {
		r, ok := results[lv]
		if !ok {
			r = policy.AggregateCheckResults(evaluator.EvaluatePod(lv, m, spec))
			results[lv] = r
		}
		return r
	}
	var refused error
	if enforce {
		s.audit(a, psa.EnforcedPolicyAnnotationKey, p.Enforce.String())
		if r := judge(p.Enforce); !r.Allowed {
			refused = forbidden(a, fmt.Errorf("violates PodSecurity %q: %s", p.Enforce.String(), r.ForbiddenDetail()))
		}
	}
	if r := judge(p.Audit); !r.Allowed {
		s.audit(a, psa.AuditViolationsAnnotationKey, fmt.Sprintf("would violate PodSecurity %q: %s", p.Audit.String(), r.ForbiddenDetail()))
	}
	if refused != nil {
		return refused
	}
	if r := judge(p.Warn); !r.Allowed {
		a.warn(fmt.Sprintf("would violate PodSecurity %q: %s", p.Warn.String(), r.ForbiddenDetail()))
	}
	return nil
}

// newImages tells whether a change of a pod brings other containers or images:
// nothing else that a policy looks at can change.
func newImages(pod, old *corev1.Pod) bool {
	image := func(a, b corev1.Container) bool { return a.Image == b.Image }
	if !slices.EqualFunc(pod.Spec.Containers, old.Spec.Containers, image) || !slices.EqualFunc(pod.Spec.InitContainers, old.Spec.InitContainers, image) {
		return true
	}
	return slices.ContainsFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool {
		return !slices.ContainsFunc(old.Spec.EphemeralContainers, func(o corev1.EphemeralContainer) bool { return o.Name == c.Name && o.Image == c.Image })
	})
}

// namespace judges the labels of a namespace, and warns of the pods that a
// stricter level would not let in.
func (s *security) namespace(a *Attributes, ns *corev1.Namespace) error {
	if a.Subresource != "" {
		return nil
	}
	is, errs := psa.PolicyToEvaluate(ns.Labels, s.defaults)
	invalid := func() error { return apierrors.NewInvalid(a.Kind.GVK.GroupKind(), a.Name, errs) }
	exempt := slices.Contains(s.cfg.Exemptions.Namespaces, a.namespace())
	old, changed := a.Old.(*corev1.Namespace)
	if !changed {
		if len(errs) > 0 {
			return invalid()
		}
		if exempt {
			s.warnExempt(a, ns, is)
		}
		return nil
	}
	was, oldErrs := psa.PolicyToEvaluate(old.Labels, s.defaults)
	if len(errs) > 0 && (len(oldErrs) == 0 || errs.ToAggregate().Error() != oldErrs.ToAggregate().Error()) {
		return invalid()
	}
	switch {
	case is.Enforce == was.Enforce, is.Enforce.Level == psa.LevelPrivileged,
		is.Enforce.Version == was.Enforce.Version && psa.CompareLevels(is.Enforce.Level, was.Enforce.Level) < 1:
		return nil
	case exempt:
		s.warnExempt(a, ns, is)
		return nil
	}
	return s.warnPods(a, ns.Name, is.Enforce)
}
