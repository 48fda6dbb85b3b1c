package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Privileged allows everything to the members of its groups. It stands before RBAC so that an administrator
// is never locked out by a broken policy, nor waits for the policy to be stored.
type Privileged []string

// Masters is the group that may do anything, whatever the policy says.
var Masters = Privileged{user.SystemPrivilegedGroup}

// Authorize allows members and has no opinion on others.
func (p Privileged) Authorize(_ context.Context, attrs authorizer.Attributes) (authorizer.Decision, string, error) {
	who := attrs.GetUser()
	if who == nil {
		return authorizer.DecisionNoOpinion, "Error: no user on request.", nil
	}
	for _, group := range who.GetGroups() {
		if has(p, group) {
			return authorizer.DecisionAllow, "", nil
		}
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// Union asks authorizers in turn; the first with an opinion decides.
type Union []authorizer.Authorizer

var _ authorizer.RuleResolver = Union(nil)

// Authorize gives the first decided answer, or no opinion with all reasons and errors met.
func (u Union) Authorize(ctx context.Context, attrs authorizer.Attributes) (authorizer.Decision, string, error) {
	var reasons []string
	var errs []error
	for _, each := range u {
		decision, reason, err := each.Authorize(ctx, attrs)
		if decision == authorizer.DecisionAllow || decision == authorizer.DecisionDeny {
			return decision, reason, err
		}
		if reason != "" {
			reasons = append(reasons, reason)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return authorizer.DecisionNoOpinion, strings.Join(reasons, "\n"), utilerrors.NewAggregate(errs)
}

// RulesFor joins the rules of those that can list them.
func (u Union) RulesFor(ctx context.Context, who user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	var resources []authorizer.ResourceRuleInfo
	var paths []authorizer.NonResourceRuleInfo
	var incomplete bool
	var errs []error
	for _, each := range u {
		resolver, ok := each.(authorizer.RuleResolver)
		if !ok {
			continue
		}
		r, p, partial, err := resolver.RulesFor(ctx, who, namespace)
		incomplete = incomplete || partial
		if err != nil {
			errs = append(errs, err)
		}
		resources, paths = append(resources, r...), append(paths, p...)
	}
	return resources, paths, incomplete, utilerrors.NewAggregate(errs)
}

// Check is nil when the request is allowed, and otherwise the 403 that the user is to see.
func Check(ctx context.Context, a authorizer.Authorizer, attrs authorizer.Attributes) error {
	decision, reason, err := a.Authorize(ctx, attrs)
	// An authorizer may meet an error on the way and allow all the same.
	if decision == authorizer.DecisionAllow {
		return nil
	}
	if apierrors.IsForbidden(err) {
		return err
	}
	switch {
	case err != nil && reason != "":
		reason = fmt.Sprintf("%v: %s", err, reason)
	case err != nil:
		reason = err.Error()
	}
	return Forbidden(attrs, reason)
}

// Forbidden words a refusal as Kubernetes does: who, what, where, and the reason if there is one.
func Forbidden(attrs authorizer.Attributes, reason string) *apierrors.StatusError {
	message := htmlSafe.Replace(describeRequest(attrs))
	if reason != "" {
		message += ": " + reason
	}
	gr := schema.GroupResource{Group: attrs.GetAPIGroup(), Resource: attrs.GetResource()}
	return apierrors.NewForbidden(gr, attrs.GetName(), errors.New(message))
}

// htmlSafe keeps a hostile user name from reading as markup where a browser shows the message. It is immutable.
var htmlSafe = strings.NewReplacer(`&`, "&amp;", `<`, "&lt;", `>`, "&gt;")

func describeRequest(attrs authorizer.Attributes) string {
	var name string
	if who := attrs.GetUser(); who != nil {
		name = who.GetName()
	}
	verb := attrs.GetVerb()
	if !attrs.IsResourceRequest() {
		return fmt.Sprintf("User %q cannot %s path %q", name, verb, attrs.GetPath())
	}
	resource := attrs.GetResource()
	if sub := attrs.GetSubresource(); sub != "" {
		resource += "/" + sub
	}
	where := "at the cluster scope"
	if namespace := attrs.GetNamespace(); namespace != "" {
		where = fmt.Sprintf("in the namespace %q", namespace)
	}
	return fmt.Sprintf("User %q cannot %s resource %q in API group %q %s", name, verb, resource, attrs.GetAPIGroup(), where)
}
