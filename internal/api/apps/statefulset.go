package apps

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/api/meta"
)

func statefulSetRow() *api.Kind {
	return api.Define(api.Spec[*appsv1.StatefulSet]{
		GVK: gvk("StatefulSet"), Plural: "statefulsets", Singular: "statefulset", ShortNames: []string{"sts"}, Categories: []string{"all"},
		Namespaced: true, Generation: true, UnconditionalUpdate: true,
		List:    &appsv1.StatefulSetList{},
		Default: defaultStatefulSet,
		PrepareCreate: func(s *appsv1.StatefulSet) {
			s.Generation = 1
			dropUnserved(&s.Spec, false)
		},
		PrepareUpdate: func(s, old *appsv1.StatefulSet) {
			u := old.Spec.UpdateStrategy.RollingUpdate
			dropUnserved(&s.Spec, u != nil && u.MaxUnavailable != nil)
		},
		Validate: func(s *appsv1.StatefulSet) field.ErrorList {
			r := meta.Report{Errs: meta.ValidateObjectMeta(&s.ObjectMeta, true, meta.DNSLabel)}
			r.Add(validateStatefulSetSpec(&s.Spec, setOptions{}, specPath))
			return r.Errs
		},
		ValidateUpdate: validateStatefulSetUpdate,
		ValidateStatus: validateStatefulSetStatus,
		Warnings: func(s *appsv1.StatefulSet) []string {
			w := core.PodTemplateWarnings(specPath.Child("template"), &s.Spec.Template)
			return append(w, setWarnings(&s.Spec, "")...)
		},
		UpdateWarnings: func(s, old *appsv1.StatefulSet) (w []string) {
			if s.Generation != old.Generation {
				w = core.PodTemplateWarnings(specPath.Child("template"), &s.Spec.Template)
			}
			return append(w, setWarnings(&s.Spec, "Spec")...)
		},
		Restore: nameClaims,
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Ready", "Number of the pod with ready state"),
			meta.AgeColumn,
			meta.Wide("Containers", "Names of each container in the template."),
			meta.Wide("Images", "Images referenced by each container in the template."),
		},
		Row: func(s *appsv1.StatefulSet, now time.Time) []any {
			names, images := meta.ContainersAndImages(s.Spec.Template.Spec.Containers)
			return []any{s.Name, fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, value(s.Spec.Replicas)), meta.Age(s.CreationTimestamp, now), names, images}
		},
		ScaleGet: func(s *appsv1.StatefulSet) (int32, int32, string) {
			return value(s.Spec.Replicas), s.Status.Replicas, selectorString(s.Spec.Selector)
		},
		ScaleSet: func(s *appsv1.StatefulSet, n int32) { s.Spec.Replicas = &n },
	})
}

func defaultStatefulSet(set *appsv1.StatefulSet) {
	s := &set.Spec
	if s.PodManagementPolicy == "" {
		s.PodManagementPolicy = appsv1.OrderedReadyPodManagement
	}
	if u := &s.UpdateStrategy; u.Type == "" {
		u.Type = appsv1.RollingUpdateStatefulSetStrategyType
		setDefault(&u.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
	}
	if u := s.UpdateStrategy.RollingUpdate; u != nil {
		setDefault(&u.Partition, 0)
	}
	setDefault(&s.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	for _, p := range []*appsv1.PersistentVolumeClaimRetentionPolicyType{
		&s.PersistentVolumeClaimRetentionPolicy.WhenDeleted, &s.PersistentVolumeClaimRetentionPolicy.WhenScaled,
	} {
		if *p == "" {
			*p = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
		}
	}
	setDefault(&s.Replicas, defaultReplicas)
	setDefault(&s.RevisionHistoryLimit, defaultHistory)
	core.DefaultPodTemplateSpec(&s.Template)
	for i := range s.VolumeClaimTemplates {
		core.DefaultClaim(&s.VolumeClaimTemplates[i])
	}
	nameClaims(set)
}

// nameClaims says of the claims in a set what they are. The store does not keep
// it.
func nameClaims(set *appsv1.StatefulSet) {
	for i := range set.Spec.VolumeClaimTemplates {
		set.Spec.VolumeClaimTemplates[i].TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"}
	}
}

// setWarnings are those that do not depend on the template; under is where in a
// claim its specification is said to be.
func setWarnings(s *appsv1.StatefulSetSpec, under string) (w []string) {
	for i := range s.VolumeClaimTemplates {
		at := specPath.Child("volumeClaimTemplates").Index(i)
		if under != "" {
			at = at.Child(under)
		}
		w = append(w, core.ClaimWarnings(at, &s.VolumeClaimTemplates[i].Spec)...)
	}
	if n := s.RevisionHistoryLimit; n != nil && *n < 0 {
		w = append(w, "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
	}
	return w
}

// dropUnserved clears the fields of features that Kubernetes v1.36 has off by
// default. An object that has one from elsewhere, in use, keeps it.
func dropUnserved(s *appsv1.StatefulSetSpec, inUse bool) {
	core.DropUnservedFields(&s.Template.Spec)
	if u := s.UpdateStrategy.RollingUpdate; u != nil && !inUse {
		u.MaxUnavailable = nil
	}
}

// setOptions say what an update does not judge again.
type setOptions struct {
	update bool // the service's name and the claims, which cannot change
	broken bool // the template, where the old one was wrong already
}

func validateStatefulSetSpec(s *appsv1.StatefulSetSpec, o setOptions, p *field.Path) field.ErrorList {
	var r meta.Report
	managementAndStrategy(&r, s, p)
	if rp := s.PersistentVolumeClaimRetentionPolicy; rp != nil {
		at := p.Child("persistentVolumeClaimRetentionPolicy")
		for name, v := range map[string]appsv1.PersistentVolumeClaimRetentionPolicyType{"whenDeleted": rp.WhenDeleted, "whenScaled": rp.WhenScaled} {
			meta.Among(&r, at.Child(name), v, appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType)
		}
	}
	if !o.update {
		for i := range s.VolumeClaimTemplates {
			r.Add(core.ValidateClaimSpec(&s.VolumeClaimTemplates[i].Spec, p.Child("volumeClaimTemplates").Index(i).Child("spec")))
		}
		if s.ServiceName != "" {
			r.Add(meta.Label1123(s.ServiceName, p.Child("serviceName")))
		}
	}
	r.NonNegative(p.Child("replicas"), int64(value(s.Replicas)))
	r.NonNegative(p.Child("minReadySeconds"), int64(s.MinReadySeconds))
	if s.Ordinals != nil {
		r.NonNegative(p.Child("ordinals.start"), int64(s.Ordinals.Start))
	}
	at := p.Child("selector")
	if s.Selector == nil {
		r.Required(at, "")
	} else {
		r.Add(meta.Selector(s.Selector, at))
		if len(s.Selector.MatchLabels)+len(s.Selector.MatchExpressions) == 0 {
			r.Invalid(at, s.Selector, "empty selector is invalid for statefulset")
		}
	}
	template := p.Child("template")
	if sel, err := metav1.LabelSelectorAsSelector(s.Selector); err != nil {
		r.Invalid(at, s.Selector, "")
	} else {
		setTemplate(&r, s, sel, o, template)
	}
	meta.Among(&r, template.Child("spec", "restartPolicy"), s.Template.Spec.RestartPolicy, corev1.RestartPolicyAlways)
	r.ForbiddenIf(s.Template.Spec.ActiveDeadlineSeconds != nil, template.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in StatefulSet is not Supported")
	return r.Errs
}

func managementAndStrategy(r *meta.Report, s *appsv1.StatefulSetSpec, p *field.Path) {
	switch s.PodManagementPolicy {
	case "":
		r.Required(p.Child("podManagementPolicy"), "")
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
	default:
		r.Invalid(p.Child("podManagementPolicy"), s.PodManagementPolicy, fmt.Sprintf("must be '%s' or '%s'", appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement))
	}
	at, u := p.Child("updateStrategy"), s.UpdateStrategy.RollingUpdate
	switch s.UpdateStrategy.Type {
	case "":
		r.Required(at, "")
	case appsv1.OnDeleteStatefulSetStrategyType:
		if u != nil {
			r.Invalid(at.Child("rollingUpdate"), u, fmt.Sprintf("only allowed for updateStrategy '%s'", appsv1.RollingUpdateStatefulSetStrategyType))
		}
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if u == nil {
			return
		}
		at = at.Child("rollingUpdate")
		r.NonNegative(at.Child("partition"), int64(value(u.Partition)))
		if m := u.MaxUnavailable; m != nil { // of an old object alone
			if part(r, m, at.Child("maxUnavailable")) == 0 {
				r.Invalid(at.Child("maxUnavailable"), *m, "cannot be 0")
			}
			notOverAll(r, m, at.Child("maxUnavailable"))
		}
	default:
		r.Invalid(at, s.UpdateStrategy, fmt.Sprintf("must be '%s' or '%s'", appsv1.RollingUpdateStatefulSetStrategyType, appsv1.OnDeleteStatefulSetStrategyType))
	}
}

// notOverAll refuses percentages above 100.
func notOverAll(r *meta.Report, v *intstr.IntOrString, p *field.Path) {
	if v == nil || v.Type != intstr.String {
		return
	}
	if n, err := intstr.GetScaledValueFromIntOrPercent(v, 100, false); err == nil && n > 100 {
		r.Invalid(p, *v, "must not be greater than 100%")
	}
}

// setTemplate judges the template as the pods will have it: with a volume for
// each claim, and with names that the controller gives.
func setTemplate(r *meta.Report, s *appsv1.StatefulSetSpec, sel labels.Selector, o setOptions, p *field.Path) {
	t := s.Template.DeepCopy()
	t.Spec.Hostname, t.Spec.Subdomain = "", ""
	if len(s.VolumeClaimTemplates) > 0 {
		var volumes []corev1.Volume
		made := map[string]bool{}
		for i := range s.VolumeClaimTemplates {
			name := s.VolumeClaimTemplates[i].Name
			if made[name] {
				continue
			}
			made[name] = true
			volumes = append(volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
			}})
		}
		for _, v := range t.Spec.Volumes {
			if !made[v.Name] {
				volumes = append(volumes, v)
			}
		}
		t.Spec.Volumes = volumes
	}
	if !sel.Empty() && !sel.Matches(labels.Set(t.Labels)) {
		r.Invalid(p.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`")
	}
	if !o.broken {
		r.Add(core.ValidatePodTemplateSpec(t, p))
	}
	r.Add(core.ValidateTemplateMeta(t, p))
}

func validateStatefulSetUpdate(set, old *appsv1.StatefulSet) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&set.ObjectMeta, &old.ObjectMeta)}
	o := setOptions{update: true}
	o.broken = len(validateStatefulSetSpec(&old.Spec, o, nil)) > 0
	r.Add(validateStatefulSetSpec(&set.Spec, o, specPath))
	rest, was := set.Spec, &old.Spec
	rest.Replicas, rest.Template, rest.UpdateStrategy, rest.MinReadySeconds = was.Replicas, was.Template, was.UpdateStrategy, was.MinReadySeconds
	rest.Ordinals, rest.RevisionHistoryLimit, rest.PersistentVolumeClaimRetentionPolicy = was.Ordinals, was.RevisionHistoryLimit, was.PersistentVolumeClaimRetentionPolicy
	r.ForbiddenIf(!equality.Semantic.DeepEqual(rest, *was), specPath, "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "+
		"'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden")
	return r.Errs
}

func validateStatefulSetStatus(set, old *appsv1.StatefulSet) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&set.ObjectMeta, &old.ObjectMeta)}
	s, p := &set.Status, statusPath
	r.NonNegative(p.Child("replicas"), int64(s.Replicas))
	for _, n := range []struct {
		name string
		v    int32
	}{{"readyReplicas", s.ReadyReplicas}, {"currentReplicas", s.CurrentReplicas}, {"updatedReplicas", s.UpdatedReplicas}, {"availableReplicas", s.AvailableReplicas}} {
		r.NonNegative(p.Child(n.name), int64(n.v))
		if n.v > s.Replicas {
			r.Invalid(p.Child(n.name), n.v, "cannot be greater than status.replicas")
		}
	}
	r.NonNegative(p.Child("observedGeneration"), s.ObservedGeneration)
	if s.AvailableReplicas > s.ReadyReplicas {
		r.Invalid(p.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than status.readyReplicas")
	}
	collisions(&r, s.CollisionCount, old.Status.CollisionCount, p.Child("collisionCount"))
	return r.Errs
}

// collisions judges the count of hash collisions, which names are made of.
func collisions(r *meta.Report, n, old *int32, p *field.Path) {
	r.NonNegative(p, int64(value(n)))
	if old != nil && (n == nil || *n < *old) {
		r.Invalid(p, value(n), "cannot be decremented")
	}
}
