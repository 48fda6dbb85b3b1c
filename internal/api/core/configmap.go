package core

import (
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

const frozen = "field is immutable when `immutable` is set"

func configMapRow() *api.Kind {
	return api.Define(api.Spec[*corev1.ConfigMap]{
		GVK: gvk("ConfigMap"), Plural: "configmaps", Singular: "configmap", ShortNames: []string{"cm"},
		Namespaced: true, UnconditionalUpdate: true,
		List:           &corev1.ConfigMapList{},
		Validate:       validateConfigMap,
		ValidateUpdate: validateConfigMapUpdate,
		Columns:        []metav1.TableColumnDefinition{meta.NameColumn, meta.Text("Data", "The number of entries."), meta.AgeColumn},
		Row: func(c *corev1.ConfigMap, now time.Time) []any {
			return []any{c.Name, int64(len(c.Data) + len(c.BinaryData)), meta.Age(c.CreationTimestamp, now)}
		},
	})
}

func validateConfigMap(c *corev1.ConfigMap) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMeta(&c.ObjectMeta, true, meta.DNSSubdomain)}
	size := 0
	for _, k := range keys(c.Data) {
		at := field.NewPath("data").Key(k)
		r.InvalidAll(at, k, validation.IsConfigMapKey(k))
		if _, ok := c.BinaryData[k]; ok {
			r.Invalid(at, k, "duplicate of key present in binaryData")
		}
		size += len(c.Data[k])
	}
	for _, k := range keys(c.BinaryData) {
		r.InvalidAll(field.NewPath("binaryData").Key(k), k, validation.IsConfigMapKey(k))
		size += len(c.BinaryData[k])
	}
	if size > corev1.MaxSecretSize {
		r.TooLong(field.NewPath(""), corev1.MaxSecretSize)
	}
	return r.Errs
}

func validateConfigMapUpdate(c, old *corev1.ConfigMap) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta)}
	if old.Immutable != nil && *old.Immutable {
		// an empty map is not the same as none here, as upstream has it
		r.ForbiddenIf(c.Immutable == nil || !*c.Immutable, field.NewPath("immutable"), frozen)
		r.ForbiddenIf(!reflect.DeepEqual(c.Data, old.Data), field.NewPath("data"), frozen)
		r.ForbiddenIf(!reflect.DeepEqual(c.BinaryData, old.BinaryData), field.NewPath("binaryData"), frozen)
	}
	r.Add(validateConfigMap(c))
	return r.Errs
}

// keys are the keys of a map in the order errors name them.
func keys[V any](m map[string]V) []string {
	list := make([]string, 0, len(m))
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}
