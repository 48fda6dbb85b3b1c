package apply

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// plan says how values of one Go type are compared and what of them is a field
// of its own in a set.
type plan struct {
	shape  shape
	typ    reflect.Type
	equal  func(a, b reflect.Value) bool // leaf: whether the JSON is the same
	fields []planField                   // structs, in the order of their JSON names
	elem   *plan                         // maps and lists
	keys   []planKey                     // lists with keys, in the order of their names
}

type shape uint8

const (
	leaf    shape = iota // a scalar, or a whole that has one owner
	object               // a struct, field by field
	dict                 // a map, key by key
	keyList              // a list, item by item, told apart by keys
	setList              // a list of scalars, each its own field
)

type planField struct {
	name    string // f:spec
	index   int
	inline  []int // set for a field of an inlined struct instead of index
	omits   func(reflect.Value) bool
	plan    *plan
	pointer bool // nil is absent
}

// planKey is one key of the items of a list.
type planKey struct {
	name    string
	index   []int
	pointer bool
	kind    reflect.Kind
	omits   func(reflect.Value) bool
	missing string // the JSON of the default, "" for none
}

// merge is what the API says of how a list or map merges.
type merge struct {
	atomic, set bool
	granular    bool // though its type is atomic
	keys        []string
	defaults    map[string]string // JSON by key
}

//go:embed merge.txt
var mergeText string

// merges are read on first use, by "group/version.Type" or "….Type.field".
// What is not there is the rule: structs and maps merge, lists do not.
var merges = sync.OnceValue(func() map[string]merge {
	out := map[string]merge{}
	for line := range strings.Lines(mergeText) {
		name, how, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch how {
		case "atomic":
			out[name] = merge{atomic: true}
		case "granular":
			out[name] = merge{granular: true}
		case "set":
			out[name] = merge{set: true}
		default:
			m := merge{}
			for _, key := range strings.Split(how, ",") {
				key, def, ok := strings.Cut(key, "=")
				if ok {
					if m.defaults == nil {
						m.defaults = map[string]string{}
					}
					m.defaults[key] = def
				}
				m.keys = append(m.keys, key)
			}
			out[name] = m
		}
	}
	return out
})

// errNoPlan says that a type is one for the long road.
var errNoPlan = errors.New("apply: no plan for this type")

// typeName is how merge.txt names a type: "core/v1.PodSpec".
func typeName(t reflect.Type) string {
	p := t.PkgPath()
	dir, version := path.Split(p)
	return path.Base(dir) + "/" + version + "." + t.Name()
}

// planner compiles plans.
type planner struct {
	done map[planID]*plan
}

type planID struct {
	typ    reflect.Type
	merge  string // the name of the merge rule of the field, where it has one
	except string
}

// metaNames are the fields of metadata that no manager owns, rootNames those
// beside metadata.
var (
	metaNames = []string{"name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields", "resourceVersion"}
	rootNames = []string{"apiVersion", "kind"}
)

// compile makes the plan of an object's struct without the excepted fields,
// which a dot parts: "status", "metadata.labels".
func compile(t reflect.Type, except []string) (*plan, error) {
	if t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct || !isDescribed(t.Elem()) {
		return nil, errNoPlan
	}
	all := slices.Clone(rootNames)
	for _, n := range metaNames {
		all = append(all, "metadata."+n)
	}
	all = append(all, except...)
	c := &planner{done: map[planID]*plan{}}
	return c.compile(t.Elem(), merge{}, "", all)
}

func (c *planner) compile(t reflect.Type, m merge, rule string, except []string) (*plan, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	id := planID{t, rule, strings.Join(except, ",")}
	if p := c.done[id]; p != nil {
		return p, nil
	}
	p := &plan{typ: t}
	c.done[id] = p
	if own, ok := merges()[typeName(t)]; ok && t.Name() != "" {
		m.atomic = m.atomic || own.atomic && !m.granular
	}
	if isOpaque(t) {
		return nil, errNoPlan
	}
	var err error
	switch {
	case m.atomic, hasMarshaler(t):
	case t.Kind() == reflect.Struct:
		p.shape = object
		p.fields, err = c.fields(t, nil, except)
		slices.SortFunc(p.fields, func(a, b planField) int { return cmp.Compare(a.name, b.name) })
		return p, err
	case t.Kind() == reflect.Map:
		if t.Key().Kind() != reflect.String || t.Elem().Kind() == reflect.Pointer {
			return nil, errNoPlan
		}
		p.shape = dict
		p.elem, err = c.compile(t.Elem(), merge{}, "", nil)
		return p, err
	case t.Kind() == reflect.Slice && m.set:
		switch t.Elem().Kind() {
		case reflect.String, reflect.Int32, reflect.Int64:
			p.shape = setList
			return p, nil
		}
		return nil, errNoPlan
	case t.Kind() == reflect.Slice && m.keys != nil:
		if t.Elem().Kind() != reflect.Struct {
			return nil, errNoPlan
		}
		p.shape = keyList
		if p.keys, err = keysOf(t.Elem(), m); err != nil {
			return nil, err
		}
		p.elem, err = c.compile(t.Elem(), merge{}, "", nil)
		return p, err
	}
	p.equal = equalOf(t)
	return p, nil
}

func (c *planner) fields(t reflect.Type, inline []int, except []string) ([]planField, error) {
	var out []planField
	for i := range t.NumField() {
		f := t.Field(i)
		name, o := jsonName(f)
		if name == "-" || !f.IsExported() {
			continue
		}
		if o.inline {
			if f.Type.Kind() != reflect.Struct {
				return nil, errNoPlan
			}
			more, err := c.fields(f.Type, append(slices.Clone(inline), i), except)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
			continue
		}
		var below []string
		skip := false
		for _, e := range except {
			first, rest, deeper := strings.Cut(e, ".")
			switch {
			case first != name:
			case deeper:
				below = append(below, rest)
			default:
				skip = true
			}
		}
		if skip {
			continue
		}
		rule := typeName(t) + "." + name
		m, ok := merges()[rule]
		if !ok {
			rule = ""
		}
		p, err := c.compile(f.Type, m, rule, below)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", rule, err)
		}
		pf := planField{name: "f:" + name, index: i, omits: o.omits, plan: p, pointer: f.Type.Kind() == reflect.Pointer}
		if inline != nil {
			pf.inline = append(slices.Clone(inline), i)
		}
		out = append(out, pf)
	}
	return out, nil
}

func keysOf(t reflect.Type, m merge) ([]planKey, error) {
	var out []planKey
	for _, name := range m.keys {
		f, o, ok := fieldNamed(t, name)
		if !ok || hasMarshaler(f.Type) {
			return nil, errNoPlan
		}
		k := planKey{name: name, index: f.Index, missing: m.defaults[name], omits: o.omits, kind: f.Type.Kind()}
		if k.kind == reflect.Pointer {
			k.pointer, k.kind = true, f.Type.Elem().Kind()
		}
		switch k.kind {
		case reflect.String, reflect.Int32, reflect.Int64:
		default:
			return nil, errNoPlan
		}
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b planKey) int { return cmp.Compare(a.name, b.name) })
	return out, nil
}

// fieldNamed finds a field by its JSON name, within inlined structs too.
func fieldNamed(t reflect.Type, name string) (reflect.StructField, jsonOptions, bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		n, o := jsonName(f)
		if o.inline && f.Type.Kind() == reflect.Struct {
			if in, io, ok := fieldNamed(f.Type, name); ok {
				in.Index = append(slices.Clone(f.Index), in.Index...)
				return in, io, true
			}
			continue
		}
		if n == name {
			return f, o, true
		}
	}
	return reflect.StructField{}, jsonOptions{}, false
}

// of is the value of a key in an item.
func (k *planKey) of(item reflect.Value) reflect.Value {
	if len(k.index) == 1 {
		return item.Field(k.index[0])
	}
	return item.FieldByIndex(k.index)
}

// jsonOptions are what the tag of a field says beside its name.
type jsonOptions struct {
	inline bool
	omits  func(reflect.Value) bool // whether a value is left out; nil for never
}

func jsonName(f reflect.StructField) (string, jsonOptions) {
	tag := f.Tag.Get("json")
	name, rest, _ := strings.Cut(tag, ",")
	o := jsonOptions{}
	empty := false
	for _, w := range strings.Split(rest, ",") {
		switch w {
		case "inline":
			o.inline = true
		case "omitempty":
			empty = true
		case "omitzero":
			o.omits = zeroOf(f.Type)
		}
	}
	if empty {
		if isVoid := voidOf(f.Type); isVoid != nil {
			if zero := o.omits; zero != nil {
				o.omits = func(v reflect.Value) bool { return isVoid(v) || zero(v) }
			} else {
				o.omits = isVoid
			}
		}
	}
	if tag == "-" {
		return "-", o
	}
	if name == "" {
		if f.Anonymous && rest == "" {
			o.inline = true
		}
		name = f.Name
	}
	return name, o
}

// voidOf is the omitempty of a type; nil where it leaves nothing out.
func voidOf(t reflect.Type) func(reflect.Value) bool {
	switch t.Kind() {
	case reflect.Map, reflect.Slice, reflect.String, reflect.Array:
		return func(v reflect.Value) bool { return v.Len() == 0 }
	case reflect.Pointer, reflect.Interface:
		return reflect.Value.IsNil
	case reflect.Struct:
		return nil
	}
	return reflect.Value.IsZero
}

type zeroer interface{ IsZero() bool }

func zeroOf(t reflect.Type) func(reflect.Value) bool {
	is := reflect.TypeFor[zeroer]()
	switch {
	case t.Kind() == reflect.Pointer && t.Implements(is):
		return func(v reflect.Value) bool { return v.IsNil() || v.Interface().(zeroer).IsZero() }
	case t.Implements(is):
		return func(v reflect.Value) bool { return v.Interface().(zeroer).IsZero() }
	case reflect.PointerTo(t).Implements(is):
		return func(v reflect.Value) bool { return addressed(v).Interface().(zeroer).IsZero() }
	}
	return reflect.Value.IsZero
}

// addressed is a pointer to v, or to a copy of it.
func addressed(v reflect.Value) reflect.Value {
	if v.CanAddr() {
		return v.Addr()
	}
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	return p
}

var marshaler = reflect.TypeFor[json.Marshaler]()

func hasMarshaler(t reflect.Type) bool {
	return t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler)
}

// isDescribed tells whether merge.txt speaks for a type.
func isDescribed(t reflect.Type) bool {
	for _, p := range []string{"k8s.io/api/", "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1", "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"} {
		if strings.HasPrefix(t.PkgPath(), p) {
			return true
		}
	}
	return false
}

// isOpaque tells of the types whose content has fields that no Go type knows.
func isOpaque(t reflect.Type) bool {
	return t.Kind() == reflect.Interface
}
