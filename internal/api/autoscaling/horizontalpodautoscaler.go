package autoscaling

import (
	"fmt"
	"maps"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

const (
	defaultMinReplicas = 1
	defaultUtilization = 80 // percent of the CPU requested
	defaultPeriod      = 15 // seconds
)

func horizontalPodAutoscalerRow() *api.Kind {
	return api.Define(api.Spec[*autoscalingv2.HorizontalPodAutoscaler]{
		GVK: gvk("HorizontalPodAutoscaler"), Plural: "horizontalpodautoscalers", Singular: "horizontalpodautoscaler",
		ShortNames: []string{"hpa"}, Categories: []string{"all"},
		Namespaced: true, UnconditionalUpdate: true,
		List:           &autoscalingv2.HorizontalPodAutoscalerList{},
		Default:        defaultHPA,
		Validate:       func(h *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList { return validateHPA(h, nil) },
		ValidateUpdate: validateHPAUpdate,
		ValidateStatus: func(h, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
			r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&h.ObjectMeta, &old.ObjectMeta)}
			r.NonNegative(field.NewPath("status", "currentReplicas"), int64(h.Status.CurrentReplicas))
			r.NonNegative(field.NewPath("status", "desiredReplicas"), int64(h.Status.DesiredReplicas))
			return r.Errs
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Reference", "The resource to scale."),
			meta.Text("Targets", "The metrics that decide the number of replicas, each as current value and target."),
			meta.Text("MinPods", "The lower limit for the number of replicas."),
			meta.Text("MaxPods", "The upper limit for the number of replicas."),
			meta.Text("Replicas", "The current number of replicas, as last seen by the autoscaler."),
			meta.AgeColumn,
		},
		Row:      hpaCells,
		Versions: []*api.Version{v1Version()},
	})
}

func defaultHPA(h *autoscalingv2.HorizontalPodAutoscaler) {
	h.Annotations = withoutRoundTrip(h.Annotations)
	s := &h.Spec
	if s.MinReplicas == nil {
		n := int32(defaultMinReplicas)
		s.MinReplicas = &n
	}
	if len(s.Metrics) == 0 {
		s.Metrics = []autoscalingv2.MetricSpec{cpuMetric(defaultUtilization)}
	}
	if b := s.Behavior; b != nil {
		b.ScaleUp = completeRules(b.ScaleUp, true)
		b.ScaleDown = completeRules(b.ScaleDown, false)
	}
}

func cpuMetric(utilization int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name:   corev1.ResourceCPU,
		Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &utilization},
	}}
}

// completeRules fills what the user has left to us: up at once, by four pods
// or twofold; down to none, after a time that is the controller's to set.
func completeRules(rules *autoscalingv2.HPAScalingRules, up bool) *autoscalingv2.HPAScalingRules {
	out := &autoscalingv2.HPAScalingRules{}
	if rules != nil {
		*out = *rules
	}
	if out.SelectPolicy == nil {
		p := autoscalingv2.MaxChangePolicySelect
		out.SelectPolicy = &p
	}
	if up && out.StabilizationWindowSeconds == nil {
		out.StabilizationWindowSeconds = new(int32)
	}
	if out.Policies == nil {
		if up {
			out.Policies = append(out.Policies, autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: defaultPeriod})
		}
		out.Policies = append(out.Policies, autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: defaultPeriod})
	}
	return out
}

// withoutRoundTrip drops the annotations that v1 keeps the rest in. The map
// given stays as it is.
func withoutRoundTrip(a map[string]string) map[string]string {
	copied := false
	for _, k := range roundTrip {
		if _, ok := a[k]; !ok {
			continue
		}
		if !copied {
			a, copied = maps.Clone(a), true
		}
		delete(a, k)
	}
	return a
}

func hpaCells(h *autoscalingv2.HorizontalPodAutoscaler, now time.Time) []any {
	minimum := "<unset>"
	if h.Spec.MinReplicas != nil {
		minimum = fmt.Sprint(*h.Spec.MinReplicas)
	}
	return []any{h.Name, h.Spec.ScaleTargetRef.Kind + "/" + h.Spec.ScaleTargetRef.Name, targets(h.Spec.Metrics, h.Status.CurrentMetrics),
		minimum, int64(h.Spec.MaxReplicas), int64(h.Status.CurrentReplicas), meta.Age(h.CreationTimestamp, now)}
}

const (
	shownMetrics  = 2
	unknownMetric = "<unknown>"
)

// targets prints metrics as current value and target.
func targets(specs []autoscalingv2.MetricSpec, statuses []autoscalingv2.MetricStatus) string {
	if len(specs) == 0 {
		return "<none>"
	}
	var list []string
	for i := range specs {
		var now autoscalingv2.MetricStatus
		if i < len(statuses) {
			now = statuses[i]
		}
		list = append(list, target(&specs[i], &now))
	}
	if n := len(list); n > shownMetrics {
		return strings.Join(list[:shownMetrics], ", ") + fmt.Sprintf(" + %d more...", n-shownMetrics)
	}
	return strings.Join(list, ", ")
}

func target(m *autoscalingv2.MetricSpec, now *autoscalingv2.MetricStatus) string {
	switch {
	case m.Type == autoscalingv2.ExternalMetricSourceType && m.External != nil:
		var v *autoscalingv2.MetricValueStatus
		if now.External != nil {
			v = &now.External.Current
		}
		return amounts(&m.External.Target, v)
	case m.Type == autoscalingv2.ObjectMetricSourceType && m.Object != nil:
		var v *autoscalingv2.MetricValueStatus
		if now.Object != nil {
			v = &now.Object.Current
		}
		return amounts(&m.Object.Target, v)
	case m.Type == autoscalingv2.PodsMetricSourceType && m.Pods != nil:
		current := unknownMetric
		if now.Pods != nil {
			current = text(now.Pods.Current.AverageValue)
		}
		return current + "/" + text(m.Pods.Target.AverageValue)
	case m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil:
		var v *autoscalingv2.MetricValueStatus
		if now.Resource != nil {
			v = &now.Resource.Current
		}
		return resourceTarget(m.Resource.Name, &m.Resource.Target, v)
	case m.Type == autoscalingv2.ContainerResourceMetricSourceType && m.ContainerResource != nil:
		var v *autoscalingv2.MetricValueStatus
		if now.ContainerResource != nil {
			v = &now.ContainerResource.Current
		}
		return resourceTarget(m.ContainerResource.Name, &m.ContainerResource.Target, v)
	}
	return "<unknown type>"
}

func text(q *resource.Quantity) string {
	if q == nil {
		return "<nil>"
	}
	return q.String()
}

func amounts(t *autoscalingv2.MetricTarget, now *autoscalingv2.MetricValueStatus) string {
	current := unknownMetric
	if t.AverageValue != nil {
		if now != nil && now.AverageValue != nil {
			current = now.AverageValue.String()
		}
		return current + "/" + t.AverageValue.String() + " (avg)"
	}
	if now != nil {
		current = text(now.Value)
	}
	return current + "/" + text(t.Value)
}

func resourceTarget(name corev1.ResourceName, t *autoscalingv2.MetricTarget, now *autoscalingv2.MetricValueStatus) string {
	current, want := unknownMetric, "<auto>"
	if t.AverageValue != nil {
		if now != nil {
			current = text(now.AverageValue)
		}
		want = t.AverageValue.String()
	} else {
		if now != nil && now.AverageUtilization != nil {
			current = fmt.Sprintf("%d%%", *now.AverageUtilization)
		}
		if t.AverageUtilization != nil {
			want = fmt.Sprintf("%d%%", *t.AverageUtilization)
		}
	}
	return fmt.Sprintf("%s: %s/%s", name, current, want)
}
