package apps

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/api/meta"
)

func replicaSetRow() *api.Kind {
	return api.Define(api.Spec[*appsv1.ReplicaSet]{
		GVK: gvk("ReplicaSet"), Plural: "replicasets", Singular: "replicaset", ShortNames: []string{"rs"}, Categories: []string{"all"},
		Namespaced: true, Generation: true, UnconditionalUpdate: true,
		List: &appsv1.ReplicaSetList{},
		Default: func(rs *appsv1.ReplicaSet) {
			setDefault(&rs.Spec.Replicas, defaultReplicas)
			core.DefaultPodTemplateSpec(&rs.Spec.Template)
		},
		PrepareCreate: func(rs *appsv1.ReplicaSet) {
			rs.Generation = 1
			core.DropUnservedFields(&rs.Spec.Template.Spec)
		},
		PrepareUpdate: func(rs, _ *appsv1.ReplicaSet) { core.DropUnservedFields(&rs.Spec.Template.Spec) },
		Validate: func(rs *appsv1.ReplicaSet) field.ErrorList {
			return append(meta.ValidateObjectMeta(&rs.ObjectMeta, true, meta.DNSSubdomain), validateReplicaSetSpec(&rs.Spec, specPath)...)
		},
		ValidateUpdate: func(rs, old *appsv1.ReplicaSet) field.ErrorList {
			r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&rs.ObjectMeta, &old.ObjectMeta)}
			r.Add(validateReplicaSetSpec(&rs.Spec, specPath))
			r.Add(meta.Immutable(rs.Spec.Selector, old.Spec.Selector, specPath.Child("selector")))
			return r.Errs
		},
		ValidateStatus: func(rs, old *appsv1.ReplicaSet) field.ErrorList {
			s := &rs.Status
			return append(meta.ValidateObjectMetaUpdate(&rs.ObjectMeta, &old.ObjectMeta), core.ValidateReplicaCounts(core.ReplicaCounts{
				Replicas: s.Replicas, FullyLabeled: &s.FullyLabeledReplicas, Ready: s.ReadyReplicas, Available: s.AvailableReplicas,
				Terminating: s.TerminatingReplicas, ObservedGeneration: s.ObservedGeneration}, statusPath)...)
		},
		Warnings: func(rs *appsv1.ReplicaSet) []string {
			return append(core.NameInPodsWarning(rs.Name), core.PodTemplateWarnings(specPath.Child("template"), &rs.Spec.Template)...)
		},
		UpdateWarnings: func(rs, old *appsv1.ReplicaSet) []string {
			if rs.Generation == old.Generation {
				return nil
			}
			return core.PodTemplateWarnings(specPath.Child("template"), &rs.Spec.Template)
		},
		Columns: core.ReplicaColumns,
		Row: func(rs *appsv1.ReplicaSet, now time.Time) []any {
			names, images := meta.ContainersAndImages(rs.Spec.Template.Spec.Containers)
			return []any{rs.Name, int64(value(rs.Spec.Replicas)), int64(rs.Status.Replicas), int64(rs.Status.ReadyReplicas), meta.Age(rs.CreationTimestamp, now),
				names, images, metav1.FormatLabelSelector(rs.Spec.Selector)}
		},
		ScaleGet: func(rs *appsv1.ReplicaSet) (int32, int32, string) {
			return value(rs.Spec.Replicas), rs.Status.Replicas, selectorString(rs.Spec.Selector)
		},
		ScaleSet: func(rs *appsv1.ReplicaSet, n int32) { rs.Spec.Replicas = &n },
	})
}

func validateReplicaSetSpec(s *appsv1.ReplicaSetSpec, p *field.Path) field.ErrorList {
	var r meta.Report
	r.NonNegative(p.Child("replicas"), int64(value(s.Replicas)))
	r.NonNegative(p.Child("minReadySeconds"), int64(s.MinReadySeconds))
	sel, errs := meta.RequiredSelector(s.Selector, p.Child("selector"))
	r.Add(errs)
	if sel != nil {
		r.Add(core.ValidateReplicaTemplate(&s.Template, sel, "ReplicaSet", p.Child("template")))
	}
	return r.Errs
}
