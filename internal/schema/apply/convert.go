package apply

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/monohull/monohull/internal/api"
)

// internalVersion stands for the kind's own version, into which the library
// converts what it merges: it speaks of hubs by group and version, and an old
// version may be of another group.
const internalVersion = runtime.APIVersionInternal

// converter is the table of kinds as the library sees it.
type converter struct {
	table *api.Table
}

var (
	_ runtime.ObjectConvertor = converter{}
	_ runtime.ObjectCreater   = converter{}
	_ runtime.ObjectDefaulter = converter{}
)

func notRegistered(gvk schema.GroupVersionKind) error {
	return runtime.NewNotRegisteredErrForKind("the table of kinds", gvk)
}

// ConvertToVersion gives obj in a version, or in the kind's own for the
// internal one. obj is not changed.
func (c converter) ConvertToVersion(obj runtime.Object, to runtime.GroupVersioner) (runtime.Object, error) {
	gv, ok := to.(schema.GroupVersion)
	if !ok {
		return nil, fmt.Errorf("apply: no version is meant by %v", to)
	}
	gvk := obj.GetObjectKind().GroupVersionKind()
	if gvk == scaleKind || reflect.TypeOf(obj) == scaleTarget.typ {
		return structured(obj, scaleKind, scaleTarget.typ)
	}
	from := c.table.VersionOf(gvk)
	if from == nil && gvk.Empty() {
		from = c.table.Of(reflect.TypeOf(obj)).Own()
	}
	if from == nil {
		return nil, notRegistered(gvk)
	}
	in, err := structured(obj, from.GVK, from.GoType)
	if err != nil {
		return nil, err
	}
	target := from.Kind.Own()
	if gv.Version != internalVersion {
		if target = versionIn(from.Kind, gv); target == nil {
			return nil, notRegistered(gv.WithKind(gvk.Kind))
		}
	}
	if target == from {
		return in, nil
	}
	own := in
	if !from.IsOwn() {
		if own, err = from.Convert(in); err != nil {
			return nil, err
		}
	}
	out := own
	if !target.IsOwn() {
		if out, err = target.Show(own); err != nil {
			return nil, err
		}
	}
	return structured(out, target.GVK, target.GoType)
}

func versionIn(k *api.Kind, gv schema.GroupVersion) *api.Version {
	if k.GVK.GroupVersion() == gv {
		return k.Own()
	}
	for _, v := range k.Versions {
		if v.GVK.GroupVersion() == gv {
			return v
		}
	}
	return nil
}

// structured makes an object of a Go type that says its kind, of one that may
// be a map or may not say it.
func structured(obj runtime.Object, gvk schema.GroupVersionKind, t reflect.Type) (api.Object, error) {
	if u, ok := obj.(*unstructured.Unstructured); ok && t != reflect.TypeOf(u) {
		out := reflect.New(t.Elem()).Interface().(api.Object)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, out); err != nil {
			return nil, err
		}
		out.GetObjectKind().SetGroupVersionKind(gvk)
		return out, nil
	}
	o, ok := obj.(api.Object)
	if !ok {
		return nil, fmt.Errorf("apply: %T is no API object", obj)
	}
	if o.GetObjectKind().GroupVersionKind() == gvk {
		return o, nil
	}
	if u, ok := o.(*unstructured.Unstructured); ok {
		u = u.DeepCopy()
		u.SetGroupVersionKind(gvk)
		return u, nil
	}
	flat := reflect.New(reflect.TypeOf(o).Elem())
	flat.Elem().Set(reflect.ValueOf(o).Elem())
	o = flat.Interface().(api.Object)
	o.GetObjectKind().SetGroupVersionKind(gvk)
	return o, nil
}

// Convert and ConvertFieldLabel are not asked of this converter.
func (c converter) Convert(in, out, _ any) error {
	return fmt.Errorf("apply: no conversion of %T to %T", in, out)
}

// ConvertFieldLabel is not asked of this converter.
func (c converter) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

// New makes an empty object of a version.
func (c converter) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	v := c.table.VersionOf(gvk)
	if v == nil {
		return nil, notRegistered(gvk)
	}
	return structured(v.New(), v.GVK, v.GoType)
}

// Default does nothing: the caller of Apply defaults what it gets.
func (c converter) Default(runtime.Object) {}

// road is what one of the library's field managers is for.
type road struct {
	kind *api.Kind
	gvk  schema.GroupVersionKind
	sub  string
}

// long is the library's field manager for a target.
func (m *Manager) long(t target) (*managedfields.FieldManager, error) {
	key := road{t.kind, t.gvk, t.sub}
	if f, ok := m.roads.Load(key); ok {
		return f.(*managedfields.FieldManager), nil
	}
	filters := map[fieldpath.APIVersion]fieldpath.Filter{}
	if t.kind != nil {
		if f := filterOf(t.kind, t.sub); f != nil {
			filters[fieldpath.APIVersion(t.kind.GVK.GroupVersion().String())] = f
			for _, v := range t.kind.Versions {
				filters[fieldpath.APIVersion(v.GVK.GroupVersion().String())] = f
			}
		}
	}
	c := converter{table: m.table}
	hub := schema.GroupVersion{Group: t.gvk.Group, Version: internalVersion}
	f, err := managedfields.NewDefaultFieldManager(typeConverter{m.types, m.own}, c, c, c, t.gvk, hub, t.sub, filters)
	if err != nil {
		return nil, fmt.Errorf("apply: %v: %w", t.gvk, err)
	}
	m.roads.Store(key, f)
	return f, nil
}
