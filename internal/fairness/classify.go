package fairness

import (
	"net/url"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apiserver/pkg/authentication/user"
)

// Request is what a request is classified and estimated by.
type Request struct {
	User user.Info
	Verb string
	// Path is that of a request for no resource; the other fields are empty then.
	Path        string
	Resource    bool
	Group       string
	Version     string
	Plural      string
	Subresource string
	Namespace   string
	Name        string
	// Query says how much a list or watch asks for.
	Query url.Values
}

// matches tells whether one of a schema's rules speaks of the request.
func matches(spec *flowcontrolv1.FlowSchemaSpec, r *Request) bool {
	for i := range spec.Rules {
		rule := &spec.Rules[i]
		if !anySubject(rule.Subjects, r.User) {
			continue
		}
		if r.Resource && anyResourceRule(rule.ResourceRules, r) || !r.Resource && anyPathRule(rule.NonResourceRules, r) {
			return true
		}
	}
	return false
}

func anySubject(subjects []flowcontrolv1.Subject, u user.Info) bool {
	for i := range subjects {
		switch s := &subjects[i]; {
		case s.Kind == flowcontrolv1.SubjectKindUser && s.User != nil:
			if s.User.Name == flowcontrolv1.NameAll || s.User.Name == u.GetName() {
				return true
			}
		case s.Kind == flowcontrolv1.SubjectKindGroup && s.Group != nil:
			if s.Group.Name == flowcontrolv1.NameAll {
				return true
			}
			for _, g := range u.GetGroups() {
				if g == s.Group.Name {
					return true
				}
			}
		case s.Kind == flowcontrolv1.SubjectKindServiceAccount && s.ServiceAccount != nil:
			if isAccount(u.GetName(), s.ServiceAccount.Namespace, s.ServiceAccount.Name) {
				return true
			}
		}
	}
	return false
}

// isAccount compares a user name with a service account's, without putting the
// latter together. The name may be *.
func isAccount(userName, namespace, name string) bool {
	rest, ok := strings.CutPrefix(userName, "system:serviceaccount:")
	if !ok {
		return false
	}
	if rest, ok = strings.CutPrefix(rest, namespace); !ok {
		return false
	}
	if rest, ok = strings.CutPrefix(rest, ":"); !ok {
		return false
	}
	return name == flowcontrolv1.NameAll || rest == name
}

func anyResourceRule(rules []flowcontrolv1.ResourcePolicyRule, r *Request) bool {
	for i := range rules {
		rule := &rules[i]
		if !has(rule.Verbs, r.Verb) || !hasResource(rule.Resources, r) || !has(rule.APIGroups, r.Group) {
			continue
		}
		if r.Namespace == "" && rule.ClusterScope || r.Namespace != "" && has(rule.Namespaces, r.Namespace) {
			return true
		}
	}
	return false
}

// has finds a value in a list, in which * alone means any.
func has(list []string, v string) bool {
	if len(list) == 1 && list[0] == "*" {
		return true
	}
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}

// hasResource is has for resource and resource/subresource.
func hasResource(list []string, r *Request) bool {
	if r.Subresource == "" {
		return has(list, r.Plural)
	}
	if len(list) == 1 && list[0] == flowcontrolv1.ResourceAll {
		return true
	}
	for _, x := range list {
		if rest, ok := strings.CutPrefix(x, r.Plural); ok && len(rest) > 0 && rest[0] == '/' && rest[1:] == r.Subresource {
			return true
		}
	}
	return false
}

func anyPathRule(rules []flowcontrolv1.NonResourcePolicyRule, r *Request) bool {
	for i := range rules {
		if !has(rules[i].Verbs, r.Verb) {
			continue
		}
		for _, p := range rules[i].NonResourceURLs {
			if p == flowcontrolv1.NonResourceAll || p == r.Path || below(r.Path, strings.TrimSuffix(p, "*")) {
				return true
			}
		}
	}
	return false
}

// below tells whether a path lies below a root, which may end in a slash.
func below(path, root string) bool {
	rest, ok := strings.CutPrefix(path, root)
	if !ok {
		return false
	}
	return strings.HasSuffix(root, "/") || strings.HasPrefix(rest, "/")
}

// distinguisher is what tells the flows of a schema apart.
func distinguisher(m *flowcontrolv1.FlowDistinguisherMethod, r *Request) string {
	switch {
	case m == nil:
		return ""
	case m.Type == flowcontrolv1.FlowDistinguisherMethodByUserType:
		return r.User.GetName()
	case m.Type == flowcontrolv1.FlowDistinguisherMethodByNamespaceType:
		return r.Namespace
	}
	return ""
}
