package oracle

import (
	"reflect"
	"sort"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/monohull/monohull/internal/api"
)

// part is one road by which an object is changed.
type part struct {
	name, phase string
	store       *registry.Store
}

// subs lists the roads upstream has: the resource itself, and each subresource
// that writes the same object.
func (j *Judge) subs() []part {
	var out []part
	if _, ok := j.Up.Storage.(rest.Updater); ok {
		out = append(out, part{"", "update", j.Up.Store})
	}
	for name, s := range j.Up.Subs {
		st := j.Up.partStore(name)
		if _, ok := s.(rest.Updater); ok && st != nil {
			out = append(out, part{name, name, st})
		}
	}
	sort.Slice(out, func(a, b int) bool { return out[a].name < out[b].name })
	return out
}

// partStore is the store behind a subresource that writes the object itself,
// nil for scale, binding and the like.
func (r *Resource) partStore(name string) *registry.Store {
	s := r.Subs[name]
	if _, ok := s.(rest.Updater); !ok || reflect.TypeOf(s.New()) != reflect.TypeOf(r.Storage.New()) {
		return nil
	}
	return storeOf(s)
}

// mark makes an object look stored.
func (j *Judge) mark(o api.Object) {
	o.SetUID(testUID)
	o.SetResourceVersion(testRV)
}

var timeType, microType = reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime]()

// clearTimes zeroes the times of the last minute.
func clearTimes(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if t := v.Type(); v.Kind() == reflect.Pointer && !v.IsNil() && v.CanSet() && (t.Elem() == timeType || t.Elem() == microType) {
			if clearTimes(v.Elem()); v.Elem().IsZero() {
				v.SetZero()
			}
			return
		}
		if !v.IsNil() {
			clearTimes(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			clearTimes(v.Index(i))
		}
	case reflect.Struct:
		if v.Type() == timeType || v.Type() == microType {
			t := v.Field(0).Interface().(time.Time)
			if since := time.Since(t); v.CanSet() && since < time.Minute && since > -time.Minute {
				v.SetZero()
			}
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				clearTimes(v.Field(i))
			}
		}
	}
}

// kindOf is the version and kind a resource is served as.
func kindOf(r *Resource) schema.GroupVersionKind {
	gvks, _, err := r.Scheme.ObjectKinds(r.Storage.New())
	if err != nil {
		panic(err)
	}
	return r.GVR.GroupVersion().WithKind(gvks[0].Kind)
}

// attributes are the fields of an empty object that selectors may name.
func attributes(r *Resource) (fields.Set, error) {
	_, set, err := r.Store.PredicateFunc(labels.Everything(), fields.Everything()).GetAttrs(r.Storage.New())
	return set, err
}
