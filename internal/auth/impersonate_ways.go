package auth

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// way is one way in which a sender may be allowed to be another: the gates to pass, and who it is then.
type way struct {
	constraint string // the verb, for the audit event; none for the old way
	gates      []gate
	as         *user.DefaultInfo
}

// gate is passed when the authorizer allows every question, or the one that stands for all of them.
type gate struct {
	each []authorizer.Attributes
	all  authorizer.Attributes // nil: there is none
	wall string                // not empty: never passed, for this reason, whatever the authorizer says
}

// manyQuestions is from how many groups or extras on one question about all of them comes first.
const manyQuestions = 4

// userSort is what a user name stands for, which decides on the ways there are.
type userSort struct {
	node               string // of a kubelet
	namespace, account string // of a service account
}

func sortOf(name string) userSort {
	if node, ok := strings.CutPrefix(name, nodeUserPrefix); ok && len(validation.NameIsDNSSubdomain(node, false)) == 0 {
		return userSort{node: node}
	}
	if namespace, account, err := serviceaccount.SplitUsername(name); err == nil {
		return userSort{namespace: namespace, account: account}
	}
	return userSort{}
}

// impersonationWays are the ways that lead this sender to that user for this request, the narrowest first.
func impersonationWays(wanted *user.DefaultInfo, request authorizer.Attributes) []way {
	who, sender := sortOf(wanted.Name), request.GetUser()
	nameAlone := wanted.UID == "" && len(wanted.Groups) == 0 && len(wanted.Extra) == 0
	var ways []way
	switch {
	case who.node != "" && nameAlone:
		kubelet := &user.DefaultInfo{Name: wanted.Name, Groups: []string{user.NodesGroup, user.AllAuthenticated}}
		if runsOn(sender, who.node) {
			agent := anyNodesAgent(sender)
			ways = append(ways, constrained("associated-node", agent, request, kubelet,
				asks(agent, "impersonate:associated-node", authenticationv1.SchemeGroupVersion, "nodes", "*")))
		}
		ways = append(ways, constrained("arbitrary-node", sender, request, kubelet,
			asks(sender, "impersonate:arbitrary-node", authenticationv1.SchemeGroupVersion, "nodes", who.node)))
	case who.account != "" && nameAlone:
		question := asks(sender, "impersonate:serviceaccount", authenticationv1.SchemeGroupVersion, "serviceaccounts", who.account)
		question.Namespace = who.namespace
		as := &user.DefaultInfo{Name: wanted.Name, Groups: append(serviceaccount.MakeGroupNames(who.namespace), user.AllAuthenticated)}
		ways = append(ways, constrained("serviceaccount", sender, request, as, question))
	case who == userSort{}:
		const verb = "impersonate:user-info"
		w := constrained("user-info", sender, request, completed(wanted, wanted.Groups),
			asks(sender, verb, authenticationv1.SchemeGroupVersion, "users", wanted.Name))
		w.gates = append(w.gates, uidGate(sender, verb, wanted.UID)...)
		w.gates = append(w.gates, narrowGroupGate(sender, verb, wanted.Groups)...)
		w.gates = append(w.gates, narrowExtraGate(sender, verb, wanted.Extra)...)
		ways = append(ways, w)
	}
	return append(ways, oldWay(wanted, who, sender))
}

// oldWay is the verb impersonate. Users and groups are looked for in the core group there, and nothing limits them.
func oldWay(wanted *user.DefaultInfo, who userSort, sender user.Info) way {
	const verb = "impersonate"
	groups := wanted.Groups
	name := asks(sender, verb, corev1.SchemeGroupVersion, "users", wanted.Name)
	if who.account != "" {
		name.Resource, name.Namespace, name.Name = "serviceaccounts", who.namespace, who.account
		if len(groups) == 0 {
			groups = serviceaccount.MakeGroupNames(who.namespace)
		}
	}
	w := way{as: completed(wanted, groups), gates: []gate{{each: []authorizer.Attributes{name}}}}
	w.gates = append(w.gates, uidGate(sender, verb, wanted.UID)...)
	for _, group := range wanted.Groups {
		w.gates = append(w.gates, gate{each: []authorizer.Attributes{asks(sender, verb, corev1.SchemeGroupVersion, "groups", group)}})
	}
	if len(wanted.Extra) > 0 {
		w.gates = append(w.gates, gate{each: extraQuestions(sender, verb, wanted.Extra)})
	}
	return w
}

// constrained begins a way with the questions about the request and about the name.
func constrained(name string, sender user.Info, request authorizer.Attributes, as *user.DefaultInfo, who authorizer.AttributesRecord) way {
	return way{
		constraint: "impersonate:" + name,
		as:         as,
		gates: []gate{
			{each: []authorizer.Attributes{requestUnder{Attributes: request, sender: sender, verb: "impersonate-on:" + name + ":" + request.GetVerb()}}},
			{each: []authorizer.Attributes{who}},
		},
	}
}

func asks(sender user.Info, verb string, gv schema.GroupVersion, resource, name string) authorizer.AttributesRecord {
	return authorizer.AttributesRecord{
		User: sender, Verb: verb, APIGroup: gv.Group, APIVersion: gv.Version,
		Resource: resource, Name: name, ResourceRequest: true,
	}
}

func uidGate(sender user.Info, verb, uid string) []gate {
	if uid == "" {
		return nil
	}
	return []gate{{each: []authorizer.Attributes{asks(sender, verb, authenticationv1.SchemeGroupVersion, "uids", uid)}}}
}

// narrowGroupGate asks about groups, and lets nobody into those that would lift every constraint.
func narrowGroupGate(sender user.Info, verb string, groups []string) []gate {
	if len(groups) == 0 {
		return nil
	}
	about := func(group string) authorizer.Attributes {
		return asks(sender, verb, authenticationv1.SchemeGroupVersion, "groups", group)
	}
	switch {
	case has(groups, ""):
		return []gate{{each: []authorizer.Attributes{about("")}, wall: "impersonating the empty string group is not allowed"}}
	case has(groups, user.SystemPrivilegedGroup):
		return []gate{{each: []authorizer.Attributes{about(user.SystemPrivilegedGroup)}, wall: "impersonating the system:masters group is not allowed"}}
	}
	var g gate
	for _, group := range groups {
		g.each = append(g.each, about(group))
	}
	if len(groups) >= manyQuestions {
		g.all = about("*")
	}
	return []gate{g}
}

// narrowExtraGate asks about extras, and takes none that an authenticator would not make.
func narrowExtraGate(sender user.Info, verb string, extra map[string][]string) []gate {
	if len(extra) == 0 {
		return nil
	}
	any := asks(sender, verb, authenticationv1.SchemeGroupVersion, "userextras", "")
	for _, key := range slices.Sorted(maps.Keys(extra)) {
		if reason := extraProblem(key, extra[key]); reason != "" {
			return []gate{{each: []authorizer.Attributes{any}, wall: reason}}
		}
	}
	g := gate{each: extraQuestions(sender, verb, extra)}
	if len(g.each) >= manyQuestions {
		any.Subresource, any.Name = "*", "*"
		g.all = any
	}
	return []gate{g}
}

func extraQuestions(sender user.Info, verb string, extra map[string][]string) []authorizer.Attributes {
	var out []authorizer.Attributes
	for _, key := range slices.Sorted(maps.Keys(extra)) {
		for _, value := range extra[key] {
			question := asks(sender, verb, authenticationv1.SchemeGroupVersion, "userextras", value)
			question.Subresource = key
			out = append(out, question)
		}
	}
	return out
}

func extraProblem(key string, values []string) string {
	if key == "" {
		return "impersonating the empty string key in extra is not allowed"
	}
	if err := utilvalidation.IsDomainPrefixedPath(field.NewPath("extra", "key"), key).ToAggregate(); err != nil {
		return fmt.Sprintf("impersonating an invalid key in extra is not allowed: %v", err)
	}
	switch {
	case key != strings.ToLower(key):
		return fmt.Sprintf("impersonating a non-lowercase key in extra is not allowed: %q", key)
	case len(values) == 0:
		return "impersonating empty values in extra is not allowed"
	case has(values, ""):
		return "impersonating the empty string value in extra is not allowed"
	}
	return ""
}

// completed is the wanted user in the groups, and in that of all users of its kind.
func completed(wanted *user.DefaultInfo, groups []string) *user.DefaultInfo {
	out := *wanted
	out.Groups = slices.Clone(groups)
	last := user.AllAuthenticated
	if out.Name == user.Anonymous {
		last = user.AllUnauthenticated
	}
	if !has(out.Groups, last) && !has(out.Groups, user.AllUnauthenticated) {
		out.Groups = append(out.Groups, last)
	}
	return &out
}

// runsOn says that the sender is a service account whose token is of a pod on the node.
func runsOn(sender user.Info, node string) bool {
	at := sender.GetExtra()[serviceaccount.NodeNameKey]
	return sortOf(sender.GetName()).account != "" && len(at) == 1 && at[0] == node
}

// anyNodesAgent is the sender without what tells one node's agent from another's, so that one right, and one answer
// of an authorizer that remembers, serves an agent on every node.
func anyNodesAgent(sender user.Info) user.Info {
	return &user.DefaultInfo{
		Name: sender.GetName(), UID: sender.GetUID(), Groups: sender.GetGroups(),
		Extra: map[string][]string{"authentication.kubernetes.io/associated-node-keys": slices.Sorted(maps.Keys(sender.GetExtra()))},
	}
}

// requestUnder is the request itself under another verb.
type requestUnder struct {
	authorizer.Attributes
	sender user.Info
	verb   string
}

func (r requestUnder) GetUser() user.Info { return r.sender }
func (r requestUnder) GetVerb() string    { return r.verb }
