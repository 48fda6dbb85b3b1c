package discovery

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
)

// Rows lists the kinds of the group in the order discovery shows them.
func Rows() []*api.Kind {
	return []*api.Kind{endpointSliceRow()}
}

func gvk(kind string) schema.GroupVersionKind { return discoveryv1.SchemeGroupVersion.WithKind(kind) }
