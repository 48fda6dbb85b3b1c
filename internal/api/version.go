package api

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Version is one more API version in which a kind is served, beside the one it
// is stored, cached, admitted and validated in. Objects are converted at the
// door, both ways. The Go type may be the kind's own where only the name of the
// version differs.
type Version struct {
	Kind    *Kind // set by Define
	GVK     schema.GroupVersionKind
	Plural  string
	New     func() Object
	NewList func() runtime.Object
	GoType  reflect.Type
	// Default fills the defaults in which this version differs from the kind's
	// own; it runs before ToKind, the kind's own defaults after. Nil for none.
	Default func(Object)
	// ToKind makes the kind's own object of one of this version, FromKind the
	// reverse. Neither keeps or changes its argument. FromKind loses nothing that
	// ToKind cannot bring back, but for what the version cannot say.
	ToKind   func(Object) (Object, error)
	FromKind func(Object) (Object, error)
	// Validate and ValidateUpdate judge, in place of the kind's, the kind's own
	// objects that were written in this version. Nil where the kind's do.
	Validate       func(Object) field.ErrorList
	ValidateUpdate func(newObj, old Object) field.ErrorList
	// Fields gives the names of field selectors in this version, each with the
	// kind's own name for it. Nil where the kind's names are the version's.
	Fields map[string]string
	// Warnings are sent to the client for an object written in this version.
	Warnings func(Object) []string
	// Deprecated is the warning that every request in this version earns.
	Deprecated string
	// Old versions are those that upstream has ceased to serve; how much discovery
	// says of them is for the server to choose.
	Old bool
}

// VersionSpec is a Version as its author writes it: V is the version's type, T
// the kind's.
type VersionSpec[V, T Object] struct {
	GVK        schema.GroupVersionKind
	Plural     string // the kind's where empty
	List       runtime.Object
	Default    func(V)
	ToKind     func(V) (T, error)
	FromKind   func(T) (V, error)
	Warnings   func(V) []string
	Deprecated string
	Old        bool

	Validate       func(T) field.ErrorList
	ValidateUpdate func(newObj, old T) field.ErrorList
	Fields         map[string]string
}

// Also turns a typed version into a Version, for Spec.Versions.
func Also[V, T Object](s VersionSpec[V, T]) *Version {
	var zero V
	t := reflect.TypeOf(zero)
	lt := reflect.TypeOf(s.List).Elem()
	if s.ToKind == nil || s.FromKind == nil {
		panic(fmt.Sprintf("api: version %v lacks a conversion", s.GVK))
	}
	v := &Version{
		GVK: s.GVK, Plural: s.Plural, GoType: t, Deprecated: s.Deprecated, Old: s.Old,
		New:      func() Object { return reflect.New(t.Elem()).Interface().(Object) },
		NewList:  func() runtime.Object { return reflect.New(lt).Interface().(runtime.Object) },
		Default:  one(s.Default),
		ToKind:   func(o Object) (Object, error) { return s.ToKind(o.(V)) },
		FromKind: func(o Object) (Object, error) { return s.FromKind(o.(T)) },
	}
	if s.Warnings != nil {
		v.Warnings = func(o Object) []string { return s.Warnings(o.(V)) }
	}
	if s.Validate != nil {
		v.Validate = func(o Object) field.ErrorList { return s.Validate(o.(T)) }
	}
	v.ValidateUpdate = judge(s.ValidateUpdate)
	v.Fields = s.Fields
	return v
}

// GVR is the resource the version is served as.
func (v *Version) GVR() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: v.GVK.Group, Version: v.GVK.Version, Resource: v.Plural}
}

// Served are all versions the kind is served in, its own first.
func (k *Kind) Served() []*Version { return append([]*Version{k.own}, k.Versions...) }

// Own is the kind's own version, converting nothing.
func (k *Kind) Own() *Version { return k.own }

// IsOwn tells whether objects need no conversion.
func (v *Version) IsOwn() bool { return v.ToKind == nil }

// Convert makes the kind's own object of one decoded in this version, with the
// version's defaults.
func (v *Version) Convert(o Object) (Object, error) {
	if v.IsOwn() {
		return o, nil
	}
	if v.Default != nil {
		v.Default(o)
	}
	return v.ToKind(o)
}

// Show makes an object of this version of the kind's own.
func (v *Version) Show(o Object) (Object, error) {
	if v.IsOwn() {
		return o, nil
	}
	return v.FromKind(o)
}

// CopyJSON converts between types whose JSON agrees in all that both can say.
// It is the body of most conversions of old versions; what differs is mended
// by the caller.
func CopyJSON(from, to any) error {
	b, err := EncodeJSON(from)
	if err != nil {
		return fmt.Errorf("api: converting %T: %w", from, err)
	}
	if err := DecodeJSON(b, to); err != nil {
		return fmt.Errorf("api: converting %T to %T: %w", from, to, err)
	}
	return nil
}
