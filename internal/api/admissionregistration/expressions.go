package admissionregistration

import (
	"fmt"
	"strings"
	"sync"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	v1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"github.com/monohull/monohull/internal/api/meta"
)

// plain compiles expressions that see no variables of their policy.
var plain = sync.OnceValue(func() plugincel.Compiler {
	return plugincel.NewCompiler(base())
})

func base() *environment.EnvSet {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
}

// composed makes a compiler that learns the variables of one policy.
func composed() (*plugincel.CompositedCompiler, error) {
	return plugincel.NewCompositedCompiler(base())
}

// expression is a text and what it may evaluate to.
type expression struct {
	name, text string
	types      []*celgo.Type
}

func (e expression) GetName() string            { return e.name }
func (e expression) GetExpression() string      { return e.text }
func (e expression) ReturnTypes() []*celgo.Type { return e.types }

// What the expressions of each field evaluate to.
func yields(t ...*celgo.Type) []*celgo.Type { return t }
func object(name string) *celgo.Type        { return types.NewObjectType(name) }

// env chooses the rules an expression is compiled by: those for new ones, or
// the wider ones for what is stored already.
func (c *check) env(text string) environment.Type {
	if c.stored.Has(text) {
		return environment.StoredExpressions
	}
	return environment.NewExpressions
}

// compile judges an expression; text is what the object says, which may have
// space around it.
func (c *check) compile(with plugincel.Compiler, e expression, text string, vars plugincel.OptionalVariableDeclarations, p *field.Path) {
	if res := with.CompileCELExpression(e, vars, c.env(text)); res.Error != nil {
		c.Errs = append(c.Errs, notCompiled(res.Error, e.text, p))
	}
}

func notCompiled(err *apiservercel.Error, text string, p *field.Path) *field.Error {
	switch err.Type {
	case apiservercel.ErrorTypeRequired:
		return field.Required(p, err.Detail)
	case apiservercel.ErrorTypeInvalid:
		return field.Invalid(p, text, err.Detail)
	case apiservercel.ErrorTypeInternal:
		return field.InternalError(p, err)
	}
	return field.InternalError(p, fmt.Errorf("unsupported error type: %w", err))
}

// maxMatchConditions bounds the conditions of a webhook or policy.
const maxMatchConditions = 64

func (c *check) matchConditions(list []v1.MatchCondition, p *field.Path) {
	if len(list) > maxMatchConditions {
		c.TooMany(p, len(list), maxMatchConditions)
	}
	seen := sets.Set[string]{}
	for i, m := range list {
		at := p.Index(i)
		if text := strings.TrimSpace(m.Expression); text == "" {
			c.Required(at.Child("expression"), "")
		} else {
			c.compile(plain(), expression{text: text, types: yields(celgo.BoolType)}, text,
				plugincel.OptionalVariableDeclarations{HasParams: c.params, HasAuthorizer: true}, at.Child("expression"))
		}
		if m.Name == "" {
			c.Required(at.Child("name"), "")
			continue
		}
		c.Add(meta.QualifiedName(m.Name, at.Child("name")))
		if seen.Has(m.Name) {
			c.Duplicate(at.Child("name"), m.Name)
		}
		seen.Insert(m.Name)
	}
}

// variables judges the variables of a policy and makes them known to the
// expressions that come after.
func (c *check) variables(with *plugincel.CompositedCompiler, list []v1.Variable, p *field.Path) {
	for i, v := range list {
		at := p.Index(i)
		switch {
		case strings.TrimSpace(v.Name) == "":
			c.Required(at.Child("name"), "name is not specified")
		case !isIdentifier(v.Name):
			c.Invalid(at.Child("name"), v.Name, "must be a valid CEL identifier")
		}
		if strings.TrimSpace(v.Expression) == "" {
			c.Required(at.Child("expression"), "expression is not specified")
			continue
		}
		e := expression{name: v.Name, text: v.Expression, types: yields(celgo.AnyType, celgo.DynType)}
		res := with.CompileAndStoreVariable(e, plugincel.OptionalVariableDeclarations{HasParams: c.params, HasAuthorizer: true}, c.env(v.Expression))
		if res.Error != nil {
			c.Errs = append(c.Errs, notCompiled(res.Error, e.text, at.Child("expression")))
		}
	}
}

// isIdentifier tells whether a name can stand in an expression: the grammar's
// identifiers without its reserved words.
func isIdentifier(name string) bool {
	for i, r := range name {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	switch name {
	case "", "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
		"loop", "package", "namespace", "return", "var", "void", "while":
		return false
	}
	return true
}
