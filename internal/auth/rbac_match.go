package auth

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// verbBit numbers the verbs of ordinary requests, so that a rule's verbs are one word and the usual mismatch
// costs one instruction. Any other verb ("impersonate", "bind", a webhook's own) is compared as text.
func verbBit(verb string) uint16 {
	switch verb {
	case "get":
		return 1 << 0
	case "list":
		return 1 << 1
	case "watch":
		return 1 << 2
	case "create":
		return 1 << 3
	case "update":
		return 1 << 4
	case "patch":
		return 1 << 5
	case "delete":
		return 1 << 6
	case "deletecollection":
		return 1 << 7
	}
	return 0
}

// request is what a rule is matched against, read once from the attributes.
type request struct {
	verb       string
	verbBit    uint16
	isResource bool
	group      string
	resource   string
	sub        string
	name       string
	path       string
}

func requestOf(attrs authorizer.Attributes) request {
	r := request{verb: attrs.GetVerb(), isResource: attrs.IsResourceRequest()}
	r.verbBit = verbBit(r.verb)
	if r.isResource {
		r.group, r.resource, r.sub, r.name = attrs.GetAPIGroup(), attrs.GetResource(), attrs.GetSubresource(), attrs.GetName()
	} else {
		r.path = attrs.GetPath()
	}
	return r
}

// compiledRule is a PolicyRule made quick to refuse. It points into the rule it was made from.
type compiledRule struct {
	verbBits   uint16
	anyVerb    bool
	anyGroup   bool
	anyRes     bool
	otherVerbs []string
	groups     []string
	resources  []string
	names      []string
	urls       []string
}

func compileRules(rules []rbacv1.PolicyRule) []compiledRule {
	out := make([]compiledRule, len(rules))
	for i := range rules {
		out[i] = compileRule(&rules[i])
	}
	return out
}

func compileRule(rule *rbacv1.PolicyRule) compiledRule {
	c := compiledRule{groups: rule.APIGroups, resources: rule.Resources, names: rule.ResourceNames, urls: rule.NonResourceURLs}
	for _, verb := range rule.Verbs {
		if verb == rbacv1.VerbAll {
			c.anyVerb = true
		} else if bit := verbBit(verb); bit != 0 {
			c.verbBits |= bit
		} else {
			c.otherVerbs = append(c.otherVerbs, verb)
		}
	}
	c.anyGroup = has(rule.APIGroups, rbacv1.APIGroupAll)
	c.anyRes = has(rule.Resources, rbacv1.ResourceAll)
	return c
}

func (c *compiledRule) allows(r *request) bool {
	if !c.anyVerb && c.verbBits&r.verbBit == 0 && (r.verbBit != 0 || !has(c.otherVerbs, r.verb)) {
		return false
	}
	if !r.isResource {
		return c.allowsPath(r.path)
	}
	return (c.anyGroup || has(c.groups, r.group)) &&
		(c.anyRes || c.allowsResource(r)) &&
		(len(c.names) == 0 || has(c.names, r.name))
}

// allowsResource knows three forms: "pods", "pods/log" and "*/scale".
func (c *compiledRule) allowsResource(r *request) bool {
	for _, allowed := range c.resources {
		if r.sub == "" {
			if allowed == r.resource {
				return true
			}
			continue
		}
		parent, sub, found := strings.Cut(allowed, "/")
		if found && sub == r.sub && (parent == r.resource || parent == "*") {
			return true
		}
	}
	return false
}

// allowsPath knows exact paths and those that end in stars, which match any path they begin.
func (c *compiledRule) allowsPath(path string) bool {
	for _, allowed := range c.urls {
		if allowed == rbacv1.NonResourceAll || allowed == path {
			return true
		}
		if strings.HasSuffix(allowed, "*") && strings.HasPrefix(path, strings.TrimRight(allowed, "*")) {
			return true
		}
	}
	return false
}

// RuleAllows says whether one rule allows the request.
func RuleAllows(attrs authorizer.Attributes, rule *rbacv1.PolicyRule) bool {
	c, r := compileRule(rule), requestOf(attrs)
	return c.allows(&r)
}

func anyAllows(rules []compiledRule, r *request) bool {
	for i := range rules {
		if rules[i].allows(r) {
			return true
		}
	}
	return false
}

func has(list []string, item string) bool {
	for _, s := range list {
		if s == item {
			return true
		}
	}
	return false
}
