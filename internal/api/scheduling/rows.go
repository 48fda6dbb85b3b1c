package scheduling

import (
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
)

// Rows lists the kinds of the group in the order discovery shows them.
func Rows() []*api.Kind {
	return []*api.Kind{priorityClassRow()}
}

func gvk(kind string) schema.GroupVersionKind { return schedulingv1.SchemeGroupVersion.WithKind(kind) }
