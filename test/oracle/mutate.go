package oracle

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"sort"
	"strings"
)

// Mutator changes documents, knowing the Go type they are decoded into.
type Mutator struct {
	r     *rand.Rand
	pool  *Pool
	depth int
}

// Change makes one change somewhere in the document of type t.
func (m *Mutator) Change(doc any, t reflect.Type) any {
	return m.change(doc, t, "")
}

func (m *Mutator) change(v any, t reflect.Type, name string) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if isLeaf(t) {
		return m.leaf(t, name, v)
	}
	switch t.Kind() {
	case reflect.Struct:
		return m.changeStruct(v, t, name)
	case reflect.Map:
		return m.changeMap(v, t, name)
	case reflect.Slice:
		return m.changeSlice(v, t, name)
	}
	return m.leaf(t, name, v)
}

func (m *Mutator) changeStruct(v any, t reflect.Type, name string) any {
	doc, ok := v.(map[string]any)
	if !ok {
		return m.fill(t, name, 2)
	}
	fields := fieldsOf(t)
	var present, absent []typedField
	for _, f := range fields {
		if _, ok := doc[f.name]; ok {
			present = append(present, f)
		} else {
			absent = append(absent, f)
		}
	}
	pick := func(from []typedField) typedField {
		f := from[m.r.IntN(len(from))]
		// metadata is every kind's alike, status is judged by one subresource
		if (f.name == "metadata" && m.r.IntN(3) > 0) || (f.name == "status" && m.r.IntN(3) > 0) {
			f = from[m.r.IntN(len(from))]
		}
		return f
	}
	switch n := m.r.IntN(20); {
	case len(present) == 0 && len(absent) == 0:
		return doc
	case len(present) == 0 || (n < 4 && len(absent) > 0):
		f := pick(absent)
		doc[f.name] = m.fill(f.typ, f.name, 2)
	case n == 4:
		delete(doc, pick(present).name)
	case n == 5 && len(absent) > 0:
		// what one of the fields says moves to another: a union badly set
		from, to := pick(present), pick(absent)
		if from.typ == to.typ {
			doc[to.name] = doc[from.name]
			if m.r.IntN(2) == 0 {
				delete(doc, from.name)
			}
		} else {
			doc[to.name] = m.fill(to.typ, to.name, 1)
		}
	case n == 6:
		f := pick(present)
		doc[f.name] = m.empty(f.typ)
	default:
		f := pick(present)
		doc[f.name] = m.change(doc[f.name], f.typ, f.name)
	}
	return doc
}

func (m *Mutator) changeMap(v any, t reflect.Type, name string) any {
	doc, ok := v.(map[string]any)
	if !ok || len(doc) == 0 || m.r.IntN(5) == 0 {
		if !ok {
			doc = map[string]any{}
		}
		doc[m.key(name)] = m.fill(t.Elem(), name, 1)
		return doc
	}
	keys := make([]string, 0, len(doc))
	for k := range doc {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	k := keys[m.r.IntN(len(keys))]
	switch m.r.IntN(5) {
	case 0:
		delete(doc, k)
	case 1:
		doc[m.key(name)] = doc[k]
		delete(doc, k)
	default:
		doc[k] = m.change(doc[k], t.Elem(), name)
	}
	return doc
}

func (m *Mutator) changeSlice(v any, t reflect.Type, name string) any {
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return []any{m.fill(t.Elem(), name, 2)}
	}
	i := m.r.IntN(len(list))
	switch m.r.IntN(12) {
	case 0:
		return append(list[:i:i], list[i+1:]...)
	case 1:
		return append(list, clone(list[i]))
	case 2:
		return append(list, m.fill(t.Elem(), name, 2))
	case 3:
		k := m.r.IntN(len(list))
		list[i], list[k] = list[k], list[i]
	case 4:
		if m.r.IntN(8) == 0 {
			for len(list) < 70 {
				list = append(list, clone(list[i]))
			}
		}
	default:
		list[i] = m.change(list[i], t.Elem(), name)
	}
	return list
}

// empty is the emptiest value that is not absent.
func (m *Mutator) empty(t reflect.Type) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if m.r.IntN(4) == 0 {
		return nil
	}
	if isLeaf(t) {
		return m.leaf(t, "", nil)
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return map[string]any{}
	case reflect.Slice:
		return []any{}
	case reflect.String:
		return ""
	case reflect.Bool:
		return false
	}
	return 0
}

// fill makes a value of a type, going at most depth structs down.
func (m *Mutator) fill(t reflect.Type, name string, depth int) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if isLeaf(t) {
		return m.leaf(t, name, nil)
	}
	if seeds := m.pool.values[t]; len(seeds) > 0 && m.r.IntN(2) == 0 {
		return clone(seeds[m.r.IntN(len(seeds))])
	}
	switch t.Kind() {
	case reflect.Struct:
		doc := map[string]any{}
		for _, f := range fieldsOf(t) {
			if m.r.IntN(3) > 0 && (depth > 0 || isLeaf(f.typ)) && (depth > 1 || m.r.IntN(2) == 0) {
				doc[f.name] = m.fill(f.typ, f.name, depth-1)
			}
		}
		return doc
	case reflect.Map:
		doc := map[string]any{}
		for range m.r.IntN(3) {
			doc[m.key(name)] = m.fill(t.Elem(), name, depth-1)
		}
		return doc
	case reflect.Slice:
		list := []any{}
		for range 1 + m.r.IntN(2) {
			list = append(list, m.fill(t.Elem(), name, depth-1))
		}
		return list
	}
	return m.leaf(t, name, nil)
}

// clone copies a document.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = clone(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = clone(x)
		}
		return out
	}
	return v
}

type typedField struct {
	name string
	typ  reflect.Type
}

var fieldCache = map[reflect.Type][]typedField{}

// fieldsOf lists the JSON fields of a struct, inlined ones included.
func fieldsOf(t reflect.Type) []typedField {
	if f, ok := fieldCache[t]; ok {
		return f
	}
	var out []typedField
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-", f.Type.Name() == "TypeMeta", name == "managedFields":
		case name == "" && f.Anonymous:
			e := f.Type
			for e.Kind() == reflect.Pointer {
				e = e.Elem()
			}
			out = append(out, fieldsOf(e)...)
		case name != "":
			out = append(out, typedField{name, f.Type})
		}
	}
	fieldCache[t] = out
	return out
}

var jsonMarshaler = reflect.TypeFor[json.Marshaler]()

// isLeaf tells whether values of the type are written as one, without parts
// that are worth changing.
func isLeaf(t reflect.Type) bool {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Struct:
		return special[t.Name()] && (t.Implements(jsonMarshaler) || reflect.PointerTo(t).Implements(jsonMarshaler)) || t.Name() == "RawExtension"
	case reflect.Map:
		return false
	case reflect.Slice:
		return t.Elem().Kind() == reflect.Uint8
	}
	return true
}

// special are structs with a JSON of their own.
var special = map[string]bool{"Quantity": true, "IntOrString": true, "Time": true, "MicroTime": true, "Duration": true, "RawExtension": true, "FieldsV1": true, "JSON": true}
