package autoscaling

import (
	"errors"
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/api/meta"
)

const (
	maxPeriodSeconds = 1800
	maxWindowSeconds = 3600
)

// check is one judgement of an autoscaler: the report it fills and what an
// older object lets pass.
type check struct {
	meta.Report
	minReplicas     int32 // the least that minReplicas may be
	anyTarget       bool  // whatever the apiVersion of the scale target
	coreTarget      bool  // the scale target may be of the core group
	anyObjectMetric bool  // whatever the apiVersion of objects described by metrics
}

func validateHPA(h, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	c := &check{minReplicas: 1}
	ref := h.Spec.ScaleTargetRef
	if old != nil {
		if m := old.Spec.MinReplicas; m != nil && *m == 0 {
			c.minReplicas = 0
		}
		was := old.Spec.ScaleTargetRef
		c.anyTarget = was.APIVersion == ref.APIVersion && was.Kind == ref.Kind
		for _, m := range old.Spec.Metrics {
			if m.Type == autoscalingv2.ObjectMetricSourceType && m.Object != nil && apiVersion(m.Object.DescribedObject.APIVersion, true) != nil {
				c.anyObjectMetric = true
			}
		}
		c.Add(meta.ValidateObjectMetaUpdate(&h.ObjectMeta, &old.ObjectMeta))
	} else {
		c.Add(meta.ValidateObjectMeta(&h.ObjectMeta, true, meta.DNSSubdomain))
	}
	c.coreTarget = ref.Kind == "ReplicationController"
	c.checkSpec(&h.Spec, field.NewPath("spec"))
	return c.Errs
}

func validateHPAUpdate(h, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	return validateHPA(h, old)
}

func (c *check) checkSpec(s *autoscalingv2.HorizontalPodAutoscalerSpec, p *field.Path) {
	if m := s.MinReplicas; m != nil && *m < c.minReplicas {
		c.Errs = append(c.Errs, field.Invalid(p.Child("minReplicas"), *m, fmt.Sprintf("must be greater than or equal to %d", c.minReplicas)).WithOrigin("minimum"))
	}
	at := p.Child("maxReplicas")
	if s.MaxReplicas == 0 {
		c.Required(at, "must be set and greater than 0")
	} else if s.MaxReplicas < 0 {
		c.Errs = append(c.Errs, field.Invalid(at, s.MaxReplicas, "must be greater than or equal to 1").WithOrigin("minimum"))
	}
	if s.MinReplicas != nil && s.MaxReplicas < *s.MinReplicas {
		c.Invalid(at, s.MaxReplicas, "must be greater than or equal to `minReplicas`")
	}
	c.checkReference(&s.ScaleTargetRef, c.anyTarget, c.coreTarget, p.Child("scaleTargetRef"))
	wakes := false // a metric that is there without pods
	for i := range s.Metrics {
		m := &s.Metrics[i]
		c.checkMetric(m, p.Child("metrics").Index(i))
		wakes = wakes || m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
	}
	if m := s.MinReplicas; m != nil && *m == 0 && !wakes {
		c.Forbidden(p.Child("metrics"), "must specify at least one Object or External metric to support scaling to zero replicas")
	}
	if b := s.Behavior; b != nil {
		c.checkRules(b.ScaleUp, p.Child("behavior", "scaleUp"))
		c.checkRules(b.ScaleDown, p.Child("behavior", "scaleDown"))
	}
}

func (c *check) checkReference(ref *autoscalingv2.CrossVersionObjectReference, anyVersion, allowCore bool, p *field.Path) {
	for _, f := range []struct{ name, v string }{{"kind", ref.Kind}, {"name", ref.Name}} {
		if f.v == "" {
			c.Required(p.Child(f.name), "")
		} else {
			c.Named(p.Child(f.name), f.v, meta.PathSegment)
		}
	}
	if anyVersion {
		return
	}
	if err := apiVersion(ref.APIVersion, allowCore); err != nil {
		c.Invalid(p.Child("apiVersion"), ref.APIVersion, err.Error())
	}
}

var errNoGroup = errors.New("apiVersion must specify API group")

func apiVersion(v string, allowCore bool) error {
	gv, err := schema.ParseGroupVersion(v)
	if err == nil && gv.Group == "" && !allowCore {
		return errNoGroup
	}
	return err
}

func (c *check) checkRules(r *autoscalingv2.HPAScalingRules, p *field.Path) {
	if r == nil {
		return
	}
	if w, at := r.StabilizationWindowSeconds, p.Child("stabilizationWindowSeconds"); w != nil && *w < 0 {
		c.Invalid(at, w, "must be greater than or equal to zero")
	} else if w != nil && *w > maxWindowSeconds {
		c.Invalid(at, w, fmt.Sprintf("must be less than or equal to %v", maxWindowSeconds))
	}
	meta.AmongPtr(&c.Report, p.Child("selectPolicy"), r.SelectPolicy, autoscalingv2.DisabledPolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect)
	at := p.Child("policies")
	if len(r.Policies) == 0 {
		c.Required(at, "must specify at least one Policy")
	}
	for i, policy := range r.Policies {
		at := at.Index(i)
		meta.Among(&c.Report, at.Child("type"), policy.Type, autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy)
		if policy.Value <= 0 {
			c.Invalid(at.Child("value"), policy.Value, "must be greater than zero")
		}
		if policy.PeriodSeconds <= 0 {
			c.Invalid(at.Child("periodSeconds"), policy.PeriodSeconds, "must be greater than zero")
		}
		if policy.PeriodSeconds > maxPeriodSeconds {
			c.Invalid(at.Child("periodSeconds"), policy.PeriodSeconds, fmt.Sprintf("must be less than or equal to %v", maxPeriodSeconds))
		}
	}
	if q := r.Tolerance; q != nil && q.Sign() < 0 {
		c.Invalid(p.Child("tolerance"), q.String(), meta.IsNegative)
	}
}

var metricTypes = []autoscalingv2.MetricSourceType{autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType,
	autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType}

func (c *check) checkMetric(m *autoscalingv2.MetricSpec, p *field.Path) {
	if m.Type == "" {
		c.Required(p.Child("type"), "must specify a metric source type")
	}
	meta.Among(&c.Report, p.Child("type"), m.Type, metricTypes...)
	var present []string
	try := func(set bool, name string, judge func(*field.Path)) {
		if !set {
			return
		}
		if present = append(present, name); len(present) == 1 {
			judge(p.Child(name))
		}
	}
	try(m.Object != nil, "object", func(p *field.Path) {
		c.checkReference(&m.Object.DescribedObject, c.anyObjectMetric, true, p.Child("describedObject"))
		c.checkIdentifier(&m.Object.Metric, p.Child("metric"))
		c.checkTarget(&m.Object.Target, p.Child("target"))
		if m.Object.Target.Value == nil && m.Object.Target.AverageValue == nil {
			c.Required(p.Child("target", "averageValue"), "must set either a target value or averageValue")
		}
	})
	try(m.External != nil, "external", func(p *field.Path) {
		t := &m.External.Target
		c.checkIdentifier(&m.External.Metric, p.Child("metric"))
		c.checkTarget(t, p.Child("target"))
		if t.Value == nil && t.AverageValue == nil {
			c.Required(p.Child("target", "averageValue"), "must set either a target value for metric or a per-pod target")
		}
		c.ForbiddenIf(t.Value != nil && t.AverageValue != nil, p.Child("target", "value"), "may not set both a target value for metric and a per-pod target")
	})
	try(m.Pods != nil, "pods", func(p *field.Path) {
		c.checkIdentifier(&m.Pods.Metric, p.Child("metric"))
		c.checkTarget(&m.Pods.Target, p.Child("target"))
		if m.Pods.Target.AverageValue == nil {
			c.Required(p.Child("target", "averageValue"), "must specify a positive target averageValue")
		}
	})
	try(m.Resource != nil, "resource", func(p *field.Path) {
		if m.Resource.Name == "" {
			c.Required(p.Child("name"), "must specify a resource name")
		}
		c.checkResourceTarget(&m.Resource.Target, p.Child("target"))
	})
	try(m.ContainerResource != nil, "containerResource", func(p *field.Path) {
		if n := m.ContainerResource.Name; n == "" {
			c.Required(p.Child("name"), "must specify a resource name")
		} else {
			c.Add(core.ValidateContainerResourceName(n, p.Child("name")))
		}
		if n := m.ContainerResource.Container; n == "" {
			c.Required(p.Child("container"), "must specify a container")
		} else {
			c.Add(meta.Label1123(n, p.Child("container")))
		}
		c.checkResourceTarget(&m.ContainerResource.Target, p.Child("target"))
	})

	want, set := "", false
	switch m.Type {
	case autoscalingv2.ObjectMetricSourceType:
		want, set = "object", m.Object != nil
	case autoscalingv2.PodsMetricSourceType:
		want, set = "pods", m.Pods != nil
	case autoscalingv2.ResourceMetricSourceType:
		want, set = "resource", m.Resource != nil
	case autoscalingv2.ExternalMetricSourceType:
		want, set = "external", m.External != nil
	case autoscalingv2.ContainerResourceMetricSourceType:
		want, set = "containerResource", m.ContainerResource != nil
	}
	if want != "" && !set {
		c.Required(p.Child(want), "must populate information for the given metric source")
	}
	if len(present) == 1 {
		return
	}
	for _, name := range present {
		c.ForbiddenIf(name != want, p.Child(name), "must populate the given metric source only")
	}
}

func (c *check) checkIdentifier(id *autoscalingv2.MetricIdentifier, p *field.Path) {
	if id.Name == "" {
		c.Required(p.Child("name"), "must specify a metric name")
	} else {
		c.Named(p.Child("name"), id.Name, meta.PathSegment)
	}
}

func (c *check) checkTarget(t *autoscalingv2.MetricTarget, p *field.Path) {
	switch t.Type {
	case autoscalingv2.UtilizationMetricType, autoscalingv2.ValueMetricType, autoscalingv2.AverageValueMetricType:
	default:
		if t.Type == "" {
			c.Required(p.Child("type"), "must specify a metric target type")
		}
		c.Invalid(p.Child("type"), t.Type, "must be either Utilization, Value, or AverageValue")
	}
	if t.Value != nil && t.Value.Sign() != 1 {
		c.Invalid(p.Child("value"), t.Value, "must be positive")
	}
	if t.AverageValue != nil && t.AverageValue.Sign() != 1 {
		c.Invalid(p.Child("averageValue"), t.AverageValue, "must be positive")
	}
	if t.AverageUtilization != nil && *t.AverageUtilization < 1 {
		c.Invalid(p.Child("averageUtilization"), t.AverageUtilization, "must be greater than 0")
	}
}

func (c *check) checkResourceTarget(t *autoscalingv2.MetricTarget, p *field.Path) {
	c.checkTarget(t, p)
	if t.AverageUtilization == nil && t.AverageValue == nil {
		c.Required(p.Child("averageUtilization"), "must set either a target raw value or a target utilization")
	}
	c.ForbiddenIf(t.AverageUtilization != nil && t.AverageValue != nil, p.Child("averageValue"), "may not set both a target raw value and a target utilization")
}
