package batch

import (
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
)

var (
	specPath   = field.NewPath("spec")
	statusPath = field.NewPath("status")
)

// Rows lists the kinds of the group in the order discovery shows them.
func Rows() []*api.Kind {
	return []*api.Kind{cronJobRow(), jobRow()}
}

func gvk(kind string) schema.GroupVersionKind { return batchv1.SchemeGroupVersion.WithKind(kind) }

func value[T any](p *T) T {
	var zero T
	if p == nil {
		return zero
	}
	return *p
}

func setDefault[T any](f **T, v T) {
	if *f == nil {
		*f = &v
	}
}

func same[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }
