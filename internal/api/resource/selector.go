package resource

import (
	"fmt"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	dracel "k8s.io/dynamic-resource-allocation/cel"
)

// features are what selectors may speak of: capacity that several share, not
// yet attributes that are lists.
var features = dracel.Features{EnableConsumableCapacity: true}

// selectors judges what chooses devices. Stored ones compiled once, and stay
// valid when the rules for new ones tighten.
func (r *report) selectors(list []resourcev1.DeviceSelector, p *field.Path, stored bool) {
	each(r, list, resourcev1.DeviceSelectorsMaxSize, p, func(s *resourcev1.DeviceSelector, p *field.Path) {
		if s.CEL == nil {
			r.Required(p.Child("cel"), "")
			return
		}
		r.expression(s.CEL.Expression, p.Child("cel", "expression"), stored)
	})
}

func (r *report) expression(text string, p *field.Path, stored bool) {
	if len(text) > resourcev1.CELSelectorExpressionMaxLength {
		r.TooLong(p, resourcev1.CELSelectorExpressionMaxLength)
		return
	}
	env := environment.NewExpressions
	if stored {
		env = environment.StoredExpressions
	}
	res := dracel.GetCompiler(features).CompileCELExpression(text, dracel.Options{EnvType: &env})
	if res.Error != nil {
		r.Errs = append(r.Errs, notCompiled(res.Error, text, p))
	} else if res.MaxCost > resourcev1.CELSelectorExpressionMaxCost {
		r.Forbidden(p, "too complex, exceeds cost limit")
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
