package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Impersonation reads as whom a request wants to be treated: nil if as its sender. The user is as the headers have
// it, with no group added.
func Impersonation(headers http.Header) (*user.DefaultInfo, error) {
	wanted := &user.DefaultInfo{
		Name:   headers.Get(authenticationv1.ImpersonateUserHeader),
		UID:    headers.Get(authenticationv1.ImpersonateUIDHeader),
		Groups: slices.Clone(headers[authenticationv1.ImpersonateGroupHeader]),
	}
	more := wanted.UID != "" || len(wanted.Groups) > 0
	for header, values := range headers {
		encoded, ok := strings.CutPrefix(header, authenticationv1.ImpersonateUserExtraHeaderPrefix)
		if !ok {
			continue
		}
		more = true
		if len(values) == 0 {
			continue
		}
		if wanted.Extra == nil {
			wanted.Extra = map[string][]string{}
		}
		key := unescapeKey(encoded)
		wanted.Extra[key] = append(wanted.Extra[key], values...)
	}
	if wanted.Name != "" {
		return wanted, nil
	}
	if more {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("requested %#v without impersonating a user name", wanted))
	}
	return nil, nil
}

// ClearImpersonation takes the headers from a request that was judged, so that nothing behind can tell.
func ClearImpersonation(headers http.Header) {
	for header := range headers {
		if strings.HasPrefix(header, authenticationv1.ImpersonateUserExtraHeaderPrefix) {
			delete(headers, header)
		}
	}
	headers.Del(authenticationv1.ImpersonateUserHeader)
	headers.Del(authenticationv1.ImpersonateUIDHeader)
	headers.Del(authenticationv1.ImpersonateGroupHeader)
}

// Impersonator judges impersonation. There are modes: the constrained ones (KEP-5284) allow a sender to take a user of
// one sort for one kind of request, by the verbs impersonate:<mode> on the user and impersonate-on:<mode>:<verb> on what is
// requested; the old one, by the verb impersonate, allows it for all requests.
type Impersonator struct {
	Authorizer authorizer.Authorizer
}

// manyChecks is from how many groups or extras on one check for all of them ("*") is tried first.
const manyChecks = 4

// Impersonate gives the user to treat the request as, and the verb that allowed it if the mode was a constrained
// one, for the audit event. The attributes are the request's, with its sender. The error is the client's answer.
func (i Impersonator) Impersonate(ctx context.Context, wanted *user.DefaultInfo, attrs authorizer.Attributes) (user.Info, string, error) {
	sender := attrs.GetUser()
	if sender == nil {
		return nil, "", errors.New("no User found in the context")
	}
	var first error
	for _, mode := range modesFor(sender, wanted) {
		got, err := mode.check(ctx, i.Authorizer, wanted, attrs)
		if err == nil {
			if mode.name == "" {
				return got, "", nil
			}
			return got, mode.verb(), nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, "", first
}

// impersonationMode is a way to be allowed; the one without a name is the old one.
type impersonationMode struct {
	name string
	// ownNode: the sender is a service account of a pod on the node it wants to be. The checks leave out
	// which node it is, since one right serves an agent on every node.
	ownNode bool
}

func (m impersonationMode) verb() string {
	if m.name == "" {
		return "impersonate"
	}
	return "impersonate:" + m.name
}

// modesFor are the modes that could allow this sender to be that user, the narrowest first.
func modesFor(sender user.Info, wanted *user.DefaultInfo) []impersonationMode {
	var modes []impersonationMode
	onlyName := wanted.UID == "" && len(wanted.Groups) == 0 && len(wanted.Extra) == 0
	node, isNode := nodeUser(wanted.Name)
	_, _, notAccount := serviceaccount.SplitUsername(wanted.Name)
	switch {
	case isNode:
		if onlyName {
			at := sender.GetExtra()[serviceaccount.NodeNameKey]
			if _, _, err := serviceaccount.SplitUsername(sender.GetName()); err == nil && len(at) == 1 && at[0] == node {
				modes = append(modes, impersonationMode{name: "associated-node", ownNode: true})
			}
			modes = append(modes, impersonationMode{name: "arbitrary-node"})
		}
	case notAccount == nil:
		if onlyName {
			modes = append(modes, impersonationMode{name: "serviceaccount"})
		}
	default:
		modes = append(modes, impersonationMode{name: "user-info"})
	}
	return append(modes, impersonationMode{})
}

func nodeUser(name string) (string, bool) {
	node, ok := strings.CutPrefix(name, nodeUserPrefix)
	return node, ok && len(validation.NameIsDNSSubdomain(node, false)) == 0
}

func (m impersonationMode) check(ctx context.Context, a authorizer.Authorizer, wanted *user.DefaultInfo, attrs authorizer.Attributes) (user.Info, error) {
	sender := attrs.GetUser()
	if m.ownNode {
		sender = ownNodeSender(sender)
	}
	constrained := m.name != ""
	if constrained {
		if err := Check(ctx, a, impersonateOn{Attributes: attrs, mode: m.name, sender: sender}); err != nil {
			return nil, err
		}
	}
	got := *wanted
	if err := m.checkName(ctx, a, sender, wanted, &got); err != nil {
		return nil, err
	}
	if wanted.UID != "" {
		if err := Check(ctx, a, m.attributes(sender, authenticationv1.SchemeGroupVersion, "uids", wanted.UID)); err != nil {
			return nil, err
		}
	}
	if err := m.checkGroups(ctx, a, sender, wanted.Groups); err != nil {
		return nil, err
	}
	if err := m.checkExtra(ctx, a, sender, wanted.Extra); err != nil {
		return nil, err
	}
	switch {
	case got.Name == user.Anonymous:
		got.Groups = withGroup(got.Groups, user.AllUnauthenticated)
	case !has(got.Groups, user.AllUnauthenticated):
		got.Groups = withGroup(got.Groups, user.AllAuthenticated)
	}
	return &got, nil
}

// checkName checks the user's name, and gives nodes and service accounts the groups they always have.
func (m impersonationMode) checkName(ctx context.Context, a authorizer.Authorizer, sender user.Info, wanted, got *user.DefaultInfo) error {
	attrs := m.attributes(sender, m.identityVersion(), "users", wanted.Name)
	if node, ok := nodeUser(wanted.Name); ok && m.name != "" {
		attrs.Resource, attrs.Name = "nodes", node
		if m.ownNode {
			attrs.Name = "*"
		}
		got.Groups = []string{user.NodesGroup}
	}
	if namespace, name, err := serviceaccount.SplitUsername(wanted.Name); err == nil {
		attrs.Resource, attrs.Namespace, attrs.Name = "serviceaccounts", namespace, name
		if len(wanted.Groups) == 0 {
			got.Groups = serviceaccount.MakeGroupNames(namespace)
		}
	}
	return Check(ctx, a, attrs)
}

func (m impersonationMode) checkGroups(ctx context.Context, a authorizer.Authorizer, sender user.Info, groups []string) error {
	attrs := m.attributes(sender, m.identityVersion(), "groups", "")
	if m.name != "" {
		if has(groups, "") {
			return Forbidden(attrs, "impersonating the empty string group is not allowed")
		}
		if has(groups, user.SystemPrivilegedGroup) {
			attrs.Name = user.SystemPrivilegedGroup
			return Forbidden(attrs, "impersonating the system:masters group is not allowed")
		}
		if len(groups) >= manyChecks {
			attrs.Name = "*"
			if Check(ctx, a, attrs) == nil {
				return nil
			}
		}
	}
	for _, group := range groups {
		attrs.Name = group
		if err := Check(ctx, a, attrs); err != nil {
			return err
		}
	}
	return nil
}

func (m impersonationMode) checkExtra(ctx context.Context, a authorizer.Authorizer, sender user.Info, extra map[string][]string) error {
	attrs := m.attributes(sender, authenticationv1.SchemeGroupVersion, "userextras", "")
	if m.name != "" {
		count := 0
		for key, values := range extra {
			if err := validateExtra(key, values); err != nil {
				return Forbidden(attrs, err.Error())
			}
			count += len(values)
		}
		if count >= manyChecks {
			attrs.Subresource, attrs.Name = "*", "*"
			if Check(ctx, a, attrs) == nil {
				return nil
			}
		}
	}
	for key, values := range extra {
		attrs.Subresource = key
		for _, value := range values {
			attrs.Name = value
			if err := Check(ctx, a, attrs); err != nil {
				return err
			}
		}
	}
	return nil
}

func validateExtra(key string, values []string) error {
	if key == "" {
		return errors.New("impersonating the empty string key in extra is not allowed")
	}
	if err := utilvalidation.IsDomainPrefixedPath(field.NewPath("extra", "key"), key).ToAggregate(); err != nil {
		return fmt.Errorf("impersonating an invalid key in extra is not allowed: %w", err)
	}
	if key != strings.ToLower(key) {
		return fmt.Errorf("impersonating a non-lowercase key in extra is not allowed: %q", key)
	}
	if len(values) == 0 {
		return errors.New("impersonating empty values in extra is not allowed")
	}
	if has(values, "") {
		return errors.New("impersonating the empty string value in extra is not allowed")
	}
	return nil
}

// identityVersion is where users and groups are looked for: the old mode has them in the core group.
func (m impersonationMode) identityVersion() schema.GroupVersion {
	if m.name == "" {
		return corev1.SchemeGroupVersion
	}
	return authenticationv1.SchemeGroupVersion
}

func (m impersonationMode) attributes(sender user.Info, gv schema.GroupVersion, resource, name string) authorizer.AttributesRecord {
	return authorizer.AttributesRecord{
		User: sender, Verb: m.verb(), APIGroup: gv.Group, APIVersion: gv.Version,
		Resource: resource, Name: name, ResourceRequest: true,
	}
}

// ownNodeSender is the sender without what tells one node's agent from another's.
func ownNodeSender(sender user.Info) user.Info {
	keys := make([]string, 0, len(sender.GetExtra()))
	for key := range sender.GetExtra() {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return &user.DefaultInfo{
		Name: sender.GetName(), UID: sender.GetUID(), Groups: sender.GetGroups(),
		Extra: map[string][]string{"authentication.kubernetes.io/associated-node-keys": keys},
	}
}

// impersonateOn is the request itself under the verb that a constrained mode asks about.
type impersonateOn struct {
	authorizer.Attributes
	mode   string
	sender user.Info
}

func (i impersonateOn) GetUser() user.Info { return i.sender }
func (i impersonateOn) GetVerb() string {
	return "impersonate-on:" + i.mode + ":" + i.Attributes.GetVerb()
}

func withGroup(groups []string, group string) []string {
	if has(groups, group) {
		return groups
	}
	return append(append(make([]string, 0, len(groups)+1), groups...), group)
}
