package modes

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// abacRule is one line of a policy file (mode ABAC).
type abacRule struct {
	User            string `json:"user"`
	Group           string `json:"group"`
	Readonly        bool   `json:"readonly"`
	APIGroup        string `json:"apiGroup"`
	Resource        string `json:"resource"`
	Namespace       string `json:"namespace"`
	NonResourcePath string `json:"nonResourcePath"`
}

// abacRules allow what any of them does.
type abacRules []abacRule

var (
	_ authorizer.Authorizer   = abacRules(nil)
	_ authorizer.RuleResolver = abacRules(nil)
)

const abacVersion = "abac.authorization.kubernetes.io/v1beta1"

// readABAC reads a policy file: an object on each line, and comments after #.
func readABAC(path string) (abacRules, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var rules abacRules
	scanner := bufio.NewScanner(f)
	for line := 1; scanner.Scan(); line++ {
		text := strings.TrimSpace(scanner.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		rule, err := parseABAC([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("error reading policy file %s, line %d: %s: %w", path, line, text, err)
		}
		rules = append(rules, rule)
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("error reading policy file %s: %w", path, err)
	}
	return rules, nil
}

// parseABAC knows the form with a version, and the older one without, where what is left out means anything.
func parseABAC(text []byte) (abacRule, error) {
	var line struct {
		APIVersion string    `json:"apiVersion"`
		Kind       string    `json:"kind"`
		Spec       *abacRule `json:"spec"`
		abacRule
	}
	if err := json.Unmarshal(text, &line); err != nil {
		return abacRule{}, err
	}
	switch {
	case line.APIVersion == "" || line.Kind == "":
		return unversioned(line.abacRule), nil
	case line.APIVersion != abacVersion || line.Kind != "Policy":
		return abacRule{}, fmt.Errorf("no kind %q is registered for version %q", line.Kind, line.APIVersion)
	}
	var rule abacRule
	if line.Spec != nil {
		rule = *line.Spec
	}
	anyone(&rule)
	return rule, nil
}

// anyone reads "*" as everybody who has shown who they are.
func anyone(r *abacRule) {
	if r.User == "*" || r.Group == "*" {
		r.User, r.Group = "", user.AllAuthenticated
	}
}

func unversioned(r abacRule) abacRule {
	out := abacRule{User: r.User, Group: r.Group, Readonly: r.Readonly, Namespace: r.Namespace, Resource: r.Resource, APIGroup: "*"}
	if out.User == "" && out.Group == "" {
		out.Group = user.AllAuthenticated
	}
	anyone(&out)
	if r.Namespace == "" && r.Resource == "" {
		out.NonResourcePath = "*"
	}
	if r.Namespace == "" {
		out.Namespace = "*"
	}
	if r.Resource == "" {
		out.Resource = "*"
	}
	return out
}

// holder says whether the rule is for the user: all that it names must be the user's, and it must name something.
func (r *abacRule) holder(u user.Info) bool {
	if u == nil || r.User == "" && r.Group == "" {
		return false
	}
	return (r.User == "" || r.User == u.GetName()) && (r.Group == "" || slices.Contains(u.GetGroups(), r.Group))
}

func (r *abacRule) covers(a authorizer.Attributes) bool {
	if r.Readonly && !a.IsReadOnly() {
		return false
	}
	is := func(allowed, asked string) bool { return allowed == "*" || allowed == asked }
	if a.IsResourceRequest() {
		return is(r.Namespace, a.GetNamespace()) && is(r.Resource, a.GetResource()) && is(r.APIGroup, a.GetAPIGroup())
	}
	if is(r.NonResourcePath, a.GetPath()) {
		return true
	}
	return strings.HasSuffix(r.NonResourcePath, "*") && strings.HasPrefix(a.GetPath(), strings.TrimRight(r.NonResourcePath, "*"))
}

// Authorize allows what a rule of the user's covers.
func (rules abacRules) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	for i := range rules {
		if rules[i].holder(a.GetUser()) && rules[i].covers(a) {
			return authorizer.DecisionAllow, "", nil
		}
	}
	return authorizer.DecisionNoOpinion, "No policy matched.", nil
}

// RulesFor lists the user's rules.
func (rules abacRules) RulesFor(_ context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	var resources []authorizer.ResourceRuleInfo
	var paths []authorizer.NonResourceRuleInfo
	for i := range rules {
		r := &rules[i]
		if !r.holder(u) || r.Namespace != "*" && r.Namespace != namespace {
			continue
		}
		verbs := []string{"*"}
		if r.Readonly {
			verbs = []string{"get", "list", "watch"}
		}
		if r.Resource != "" {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{Verbs: verbs, APIGroups: []string{r.APIGroup}, Resources: []string{r.Resource}})
		}
		if r.NonResourcePath != "" {
			paths = append(paths, &authorizer.DefaultNonResourceRuleInfo{Verbs: verbs, NonResourceURLs: []string{r.NonResourcePath}})
		}
	}
	return resources, paths, false, nil
}
