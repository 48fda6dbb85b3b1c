package rbac

import (
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

func clusterRoleRow() *api.Kind {
	return api.Define(api.Spec[*rbacv1.ClusterRole]{
		GVK: gvk("ClusterRole"), Plural: "clusterroles", Singular: "clusterrole", CreateOnUpdate: true, UnconditionalUpdate: true,
		List:     &rbacv1.ClusterRoleList{},
		Validate: validateClusterRole,
		ValidateUpdate: func(o, old *rbacv1.ClusterRole) field.ErrorList {
			return append(validateClusterRole(o), meta.ValidateObjectMetaUpdate(&o.ObjectMeta, &old.ObjectMeta)...)
		},
		Columns: createdColumns,
		Row:     func(o *rbacv1.ClusterRole, _ time.Time) []any { return created(&o.ObjectMeta) },
	})
}

func validateClusterRole(o *rbacv1.ClusterRole) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMeta(&o.ObjectMeta, false, wholeSegment)}
	rules(&r, o.Rules, false)
	if o.AggregationRule == nil {
		return r.Errs
	}
	p := field.NewPath("aggregationRule", "clusterRoleSelectors")
	if len(o.AggregationRule.ClusterRoleSelectors) == 0 {
		r.Required(p, "at least one clusterRoleSelector required if aggregationRule is non-nil")
	}
	for i := range o.AggregationRule.ClusterRoleSelectors {
		s := &o.AggregationRule.ClusterRoleSelectors[i]
		r.Add(meta.Selector(s, p.Index(i)))
		if _, err := metav1.LabelSelectorAsSelector(s); err != nil {
			r.Invalid(p.Index(i), s, "invalid label selector.")
		}
	}
	return r.Errs
}
