package legacy

import (
	"math"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	appsv1beta1 "k8s.io/api/apps/v1beta1"
	appsv1beta2 "k8s.io/api/apps/v1beta2"
	batchv1 "k8s.io/api/batch/v1"
	batchv1beta1 "k8s.io/api/batch/v1beta1"
	extensionsv1beta1 "k8s.io/api/extensions/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Defaults of extensions/v1beta1 and apps/v1beta1 that differ from today's.
const (
	unlimited      = math.MaxInt32 // of history and of progress
	oldHistory     = 2
	oldRollingPart = 1
)

func workloads() []old {
	deployment, daemonSet := appsv1.SchemeGroupVersion.WithKind("Deployment"), appsv1.SchemeGroupVersion.WithKind("DaemonSet")
	replicaSet, statefulSet := appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), appsv1.SchemeGroupVersion.WithKind("StatefulSet")
	revision := appsv1.SchemeGroupVersion.WithKind("ControllerRevision")
	cronJob := batchv1.SchemeGroupVersion.WithKind("CronJob")
	ext, b1, b2 := extensionsv1beta1.SchemeGroupVersion, appsv1beta1.SchemeGroupVersion, appsv1beta2.SchemeGroupVersion
	return []old{
		version(spec[*appsv1beta2.Deployment, *appsv1.Deployment]{gvk: b2.WithKind("Deployment"), of: deployment, list: &appsv1beta2.DeploymentList{}}),
		version(spec[*appsv1beta2.DaemonSet, *appsv1.DaemonSet]{gvk: b2.WithKind("DaemonSet"), of: daemonSet, list: &appsv1beta2.DaemonSetList{}}),
		version(spec[*appsv1beta2.ReplicaSet, *appsv1.ReplicaSet]{gvk: b2.WithKind("ReplicaSet"), of: replicaSet, list: &appsv1beta2.ReplicaSetList{}}),
		version(spec[*appsv1beta2.StatefulSet, *appsv1.StatefulSet]{gvk: b2.WithKind("StatefulSet"), of: statefulSet, list: &appsv1beta2.StatefulSetList{}}),
		version(spec[*appsv1beta2.ControllerRevision, *appsv1.ControllerRevision]{gvk: b2.WithKind("ControllerRevision"), of: revision, list: &appsv1beta2.ControllerRevisionList{}}),

		version(spec[*appsv1beta1.Deployment, *appsv1.Deployment]{
			gvk: b1.WithKind("Deployment"), of: deployment, list: &appsv1beta1.DeploymentList{},
			defaults: func(d *appsv1beta1.Deployment) {
				labelled(&d.ObjectMeta, &d.Spec.Selector, d.Spec.Template.Labels)
				fill(&d.Spec.RevisionHistoryLimit, oldHistory)
			},
			toKind: func(from *appsv1beta1.Deployment, to *appsv1.Deployment) {
				if r := from.Spec.RollbackTo; r != nil {
					note(&to.ObjectMeta, appsv1.DeprecatedRollbackTo, r.Revision)
				}
			},
			fromKind: func(from *appsv1.Deployment, to *appsv1beta1.Deployment) {
				if n, ok := noted(&to.ObjectMeta, appsv1.DeprecatedRollbackTo); ok {
					to.Spec.RollbackTo = &appsv1beta1.RollbackConfig{Revision: n}
				}
			},
		}),
		version(spec[*appsv1beta1.StatefulSet, *appsv1.StatefulSet]{
			gvk: b1.WithKind("StatefulSet"), of: statefulSet, list: &appsv1beta1.StatefulSetList{},
			defaults: func(s *appsv1beta1.StatefulSet) {
				labelled(&s.ObjectMeta, &s.Spec.Selector, s.Spec.Template.Labels)
				if s.Spec.UpdateStrategy.Type == "" {
					s.Spec.UpdateStrategy.Type = appsv1beta1.OnDeleteStatefulSetStrategyType
				}
			},
			fromKind: func(from *appsv1.StatefulSet, to *appsv1beta1.StatefulSet) {
				fill(&to.Status.ObservedGeneration, from.Status.ObservedGeneration)
			},
		}),
		version(spec[*appsv1beta1.ControllerRevision, *appsv1.ControllerRevision]{gvk: b1.WithKind("ControllerRevision"), of: revision, list: &appsv1beta1.ControllerRevisionList{}}),

		version(spec[*extensionsv1beta1.Deployment, *appsv1.Deployment]{
			gvk: ext.WithKind("Deployment"), of: deployment, list: &extensionsv1beta1.DeploymentList{}, defaults: defaultExtensionsDeployment,
			toKind: func(from *extensionsv1beta1.Deployment, to *appsv1.Deployment) {
				if r := from.Spec.RollbackTo; r != nil {
					note(&to.ObjectMeta, appsv1.DeprecatedRollbackTo, r.Revision)
				}
			},
			fromKind: func(from *appsv1.Deployment, to *extensionsv1beta1.Deployment) {
				if n, ok := noted(&to.ObjectMeta, appsv1.DeprecatedRollbackTo); ok {
					to.Spec.RollbackTo = &extensionsv1beta1.RollbackConfig{Revision: n}
				}
			},
		}),
		version(spec[*extensionsv1beta1.DaemonSet, *appsv1.DaemonSet]{
			gvk: ext.WithKind("DaemonSet"), of: daemonSet, list: &extensionsv1beta1.DaemonSetList{},
			defaults: func(d *extensionsv1beta1.DaemonSet) {
				labelled(&d.ObjectMeta, &d.Spec.Selector, d.Spec.Template.Labels)
				if d.Spec.UpdateStrategy.Type == "" {
					d.Spec.UpdateStrategy.Type = extensionsv1beta1.OnDeleteDaemonSetStrategyType
				}
			},
			toKind: func(from *extensionsv1beta1.DaemonSet, to *appsv1.DaemonSet) {
				if from.Spec.TemplateGeneration != 0 {
					note(&to.ObjectMeta, appsv1.DeprecatedTemplateGeneration, from.Spec.TemplateGeneration)
				}
			},
			fromKind: func(from *appsv1.DaemonSet, to *extensionsv1beta1.DaemonSet) {
				to.Spec.TemplateGeneration, _ = noted(&to.ObjectMeta, appsv1.DeprecatedTemplateGeneration)
			},
		}),
		version(spec[*extensionsv1beta1.ReplicaSet, *appsv1.ReplicaSet]{
			gvk: ext.WithKind("ReplicaSet"), of: replicaSet, list: &extensionsv1beta1.ReplicaSetList{},
			defaults: func(r *extensionsv1beta1.ReplicaSet) {
				labelled(&r.ObjectMeta, &r.Spec.Selector, r.Spec.Template.Labels)
			},
		}),

		version(spec[*batchv1beta1.CronJob, *batchv1.CronJob]{gvk: batchv1beta1.SchemeGroupVersion.WithKind("CronJob"), of: cronJob, list: &batchv1beta1.CronJobList{}}),
		version(spec[*batchv1beta1.CronJob, *batchv1.CronJob]{
			gvk: schema.GroupVersionKind{Group: "batch", Version: "v2alpha1", Kind: "CronJob"}, of: cronJob, list: &batchv1beta1.CronJobList{},
			deprecated: 8, removed: 21,
		}),
	}
}

func defaultExtensionsDeployment(d *extensionsv1beta1.Deployment) {
	labelled(&d.ObjectMeta, &d.Spec.Selector, d.Spec.Template.Labels)
	fill(&d.Spec.RevisionHistoryLimit, unlimited)
	fill(&d.Spec.ProgressDeadlineSeconds, unlimited)
	s := &d.Spec.Strategy
	if s.Type == "" {
		s.Type = extensionsv1beta1.RollingUpdateDeploymentStrategyType
	}
	if s.Type != extensionsv1beta1.RollingUpdateDeploymentStrategyType && s.RollingUpdate == nil {
		return
	}
	if s.RollingUpdate == nil {
		s.RollingUpdate = &extensionsv1beta1.RollingUpdateDeployment{}
	}
	fill(&s.RollingUpdate.MaxUnavailable, intstr.FromInt32(oldRollingPart))
	fill(&s.RollingUpdate.MaxSurge, intstr.FromInt32(oldRollingPart))
}

// labelled takes an object's selector and labels from its pods', where it has
// none of its own.
func labelled(m *metav1.ObjectMeta, sel **metav1.LabelSelector, pods map[string]string) {
	if pods == nil {
		return
	}
	if *sel == nil {
		*sel = &metav1.LabelSelector{MatchLabels: pods}
	}
	if len(m.Labels) == 0 {
		m.Labels = pods
	}
}

func fill[T any](f **T, v T) {
	if *f == nil {
		*f = &v
	}
}

// note keeps in an annotation what today's kind has no field for, noted takes it
// out again.
func note(m *metav1.ObjectMeta, key string, n int64) {
	metav1.SetMetaDataAnnotation(m, key, strconv.FormatInt(n, 10))
}

func noted(m *metav1.ObjectMeta, key string) (int64, bool) {
	n, err := strconv.ParseInt(m.Annotations[key], 10, 64)
	if err != nil {
		return 0, false
	}
	delete(m.Annotations, key)
	return n, true
}
