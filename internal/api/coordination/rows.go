package coordination

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
)

// Rows lists the kinds of the group in the order discovery shows them.
func Rows() []*api.Kind {
	return []*api.Kind{leaseRow()}
}

func gvk(kind string) schema.GroupVersionKind {
	return coordinationv1.SchemeGroupVersion.WithKind(kind)
}
