package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

// Rows lists the kinds of the group in the order discovery shows them.
func Rows() []*api.Kind {
	return []*api.Kind{clusterRoleBindingRow(), clusterRoleRow(), roleBindingRow(), roleRow()}
}

func gvk(kind string) schema.GroupVersionKind { return rbacv1.SchemeGroupVersion.WithKind(kind) }

// wholeSegment is the rule for names, which the bases of generated ones must
// keep as well.
func wholeSegment(name string, _ bool) []string { return meta.PathSegment(name, false) }
