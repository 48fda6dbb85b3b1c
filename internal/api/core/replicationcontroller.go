package core

import (
	"maps"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

// ReplicaColumns are those of the kinds that keep a number of pods.
var ReplicaColumns = []metav1.TableColumnDefinition{
	meta.NameColumn,
	meta.Number("Desired", "The number of desired replicas."),
	meta.Number("Current", "The number of observed replicas."),
	meta.Number("Ready", "The number of ready replicas."),
	meta.AgeColumn,
	meta.Wide("Containers", "Names of each container in the template."),
	meta.Wide("Images", "Images referenced by each container in the template."),
	meta.Wide("Selector", "The label query over pods that should match the replica count."),
}

func replicationControllerRow() *api.Kind {
	return api.Define(api.Spec[*corev1.ReplicationController]{
		GVK: gvk("ReplicationController"), Plural: "replicationcontrollers", Singular: "replicationcontroller",
		ShortNames: []string{"rc"}, Categories: []string{"all"},
		Namespaced: true, Prefix: "controllers", Generation: true, UnconditionalUpdate: true,
		OrphanByDefault: &api.Orphaning{}, // of v1 alone, kept for old clients
		List:            &corev1.ReplicationControllerList{},
		Default:         defaultReplicationController,
		PrepareStatus:   func(c, _ *corev1.ReplicationController) { defaultReplicationController(c) }, // labels may change
		PrepareCreate: func(c *corev1.ReplicationController) {
			c.Generation = 1
			dropTemplate(c.Spec.Template)
		},
		PrepareUpdate: func(c, _ *corev1.ReplicationController) { dropTemplate(c.Spec.Template) },
		Validate: func(c *corev1.ReplicationController) field.ErrorList {
			return append(meta.ValidateObjectMetaLongName(&c.ObjectMeta, true), validateControllerSpec(&c.Spec, specPath)...)
		},
		ValidateUpdate: func(c, old *corev1.ReplicationController) field.ErrorList {
			return append(meta.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta), validateControllerSpec(&c.Spec, specPath)...)
		},
		ValidateStatus: func(c, old *corev1.ReplicationController) field.ErrorList {
			s := &c.Status
			return append(meta.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta),
				ValidateReplicaCounts(ReplicaCounts{Replicas: s.Replicas, FullyLabeled: &s.FullyLabeledReplicas, Ready: s.ReadyReplicas, Available: s.AvailableReplicas, ObservedGeneration: s.ObservedGeneration}, statusPath)...)
		},
		Warnings: func(c *corev1.ReplicationController) []string {
			w := NameInPodsWarning(c.Name)
			if c.Spec.Template != nil {
				w = append(w, PodTemplateWarnings(specPath.Child("template"), c.Spec.Template)...)
			}
			return w
		},
		UpdateWarnings: func(c, old *corev1.ReplicationController) []string {
			if c.Generation == old.Generation || c.Spec.Template == nil {
				return nil
			}
			return PodTemplateWarnings(specPath.Child("template"), c.Spec.Template)
		},
		Fields: map[string]func(*corev1.ReplicationController) string{
			"status.replicas": func(c *corev1.ReplicationController) string { return strconv.Itoa(int(c.Status.Replicas)) },
		},
		Columns: ReplicaColumns,
		Row: func(c *corev1.ReplicationController, now time.Time) []any {
			var desired int32
			if c.Spec.Replicas != nil {
				desired = *c.Spec.Replicas
			}
			var list []corev1.Container
			if c.Spec.Template != nil {
				list = c.Spec.Template.Spec.Containers
			}
			names, images := meta.ContainersAndImages(list)
			return []any{c.Name, int64(desired), int64(c.Status.Replicas), int64(c.Status.ReadyReplicas), meta.Age(c.CreationTimestamp, now),
				names, images, labels.FormatLabels(c.Spec.Selector)}
		},
		ScaleGet: func(c *corev1.ReplicationController) (int32, int32, string) {
			var n int32
			if c.Spec.Replicas != nil {
				n = *c.Spec.Replicas
			}
			return n, c.Status.Replicas, labels.SelectorFromSet(c.Spec.Selector).String()
		},
		ScaleSet: func(c *corev1.ReplicationController, n int32) { c.Spec.Replicas = &n },
	})
}

func dropTemplate(t *corev1.PodTemplateSpec) {
	if t != nil {
		DropUnservedFields(&t.Spec)
	}
}

func defaultReplicationController(c *corev1.ReplicationController) {
	setDefaultPtr(&c.Spec.Replicas, 1)
	t := c.Spec.Template
	if t == nil {
		return
	}
	DefaultPodTemplateSpec(t)
	if t.Labels == nil {
		return
	}
	if len(c.Spec.Selector) == 0 {
		c.Spec.Selector = maps.Clone(t.Labels)
	}
	if len(c.Labels) == 0 {
		c.Labels = maps.Clone(t.Labels)
	}
}

func validateControllerSpec(s *corev1.ReplicationControllerSpec, p *field.Path) field.ErrorList {
	var r meta.Report
	r.NonNegative(p.Child("minReadySeconds"), int64(s.MinReadySeconds))
	r.RequiredIf(len(s.Selector) == 0, p.Child("selector"))
	if s.Replicas == nil {
		r.Required(p.Child("replicas"), "")
	} else {
		r.NonNegative(p.Child("replicas"), int64(*s.Replicas))
	}
	at := p.Child("template")
	t := s.Template
	if t == nil {
		r.Required(at, "")
		return r.Errs
	}
	r.Add(ValidateReplicaTemplate(t, labels.Set(s.Selector).AsSelector(), "ReplicationController", at))
	return r.Errs
}

// ValidateReplicaTemplate judges the template of a kind that keeps a number of
// pods running: it must match the selector, and its pods must never end.
func ValidateReplicaTemplate(t *corev1.PodTemplateSpec, sel labels.Selector, kind string, p *field.Path) field.ErrorList {
	var r meta.Report
	if !sel.Empty() && !sel.Matches(labels.Set(t.Labels)) {
		r.Invalid(p.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`")
	}
	r.Add(ValidatePodTemplateSpec(t, p))
	meta.Among(&r, p.Child("spec", "restartPolicy"), t.Spec.RestartPolicy, corev1.RestartPolicyAlways)
	r.ForbiddenIf(t.Spec.ActiveDeadlineSeconds != nil, p.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in "+kind+" is not Supported")
	return r.Errs
}

// ReplicaCounts is the status that kinds keeping a number of pods share.
type ReplicaCounts struct {
	Replicas, Ready, Available int32
	FullyLabeled, Terminating  *int32 // nil where the kind does not count them
	ObservedGeneration         int64
}

// ValidateReplicaCounts judges the counts: none negative, no part above its whole.
func ValidateReplicaCounts(s ReplicaCounts, p *field.Path) field.ErrorList {
	var r meta.Report
	r.NonNegative(p.Child("replicas"), int64(s.Replicas))
	r.NonNegative(p.Child("readyReplicas"), int64(s.Ready))
	r.NonNegative(p.Child("availableReplicas"), int64(s.Available))
	r.NonNegative(p.Child("observedGeneration"), s.ObservedGeneration)
	if s.Terminating != nil {
		r.NonNegative(p.Child("terminatingReplicas"), int64(*s.Terminating))
	}
	const msg = "cannot be greater than status.replicas"
	if n := s.FullyLabeled; n != nil {
		r.NonNegative(p.Child("fullyLabeledReplicas"), int64(*n))
		if *n > s.Replicas {
			r.Invalid(p.Child("fullyLabeledReplicas"), *n, msg)
		}
	}
	if s.Ready > s.Replicas {
		r.Invalid(p.Child("readyReplicas"), s.Ready, msg)
	}
	if s.Available > s.Replicas {
		r.Invalid(p.Child("availableReplicas"), s.Available, msg)
	}
	if s.Available > s.Ready {
		r.Invalid(p.Child("availableReplicas"), s.Available, "cannot be greater than readyReplicas")
	}
	return r.Errs
}
