package storage

import (
	"fmt"
	"maps"
	"slices"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/api/meta"
)

var (
	topologyPath = field.NewPath("nodeTopology")
	classPath    = field.NewPath("storageClassName")
)

func csiStorageCapacityRow() *api.Kind {
	return api.Define(api.Spec[*storagev1.CSIStorageCapacity]{
		GVK: gvk("CSIStorageCapacity"), Plural: "csistoragecapacities", Singular: "csistoragecapacity", Namespaced: true,
		List: &storagev1.CSIStorageCapacityList{},
		Validate: func(c *storagev1.CSIStorageCapacity) field.ErrorList {
			return validateCapacity(c, metavalidation.LabelSelectorValidationOptions{})
		},
		ValidateUpdate: func(c, old *storagev1.CSIStorageCapacity) field.ErrorList {
			r := meta.Report{Errs: validateCapacity(c, metavalidation.LabelSelectorValidationOptions{
				AllowInvalidLabelValueInSelector: len(meta.Selector(old.NodeTopology, nil)) > 0,
			})}
			r.Add(meta.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta))
			if !equality.Semantic.DeepEqual(c.NodeTopology, old.NodeTopology) {
				r.Invalid(topologyPath, c.NodeTopology, meta.IsImmutable)
			}
			if c.StorageClassName != old.StorageClassName {
				r.Invalid(classPath, c.StorageClassName, meta.IsImmutable)
			}
			return r.Errs
		},
		Warnings: topologyWarnings,
		// The columns of a kind for which none were chosen.
		Columns: []metav1.TableColumnDefinition{meta.NameColumn, {Name: "Created At", Type: "date", Description: meta.AgeColumn.Description}},
		Row: func(c *storagev1.CSIStorageCapacity, _ time.Time) []any {
			return []any{c.Name, c.CreationTimestamp.UTC().Format(time.RFC3339)}
		},
	})
}

func validateCapacity(c *storagev1.CSIStorageCapacity, opts metavalidation.LabelSelectorValidationOptions) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMeta(&c.ObjectMeta, true, meta.DNSSubdomain)}
	r.Add(metavalidation.ValidateLabelSelector(c.NodeTopology, opts, topologyPath))
	r.Named(classPath, c.StorageClassName, meta.DNSSubdomain)
	if q := c.Capacity; q != nil && q.Sign() < 0 {
		r.Invalid(field.NewPath("capacity"), q.String(), meta.IsNegative)
	}
	return r.Errs
}

func topologyWarnings(c *storagev1.CSIStorageCapacity) (w []string) {
	s := c.NodeTopology
	if s == nil {
		return nil
	}
	for i, e := range s.MatchExpressions {
		if msg := core.LabelDeprecation(e.Key); msg != "" {
			w = append(w, fmt.Sprintf("%s: %s is %s", topologyPath.Child("matchExpressions").Index(i).Child("key"), e.Key, msg))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		if msg := core.LabelDeprecation(k); msg != "" {
			w = append(w, fmt.Sprintf("%s: %s", topologyPath.Child("matchLabels").Child(k), msg))
		}
	}
	return w
}
