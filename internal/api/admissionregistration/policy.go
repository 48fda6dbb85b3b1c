package admissionregistration

import (
	"fmt"
	"strings"
	"time"

	celgo "github.com/google/cel-go/cel"
	v1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/client-go/util/jsonpath"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

func validatingPolicyRow() *api.Kind {
	type kind = v1.ValidatingAdmissionPolicy
	return api.Define(api.Spec[*kind]{
		GVK: gvk("ValidatingAdmissionPolicy"), Plural: "validatingadmissionpolicies", Singular: "validatingadmissionpolicy",
		Categories: extensions, Generation: true,
		List: &v1.ValidatingAdmissionPolicyList{},
		Default: func(o *kind) {
			setDefault(&o.Spec.FailurePolicy, v1.Fail)
			defaultMatch(o.Spec.MatchConstraints)
		},
		PrepareCreate: func(o *kind) { o.Generation = 1 },
		PrepareStatus: func(o, old *kind) { metav1.ResetObjectMetaForStatus(o, old) },
		Validate: func(o *kind) field.ErrorList {
			return append(validateMeta(&o.ObjectMeta), validatePolicy(o, nil)...)
		},
		ValidateUpdate: func(o, old *kind) field.ErrorList {
			return append(validateMetaUpdate(&o.ObjectMeta, &old.ObjectMeta), validatePolicy(o, old)...)
		},
		ValidateStatus: func(o, old *kind) field.ErrorList {
			return append(validateStatusMeta(&o.ObjectMeta, &old.ObjectMeta), validatePolicyStatus(&o.Status)...)
		},
		Warnings: func(o *kind) []string { return nameWarnings(o.Name) },
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Number("Validations", "Validations indicates the number of validation rules defined in this configuration"),
			paramKindColumn,
			meta.AgeColumn,
		},
		Row: func(o *kind, now time.Time) []any {
			return []any{o.Name, int64(len(o.Spec.Validations)), paramKindCell(o.Spec.ParamKind), meta.Age(o.CreationTimestamp, now)}
		},
	})
}

var paramKindColumn = meta.Text("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy")

const unset = "<unset>"

func paramKindCell(k *v1.ParamKind) string {
	if k == nil {
		return unset
	}
	return k.APIVersion + "/" + k.Kind
}

const (
	maxAuditAnnotations = 20
	// An annotation's value may be twice as long: what joins strings yields more
	// than its own length.
	maxValueExpressionLength = 5 * 1024
)

// validatePolicy judges a policy; old is nil for a new one.
func validatePolicy(o, old *v1.ValidatingAdmissionPolicy) field.ErrorList {
	s := &o.Spec
	c := check{params: s.ParamKind != nil, stored: sets.Set[string]{}}
	conditions := true
	if old != nil {
		c.storedConditions(old.Spec.MatchConditions)
		for _, v := range old.Spec.Validations {
			c.stored.Insert(v.Expression, v.MessageExpression)
		}
		for _, a := range old.Spec.AuditAnnotations {
			c.stored.Insert(a.ValueExpression)
		}
		conditions = !equality.Semantic.DeepEqual(s.ParamKind, old.Spec.ParamKind) ||
			!equality.Semantic.DeepEqual(s.MatchConditions, old.Spec.MatchConditions)
	}
	c.RequiredIf(s.FailurePolicy == nil, specPath.Child("failurePolicy"))
	failurePolicy(&c.Report, s.FailurePolicy, specPath)
	c.paramKind(s.ParamKind, specPath.Child("paramKind"))
	matchConstraints(&c.Report, s.MatchConstraints, specPath.Child("matchConstraints"))
	if conditions {
		c.matchConditions(s.MatchConditions, specPath.Child("matchConditions"))
	}
	validations, annotations := specPath.Child("validations"), specPath.Child("auditAnnotations")
	if len(s.Validations)+len(s.AuditAnnotations) == 0 {
		const why = "validations or auditAnnotations must contain at least one item"
		c.Required(validations, why)
		c.Required(annotations, why)
	}
	var with plugincel.Compiler
	if len(s.Variables) > 0 {
		composed, err := composed()
		if err != nil {
			return append(c.Errs, field.InternalError(specPath.Child("variables"), err))
		}
		c.variables(composed, s.Variables, specPath.Child("variables"))
		with = composed
	} else if len(s.Validations)+len(s.AuditAnnotations) > 0 {
		with = plain()
	}
	for i := range s.Validations {
		c.validation(with, &s.Validations[i], validations.Index(i))
	}
	if n := len(s.AuditAnnotations); n > maxAuditAnnotations {
		c.Invalid(annotations, s.AuditAnnotations, fmt.Sprintf("must not have more than %d auditAnnotations", maxAuditAnnotations))
	}
	seen := sets.Set[string]{}
	for i := range s.AuditAnnotations {
		a, at := &s.AuditAnnotations[i], annotations.Index(i)
		c.auditAnnotation(with, o.Name, a, at)
		if seen.Has(a.Key) {
			c.Duplicate(at.Child("key"), a.Key)
		}
		seen.Insert(a.Key)
	}
	return c.Errs
}

func (c *check) storedConditions(list []v1.MatchCondition) {
	for _, m := range list {
		c.stored.Insert(m.Expression)
	}
}

// paramKind judges the kind of a policy's parameters by the rules that the
// group, version and kind of an API meet.
func (c *check) paramKind(k *v1.ParamKind, p *field.Path) {
	if k == nil {
		return
	}
	at := p.Child("apiVersion")
	group, version, grouped := strings.Cut(k.APIVersion, "/")
	if !grouped {
		group, version = "", k.APIVersion
	}
	switch {
	case k.APIVersion == "":
		c.Required(at, "")
	case strings.Contains(version, "/"):
		c.Invalid(at, k.APIVersion, "unexpected GroupVersion string: "+k.APIVersion)
	default:
		if group != "" {
			if errs := validation.IsDNS1123Subdomain(group); len(errs) > 0 {
				c.Invalid(at, group, strings.Join(errs, ","))
			}
		}
		if version == "" {
			c.Invalid(at, k.APIVersion, "version must be specified")
		} else if errs := validation.IsDNS1035Label(version); len(errs) > 0 {
			c.Invalid(at, version, strings.Join(errs, ","))
		}
	}
	at = p.Child("kind")
	if k.Kind == "" {
		c.Required(at, "")
	} else if errs := validation.IsDNS1035Label(strings.ToLower(k.Kind)); len(errs) > 0 {
		c.Invalid(at, k.Kind, "may have mixed case, but should otherwise match: "+strings.Join(errs, ","))
	}
}

func (c *check) validation(with plugincel.Compiler, v *v1.Validation, p *field.Path) {
	at := p.Child("expression")
	if strings.TrimSpace(v.Expression) == "" {
		c.Required(at, "expression is not specified")
	} else {
		c.compile(with, expression{text: v.Expression, types: yields(celgo.BoolType)}, v.Expression,
			plugincel.OptionalVariableDeclarations{HasParams: c.params, HasAuthorizer: true}, at)
	}
	if at := p.Child("messageExpression"); strings.TrimSpace(v.MessageExpression) != "" {
		c.compile(with, expression{text: v.MessageExpression, types: yields(celgo.StringType)}, v.MessageExpression,
			plugincel.OptionalVariableDeclarations{HasParams: c.params}, at)
	} else if v.MessageExpression != "" {
		c.Invalid(at, v.MessageExpression, "must be non-empty if specified")
	}
	at = p.Child("message")
	if text := strings.TrimSpace(v.Message); v.Message != "" && text == "" {
		c.Invalid(at, v.Message, "must be non-empty if specified")
	} else if strings.ContainsAny(text, "\n\r") {
		c.Invalid(at, v.Message, "must not contain line breaks")
	}
	meta.AmongPtr(&c.Report, p.Child("reason"), v.Reason, metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge)
}

func (c *check) auditAnnotation(with plugincel.Compiler, policy string, a *v1.AuditAnnotation, p *field.Path) {
	if at := p.Child("key"); policy == "" {
		c.Invalid(at, a.Key, "requires metadata.name be non-empty")
	} else {
		c.Add(meta.QualifiedName(policy+"/"+a.Key, at))
	}
	at := p.Child("valueExpression")
	switch text := strings.TrimSpace(a.ValueExpression); {
	case text == "":
		c.Required(at, "valueExpression is not specified")
	case len(text) > maxValueExpressionLength:
		c.Required(at, fmt.Sprintf("must not exceed %d bytes in length", maxValueExpressionLength))
	default:
		c.compile(with, expression{text: text, types: yields(celgo.StringType, celgo.NullType)}, a.ValueExpression,
			plugincel.OptionalVariableDeclarations{HasParams: c.params, HasAuthorizer: true}, at)
	}
}

func validatePolicyStatus(s *v1.ValidatingAdmissionPolicyStatus) field.ErrorList {
	var r meta.Report
	if s.TypeChecking != nil {
		for i, w := range s.TypeChecking.ExpressionWarnings {
			at := statusPath.Child("typeChecking", "expressionWarnings").Index(i)
			r.RequiredIf(w.Warning == "", at.Child("warning"))
			if ref := strings.TrimSpace(w.FieldRef); ref == "" {
				r.Required(at.Child("fieldRef"), "")
			} else if err := jsonpath.New("spec").Parse("{" + ref + "}"); err != nil {
				r.Invalid(at.Child("fieldRef"), ref, fmt.Sprintf("invalid JSONPath: %v", err))
			}
		}
	}
	r.Add(metavalidation.ValidateConditions(s.Conditions, statusPath.Child("conditions")))
	return r.Errs
}

func mutatingPolicyRow() *api.Kind {
	type kind = v1.MutatingAdmissionPolicy
	return api.Define(api.Spec[*kind]{
		GVK: gvk("MutatingAdmissionPolicy"), Plural: "mutatingadmissionpolicies", Singular: "mutatingadmissionpolicy",
		Categories: extensions, Generation: true,
		List: &v1.MutatingAdmissionPolicyList{},
		Default: func(o *kind) {
			setDefault(&o.Spec.FailurePolicy, v1.Fail)
			defaultMatch(o.Spec.MatchConstraints)
		},
		PrepareCreate: func(o *kind) { o.Generation = 1 },
		Validate: func(o *kind) field.ErrorList {
			return append(validateMeta(&o.ObjectMeta), validateMutatingPolicy(o, nil)...)
		},
		ValidateUpdate: func(o, old *kind) field.ErrorList {
			return append(validateMetaUpdate(&o.ObjectMeta, &old.ObjectMeta), validateMutatingPolicy(o, old)...)
		},
		Warnings: func(o *kind) []string { return nameWarnings(o.Name) },
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Number("Mutations", "Mutation indicates the number of mutations rules defined in this configuration"),
			paramKindColumn,
			meta.AgeColumn,
		},
		Row: func(o *kind, now time.Time) []any {
			return []any{o.Name, int64(len(o.Spec.Mutations)), paramKindCell(o.Spec.ParamKind), meta.Age(o.CreationTimestamp, now)}
		},
	})
}

func validateMutatingPolicy(o, old *v1.MutatingAdmissionPolicy) field.ErrorList {
	s := &o.Spec
	c := check{params: s.ParamKind != nil, stored: sets.Set[string]{}}
	conditions := true
	if old != nil {
		c.storedConditions(old.Spec.MatchConditions)
		for _, m := range old.Spec.Mutations {
			if m.ApplyConfiguration != nil {
				c.stored.Insert(m.ApplyConfiguration.Expression)
			}
			if m.JSONPatch != nil {
				c.stored.Insert(m.JSONPatch.Expression)
			}
		}
		conditions = !equality.Semantic.DeepEqual(s.ParamKind, old.Spec.ParamKind) ||
			!equality.Semantic.DeepEqual(s.MatchConditions, old.Spec.MatchConditions)
	}
	c.RequiredIf(s.FailurePolicy == nil, specPath.Child("failurePolicy"))
	failurePolicy(&c.Report, s.FailurePolicy, specPath)
	c.paramKind(s.ParamKind, specPath.Child("paramKind"))
	matchConstraints(&c.Report, s.MatchConstraints, specPath.Child("matchConstraints"))
	onlyMutable(&c.Report, s.MatchConstraints, specPath.Child("matchConstraints"))
	if conditions {
		c.matchConditions(s.MatchConditions, specPath.Child("matchConditions"))
	}
	mutations := specPath.Child("mutations")
	if len(s.Mutations) == 0 {
		c.Required(mutations, "mutations must contain at least one item")
	}
	if len(s.Mutations)+len(s.Variables) > 0 {
		with, err := composed()
		if err != nil {
			return append(c.Errs, field.InternalError(specPath.Child("variables"), err))
		}
		c.variables(with, s.Variables, specPath.Child("variables"))
		for i := range s.Mutations {
			c.mutation(with, &s.Mutations[i], mutations.Index(i))
		}
	}
	meta.OneOf(&c.Report, specPath.Child("reinvocationPolicy"), s.ReinvocationPolicy, v1.IfNeededReinvocationPolicy, v1.NeverReinvocationPolicy)
	return c.Errs
}

func (c *check) mutation(with plugincel.Compiler, m *v1.Mutation, p *field.Path) {
	json, apply := p.Child("jsonPatch"), p.Child("applyConfiguration")
	meta.OneOf(&c.Report, p.Child("patchType"), m.PatchType, v1.PatchTypeApplyConfiguration, v1.PatchTypeJSONPatch)
	var set, other *field.Path
	var text *string
	var result *celgo.Type
	switch m.PatchType {
	case v1.PatchTypeJSONPatch:
		set, other, result = json, apply, celgo.ListType(object("JSONPatch"))
		if m.JSONPatch != nil {
			text = &m.JSONPatch.Expression
		}
		if m.ApplyConfiguration == nil {
			other = nil
		}
	case v1.PatchTypeApplyConfiguration:
		set, other, result = apply, json, object("Object")
		if m.ApplyConfiguration != nil {
			text = &m.ApplyConfiguration.Expression
		}
		if m.JSONPatch == nil {
			other = nil
		}
	default:
		return
	}
	if other != nil {
		name := other.String()[strings.LastIndex(other.String(), ".")+1:]
		c.Invalid(other, "{"+name+"}", "must not be specified when patchType is "+string(m.PatchType))
	}
	if text == nil {
		c.Required(set, "must be specified when patchType is "+string(m.PatchType))
		return
	}
	trimmed := strings.TrimSpace(*text)
	if trimmed == "" {
		c.Required(set.Child("expression"), "")
		return
	}
	c.compile(with, expression{text: trimmed, types: yields(result)}, *text,
		plugincel.OptionalVariableDeclarations{HasParams: c.params, HasAuthorizer: true, HasPatchTypes: true}, set.Child("expression"))
}
