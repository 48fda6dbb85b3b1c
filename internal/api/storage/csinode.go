package storage

import (
	"fmt"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/api/meta"
)

const maxNodeID = 256

func csiNodeRow() *api.Kind {
	return api.Define(api.Spec[*storagev1.CSINode]{
		GVK: gvk("CSINode"), Plural: "csinodes", Singular: "csinode",
		List:     &storagev1.CSINodeList{},
		Validate: validateCSINode,
		ValidateUpdate: func(n, old *storagev1.CSINode) field.ErrorList {
			r := meta.Report{Errs: validateCSINode(n)}
			r.Add(meta.ValidateObjectMetaUpdate(&n.ObjectMeta, &old.ObjectMeta))
			// A driver that stays may change nothing but what it can hold.
			for _, o := range old.Spec.Drivers {
				for _, d := range n.Spec.Drivers {
					if d.Name == o.Name {
						d.Allocatable, o.Allocatable = nil, nil
						r.Add(meta.Immutable(&d, &o, specPath.Child("drivers")))
					}
				}
			}
			return r.Errs
		},
		Columns: []metav1.TableColumnDefinition{meta.NameColumn, meta.Number("Drivers", "The number of drivers on the node."), meta.AgeColumn},
		Row: func(n *storagev1.CSINode, now time.Time) []any {
			return []any{n.Name, int64(len(n.Spec.Drivers)), meta.Age(n.CreationTimestamp, now)}
		},
	})
}

func validateCSINode(n *storagev1.CSINode) field.ErrorList {
	r := &meta.Report{Errs: meta.ValidateObjectMeta(&n.ObjectMeta, false, meta.DNSSubdomain)}
	names := sets.Set[string]{}
	for i, d := range n.Spec.Drivers {
		at := specPath.Child("drivers").Index(i)
		r.Add(core.ValidateCSIDriverName(d.Name, at.Child("name")))
		r.RequiredIf(d.NodeID == "", at.Child("nodeID"))
		if len(d.NodeID) > maxNodeID {
			r.Invalid(at.Child("nodeID"), d.NodeID, fmt.Sprintf("must be %d characters or less", maxNodeID))
		}
		if a := d.Allocatable; a != nil && a.Count != nil {
			r.NonNegative(at.Child("allocatable", "count"), int64(*a.Count))
		}
		if names.Has(d.Name) {
			r.Duplicate(at.Child("name"), d.Name)
		}
		names.Insert(d.Name)
		keys := sets.Set[string]{}
		for _, k := range d.TopologyKeys {
			r.RequiredIf(k == "", at)
			if keys.Has(k) {
				r.Duplicate(at, k)
			}
			keys.Insert(k)
			r.Add(meta.QualifiedName(k, at))
		}
	}
	return r.Errs
}
