package core

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

func namespaceRow() *api.Kind {
	return api.Define(api.Spec[*corev1.Namespace]{
		GVK: gvk("Namespace"), Plural: "namespaces", Singular: "namespace", ShortNames: []string{"ns"},
		UnconditionalUpdate: true,
		Verbs:               []string{"create", "delete", "get", "list", "patch", "update", "watch"},
		List:                &corev1.NamespaceList{},
		Default: func(n *corev1.Namespace) {
			labelNamespace(n)
			setDefault(&n.Status.Phase, corev1.NamespaceActive)
		},
		PrepareCreate: func(n *corev1.Namespace) {
			n.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
			if !slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes) {
				n.Spec.Finalizers = append(n.Spec.Finalizers, corev1.FinalizerKubernetes)
			}
			labelNamespace(n)
		},
		// Finalizers change through the finalize subresource alone.
		PrepareUpdate: func(n, old *corev1.Namespace) {
			n.Spec.Finalizers = slices.Clone(old.Spec.Finalizers)
			labelNamespace(n)
		},
		Validate: validateNamespace,
		ValidateUpdate: func(n, old *corev1.Namespace) field.ErrorList {
			return append(validateNamespace(n), meta.ValidateObjectMetaUpdate(&n.ObjectMeta, &old.ObjectMeta)...)
		},
		ValidateStatus: func(n, old *corev1.Namespace) field.ErrorList {
			r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&n.ObjectMeta, &old.ObjectMeta)}
			phase := field.NewPath("status", "Phase")
			if n.DeletionTimestamp.IsZero() && n.Status.Phase != corev1.NamespaceActive {
				r.Invalid(phase, n.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty")
			}
			if !n.DeletionTimestamp.IsZero() && n.Status.Phase != corev1.NamespaceTerminating {
				r.Invalid(phase, n.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")
			}
			return r.Errs
		},
		Parts: map[string]api.PartSpec[*corev1.Namespace]{"finalize": {
			Verbs: []string{"update"},
			Settle: func(n, old *corev1.Namespace) {
				n.Status = *old.Status.DeepCopy()
				labelNamespace(n)
			},
			Validate: ValidateNamespaceFinalize,
		}},
		Fields: map[string]func(*corev1.Namespace) string{
			"status.phase": func(n *corev1.Namespace) string { return string(n.Status.Phase) },
		},
		Terminating: func(n *corev1.Namespace, _ time.Time) { n.Status.Phase = corev1.NamespaceTerminating },
		Columns:     []metav1.TableColumnDefinition{meta.NameColumn, meta.Text("Status", "The status of the namespace."), meta.AgeColumn},
		Row: func(n *corev1.Namespace, now time.Time) []any {
			return []any{n.Name, string(n.Status.Phase), meta.Age(n.CreationTimestamp, now)}
		},
	})
}

// labelNamespace keeps the label that selectors find a namespace's name by.
func labelNamespace(n *corev1.Namespace) {
	if n.Name == "" {
		return
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelMetadataName] = n.Name
}

func validateNamespace(n *corev1.Namespace) field.ErrorList {
	errs := meta.ValidateObjectMeta(&n.ObjectMeta, false, meta.Namespace)
	for _, f := range n.Spec.Finalizers {
		errs = append(errs, meta.FinalizerName(string(f), field.NewPath("spec", "finalizers"))...)
	}
	return errs
}

// ValidateNamespaceFinalize judges a change through the finalize subresource.
func ValidateNamespaceFinalize(n, old *corev1.Namespace) field.ErrorList {
	errs := meta.ValidateObjectMetaUpdate(&n.ObjectMeta, &old.ObjectMeta)
	for i, f := range n.Spec.Finalizers {
		errs = append(errs, meta.FinalizerName(string(f), field.NewPath("spec", "finalizers").Index(i))...)
	}
	return errs
}
