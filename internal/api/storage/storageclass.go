package storage

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/api/meta"
)

// The annotations that make a class the default one.
const (
	defaultClass     = "storageclass.kubernetes.io/is-default-class"
	defaultClassBeta = "storageclass.beta.kubernetes.io/is-default-class"
)

func storageClassRow() *api.Kind {
	return api.Define(api.Spec[*storagev1.StorageClass]{
		GVK: gvk("StorageClass"), Plural: "storageclasses", Singular: "storageclass", ShortNames: []string{"sc"}, UnconditionalUpdate: true,
		List: &storagev1.StorageClassList{},
		Default: func(c *storagev1.StorageClass) {
			setDefaultPtr(&c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
			setDefaultPtr(&c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
		},
		Validate: validateStorageClass,
		ValidateUpdate: func(c, old *storagev1.StorageClass) field.ErrorList {
			r := meta.Report{Errs: validateStorageClass(c)}
			r.Add(meta.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta))
			r.Add(meta.Immutable(c.Parameters, old.Parameters, field.NewPath("parameters")))
			r.Add(meta.Immutable(c.Provisioner, old.Provisioner, field.NewPath("provisioner")))
			r.Add(meta.Immutable(c.ReclaimPolicy, old.ReclaimPolicy, field.NewPath("reclaimPolicy")))
			r.Add(meta.Immutable(c.VolumeBindingMode, old.VolumeBindingMode, field.NewPath("volumeBindingMode")))
			return r.Errs
		},
		Warnings: func(c *storagev1.StorageClass) (w []string) {
			for i, t := range c.AllowedTopologies {
				for j, e := range t.MatchLabelExpressions {
					if msg := core.LabelDeprecation(e.Key); msg != "" {
						w = append(w, field.NewPath("allowedTopologies").Index(i).Child("matchLabelExpressions").Index(j).Child("key").String()+": "+msg)
					}
				}
			}
			return w
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Provisioner", "The driver that makes the volumes."),
			meta.Text("ReclaimPolicy", "What becomes of a volume when its claim goes."),
			meta.Text("VolumeBindingMode", "Whether a volume is made when it is claimed, or when a pod needs it."),
			meta.Text("AllowVolumeExpansion", "Whether the volumes may grow."),
			meta.AgeColumn,
		},
		Row: func(c *storagev1.StorageClass, now time.Time) []any {
			name := c.Name
			if c.Annotations[defaultClass] == "true" || c.Annotations[defaultClassBeta] == "true" {
				name += " (default)"
			}
			return []any{name, c.Provisioner, string(orDefault(c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)),
				string(orDefault(c.VolumeBindingMode, storagev1.VolumeBindingImmediate)), orDefault(c.AllowVolumeExpansion, false), meta.Age(c.CreationTimestamp, now)}
		},
	})
}

// provisioner judges the name of the driver of a class.
func provisioner(r *meta.Report, v string, p *field.Path) {
	if v == "" {
		r.Required(p, "")
		return
	}
	r.Add(meta.QualifiedName(strings.ToLower(v), p))
}

func validateStorageClass(c *storagev1.StorageClass) field.ErrorList {
	r := &meta.Report{Errs: meta.ValidateObjectMeta(&c.ObjectMeta, false, meta.DNSSubdomain)}
	provisioner(r, c.Provisioner, field.NewPath("provisioner"))
	parameters(r, c.Parameters, field.NewPath("parameters"))
	if p := c.ReclaimPolicy; p != nil && *p != "" {
		meta.Among(r, field.NewPath("reclaimPolicy"), *p, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)
	}
	mode := field.NewPath("volumeBindingMode")
	if c.VolumeBindingMode == nil {
		r.Required(mode, "")
	} else {
		meta.Among(r, mode, *c.VolumeBindingMode, storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)
	}
	topologies(r, c.AllowedTopologies, field.NewPath("allowedTopologies"))
	return r.Errs
}

// topologies judges terms of which no two may say the same. Upstream compares
// each term with as many empty ones as there are terms, so that an empty term
// counts as one that is there already.
func topologies(r *meta.Report, list []corev1.TopologySelectorTerm, p *field.Path) {
	seen := make([]map[string]sets.Set[string], len(list))
	for i, t := range list {
		at := p.Index(i).Child("matchLabelExpressions")
		term := map[string]sets.Set[string]{}
		for j, e := range t.MatchLabelExpressions {
			key, values := at.Index(j).Child("key"), at.Index(j).Child("values")
			r.RequiredIf(len(e.Values) == 0, values)
			set := sets.Set[string]{}
			for k, v := range e.Values {
				if set.Has(v) {
					r.Duplicate(values.Index(k), v)
				}
				set.Insert(v)
			}
			r.Add(meta.LabelName(e.Key, key))
			if term[e.Key] != nil {
				r.Duplicate(key, e.Key)
			}
			term[e.Key] = set
		}
		for _, s := range seen {
			if equality.Semantic.DeepEqual(term, s) {
				r.Duplicate(at, "")
			}
		}
		seen = append(seen, term)
	}
}
