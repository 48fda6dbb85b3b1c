package apps

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/api/meta"
)

const (
	defaultReplicas         = 1
	defaultHistory          = 10
	defaultProgressDeadline = 600
	defaultRollingPart      = "25%"
)

var (
	specPath   = field.NewPath("spec")
	statusPath = field.NewPath("status")
)

func setDefault[T any](f **T, v T) {
	if *f == nil {
		*f = &v
	}
}

func value(p *int32) int32 {
	if p == nil {
		return 0
	}
	return *p
}

func deploymentRow() *api.Kind {
	return api.Define(api.Spec[*appsv1.Deployment]{
		GVK: gvk("Deployment"), Plural: "deployments", Singular: "deployment", ShortNames: []string{"deploy"}, Categories: []string{"all"},
		Namespaced: true, Generation: true, UnconditionalUpdate: true,
		List:    &appsv1.DeploymentList{},
		Default: defaultDeployment,
		PrepareCreate: func(d *appsv1.Deployment) {
			d.Generation = 1
			core.DropUnservedFields(&d.Spec.Template.Spec)
		},
		// Annotations are part of what its controller copies to replica sets.
		PrepareUpdate: func(d, old *appsv1.Deployment) {
			core.DropUnservedFields(&d.Spec.Template.Spec)
			if !equality.Semantic.DeepEqual(d.Spec, old.Spec) || !equality.Semantic.DeepEqual(d.Annotations, old.Annotations) {
				d.Generation = old.Generation + 1
			}
		},
		PrepareStatus: func(d, old *appsv1.Deployment) { d.Labels = old.Labels },
		Validate: func(d *appsv1.Deployment) field.ErrorList {
			return append(meta.ValidateObjectMeta(&d.ObjectMeta, true, meta.DNSSubdomain), validateDeploymentSpec(&d.Spec, specPath)...)
		},
		ValidateUpdate: func(d, old *appsv1.Deployment) field.ErrorList {
			r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&d.ObjectMeta, &old.ObjectMeta)}
			r.Add(validateDeploymentSpec(&d.Spec, specPath))
			r.Add(meta.Immutable(d.Spec.Selector, old.Spec.Selector, specPath.Child("selector")))
			return r.Errs
		},
		ValidateStatus: validateDeploymentStatus,
		Warnings: func(d *appsv1.Deployment) []string {
			return append(core.NameInPodsWarning(d.Name), core.PodTemplateWarnings(specPath.Child("template"), &d.Spec.Template)...)
		},
		UpdateWarnings: func(d, old *appsv1.Deployment) []string {
			if d.Generation == old.Generation {
				return nil
			}
			return core.PodTemplateWarnings(specPath.Child("template"), &d.Spec.Template)
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Ready", "Number of the pod with ready state"),
			meta.Text("Up-to-date", "The number of pods that have the desired template."),
			meta.Text("Available", "The number of pods ready for at least minReadySeconds."),
			meta.AgeColumn,
			meta.Wide("Containers", "Names of each container in the template."),
			meta.Wide("Images", "Images referenced by each container in the template."),
			meta.Wide("Selector", "The label query over its pods."),
		},
		Row: func(d *appsv1.Deployment, now time.Time) []any {
			names, images := meta.ContainersAndImages(d.Spec.Template.Spec.Containers)
			selector := "<invalid>"
			if s, err := metav1.LabelSelectorAsSelector(d.Spec.Selector); err == nil {
				selector = s.String()
			}
			return []any{d.Name, fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, value(d.Spec.Replicas)), int64(d.Status.UpdatedReplicas),
				int64(d.Status.AvailableReplicas), meta.Age(d.CreationTimestamp, now), names, images, selector}
		},
		ScaleGet: func(d *appsv1.Deployment) (int32, int32, string) {
			return value(d.Spec.Replicas), d.Status.Replicas, selectorString(d.Spec.Selector)
		},
		ScaleSet: func(d *appsv1.Deployment, n int32) { d.Spec.Replicas = &n },
	})
}

// selectorString is the selector as the scale subresource gives it.
func selectorString(s *metav1.LabelSelector) string {
	compiled, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return ""
	}
	return compiled.String()
}

func defaultDeployment(d *appsv1.Deployment) {
	s := &d.Spec
	setDefault(&s.Replicas, defaultReplicas)
	if s.Strategy.Type == "" {
		s.Strategy.Type = appsv1.RollingUpdateDeploymentStrategyType
	}
	if s.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		setDefault(&s.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		setDefault(&s.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString(defaultRollingPart))
		setDefault(&s.Strategy.RollingUpdate.MaxSurge, intstr.FromString(defaultRollingPart))
	}
	if r := s.Strategy.RollingUpdate; r != nil { // of a strategy that does not roll: it will be refused
		setDefault(&r.MaxUnavailable, intstr.FromInt32(0))
		setDefault(&r.MaxSurge, intstr.FromInt32(0))
	}
	setDefault(&s.RevisionHistoryLimit, defaultHistory)
	setDefault(&s.ProgressDeadlineSeconds, defaultProgressDeadline)
	core.DefaultPodTemplateSpec(&s.Template)
}

func validateDeploymentSpec(s *appsv1.DeploymentSpec, p *field.Path) field.ErrorList {
	var r meta.Report
	r.NonNegative(p.Child("replicas"), int64(value(s.Replicas)))
	sel, errs := meta.RequiredSelector(s.Selector, p.Child("selector"))
	r.Add(errs)
	if sel != nil {
		r.Add(core.ValidateReplicaTemplate(&s.Template, sel, "ReplicaSet", p.Child("template")))
	}
	strategy(&r, &s.Strategy, p.Child("strategy"))
	r.NonNegative(p.Child("minReadySeconds"), int64(s.MinReadySeconds))
	if s.RevisionHistoryLimit != nil {
		r.NonNegative(p.Child("revisionHistoryLimit"), int64(*s.RevisionHistoryLimit))
	}
	if d := s.ProgressDeadlineSeconds; d != nil {
		r.NonNegative(p.Child("progressDeadlineSeconds"), int64(*d))
		if *d <= s.MinReadySeconds {
			r.Invalid(p.Child("progressDeadlineSeconds"), d, "must be greater than minReadySeconds")
		}
	}
	return r.Errs
}

func strategy(r *meta.Report, s *appsv1.DeploymentStrategy, p *field.Path) {
	at, u := p.Child("rollingUpdate"), s.RollingUpdate
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		r.ForbiddenIf(u != nil, at, "may not be specified when strategy `type` is 'Recreate'")
	case appsv1.RollingUpdateDeploymentStrategyType:
		if u == nil {
			r.Required(at, "this should be defaulted and never be nil")
			return
		}
		unavailable, surge := part(r, u.MaxUnavailable, at.Child("maxUnavailable")), part(r, u.MaxSurge, at.Child("maxSurge"))
		if unavailable == 0 && surge == 0 {
			r.Invalid(at.Child("maxUnavailable"), u.MaxUnavailable, "may not be 0 when `maxSurge` is 0")
		}
		if u.MaxUnavailable != nil && u.MaxUnavailable.Type == intstr.String && unavailable > 100 {
			r.Invalid(at.Child("maxUnavailable"), u.MaxUnavailable, "must not be greater than 100%")
		}
	default:
		r.Errs = append(r.Errs, field.NotSupported(p, s, []string{string(appsv1.RecreateDeploymentStrategyType), string(appsv1.RollingUpdateDeploymentStrategyType)}))
	}
}

// part judges a number or percentage, and returns either.
func part(r *meta.Report, v *intstr.IntOrString, p *field.Path) int {
	if v == nil {
		return 0
	}
	if v.Type == intstr.Int {
		r.NonNegative(p, int64(v.IntVal))
		return int(v.IntVal)
	}
	if msgs := validation.IsValidPercent(v.StrVal); len(msgs) > 0 {
		r.InvalidAll(p, *v, msgs)
		return v.IntValue()
	}
	n, _ := intstr.GetScaledValueFromIntOrPercent(v, 100, false)
	return n
}

func validateDeploymentStatus(d, old *appsv1.Deployment) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&d.ObjectMeta, &old.ObjectMeta)}
	s, p := &d.Status, statusPath
	r.Add(core.ValidateReplicaCounts(core.ReplicaCounts{Replicas: s.Replicas, Ready: s.ReadyReplicas, Available: s.AvailableReplicas,
		Terminating: s.TerminatingReplicas, ObservedGeneration: s.ObservedGeneration}, p))
	r.NonNegative(p.Child("updatedReplicas"), int64(s.UpdatedReplicas))
	r.NonNegative(p.Child("unavailableReplicas"), int64(s.UnavailableReplicas))
	if s.UpdatedReplicas > s.Replicas {
		r.Invalid(p.Child("updatedReplicas"), s.UpdatedReplicas, "cannot be greater than status.replicas")
	}
	if s.CollisionCount != nil {
		r.NonNegative(p.Child("collisionCount"), int64(*s.CollisionCount))
	}
	if was := old.Status.CollisionCount; was != nil && (s.CollisionCount == nil || *s.CollisionCount < *was) {
		r.Invalid(p.Child("collisionCount"), value(s.CollisionCount), "cannot be decremented")
	}
	return r.Errs
}
