package legacy

import (
	rbacv1 "k8s.io/api/rbac/v1"
	rbacv1alpha1 "k8s.io/api/rbac/v1alpha1"
	rbacv1beta1 "k8s.io/api/rbac/v1beta1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// authenticated is the group that the user "*" of v1alpha1 stands for.
const authenticated = "system:authenticated"

func roles() []old {
	b1, a1, v1 := rbacv1beta1.SchemeGroupVersion, rbacv1alpha1.SchemeGroupVersion, rbacv1.SchemeGroupVersion
	return []old{
		version(spec[*rbacv1beta1.Role, *rbacv1.Role]{gvk: b1.WithKind("Role"), of: v1.WithKind("Role"), list: &rbacv1beta1.RoleList{}}),
		version(spec[*rbacv1beta1.ClusterRole, *rbacv1.ClusterRole]{gvk: b1.WithKind("ClusterRole"), of: v1.WithKind("ClusterRole"), list: &rbacv1beta1.ClusterRoleList{}}),
		version(spec[*rbacv1beta1.RoleBinding, *rbacv1.RoleBinding]{gvk: b1.WithKind("RoleBinding"), of: v1.WithKind("RoleBinding"), list: &rbacv1beta1.RoleBindingList{}}),
		version(spec[*rbacv1beta1.ClusterRoleBinding, *rbacv1.ClusterRoleBinding]{gvk: b1.WithKind("ClusterRoleBinding"), of: v1.WithKind("ClusterRoleBinding"), list: &rbacv1beta1.ClusterRoleBindingList{}}),

		version(spec[*rbacv1alpha1.Role, *rbacv1.Role]{gvk: a1.WithKind("Role"), of: v1.WithKind("Role"), list: &rbacv1alpha1.RoleList{}, deprecated: 17, removed: 22}),
		version(spec[*rbacv1alpha1.ClusterRole, *rbacv1.ClusterRole]{gvk: a1.WithKind("ClusterRole"), of: v1.WithKind("ClusterRole"), list: &rbacv1alpha1.ClusterRoleList{}, deprecated: 17, removed: 22}),
		version(spec[*rbacv1alpha1.RoleBinding, *rbacv1.RoleBinding]{
			gvk: a1.WithKind("RoleBinding"), of: v1.WithKind("RoleBinding"), list: &rbacv1alpha1.RoleBindingList{}, deprecated: 17, removed: 22,
			toKind: func(from *rbacv1alpha1.RoleBinding, to *rbacv1.RoleBinding) { to.Subjects = subjectsOf(from.Subjects) },
			fromKind: func(from *rbacv1.RoleBinding, to *rbacv1alpha1.RoleBinding) {
				to.Subjects = oldSubjects(from.Subjects)
			},
		}),
		version(spec[*rbacv1alpha1.ClusterRoleBinding, *rbacv1.ClusterRoleBinding]{
			gvk: a1.WithKind("ClusterRoleBinding"), of: v1.WithKind("ClusterRoleBinding"), list: &rbacv1alpha1.ClusterRoleBindingList{}, deprecated: 17, removed: 22,
			toKind: func(from *rbacv1alpha1.ClusterRoleBinding, to *rbacv1.ClusterRoleBinding) {
				to.Subjects = subjectsOf(from.Subjects)
			},
			fromKind: func(from *rbacv1.ClusterRoleBinding, to *rbacv1alpha1.ClusterRoleBinding) {
				to.Subjects = oldSubjects(from.Subjects)
			},
		}),
	}
}

// subjectsOf reads subjects that name an API version instead of a group.
func subjectsOf(from []rbacv1alpha1.Subject) []rbacv1.Subject {
	var out []rbacv1.Subject
	for _, s := range from {
		to := rbacv1.Subject{Kind: s.Kind, Name: s.Name, Namespace: s.Namespace}
		switch s.Kind {
		case rbacv1.ServiceAccountKind:
		case rbacv1.UserKind, rbacv1.GroupKind:
			to.APIGroup = rbacv1.GroupName
		default:
			if gv, err := schema.ParseGroupVersion(s.APIVersion); err == nil {
				to.APIGroup = gv.Group
			}
		}
		if to.Kind == rbacv1.UserKind && to.Name == "*" {
			to.Kind, to.Name = rbacv1.GroupKind, authenticated
		}
		out = append(out, to)
	}
	return out
}

func oldSubjects(from []rbacv1.Subject) []rbacv1alpha1.Subject {
	var out []rbacv1alpha1.Subject
	for _, s := range from {
		to := rbacv1alpha1.Subject{Kind: s.Kind, Name: s.Name, Namespace: s.Namespace}
		switch {
		case s.Kind == rbacv1.ServiceAccountKind && s.APIGroup == "":
			to.APIVersion = "v1"
		case (s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind) && s.APIGroup == rbacv1.GroupName:
			to.APIVersion = rbacv1alpha1.SchemeGroupVersion.String()
		default:
			to.APIVersion = schema.GroupVersion{Group: s.APIGroup}.String()
		}
		out = append(out, to)
	}
	return out
}
