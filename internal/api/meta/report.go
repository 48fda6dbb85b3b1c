package meta

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Report gathers what validation finds. Its methods make errors of the types
// and wording that clients of Kubernetes know.
type Report struct{ Errs field.ErrorList }

// Add takes over errors found elsewhere.
func (r *Report) Add(errs field.ErrorList) { r.Errs = append(r.Errs, errs...) }

// Required reports a field that must be set.
func (r *Report) Required(p *field.Path, detail string) {
	r.Errs = append(r.Errs, field.Required(p, detail))
}

// RequiredIf reports the field when missing is true, with no detail.
func (r *Report) RequiredIf(missing bool, p *field.Path) {
	if missing {
		r.Required(p, "")
	}
}

// Invalid reports a value that may not be.
func (r *Report) Invalid(p *field.Path, v any, detail string) {
	r.Errs = append(r.Errs, field.Invalid(p, v, detail))
}

// InvalidAll reports one value once for each message.
func (r *Report) InvalidAll(p *field.Path, v any, details []string) {
	for _, d := range details {
		r.Invalid(p, v, d)
	}
}

// Forbidden reports a field that may not be set.
func (r *Report) Forbidden(p *field.Path, detail string) {
	r.Errs = append(r.Errs, field.Forbidden(p, detail))
}

// ForbiddenIf reports the field when set is true.
func (r *Report) ForbiddenIf(set bool, p *field.Path, detail string) {
	if set {
		r.Forbidden(p, detail)
	}
}

// Duplicate reports a second occurrence.
func (r *Report) Duplicate(p *field.Path, v any) { r.Errs = append(r.Errs, field.Duplicate(p, v)) }

// NotFound reports a reference within the object that leads nowhere.
func (r *Report) NotFound(p *field.Path, v any) { r.Errs = append(r.Errs, field.NotFound(p, v)) }

// TooLong reports a string or blob over its limit.
func (r *Report) TooLong(p *field.Path, limit int) {
	r.Errs = append(r.Errs, field.TooLong(p, "", limit))
}

// TooMany reports a list over its limit.
func (r *Report) TooMany(p *field.Path, n, limit int) {
	r.Errs = append(r.Errs, field.TooMany(p, n, limit))
}

// NonNegative reports numbers below zero.
func (r *Report) NonNegative(p *field.Path, v int64) {
	if v < 0 {
		r.Errs = append(r.Errs, field.Invalid(p, v, IsNegative).WithOrigin("minimum"))
	}
}

// Positive reports numbers below one.
func (r *Report) Positive(p *field.Path, v int64) {
	if v <= 0 {
		r.Errs = append(r.Errs, field.Invalid(p, v, "must be greater than zero").WithOrigin("minimum"))
	}
}

// Among reports a value that is none of those allowed.
func Among[T ~string](r *Report, p *field.Path, v T, allowed ...T) {
	if !slices.Contains(allowed, v) {
		r.Errs = append(r.Errs, field.NotSupported(p, v, allowed))
	}
}

// OneOf is Among for a field that must be set.
func OneOf[T ~string](r *Report, p *field.Path, v T, allowed ...T) {
	if v == "" {
		r.Required(p, "")
		return
	}
	Among(r, p, v, allowed...)
}

// AmongPtr is Among for an optional field.
func AmongPtr[T ~string](r *Report, p *field.Path, v *T, allowed ...T) {
	if v != nil {
		Among(r, p, *v, allowed...)
	}
}
