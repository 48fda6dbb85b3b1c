package rbac

import (
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

// createdColumns are those of kinds that have no columns of their own.
var createdColumns = []metav1.TableColumnDefinition{
	meta.NameColumn,
	{Name: "Created At", Type: "date", Description: meta.AgeColumn.Description},
}

func created(m *metav1.ObjectMeta) []any {
	return []any{m.Name, m.CreationTimestamp.UTC().Format(time.RFC3339)}
}

func roleRow() *api.Kind {
	return api.Define(api.Spec[*rbacv1.Role]{
		GVK: gvk("Role"), Plural: "roles", Singular: "role", Namespaced: true, CreateOnUpdate: true, UnconditionalUpdate: true,
		List:     &rbacv1.RoleList{},
		Validate: validateRole,
		ValidateUpdate: func(o, old *rbacv1.Role) field.ErrorList {
			return append(validateRole(o), meta.ValidateObjectMetaUpdate(&o.ObjectMeta, &old.ObjectMeta)...)
		},
		Columns: createdColumns,
		Row:     func(o *rbacv1.Role, _ time.Time) []any { return created(&o.ObjectMeta) },
	})
}

func validateRole(o *rbacv1.Role) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMeta(&o.ObjectMeta, true, wholeSegment)}
	rules(&r, o.Rules, true)
	return r.Errs
}

func rules(r *meta.Report, list []rbacv1.PolicyRule, namespaced bool) {
	for i, rule := range list {
		p := field.NewPath("rules").Index(i)
		if len(rule.Verbs) == 0 {
			r.Required(p.Child("verbs"), "verbs must contain at least one value")
		}
		if len(rule.NonResourceURLs) > 0 {
			if namespaced {
				r.Invalid(p.Child("nonResourceURLs"), rule.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs")
			}
			if len(rule.APIGroups)+len(rule.Resources)+len(rule.ResourceNames) > 0 {
				r.Invalid(p.Child("nonResourceURLs"), rule.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs")
			}
			continue
		}
		if len(rule.APIGroups) == 0 {
			r.Required(p.Child("apiGroups"), "resource rules must supply at least one api group")
		}
		if len(rule.Resources) == 0 {
			r.Required(p.Child("resources"), "resource rules must supply at least one resource")
		}
	}
}
