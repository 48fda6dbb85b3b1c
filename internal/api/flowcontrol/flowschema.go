package flowcontrol

import (
	"fmt"
	"slices"
	"strings"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

const defaultPrecedence = 1000

// ruleVerbs are the verbs a rule may name, in the order refusals list them.
var ruleVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"}

func flowSchemaRow() *api.Kind {
	return api.Define(api.Spec[*flowcontrolv1.FlowSchema]{
		GVK: gvk("FlowSchema"), Plural: "flowschemas", Singular: "flowschema", Generation: true, UnconditionalUpdate: true,
		List:          &flowcontrolv1.FlowSchemaList{},
		Default:       func(f *flowcontrolv1.FlowSchema) { setDefault(&f.Spec.MatchingPrecedence, defaultPrecedence) },
		PrepareCreate: func(f *flowcontrolv1.FlowSchema) { f.Generation = 1 },
		PrepareStatus: func(f, old *flowcontrolv1.FlowSchema) { keepMeta(&f.ObjectMeta, &old.ObjectMeta) },
		Validate:      validateFlowSchema,
		ValidateUpdate: func(f, old *flowcontrolv1.FlowSchema) field.ErrorList {
			return append(meta.ValidateObjectMetaUpdate(&f.ObjectMeta, &old.ObjectMeta), validateFlowSchema(f)...)
		},
		ValidateStatus: func(f, old *flowcontrolv1.FlowSchema) field.ErrorList {
			r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&f.ObjectMeta, &old.ObjectMeta)}
			flowSchemaStatus(&r, f)
			return r.Errs
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("PriorityLevel", "The priority level of the requests the schema matches."),
			meta.Text("MatchingPrecedence", "Of the schemas that match a request, the one with the lowest number counts."),
			meta.Text("DistinguisherMethod", "What tells the flows of the schema apart."),
			meta.AgeColumn,
			meta.Text("MissingPL", "Whether the priority level does not exist."),
		},
		Row: func(f *flowcontrolv1.FlowSchema, now time.Time) []any {
			method, dangling := "<none>", "?"
			if m := f.Spec.DistinguisherMethod; m != nil {
				method = string(m.Type)
			}
			for _, c := range f.Status.Conditions {
				if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
					dangling = string(c.Status)
					break
				}
			}
			return []any{f.Name, f.Spec.PriorityLevelConfiguration.Name, int64(f.Spec.MatchingPrecedence), method, meta.Age(f.CreationTimestamp, now), dangling}
		},
	})
}

func flowSchemaStatus(r *meta.Report, f *flowcontrolv1.FlowSchema) {
	conditionTypes(r, len(f.Status.Conditions), func(i int) flowcontrolv1.FlowSchemaConditionType { return f.Status.Conditions[i].Type })
}

func validateFlowSchema(f *flowcontrolv1.FlowSchema) field.ErrorList {
	r := &meta.Report{Errs: meta.ValidateObjectMeta(&f.ObjectMeta, false, meta.DNSSubdomain)}
	s := &f.Spec
	at := specPath.Child("matchingPrecedence")
	switch n := s.MatchingPrecedence; {
	case n <= 0:
		r.Invalid(at, n, "must be a positive value")
	case n > flowcontrolv1.FlowSchemaMaxMatchingPrecedence:
		r.Invalid(at, n, fmt.Sprintf("must not be greater than %v", flowcontrolv1.FlowSchemaMaxMatchingPrecedence))
	case n == 1 && f.Name != flowcontrolv1.FlowSchemaNameExempt:
		r.Invalid(at, n, "only the schema named 'exempt' may have matchingPrecedence 1")
	}
	if m := s.DistinguisherMethod; m != nil {
		meta.Among(r, specPath.Child("distinguisherMethod", "type"), m.Type, flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType)
	}
	level := specPath.Child("priorityLevelConfiguration", "name")
	if name := s.PriorityLevelConfiguration.Name; name == "" {
		r.Required(level, "must reference a priority level")
	} else {
		r.Named(level, name, meta.DNSSubdomain)
	}
	for i := range s.Rules {
		flowRule(r, &s.Rules[i], specPath.Child("rules").Index(i))
	}
	for _, m := range mandatorySchemas() {
		if m.Name == f.Name && !equality.Semantic.DeepEqual(f.Spec, m.Spec) {
			r.Invalid(specPath, f.Spec, fmt.Sprintf("spec of '%s' must equal the fixed value", f.Name))
		}
	}
	flowSchemaStatus(r, f)
	return r.Errs
}

func flowRule(r *meta.Report, rule *flowcontrolv1.PolicyRulesWithSubjects, p *field.Path) {
	subjects := p.Child("subjects")
	if len(rule.Subjects) == 0 {
		r.Required(subjects, "subjects must contain at least one value")
	}
	for i := range rule.Subjects {
		flowSubject(r, &rule.Subjects[i], subjects.Index(i))
	}
	if len(rule.ResourceRules) == 0 && len(rule.NonResourceRules) == 0 {
		r.Required(p, "at least one of resourceRules and nonResourceRules has to be non-empty")
	}
	for i := range rule.ResourceRules {
		resourceRule(r, &rule.ResourceRules[i], p.Child("resourceRules").Index(i))
	}
	for i := range rule.NonResourceRules {
		nonResourceRule(r, &rule.NonResourceRules[i], p.Child("nonResourceRules").Index(i))
	}
}

func flowSubject(r *meta.Report, s *flowcontrolv1.Subject, p *field.Path) {
	others := func(own string) {
		forbid := func(set bool, name, kind string) {
			r.ForbiddenIf(set && name != own, p.Child(name), fmt.Sprintf("%s is forbidden when subject kind is not '%s'", name, kind))
		}
		forbid(s.User != nil, "user", "User")
		forbid(s.Group != nil, "group", "Group")
		forbid(s.ServiceAccount != nil, "serviceAccount", "ServiceAccount")
	}
	switch s.Kind {
	case flowcontrolv1.SubjectKindServiceAccount:
		at := p.Child("serviceAccount")
		if s.ServiceAccount == nil {
			r.Required(at, "serviceAccount is required when subject kind is 'ServiceAccount'")
		} else {
			serviceAccount(r, s.ServiceAccount, at)
		}
		others("serviceAccount")
	case flowcontrolv1.SubjectKindUser:
		if s.User == nil {
			r.Required(p.Child("user"), "user is required when subject kind is 'User'")
		} else {
			r.RequiredIf(s.User.Name == "", p.Child("user", "name"))
		}
		others("user")
	case flowcontrolv1.SubjectKindGroup:
		if s.Group == nil {
			r.Required(p.Child("group"), "group is required when subject kind is 'Group'")
		} else {
			r.RequiredIf(s.Group.Name == "", p.Child("group", "name"))
		}
		others("group")
	default:
		meta.Among(r, p.Child("kind"), s.Kind, flowcontrolv1.SubjectKindGroup, flowcontrolv1.SubjectKindServiceAccount, flowcontrolv1.SubjectKindUser)
	}
}

func serviceAccount(r *meta.Report, s *flowcontrolv1.ServiceAccountSubject, p *field.Path) {
	switch s.Name {
	case "":
		r.Required(p.Child("name"), "")
	case flowcontrolv1.NameAll:
	default:
		r.Named(p.Child("name"), s.Name, meta.ServiceAccount)
	}
	if s.Namespace == "" {
		r.Required(p.Child("namespace"), "must specify namespace for service account")
	} else {
		r.Named(p.Child("namespace"), s.Namespace, meta.Namespace)
	}
}

const all = "*"

// lone reports a wildcard that is not alone, and says whether there is one.
func lone(r *meta.Report, p *field.Path, list []string, others string) bool {
	wild := slices.Contains(list, all)
	if wild && len(list) > 1 {
		r.Invalid(p, list, "if '*' is present, must not specify other "+others)
	}
	return wild
}

func verbs(r *meta.Report, p *field.Path, list []string) {
	if len(list) == 0 {
		r.Required(p, "verbs must contain at least one value")
		return
	}
	if lone(r, p, list, "verbs") {
		return
	}
	for _, v := range list {
		if !slices.Contains(ruleVerbs, v) {
			r.Errs = append(r.Errs, field.NotSupported(p, list, ruleVerbs))
			return
		}
	}
}

func resourceRule(r *meta.Report, rule *flowcontrolv1.ResourcePolicyRule, p *field.Path) {
	verbs(r, p.Child("verbs"), rule.Verbs)
	if at := p.Child("apiGroups"); len(rule.APIGroups) == 0 {
		r.Required(at, "resource rules must supply at least one api group")
	} else {
		lone(r, at, rule.APIGroups, "api groups")
	}
	if at := p.Child("resources"); len(rule.Resources) == 0 {
		r.Required(at, "resource rules must supply at least one resource")
	} else {
		lone(r, at, rule.Resources, "resources")
	}
	at := p.Child("namespaces")
	if len(rule.Namespaces) == 0 && !rule.ClusterScope {
		r.Required(at, "resource rules that are not cluster scoped must supply at least one namespace")
	} else if !lone(r, at, rule.Namespaces, "namespaces") {
		for i, ns := range rule.Namespaces {
			for _, msg := range meta.Namespace(ns, false) {
				r.Invalid(at.Index(i), ns, "each member of this list must be '*' or a DNS-1123 label; "+msg)
			}
		}
	}
}

func nonResourceRule(r *meta.Report, rule *flowcontrolv1.NonResourcePolicyRule, p *field.Path) {
	verbs(r, p.Child("verbs"), rule.Verbs)
	at := p.Child("nonResourceURLs")
	if len(rule.NonResourceURLs) == 0 {
		r.Required(at, "nonResourceURLs must contain at least one value")
	} else if !lone(r, at, rule.NonResourceURLs, "non-resource URLs") {
		for i, v := range rule.NonResourceURLs {
			if why := badURL(v); why != "" {
				r.Invalid(at.Index(i), v, why)
			}
		}
	}
}

// badURL says what is wrong with a path that may end in a wildcard.
func badURL(path string) string {
	stars := strings.Count(path, all)
	switch {
	case path == "":
		return "must not be empty"
	case path == "/":
		return ""
	case !strings.HasPrefix(path, "/"):
		return "must start with slash"
	case strings.Contains(path, " "):
		return "must not contain white-space"
	case strings.Contains(path, "//"):
		return "must not contain double slash"
	case stars > 1, stars == 1 && !strings.HasSuffix(path, "/*"):
		return "wildcard can only do suffix matching"
	}
	return ""
}
