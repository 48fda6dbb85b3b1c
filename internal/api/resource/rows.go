package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
)

// Rows lists the kinds of the group in the order discovery shows them.
func Rows() []*api.Kind {
	return []*api.Kind{deviceClassRow(), claimRow(), claimTemplateRow(), sliceRow()}
}

func gvk(kind string) schema.GroupVersionKind { return resourcev1.SchemeGroupVersion.WithKind(kind) }

var (
	metadataPath = field.NewPath("metadata")
	specPath     = field.NewPath("spec")
	statusPath   = field.NewPath("status")
)
