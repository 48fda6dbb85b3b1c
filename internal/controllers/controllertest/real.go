package controllertest

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/monohull/monohull/internal/auth"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/pipeline"
)

// accountPrefix begins the names of the users that controllers act as.
const accountPrefix = "system:serviceaccount:kube-system:"

// roles lets tests do anything, and each controller what its role of the
// default policy allows.
type roles map[string][]rbacv1.PolicyRule

func defaultRoles() roles {
	out := roles{}
	for _, o := range auth.BootstrapObjects() {
		if r, ok := o.(*rbacv1.ClusterRole); ok {
			if name, ok := strings.CutPrefix(r.Name, "system:controller:"); ok {
				out[accountPrefix+name] = r.Rules
			}
		}
	}
	return out
}

// Authorize implements authorizer.Authorizer.
func (r roles) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if !strings.HasPrefix(a.GetUser().GetName(), accountPrefix) {
		return authorizer.DecisionAllow, "", nil
	}
	for _, rule := range r[a.GetUser().GetName()] {
		if auth.RuleAllows(a, &rule) {
			return authorizer.DecisionAllow, "", nil
		}
	}
	if Denied != nil {
		Denied(fmt.Sprint(a.GetUser().GetName(), " ", a.GetVerb(), " ", a.GetResource(), "/", a.GetSubresource()))
	}
	return authorizer.DecisionNoOpinion, "", nil
}

var Denied func(string)

func (c *Cluster) pipeline(log *slog.Logger) client.Writer {
	return pipeline.New(pipeline.Config{
		Table: c.table, Store: c.store, Caches: c.caches, Authorizer: defaultRoles(),
		Services: pipeline.NewAllocator(netip.MustParsePrefix("10.96.0.0/16"), pipeline.DefaultNodePorts),
		Clock:    c.Clock, Logger: log,
	})
}
