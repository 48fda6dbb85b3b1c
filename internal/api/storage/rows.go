package storage

import (
	"maps"
	"slices"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

var specPath = field.NewPath("spec")

// Rows lists the kinds of the group in the order discovery shows them.
func Rows() []*api.Kind {
	return []*api.Kind{
		csiDriverRow(), csiNodeRow(), csiStorageCapacityRow(), storageClassRow(), volumeAttachmentRow(), volumeAttributesClassRow(),
	}
}

func gvk(kind string) schema.GroupVersionKind { return storagev1.SchemeGroupVersion.WithKind(kind) }

func setDefaultPtr[T any](f **T, v T) {
	if *f == nil {
		*f = &v
	}
}

func orDefault[T any](p *T, v T) T {
	if p != nil {
		return *p
	}
	return v
}

const (
	maxParameters     = 512
	maxParametersSize = 256 << 10
)

// sizeOf is the length of all keys and values.
func sizeOf(m map[string]string) (n int) {
	for k, v := range m {
		n += len(k) + len(v)
	}
	return n
}

// parameters judges what a class tells its driver.
func parameters(r *meta.Report, m map[string]string, p *field.Path) {
	if len(m) > maxParameters {
		r.TooLong(p, maxParameters)
		return
	}
	if slices.Contains(slices.Collect(maps.Keys(m)), "") {
		r.Invalid(p, "", "field can not be empty.")
	}
	if sizeOf(m) > maxParametersSize {
		r.TooLong(p, maxParametersSize)
	}
}
