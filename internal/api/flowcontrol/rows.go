package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

var (
	specPath   = field.NewPath("spec")
	statusPath = field.NewPath("status")
)

// Rows lists the kinds of the group in the order discovery shows them.
func Rows() []*api.Kind { return []*api.Kind{flowSchemaRow(), priorityLevelRow()} }

func gvk(kind string) schema.GroupVersionKind { return flowcontrolv1.SchemeGroupVersion.WithKind(kind) }

func setDefault[T comparable](f *T, v T) {
	var zero T
	if *f == zero {
		*f = v
	}
}

func setDefaultPtr[T any](f **T, v T) {
	if *f == nil {
		*f = &v
	}
}

// keepMeta undoes what a write of status may not change: all metadata but what
// the write itself is known by.
func keepMeta(m, old *metav1.ObjectMeta) {
	version, managers := m.ResourceVersion, m.ManagedFields
	old.DeepCopyInto(m)
	m.ResourceVersion, m.ManagedFields = version, managers
}

// conditionTypes judges the types of conditions: set, and each once.
func conditionTypes[T ~string](r *meta.Report, n int, typ func(int) T) {
	seen := sets.Set[T]{}
	for i := range n {
		t, p := typ(i), statusPath.Child("conditions").Index(i).Child("type")
		if seen.Has(t) {
			r.Duplicate(p, t)
		}
		seen.Insert(t)
		r.RequiredIf(t == "", p)
	}
}
