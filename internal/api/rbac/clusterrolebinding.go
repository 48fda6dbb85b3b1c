package rbac

import (
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

func clusterRoleBindingRow() *api.Kind {
	validate := func(b *rbacv1.ClusterRoleBinding) field.ErrorList {
		r := meta.Report{Errs: meta.ValidateObjectMeta(&b.ObjectMeta, false, wholeSegment)}
		binding(&r, b.RoleRef, b.Subjects, false, "ClusterRole")
		return r.Errs
	}
	return api.Define(api.Spec[*rbacv1.ClusterRoleBinding]{
		GVK: gvk("ClusterRoleBinding"), Plural: "clusterrolebindings", Singular: "clusterrolebinding", CreateOnUpdate: true, UnconditionalUpdate: true,
		List:     &rbacv1.ClusterRoleBindingList{},
		Default:  func(b *rbacv1.ClusterRoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
		Validate: validate,
		ValidateUpdate: func(b, old *rbacv1.ClusterRoleBinding) field.ErrorList {
			return append(validate(b), bindingUpdate(&b.ObjectMeta, &old.ObjectMeta, b.RoleRef, old.RoleRef)...)
		},
		Columns: bindingColumns,
		Row: func(b *rbacv1.ClusterRoleBinding, now time.Time) []any {
			return bindingCells(&b.ObjectMeta, b.RoleRef, b.Subjects, now)
		},
	})
}
