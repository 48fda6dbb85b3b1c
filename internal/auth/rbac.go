package auth

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	rbacv1 "k8s.io/api/rbac/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// RBAC decides by Roles, ClusterRoles and their bindings. Rules only ever allow: what no rule allows gets no
// opinion, and the last authorizer's lack of one is a refusal.
type RBAC struct {
	source Rules

	current atomic.Pointer[index]
	mu      sync.Mutex // held while an index is built, so that it is built once
}

var (
	_ authorizer.Authorizer   = (*RBAC)(nil)
	_ authorizer.RuleResolver = (*RBAC)(nil)
)

// NewRBAC makes an authorizer over the source; it reads nothing until it is asked.
func NewRBAC(source Rules) *RBAC { return &RBAC{source: source} }

func (r *RBAC) index() *index {
	if ix := r.current.Load(); ix != nil && ix.generation == r.source.Generation() {
		return ix
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	generation := r.source.Generation()
	ix := r.current.Load()
	if ix == nil || ix.generation != generation {
		ix = buildIndex(r.source, generation, ix)
		r.current.Store(ix)
	}
	return ix
}

// Authorize allows what some rule of some binding of the user allows. The reason names that binding; a refusal
// has a reason only if a role that is bound to the user is missing.
func (r *RBAC) Authorize(_ context.Context, attrs authorizer.Attributes) (authorizer.Decision, string, error) {
	who := attrs.GetUser()
	if who == nil {
		return authorizer.DecisionNoOpinion, "", nil
	}
	req := requestOf(attrs)
	ix := r.index()
	var reason string
	var errs []error
	try := func(g *grant) bool {
		if g.err != nil {
			errs = append(errs, g.err)
			return true
		}
		if !anyAllows(g.quick, &req) {
			return true
		}
		reason = g.reason
		return false
	}
	if !ix.cluster.visit(who, try) {
		return authorizer.DecisionAllow, reason, nil
	}
	if namespace := attrs.GetNamespace(); namespace != "" {
		if !ix.namespace(namespace).visit(who, try) {
			return authorizer.DecisionAllow, reason, nil
		}
	}
	if len(errs) > 0 {
		return authorizer.DecisionNoOpinion, "RBAC: " + utilerrors.NewAggregate(errs).Error(), nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// PolicyRules are all rules that apply to the user in the namespace, cluster-wide ones first. With an error the
// rules are still valid, but some could not be read.
func (r *RBAC) PolicyRules(u user.Info, namespace string) ([]rbacv1.PolicyRule, error) {
	ix := r.index()
	sets := []subjects{ix.cluster}
	if namespace != "" {
		sets = append(sets, ix.namespace(namespace))
	}
	var rules []rbacv1.PolicyRule
	var errs []error
	for _, set := range sets {
		held := map[int]*grant{}
		set.visit(u, func(g *grant) bool { held[g.order] = g; return true })
		orders := make([]int, 0, len(held))
		for order := range held {
			orders = append(orders, order)
		}
		slices.Sort(orders)
		for _, order := range orders {
			if err := held[order].err; err != nil {
				errs = append(errs, err)
			}
			rules = append(rules, held[order].rules...)
		}
	}
	return rules, utilerrors.NewAggregate(errs)
}

// RulesFor answers a SelfSubjectRulesReview.
func (r *RBAC) RulesFor(_ context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	rules, err := r.PolicyRules(u, namespace)
	var resources []authorizer.ResourceRuleInfo
	var paths []authorizer.NonResourceRuleInfo
	for _, rule := range rules {
		if len(rule.Resources) > 0 {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{
				Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames,
			})
		}
		if len(rule.NonResourceURLs) > 0 {
			paths = append(paths, &authorizer.DefaultNonResourceRuleInfo{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
		}
	}
	return resources, paths, false, err
}

// RoleRules reads the rules that a binding in the namespace ("" for a ClusterRoleBinding) would give.
func (r *RBAC) RoleRules(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	rules, _, err := roleRules(r.source, ref, namespace)
	return rules, err
}
