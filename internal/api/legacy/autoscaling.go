package legacy

import (
	"encoding/json"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/monohull/monohull/internal/api"
)

// keptBehavior is the annotation in which the versions without the field keep
// how an autoscaler scales.
const keptBehavior = "autoscaling.alpha.kubernetes.io/behavior"

func autoscalers() []old {
	v2 := autoscalingv2.SchemeGroupVersion
	hpa := v2.WithKind("HorizontalPodAutoscaler")
	b1, b2 := hpa, hpa
	b1.Version, b2.Version = "v2beta1", "v2beta2"
	return []old{
		version(spec[*autoscalingv2.HorizontalPodAutoscaler, *autoscalingv2.HorizontalPodAutoscaler]{
			gvk: b2, of: hpa, list: &autoscalingv2.HorizontalPodAutoscalerList{}, deprecated: 23, removed: 26,
		}),
		version(spec[*Autoscaler, *autoscalingv2.HorizontalPodAutoscaler]{
			gvk: b1, of: hpa, list: &AutoscalerList{}, deprecated: 22, removed: 25,
			toKind: func(from *Autoscaler, to *autoscalingv2.HorizontalPodAutoscaler) {
				to.Spec.Metrics, to.Status.CurrentMetrics = nil, nil
				for i := range from.Spec.Metrics {
					to.Spec.Metrics = append(to.Spec.Metrics, from.Spec.Metrics[i].today())
				}
				if kept := to.Annotations[keptBehavior]; kept != "" {
					var b autoscalingv2.HorizontalPodAutoscalerBehavior
					if json.Unmarshal([]byte(kept), &b) == nil {
						to.Spec.Behavior = &b
						delete(to.Annotations, keptBehavior)
					}
				}
				for i := range from.Status.CurrentMetrics {
					to.Status.CurrentMetrics = append(to.Status.CurrentMetrics, from.Status.CurrentMetrics[i].todaysStatus())
				}
			},
			fromKind: func(from *autoscalingv2.HorizontalPodAutoscaler, to *Autoscaler) {
				to.Spec.Metrics, to.Status.CurrentMetrics = nil, nil
				for i := range from.Spec.Metrics {
					to.Spec.Metrics = append(to.Spec.Metrics, oldMetric(&from.Spec.Metrics[i]))
				}
				if b := from.Spec.Behavior; b != nil {
					if kept, err := json.Marshal(b); err == nil {
						metav1.SetMetaDataAnnotation(&to.ObjectMeta, keptBehavior, string(kept))
					}
				}
				for i := range from.Status.CurrentMetrics {
					to.Status.CurrentMetrics = append(to.Status.CurrentMetrics, oldMetricStatus(&from.Status.CurrentMetrics[i]))
				}
			},
			warnings: func(a *Autoscaler) []string {
				if len(a.Spec.Metrics) > 0 {
					return []string{"spec.metrics: targets are metrics[].…target in autoscaling/v2 (targetAverageUtilization is target.averageUtilization)"}
				}
				return nil
			},
		}),
	}
}

// Autoscaler is HorizontalPodAutoscaler of autoscaling/v2beta1, whose type
// upstream no longer publishes.
type Autoscaler struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              AutoscalerSpec   `json:"spec,omitempty"`
	Status            AutoscalerStatus `json:"status,omitempty"`
}

// AutoscalerList is a list of them.
type AutoscalerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Autoscaler `json:"items"`
}

// AutoscalerSpec is what is wanted.
type AutoscalerSpec struct {
	ScaleTargetRef autoscalingv2.CrossVersionObjectReference `json:"scaleTargetRef"`
	MinReplicas    *int32                                    `json:"minReplicas,omitempty"`
	MaxReplicas    int32                                     `json:"maxReplicas"`
	Metrics        []Metric                                  `json:"metrics,omitempty"`
}

// AutoscalerStatus is what is.
type AutoscalerStatus struct {
	ObservedGeneration *int64                                           `json:"observedGeneration,omitempty"`
	LastScaleTime      *metav1.Time                                     `json:"lastScaleTime,omitempty"`
	CurrentReplicas    int32                                            `json:"currentReplicas"`
	DesiredReplicas    int32                                            `json:"desiredReplicas"`
	CurrentMetrics     []Metric                                         `json:"currentMetrics"`
	Conditions         []autoscalingv2.HorizontalPodAutoscalerCondition `json:"conditions"`
}

// Metric is a metric with its target, or with its current value.
type Metric struct {
	Type              autoscalingv2.MetricSourceType `json:"type"`
	Object            *ObjectMetric                  `json:"object,omitempty"`
	Pods              *PodsMetric                    `json:"pods,omitempty"`
	Resource          *ResourceMetric                `json:"resource,omitempty"`
	ContainerResource *ResourceMetric                `json:"containerResource,omitempty"`
	External          *ExternalMetric                `json:"external,omitempty"`
}

// ObjectMetric is a metric of one object.
type ObjectMetric struct {
	Target       autoscalingv2.CrossVersionObjectReference `json:"target"`
	MetricName   string                                    `json:"metricName"`
	TargetValue  *resource.Quantity                        `json:"targetValue,omitempty"`
	CurrentValue *resource.Quantity                        `json:"currentValue,omitempty"`
	Selector     *metav1.LabelSelector                     `json:"selector,omitempty"`
	AverageValue *resource.Quantity                        `json:"averageValue,omitempty"`
}

// PodsMetric is a metric averaged over the pods.
type PodsMetric struct {
	MetricName          string                `json:"metricName"`
	TargetAverageValue  *resource.Quantity    `json:"targetAverageValue,omitempty"`
	CurrentAverageValue *resource.Quantity    `json:"currentAverageValue,omitempty"`
	Selector            *metav1.LabelSelector `json:"selector,omitempty"`
}

// ResourceMetric is a resource that the pods, or one container of each, use.
type ResourceMetric struct {
	Name                      corev1.ResourceName `json:"name"`
	TargetAverageUtilization  *int32              `json:"targetAverageUtilization,omitempty"`
	TargetAverageValue        *resource.Quantity  `json:"targetAverageValue,omitempty"`
	CurrentAverageUtilization *int32              `json:"currentAverageUtilization,omitempty"`
	CurrentAverageValue       *resource.Quantity  `json:"currentAverageValue,omitempty"`
	Container                 string              `json:"container,omitempty"`
}

// ExternalMetric is a metric of something outside the cluster.
type ExternalMetric struct {
	MetricName          string                `json:"metricName"`
	MetricSelector      *metav1.LabelSelector `json:"metricSelector,omitempty"`
	TargetValue         *resource.Quantity    `json:"targetValue,omitempty"`
	TargetAverageValue  *resource.Quantity    `json:"targetAverageValue,omitempty"`
	CurrentValue        *resource.Quantity    `json:"currentValue,omitempty"`
	CurrentAverageValue *resource.Quantity    `json:"currentAverageValue,omitempty"`
}

// DeepCopyObject implements runtime.Object.
func (a *Autoscaler) DeepCopyObject() runtime.Object { return copied(a) }

// DeepCopyObject implements runtime.Object.
func (l *AutoscalerList) DeepCopyObject() runtime.Object { return copied(l) }

func copied[T any](from *T) *T {
	to := new(T)
	if err := api.CopyJSON(from, to); err != nil {
		panic(err) // plain data
	}
	return to
}

func target(value, average *resource.Quantity, utilization *int32) autoscalingv2.MetricTarget {
	t := autoscalingv2.MetricTarget{Value: value, AverageValue: average, AverageUtilization: utilization}
	switch {
	case utilization != nil:
		t.Type = autoscalingv2.UtilizationMetricType
	case average != nil:
		t.Type = autoscalingv2.AverageValueMetricType
	default:
		t.Type = autoscalingv2.ValueMetricType
	}
	return t
}

func named(name string, sel *metav1.LabelSelector) autoscalingv2.MetricIdentifier {
	return autoscalingv2.MetricIdentifier{Name: name, Selector: sel}
}

func (m *Metric) today() autoscalingv2.MetricSpec {
	out := autoscalingv2.MetricSpec{Type: m.Type}
	if o := m.Object; o != nil {
		value := o.TargetValue
		if o.AverageValue != nil {
			value = nil // the target that counts
		}
		out.Object = &autoscalingv2.ObjectMetricSource{DescribedObject: o.Target, Metric: named(o.MetricName, o.Selector), Target: target(value, o.AverageValue, nil)}
	}
	if p := m.Pods; p != nil {
		out.Pods = &autoscalingv2.PodsMetricSource{Metric: named(p.MetricName, p.Selector), Target: target(nil, p.TargetAverageValue, nil)}
	}
	if r := m.Resource; r != nil {
		out.Resource = &autoscalingv2.ResourceMetricSource{Name: r.Name, Target: target(nil, r.TargetAverageValue, r.TargetAverageUtilization)}
	}
	if r := m.ContainerResource; r != nil {
		out.ContainerResource = &autoscalingv2.ContainerResourceMetricSource{
			Name: r.Name, Container: r.Container, Target: target(nil, r.TargetAverageValue, r.TargetAverageUtilization),
		}
	}
	if e := m.External; e != nil {
		out.External = &autoscalingv2.ExternalMetricSource{Metric: named(e.MetricName, e.MetricSelector), Target: target(e.TargetValue, e.TargetAverageValue, nil)}
	}
	return out
}

func (m *Metric) todaysStatus() autoscalingv2.MetricStatus {
	out := autoscalingv2.MetricStatus{Type: m.Type}
	if o := m.Object; o != nil {
		out.Object = &autoscalingv2.ObjectMetricStatus{
			DescribedObject: o.Target, Metric: named(o.MetricName, o.Selector), Current: autoscalingv2.MetricValueStatus{Value: o.CurrentValue, AverageValue: o.AverageValue},
		}
	}
	if p := m.Pods; p != nil {
		out.Pods = &autoscalingv2.PodsMetricStatus{Metric: named(p.MetricName, p.Selector), Current: autoscalingv2.MetricValueStatus{AverageValue: p.CurrentAverageValue}}
	}
	if r := m.Resource; r != nil {
		out.Resource = &autoscalingv2.ResourceMetricStatus{
			Name: r.Name, Current: autoscalingv2.MetricValueStatus{AverageValue: r.CurrentAverageValue, AverageUtilization: r.CurrentAverageUtilization},
		}
	}
	if r := m.ContainerResource; r != nil {
		out.ContainerResource = &autoscalingv2.ContainerResourceMetricStatus{
			Name: r.Name, Container: r.Container, Current: autoscalingv2.MetricValueStatus{AverageValue: r.CurrentAverageValue, AverageUtilization: r.CurrentAverageUtilization},
		}
	}
	if e := m.External; e != nil {
		out.External = &autoscalingv2.ExternalMetricStatus{
			Metric: named(e.MetricName, e.MetricSelector), Current: autoscalingv2.MetricValueStatus{Value: e.CurrentValue, AverageValue: e.CurrentAverageValue},
		}
	}
	return out
}

func oldMetric(m *autoscalingv2.MetricSpec) Metric {
	out := Metric{Type: m.Type}
	if o := m.Object; o != nil {
		out.Object = &ObjectMetric{
			Target: o.DescribedObject, MetricName: o.Metric.Name, Selector: o.Metric.Selector, TargetValue: o.Target.Value, AverageValue: o.Target.AverageValue,
		}
	}
	if p := m.Pods; p != nil {
		out.Pods = &PodsMetric{MetricName: p.Metric.Name, Selector: p.Metric.Selector, TargetAverageValue: p.Target.AverageValue}
	}
	if r := m.Resource; r != nil {
		out.Resource = &ResourceMetric{Name: r.Name, TargetAverageValue: r.Target.AverageValue, TargetAverageUtilization: r.Target.AverageUtilization}
	}
	if r := m.ContainerResource; r != nil {
		out.ContainerResource = &ResourceMetric{
			Name: r.Name, Container: r.Container, TargetAverageValue: r.Target.AverageValue, TargetAverageUtilization: r.Target.AverageUtilization,
		}
	}
	if e := m.External; e != nil {
		out.External = &ExternalMetric{
			MetricName: e.Metric.Name, MetricSelector: e.Metric.Selector, TargetValue: e.Target.Value, TargetAverageValue: e.Target.AverageValue,
		}
	}
	return out
}

func oldMetricStatus(m *autoscalingv2.MetricStatus) Metric {
	out := Metric{Type: m.Type}
	if o := m.Object; o != nil {
		out.Object = &ObjectMetric{
			Target: o.DescribedObject, MetricName: o.Metric.Name, Selector: o.Metric.Selector, CurrentValue: o.Current.Value, AverageValue: o.Current.AverageValue,
		}
	}
	if p := m.Pods; p != nil {
		out.Pods = &PodsMetric{MetricName: p.Metric.Name, Selector: p.Metric.Selector, CurrentAverageValue: p.Current.AverageValue}
	}
	if r := m.Resource; r != nil {
		out.Resource = &ResourceMetric{Name: r.Name, CurrentAverageValue: r.Current.AverageValue, CurrentAverageUtilization: r.Current.AverageUtilization}
	}
	if r := m.ContainerResource; r != nil {
		out.ContainerResource = &ResourceMetric{
			Name: r.Name, Container: r.Container, CurrentAverageValue: r.Current.AverageValue, CurrentAverageUtilization: r.Current.AverageUtilization,
		}
	}
	if e := m.External; e != nil {
		out.External = &ExternalMetric{
			MetricName: e.Metric.Name, MetricSelector: e.Metric.Selector, CurrentValue: e.Current.Value, CurrentAverageValue: e.Current.AverageValue,
		}
	}
	return out
}
