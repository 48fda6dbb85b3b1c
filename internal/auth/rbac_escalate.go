package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// Escalation refuses writes of roles and bindings that would give more than the writer holds. Its methods return
// nil or the error to answer with. `old` is nil on create. `name` is the name in the request's path, empty for a
// POST to the collection, since that is what the verbs "escalate" and "bind" are checked against.
type Escalation struct {
	RBAC       *RBAC
	Authorizer authorizer.Authorizer
}

// Role checks a write of a Role.
func (e Escalation) Role(ctx context.Context, u user.Info, name string, role, old *rbacv1.Role) error {
	if e.mayEscalate(ctx, u, "roles", name, role.Namespace) || old != nil && onlyCollectorFields(role, old) {
		return nil
	}
	if err := ConfirmNoEscalation(e.RBAC, u, role.Namespace, role.Rules); err != nil {
		return apierrors.NewForbidden(rbacv1.Resource("roles"), role.Name, err)
	}
	return nil
}

// ClusterRole checks a write of a ClusterRole. An aggregation rule can gather anything, so it takes full power.
func (e Escalation) ClusterRole(ctx context.Context, u user.Info, name string, role, old *rbacv1.ClusterRole) error {
	if e.mayEscalate(ctx, u, "clusterroles", name, "") || old != nil && onlyCollectorFields(role, old) {
		return nil
	}
	resource := rbacv1.Resource("clusterroles")
	if err := ConfirmNoEscalation(e.RBAC, u, "", role.Rules); err != nil {
		return apierrors.NewForbidden(resource, role.Name, err)
	}
	if aggregates(role) || old != nil && aggregates(old) {
		everything := []rbacv1.PolicyRule{may("*", "*", "*"), visit("*", "*")}
		if err := ConfirmNoEscalation(e.RBAC, u, "", everything); err != nil {
			return apierrors.NewForbidden(resource, role.Name, errors.New("must have cluster-admin privileges to use the aggregationRule"))
		}
	}
	return nil
}

// RoleBinding checks a write of a RoleBinding.
func (e Escalation) RoleBinding(ctx context.Context, u user.Info, b, old *rbacv1.RoleBinding) error {
	if old != nil && onlyCollectorFields(b, old) {
		return nil
	}
	return e.bind(ctx, u, "rolebindings", b.Name, b.Namespace, b.RoleRef)
}

// ClusterRoleBinding checks a write of a ClusterRoleBinding.
func (e Escalation) ClusterRoleBinding(ctx context.Context, u user.Info, b, old *rbacv1.ClusterRoleBinding) error {
	if old != nil && onlyCollectorFields(b, old) {
		return nil
	}
	return e.bind(ctx, u, "clusterrolebindings", b.Name, "", b.RoleRef)
}

func (e Escalation) bind(ctx context.Context, u user.Info, resource, name, namespace string, ref rbacv1.RoleRef) error {
	if isMaster(u) || e.mayBind(ctx, u, ref, namespace) {
		return nil
	}
	rules, err := e.RBAC.RoleRules(ref, namespace)
	if err != nil {
		return err
	}
	if err := ConfirmNoEscalation(e.RBAC, u, namespace, rules); err != nil {
		return apierrors.NewForbidden(rbacv1.Resource(resource), name, err)
	}
	return nil
}

func (e Escalation) mayEscalate(ctx context.Context, u user.Info, resource, name, namespace string) bool {
	if isMaster(u) {
		return true
	}
	decision, _, _ := e.Authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: u, Verb: "escalate", APIGroup: rbacv1.GroupName, APIVersion: "*",
		Resource: resource, Name: name, Namespace: namespace, ResourceRequest: true,
	})
	return decision == authorizer.DecisionAllow
}

// mayBind asks in the namespace of the binding, so that the right to hand out one cluster role can be
// limited to one namespace.
func (e Escalation) mayBind(ctx context.Context, u user.Info, ref rbacv1.RoleRef, namespace string) bool {
	attrs := authorizer.AttributesRecord{
		User: u, Verb: "bind", APIGroup: ref.APIGroup, APIVersion: "*",
		Name: ref.Name, Namespace: namespace, ResourceRequest: true,
	}
	switch ref.Kind {
	case "ClusterRole":
		attrs.Resource = "clusterroles"
	case "Role":
		attrs.Resource = "roles"
	default:
		return false
	}
	decision, _, _ := e.Authorizer.Authorize(ctx, attrs)
	return decision == authorizer.DecisionAllow
}

func isMaster(u user.Info) bool { return slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) }

func aggregates(role *rbacv1.ClusterRole) bool {
	return role.AggregationRule != nil && len(role.AggregationRule.ClusterRoleSelectors) > 0
}

// ConfirmNoEscalation says in an error which of the rules the user does not hold in the namespace.
func ConfirmNoEscalation(rbac *RBAC, u user.Info, namespace string, rules []rbacv1.PolicyRule) error {
	held, unread := rbac.PolicyRules(u, namespace)
	covered, missing := validation.Covers(held, rules)
	if covered {
		return nil
	}
	var lines []string
	for _, rule := range compact(missing) {
		lines = append(lines, ruleText(rule))
	}
	slices.Sort(lines)
	lines = slices.Compact(lines)
	message := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		u.GetName(), u.GetGroups(), strings.Join(lines, "\n"))
	if unread != nil {
		message += fmt.Sprintf("; resolution errors: %v", []error{unread})
	}
	return errors.New(message)
}

// compact joins the verbs of rules about the same thing: Covers takes rules apart to single verbs.
func compact(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	type thing struct {
		group, resource, name string
		named                 bool
	}
	var out []rbacv1.PolicyRule
	seen := map[thing]int{}
	for _, rule := range rules {
		if len(rule.NonResourceURLs) > 0 || len(rule.ResourceNames) > 1 || len(rule.APIGroups) != 1 || len(rule.Resources) != 1 {
			out = append(out, rule)
			continue
		}
		key := thing{group: rule.APIGroups[0], resource: rule.Resources[0]}
		if len(rule.ResourceNames) == 1 {
			key.name, key.named = rule.ResourceNames[0], true
		}
		if at, ok := seen[key]; ok {
			out[at].Verbs = append(out[at].Verbs, rule.Verbs...)
			continue
		}
		seen[key] = len(out)
		out = append(out, *rule.DeepCopy())
	}
	return out
}

func ruleText(rule rbacv1.PolicyRule) string {
	var parts []string
	for _, part := range []struct {
		name   string
		values []string
	}{
		{"APIGroups", rule.APIGroups},
		{"Resources", rule.Resources},
		{"NonResourceURLs", rule.NonResourceURLs},
		{"ResourceNames", rule.ResourceNames},
		{"Verbs", rule.Verbs},
	} {
		if len(part.values) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", part.name, part.values))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// onlyCollectorFields says that the write changes nothing but what the garbage collector needs to change: it must
// be able to finish a deletion without holding what the role grants.
func onlyCollectorFields(obj, old interface {
	metav1.Object
	runtime.Object
}) bool {
	same := obj.DeepCopyObject()
	meta := same.(metav1.Object)
	meta.SetOwnerReferences(old.GetOwnerReferences())
	meta.SetFinalizers(old.GetFinalizers())
	meta.SetSelfLink(old.GetSelfLink())
	meta.SetManagedFields(old.GetManagedFields())
	return equality.Semantic.DeepEqual(same, runtime.Object(old))
}
