package apply

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// equalOf compares two values of a type by what their JSON says: an absent, a
// null and an empty value differ.
func equalOf(t reflect.Type) func(a, b reflect.Value) bool {
	return (&equalizer{done: map[reflect.Type]*func(a, b reflect.Value) bool{}}).of(t)
}

type equalizer struct {
	done map[reflect.Type]*func(a, b reflect.Value) bool
}

func (e *equalizer) of(t reflect.Type) func(a, b reflect.Value) bool {
	if f := e.done[t]; f != nil {
		return func(a, b reflect.Value) bool { return (*f)(a, b) } // a type that holds itself
	}
	f := new(func(a, b reflect.Value) bool)
	e.done[t] = f
	*f = e.make(t)
	return *f
}

func (e *equalizer) make(t reflect.Type) func(a, b reflect.Value) bool {
	switch t {
	case reflect.TypeFor[metav1.Time]():
		return equalBy(func(a, b *metav1.Time) bool {
			return a.IsZero() == b.IsZero() && (a.IsZero() || a.Unix() == b.Unix())
		})
	case reflect.TypeFor[metav1.MicroTime]():
		return equalBy(func(a, b *metav1.MicroTime) bool {
			return a.IsZero() == b.IsZero() && (a.IsZero() || a.UnixMicro() == b.UnixMicro())
		})
	case reflect.TypeFor[metav1.Duration]():
		return equalBy(func(a, b *metav1.Duration) bool { return *a == *b })
	case reflect.TypeFor[resource.Quantity]():
		return equalBy(func(a, b *resource.Quantity) bool { return *a == *b || a.String() == b.String() })
	case reflect.TypeFor[intstr.IntOrString]():
		return equalBy(func(a, b *intstr.IntOrString) bool {
			if a.Type != b.Type {
				return false
			}
			if a.Type == intstr.String {
				return a.StrVal == b.StrVal
			}
			return a.IntVal == b.IntVal
		})
	}
	if t.Kind() == reflect.Pointer {
		elem := e.of(t.Elem())
		return func(a, b reflect.Value) bool {
			if a.IsNil() || b.IsNil() {
				return a.IsNil() == b.IsNil()
			}
			return a.Pointer() == b.Pointer() || elem(a.Elem(), b.Elem())
		}
	}
	if hasMarshaler(t) {
		return equalJSON
	}
	switch t.Kind() {
	case reflect.String:
		return func(a, b reflect.Value) bool { return a.String() == b.String() }
	case reflect.Bool:
		return func(a, b reflect.Value) bool { return a.Bool() == b.Bool() }
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(a, b reflect.Value) bool { return a.Int() == b.Int() }
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return func(a, b reflect.Value) bool { return a.Uint() == b.Uint() }
	case reflect.Float32, reflect.Float64:
		return func(a, b reflect.Value) bool { return a.Float() == b.Float() }
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return func(a, b reflect.Value) bool {
				return a.IsNil() == b.IsNil() && bytes.Equal(a.Bytes(), b.Bytes())
			}
		}
		return e.slice(t)
	case reflect.Map:
		return e.mapping(t)
	case reflect.Struct:
		return e.structure(t)
	}
	return equalJSON
}

func (e *equalizer) slice(t reflect.Type) func(a, b reflect.Value) bool {
	elem := e.of(t.Elem())
	return func(a, b reflect.Value) bool {
		n := a.Len()
		if n != b.Len() || a.IsNil() != b.IsNil() {
			return false
		}
		if n == 0 || a.Pointer() == b.Pointer() {
			return true
		}
		for i := range n {
			if !elem(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	}
}

func (e *equalizer) mapping(t reflect.Type) func(a, b reflect.Value) bool {
	elem := e.of(t.Elem())
	return func(a, b reflect.Value) bool {
		if a.Len() != b.Len() || a.IsNil() != b.IsNil() {
			return false
		}
		if a.Pointer() == b.Pointer() {
			return true
		}
		for it := a.MapRange(); it.Next(); {
			v := b.MapIndex(it.Key())
			if !v.IsValid() || !elem(it.Value(), v) {
				return false
			}
		}
		return true
	}
}

func (e *equalizer) structure(t reflect.Type) func(a, b reflect.Value) bool {
	type field struct {
		index int
		omits func(reflect.Value) bool
		equal func(a, b reflect.Value) bool
	}
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, o := jsonName(f)
		if name == "-" || !f.IsExported() {
			continue
		}
		if o.inline {
			o.omits = nil
		}
		fields = append(fields, field{i, o.omits, e.of(f.Type)})
	}
	return func(a, b reflect.Value) bool {
		for i := range fields {
			f := &fields[i]
			x, y := a.Field(f.index), b.Field(f.index)
			if f.omits != nil {
				noX, noY := f.omits(x), f.omits(y)
				if noX || noY {
					if noX != noY {
						return false
					}
					continue
				}
			}
			if !f.equal(x, y) {
				return false
			}
		}
		return true
	}
}

func equalBy[T any](equal func(a, b *T) bool) func(a, b reflect.Value) bool {
	return func(a, b reflect.Value) bool {
		return equal(addressed(a).Interface().(*T), addressed(b).Interface().(*T))
	}
}

// equalJSON serves types that write their own JSON.
func equalJSON(a, b reflect.Value) bool {
	x, errX := json.Marshal(addressed(a).Interface())
	y, errY := json.Marshal(addressed(b).Interface())
	if errX != nil || errY != nil {
		return false
	}
	if bytes.Equal(x, y) {
		return true
	}
	var v, w any
	dx, dy := json.NewDecoder(strings.NewReader(string(x))), json.NewDecoder(strings.NewReader(string(y)))
	dx.UseNumber()
	dy.UseNumber()
	return dx.Decode(&v) == nil && dy.Decode(&w) == nil && reflect.DeepEqual(v, w)
}
