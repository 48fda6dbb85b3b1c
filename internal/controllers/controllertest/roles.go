package controllertest

import (
	"context"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/monohull/monohull/internal/auth"
)

// accountPrefix begins the names of the users that controllers act as.
const accountPrefix = "system:serviceaccount:kube-system:"

// roles lets tests do anything, and each controller what its role of the
// default policy allows.
type roles struct {
	rules map[string][]rbacv1.PolicyRule // by user
	t     testing.TB
}

func defaultRoles(t testing.TB) roles {
	out := roles{map[string][]rbacv1.PolicyRule{}, t}
	for _, o := range auth.BootstrapObjects() {
		if r, ok := o.(*rbacv1.ClusterRole); ok {
			if name, ok := strings.CutPrefix(r.Name, "system:controller:"); ok {
				out.rules[accountPrefix+name] = r.Rules
			}
		}
	}
	return out
}

// Authorize implements authorizer.Authorizer.
func (r roles) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	name := a.GetUser().GetName()
	if !strings.HasPrefix(name, accountPrefix) {
		return authorizer.DecisionAllow, "", nil
	}
	for i := range r.rules[name] {
		if auth.RuleAllows(a, &r.rules[name][i]) {
			return authorizer.DecisionAllow, "", nil
		}
	}
	r.t.Errorf("%s has no right to %s %s/%s %s", name, a.GetVerb(), a.GetResource(), a.GetSubresource(), a.GetName())
	return authorizer.DecisionNoOpinion, "", nil
}
