package apps

import (
	"maps"
	"strconv"
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

func daemonSetRow() *api.Kind {
	return api.Define(api.Spec[*appsv1.DaemonSet]{
		GVK: gvk("DaemonSet"), Plural: "daemonsets", Singular: "daemonset", ShortNames: []string{"ds"}, Categories: []string{"all"},
		Namespaced: true, Generation: true, UnconditionalUpdate: true,
		List:    &appsv1.DaemonSetList{},
		Default: defaultDaemonSet,
		PrepareCreate: func(d *appsv1.DaemonSet) {
			d.Generation = 1
			if n, err := templateGeneration(d); err == nil {
				setTemplateGeneration(d, max(n, 1))
			}
			core.DropUnservedFields(&d.Spec.Template.Spec)
		},
		PrepareUpdate: func(d, old *appsv1.DaemonSet) {
			core.DropUnservedFields(&d.Spec.Template.Spec)
			n, _ := templateGeneration(old)
			if !equality.Semantic.DeepEqual(d.Spec.Template, old.Spec.Template) {
				n++
			}
			setTemplateGeneration(d, n)
		},
		// The annotation stands for a field of the specification.
		PrepareStatus: func(d, old *appsv1.DaemonSet) {
			n, _ := templateGeneration(old)
			setTemplateGeneration(d, n)
		},
		Validate: func(d *appsv1.DaemonSet) field.ErrorList {
			r := meta.Report{Errs: meta.ValidateObjectMeta(&d.ObjectMeta, true, meta.DNSSubdomain)}
			r.Add(validateDaemonSetSpec(d))
			return r.Errs
		},
		ValidateUpdate: func(d, old *appsv1.DaemonSet) field.ErrorList {
			r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&d.ObjectMeta, &old.ObjectMeta)}
			r.Add(meta.Immutable(d.Spec.Selector, old.Spec.Selector, specPath.Child("selector")))
			r.Add(validateDaemonSetSpec(d))
			return r.Errs
		},
		ValidateStatus: validateDaemonSetStatus,
		Warnings: func(d *appsv1.DaemonSet) []string {
			return core.PodTemplateWarnings(specPath.Child("template"), &d.Spec.Template)
		},
		UpdateWarnings: func(d, old *appsv1.DaemonSet) []string {
			if d.Annotations[appsv1.DeprecatedTemplateGeneration] == old.Annotations[appsv1.DeprecatedTemplateGeneration] {
				return nil
			}
			return core.PodTemplateWarnings(specPath.Child("template"), &d.Spec.Template)
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Number("Desired", "The number of nodes that should be running the daemon pod."),
			meta.Number("Current", "The number of nodes that run at least one of the pods they should."),
			meta.Number("Ready", "The number of nodes that have one of the pods they should, and ready."),
			meta.Number("Up-to-date", "The number of nodes that run the updated pod."),
			meta.Number("Available", "The number of nodes with a pod ready for at least minReadySeconds."),
			meta.Text("Node Selector", "The labels a node must have to run the pod."),
			meta.AgeColumn,
			meta.Wide("Containers", "Names of each container in the template."),
			meta.Wide("Images", "Images referenced by each container in the template."),
			meta.Wide("Selector", "The label query over its pods."),
		},
		Row: func(d *appsv1.DaemonSet, now time.Time) []any {
			s := &d.Status
			names, images := meta.ContainersAndImages(d.Spec.Template.Spec.Containers)
			return []any{d.Name, int64(s.DesiredNumberScheduled), int64(s.CurrentNumberScheduled), int64(s.NumberReady), int64(s.UpdatedNumberScheduled),
				int64(s.NumberAvailable), labels.FormatLabels(d.Spec.Template.Spec.NodeSelector), meta.Age(d.CreationTimestamp, now),
				names, images, metav1.FormatLabelSelector(d.Spec.Selector)}
		},
	})
}

func defaultDaemonSet(d *appsv1.DaemonSet) {
	s := &d.Spec
	if s.UpdateStrategy.Type == "" {
		s.UpdateStrategy.Type = appsv1.RollingUpdateDaemonSetStrategyType
	}
	if s.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		setDefault(&s.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		setDefault(&s.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
	}
	if u := s.UpdateStrategy.RollingUpdate; u != nil {
		setDefault(&u.MaxUnavailable, intstr.FromInt32(0))
		setDefault(&u.MaxSurge, intstr.FromInt32(0))
	}
	setDefault(&s.RevisionHistoryLimit, defaultHistory)
	core.DefaultPodTemplateSpec(&s.Template)
	if n, err := templateGeneration(d); err == nil {
		setTemplateGeneration(d, n)
	}
}

// templateGeneration counts the changes of the template. Before v1 it was a
// field; v1 keeps it as an annotation.
func templateGeneration(d *appsv1.DaemonSet) (int64, error) {
	v, ok := d.Annotations[appsv1.DeprecatedTemplateGeneration]
	if !ok {
		return 0, nil
	}
	return strconv.ParseInt(v, 10, 64)
}

func setTemplateGeneration(d *appsv1.DaemonSet, n int64) {
	v := strconv.FormatInt(n, 10)
	if d.Annotations[appsv1.DeprecatedTemplateGeneration] == v {
		return
	}
	a := make(map[string]string, len(d.Annotations)+1)
	maps.Copy(a, d.Annotations)
	a[appsv1.DeprecatedTemplateGeneration] = v
	d.Annotations = a
}

func validateDaemonSetSpec(d *appsv1.DaemonSet) field.ErrorList {
	var r meta.Report
	s, p := &d.Spec, specPath
	if n, err := templateGeneration(d); err != nil {
		r.Invalid(field.NewPath("metadata", "annotations").Key(appsv1.DeprecatedTemplateGeneration), d.Annotations[appsv1.DeprecatedTemplateGeneration], err.Error())
	} else {
		r.NonNegative(p.Child("templateGeneration"), n)
	}
	r.Add(meta.Selector(s.Selector, p.Child("selector")))
	template := p.Child("template")
	if sel, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil && !sel.Matches(labels.Set(s.Template.Labels)) {
		r.Invalid(template.Child("metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`")
	}
	if s.Selector != nil && len(s.Selector.MatchLabels)+len(s.Selector.MatchExpressions) == 0 {
		r.Invalid(p.Child("selector"), s.Selector, "empty selector is invalid for daemonset")
	}
	r.Add(core.ValidatePodTemplateSpec(&s.Template, template))
	meta.Among(&r, template.Child("spec", "restartPolicy"), s.Template.Spec.RestartPolicy, corev1.RestartPolicyAlways)
	r.ForbiddenIf(s.Template.Spec.ActiveDeadlineSeconds != nil, template.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in DaemonSet is not Supported")
	r.NonNegative(p.Child("minReadySeconds"), int64(s.MinReadySeconds))
	daemonStrategy(&r, &s.UpdateStrategy, p.Child("updateStrategy"))
	r.NonNegative(p.Child("revisionHistoryLimit"), int64(value(s.RevisionHistoryLimit)))
	return r.Errs
}

func daemonStrategy(r *meta.Report, s *appsv1.DaemonSetUpdateStrategy, p *field.Path) {
	switch s.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
	case appsv1.RollingUpdateDaemonSetStrategyType:
		u, p := s.RollingUpdate, p.Child("rollingUpdate")
		if u == nil {
			r.Required(p, "")
			return
		}
		unavailable, surge := part(r, u.MaxUnavailable, p.Child("maxUnavailable")), part(r, u.MaxSurge, p.Child("maxSurge"))
		notOverAll(r, u.MaxUnavailable, p.Child("maxUnavailable"))
		notOverAll(r, u.MaxSurge, p.Child("maxSurge"))
		switch {
		case unavailable != 0 && surge != 0:
			r.Invalid(p.Child("maxSurge"), u.MaxSurge, "may not be set when maxUnavailable is non-zero")
		case unavailable == 0 && surge == 0:
			r.Required(p.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0")
		}
	default:
		r.Errs = append(r.Errs, field.NotSupported(p, s, []string{string(appsv1.RollingUpdateDaemonSetStrategyType), string(appsv1.OnDeleteDaemonSetStrategyType)}))
	}
}

func validateDaemonSetStatus(d, old *appsv1.DaemonSet) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&d.ObjectMeta, &old.ObjectMeta)}
	s, p := &d.Status, statusPath
	for _, n := range []struct {
		name string
		v    int64
	}{
		{"currentNumberScheduled", int64(s.CurrentNumberScheduled)}, {"numberMisscheduled", int64(s.NumberMisscheduled)},
		{"desiredNumberScheduled", int64(s.DesiredNumberScheduled)}, {"numberReady", int64(s.NumberReady)}, {"observedGeneration", s.ObservedGeneration},
		{"updatedNumberScheduled", int64(s.UpdatedNumberScheduled)}, {"numberAvailable", int64(s.NumberAvailable)}, {"numberUnavailable", int64(s.NumberUnavailable)},
	} {
		r.NonNegative(p.Child(n.name), n.v)
	}
	collisions(&r, s.CollisionCount, old.Status.CollisionCount, p.Child("collisionCount"))
	return r.Errs
}
