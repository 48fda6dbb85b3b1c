package core

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

const enforceMountableSecrets = "kubernetes.io/enforce-mountable-secrets"

func serviceAccountRow() *api.Kind {
	validate := func(s *corev1.ServiceAccount) field.ErrorList {
		return meta.ValidateObjectMeta(&s.ObjectMeta, true, meta.ServiceAccount)
	}
	// Only the names of the secrets mean anything.
	namesOnly := func(s *corev1.ServiceAccount) {
		for i := range s.Secrets {
			s.Secrets[i] = corev1.ObjectReference{Name: s.Secrets[i].Name}
		}
	}
	warnings := func(s *corev1.ServiceAccount) []string {
		if _, ok := s.Annotations[enforceMountableSecrets]; !ok {
			return nil
		}
		return []string{fmt.Sprintf("metadata.annotations[%s]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets", enforceMountableSecrets)}
	}
	return api.Define(api.Spec[*corev1.ServiceAccount]{
		GVK: gvk("ServiceAccount"), Plural: "serviceaccounts", Singular: "serviceaccount", ShortNames: []string{"sa"},
		Namespaced: true, UnconditionalUpdate: true,
		List:          &corev1.ServiceAccountList{},
		PrepareCreate: namesOnly,
		PrepareUpdate: func(s, _ *corev1.ServiceAccount) { namesOnly(s) },
		Validate:      validate,
		ValidateUpdate: func(s, old *corev1.ServiceAccount) field.ErrorList {
			return append(meta.ValidateObjectMetaUpdate(&s.ObjectMeta, &old.ObjectMeta), validate(s)...)
		},
		Warnings: warnings,
		UpdateWarnings: func(s, old *corev1.ServiceAccount) []string {
			if _, had := old.Annotations[enforceMountableSecrets]; had {
				return nil
			}
			return warnings(s)
		},
		Columns: []metav1.TableColumnDefinition{meta.NameColumn, meta.AgeColumn},
		Row: func(s *corev1.ServiceAccount, now time.Time) []any {
			return []any{s.Name, meta.Age(s.CreationTimestamp, now)}
		},
	})
}
