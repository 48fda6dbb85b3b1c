package certificates

import (
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
)

// Rows lists the kinds of the group in the order discovery shows them.
func Rows() []*api.Kind { return []*api.Kind{requestRow()} }

func gvk(kind string) schema.GroupVersionKind {
	return certificatesv1.SchemeGroupVersion.WithKind(kind)
}
