package node

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/api/meta"
)

func runtimeClassRow() *api.Kind {
	handler := field.NewPath("handler")
	return api.Define(api.Spec[*nodev1.RuntimeClass]{
		GVK: gvk("RuntimeClass"), Plural: "runtimeclasses", Singular: "runtimeclass", CreateOnUpdate: true,
		List:     &nodev1.RuntimeClassList{},
		Validate: validateRuntimeClass,
		ValidateUpdate: func(c, old *nodev1.RuntimeClass) field.ErrorList {
			r := meta.Report{Errs: validateRuntimeClass(c)}
			r.Add(apivalidation.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata")))
			r.Add(meta.Immutable(c.Handler, old.Handler, handler))
			return r.Errs
		},
		Warnings: func(c *nodev1.RuntimeClass) (w []string) {
			if c.Scheduling == nil {
				return nil
			}
			for _, key := range slices.Sorted(maps.Keys(c.Scheduling.NodeSelector)) {
				if msg := core.LabelDeprecation(key); msg != "" {
					w = append(w, field.NewPath("scheduling", "nodeSelector").String()+": "+msg)
				}
			}
			return w
		},
		Columns: []metav1.TableColumnDefinition{meta.NameColumn, meta.Text("Handler", "The handler that runs the pods of the class."), meta.AgeColumn},
		Row: func(c *nodev1.RuntimeClass, now time.Time) []any {
			return []any{c.Name, c.Handler, meta.Age(c.CreationTimestamp, now)}
		},
	})
}

func validateRuntimeClass(c *nodev1.RuntimeClass) field.ErrorList {
	// Of this kind alone, finalizers need no domain in their names.
	r := &meta.Report{Errs: apivalidation.ValidateObjectMeta(&c.ObjectMeta, false, meta.DNSSubdomain, field.NewPath("metadata"))}
	handler := field.NewPath("handler")
	if c.Handler == "" {
		r.Required(handler, "")
	} else {
		r.Named(handler, c.Handler, meta.DNSLabel)
	}
	if c.Overhead != nil {
		r.Add(core.ValidateLimits(c.Overhead.PodFixed, field.NewPath("overhead")))
	}
	if s := c.Scheduling; s != nil {
		p := field.NewPath("scheduling")
		r.Add(meta.Labels(s.NodeSelector, p.Child("nodeSelector")))
		r.Add(core.ValidateTolerations(s.Tolerations, p.Child("tolerations")))
		seen := sets.Set[corev1.Toleration]{}
		for i, t := range s.Tolerations {
			key := corev1.Toleration{Key: t.Key, Operator: t.Operator, Value: t.Value, Effect: t.Effect}
			if seen.Has(key) {
				r.Duplicate(p.Child("tolerations").Index(i), t)
			}
			seen.Insert(key)
		}
	}
	return r.Errs
}
