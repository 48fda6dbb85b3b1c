package apply

import (
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/managedfields"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/monohull/monohull/internal/api"
)

// typeConverter picks a converter by the kind of what it is given.
type typeConverter struct {
	types Types
	own   *goTypes
}

var _ managedfields.TypeConverter = typeConverter{}

func (c typeConverter) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	gvk := obj.GetObjectKind().GroupVersionKind()
	if c.types != nil {
		if t := c.types(gvk); t != nil {
			return t.ObjectToTyped(obj, opts...)
		}
	}
	t, err := c.own.of(gvk)
	if err != nil {
		return nil, err
	}
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return t.FromUnstructured(u.UnstructuredContent(), opts...)
	}
	return t.FromStructured(obj, opts...)
}

func (c typeConverter) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	// all converters make the same of a value: a map
	return managedfields.NewDeducedTypeConverter().TypedToObject(v)
}

// goTypes are the schemas of the table's kinds, made of their Go types and
// merge.txt, each on first use.
type goTypes struct {
	table *api.Table
	made  sync.Map // reflect.Type → *typed.ParseableType
}

func (g *goTypes) of(gvk schema.GroupVersionKind) (*typed.ParseableType, error) {
	t := scaleTarget.typ
	if gvk != scaleKind {
		v := g.table.VersionOf(gvk)
		if v == nil {
			return nil, notRegistered(gvk)
		}
		t = v.GoType
	}
	if p, ok := g.made.Load(t); ok {
		return p.(*typed.ParseableType), nil
	}
	p := schemaOf(t.Elem())
	g.made.Store(t, p)
	return p, nil
}

// The names of the types that take whatever they are given.
const (
	anyWhole  = "__untyped_atomic_"
	anyPieces = "__untyped_deduced_"
)

// describer makes schemas of Go types.
type describer struct {
	schema smdschema.Schema
	named  map[reflect.Type]*smdschema.Map
}

func schemaOf(t reflect.Type) *typed.ParseableType {
	d := &describer{named: map[reflect.Type]*smdschema.Map{}}
	d.schema.Types = append(d.schema.Types,
		smdschema.TypeDef{Name: anyWhole, Atom: anything(anyWhole, smdschema.Atomic)},
		smdschema.TypeDef{Name: anyPieces, Atom: anything(anyPieces, smdschema.Separable)})
	ref := d.ref(t, merge{})
	return &typed.ParseableType{Schema: &d.schema, TypeRef: ref}
}

func anything(elem string, whole smdschema.ElementRelationship) smdschema.Atom {
	return smdschema.Atom{
		Scalar: scalar(smdschema.Untyped),
		List:   &smdschema.List{ElementType: byName(anyWhole), ElementRelationship: smdschema.Atomic},
		Map:    &smdschema.Map{ElementType: byName(elem), ElementRelationship: whole},
	}
}

func scalar(s smdschema.Scalar) *smdschema.Scalar { return &s }

func byName(name string) smdschema.TypeRef { return smdschema.TypeRef{NamedType: &name} }

func inlined(a smdschema.Atom) smdschema.TypeRef { return smdschema.TypeRef{Inlined: a} }

// ref describes a type, as a field with a merge rule has it.
func (d *describer) ref(t reflect.Type, m merge) smdschema.TypeRef {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime](), reflect.TypeFor[resource.Quantity](), reflect.TypeFor[intstr.IntOrString]():
		return inlined(smdschema.Atom{Scalar: scalar(smdschema.Untyped)})
	case reflect.TypeFor[metav1.Duration]():
		return inlined(smdschema.Atom{Scalar: scalar(smdschema.String)})
	case reflect.TypeFor[metav1.FieldsV1]():
		return inlined(smdschema.Atom{Map: &smdschema.Map{ElementType: inlined(anything(anyPieces, smdschema.Separable))}})
	}
	if hasMarshaler(t) || t.Kind() == reflect.Interface {
		return byName(anyWhole)
	}
	switch t.Kind() {
	case reflect.String:
		return inlined(smdschema.Atom{Scalar: scalar(smdschema.String)})
	case reflect.Bool:
		return inlined(smdschema.Atom{Scalar: scalar(smdschema.Boolean)})
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return inlined(smdschema.Atom{Scalar: scalar(smdschema.String)})
		}
		return inlined(smdschema.Atom{List: d.list(t, m)})
	case reflect.Map:
		out := &smdschema.Map{ElementType: d.ref(t.Elem(), merge{})}
		if m.atomic {
			out.ElementRelationship = smdschema.Atomic
		}
		return inlined(smdschema.Atom{Map: out})
	case reflect.Struct:
		ref := byName(d.object(t))
		if m.atomic || m.granular {
			how := smdschema.Atomic
			if m.granular {
				how = smdschema.Separable
			}
			ref.ElementRelationship = &how
		}
		return ref
	}
	return inlined(smdschema.Atom{Scalar: scalar(smdschema.Numeric)})
}

func (d *describer) list(t reflect.Type, m merge) *smdschema.List {
	out := &smdschema.List{ElementType: d.ref(t.Elem(), merge{}), ElementRelationship: smdschema.Atomic}
	if m.set || m.keys != nil {
		out.ElementRelationship, out.Keys = smdschema.Associative, m.keys
	}
	item := d.named[elem(t)]
	for key, text := range m.defaults {
		for i := range item.Fields {
			if f := &item.Fields[i]; f.Name == key {
				_ = api.DecodeJSON([]byte(text), &f.Default) // a test reads them all
			}
		}
	}
	return out
}

// elem is what a list or map holds, behind pointers.
func elem(t reflect.Type) reflect.Type {
	t = t.Elem()
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// object names the type of a struct, which it describes once.
func (d *describer) object(t reflect.Type) string {
	name := t.PkgPath() + "." + t.Name()
	if d.named[t] != nil {
		return name
	}
	m := &smdschema.Map{}
	d.named[t] = m
	if merges()[typeName(t)].atomic {
		m.ElementRelationship = smdschema.Atomic
	}
	d.fields(t, m)
	if len(m.Fields) == 0 {
		m.ElementType = inlined(anything(anyPieces, smdschema.Separable))
	}
	d.schema.Types = append(d.schema.Types, smdschema.TypeDef{Name: name, Atom: smdschema.Atom{Map: m}})
	return name
}

func (d *describer) fields(t reflect.Type, m *smdschema.Map) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, o := jsonName(f)
		switch {
		case name == "-" || !f.IsExported():
		case o.inline:
			in := f.Type
			for in.Kind() == reflect.Pointer {
				in = in.Elem()
			}
			d.fields(in, m)
		default:
			m.Fields = append(m.Fields, smdschema.StructField{Name: name, Type: d.ref(f.Type, merges()[typeName(t)+"."+name])})
		}
	}
}
