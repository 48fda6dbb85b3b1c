package rbac

import (
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

var bindingColumns = []metav1.TableColumnDefinition{
	meta.NameColumn,
	meta.Text("Role", "The role that is bound."),
	meta.AgeColumn,
	meta.Wide("Users", "Users in the binding"),
	meta.Wide("Groups", "Groups in the binding"),
	meta.Wide("ServiceAccounts", "ServiceAccounts in the binding"),
}

func roleBindingRow() *api.Kind {
	validate := func(b *rbacv1.RoleBinding) field.ErrorList {
		r := meta.Report{Errs: meta.ValidateObjectMeta(&b.ObjectMeta, true, wholeSegment)}
		binding(&r, b.RoleRef, b.Subjects, true, "Role", "ClusterRole")
		return r.Errs
	}
	return api.Define(api.Spec[*rbacv1.RoleBinding]{
		GVK: gvk("RoleBinding"), Plural: "rolebindings", Singular: "rolebinding", Namespaced: true, CreateOnUpdate: true, UnconditionalUpdate: true,
		List:     &rbacv1.RoleBindingList{},
		Default:  func(b *rbacv1.RoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
		Validate: validate,
		ValidateUpdate: func(b, old *rbacv1.RoleBinding) field.ErrorList {
			return append(validate(b), bindingUpdate(&b.ObjectMeta, &old.ObjectMeta, b.RoleRef, old.RoleRef)...)
		},
		Columns: bindingColumns,
		Row: func(b *rbacv1.RoleBinding, now time.Time) []any {
			return bindingCells(&b.ObjectMeta, b.RoleRef, b.Subjects, now)
		},
	})
}

func defaultBinding(ref *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	if ref.APIGroup == "" {
		ref.APIGroup = rbacv1.GroupName
	}
	for i := range subjects {
		if s := &subjects[i]; s.APIGroup == "" && (s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind) {
			s.APIGroup = rbacv1.GroupName
		}
	}
}

func binding(r *meta.Report, ref rbacv1.RoleRef, subjects []rbacv1.Subject, namespaced bool, kinds ...string) {
	p := field.NewPath("roleRef")
	meta.Among(r, p.Child("apiGroup"), ref.APIGroup, rbacv1.GroupName)
	meta.Among(r, p.Child("kind"), ref.Kind, kinds...)
	if ref.Name == "" {
		r.Required(p.Child("name"), "")
	} else {
		r.Named(p.Child("name"), ref.Name, meta.PathSegment)
	}
	for i, s := range subjects {
		p := field.NewPath("subjects").Index(i)
		r.RequiredIf(s.Name == "", p.Child("name"))
		switch s.Kind {
		case rbacv1.ServiceAccountKind:
			if s.Name != "" {
				r.Named(p.Child("name"), s.Name, meta.ServiceAccount)
			}
			meta.Among(r, p.Child("apiGroup"), s.APIGroup, "")
			r.RequiredIf(!namespaced && s.Namespace == "", p.Child("namespace"))
		case rbacv1.UserKind, rbacv1.GroupKind:
			meta.Among(r, p.Child("apiGroup"), s.APIGroup, rbacv1.GroupName)
		default:
			meta.Among(r, p.Child("kind"), s.Kind, rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind)
		}
	}
}

func bindingUpdate(m, old *metav1.ObjectMeta, ref, oldRef rbacv1.RoleRef) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(m, old)}
	if ref != oldRef {
		r.Invalid(field.NewPath("roleRef"), ref, "cannot change roleRef")
	}
	return r.Errs
}

func bindingCells(m *metav1.ObjectMeta, ref rbacv1.RoleRef, subjects []rbacv1.Subject, now time.Time) []any {
	of := map[string][]string{}
	for _, s := range subjects {
		name := s.Name
		if s.Kind == rbacv1.ServiceAccountKind {
			name = s.Namespace + "/" + name
		}
		of[s.Kind] = append(of[s.Kind], name)
	}
	join := func(kind string) string { return strings.Join(of[kind], ", ") }
	return []any{m.Name, ref.Kind + "/" + ref.Name, meta.Age(m.CreationTimestamp, now),
		join(rbacv1.UserKind), join(rbacv1.GroupKind), join(rbacv1.ServiceAccountKind)}
}
