package apply

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"
)

var update = flag.Bool("update", false, "rewrite merge.txt from client-go's schema")

// TestMergeTableIsTheSchemas compares merge.txt with the schemas that client-go
// carries, for all types of k8s.io/api.
func TestMergeTableIsTheSchemas(t *testing.T) {
	conv := applyconfigurations.NewTypeConverter(scheme.Scheme)
	c := &collector{lines: map[string]string{}, seen: map[reflect.Type]bool{}}
	for gvk, typ := range scheme.Scheme.AllKnownTypes() {
		if !strings.HasPrefix(typ.PkgPath(), "k8s.io/api/") || strings.HasSuffix(gvk.Kind, "List") {
			continue
		}
		obj := reflect.New(typ).Interface().(runtime.Object)
		obj.GetObjectKind().SetGroupVersionKind(gvk)
		tv, err := conv.ObjectToTyped(obj)
		if err != nil {
			continue // options and reviews, which nobody applies
		}
		c.schema = tv.Schema()
		c.visit(typ, tv.TypeRef())
	}
	// these are not among client-go's
	c.lines["apiextensions/v1.CustomResourceDefinitionStatus.conditions"] = "type"
	c.lines["apiregistration/v1.APIServiceStatus.conditions"] = "type"
	var lines []string
	for name, how := range c.lines {
		lines = append(lines, name+" "+how+"\n")
	}
	slices.Sort(lines)
	want := strings.Join(lines, "")
	if *update {
		if err := os.WriteFile("merge.txt", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != mergeText {
		t.Error("merge.txt is not what client-go's schemas say: run this test with -update")
	}
}

type collector struct {
	schema *smdschema.Schema
	lines  map[string]string
	seen   map[reflect.Type]bool
}

func (c *collector) visit(t reflect.Type, ref smdschema.TypeRef) {
	atom, ok := c.schema.Resolve(ref)
	if !ok || atom.Map == nil || c.seen[t] || t.Kind() != reflect.Struct || hasMarshaler(t) {
		return
	}
	c.seen[t] = true
	if ref.ElementRelationship == nil && atom.Map.ElementRelationship == smdschema.Atomic {
		c.lines[typeName(t)] = "atomic"
	}
	c.fields(t, t, atom.Map)
}

func (c *collector) fields(owner, t reflect.Type, m *smdschema.Map) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, o := jsonName(f)
		if o.inline {
			c.fields(f.Type, f.Type, m)
			continue
		}
		sf, ok := m.FindField(name)
		if !ok {
			continue
		}
		atom, ok := c.schema.Resolve(sf.Type)
		if !ok {
			continue
		}
		e := f.Type
		for e.Kind() == reflect.Pointer {
			e = e.Elem()
		}
		rule := typeName(t) + "." + name
		switch {
		case hasMarshaler(e):
		case e.Kind() == reflect.Struct:
			switch r := sf.Type.ElementRelationship; {
			case r == nil:
			case *r == smdschema.Atomic:
				c.lines[rule] = "atomic"
			default:
				c.lines[rule] = "granular"
			}
			c.visit(e, sf.Type)
		case e.Kind() == reflect.Map:
			if atom.Map.ElementRelationship == smdschema.Atomic {
				c.lines[rule] = "atomic"
			}
			c.visit(elem(e), atom.Map.ElementType)
		case e.Kind() == reflect.Slice && atom.List != nil:
			if atom.List.ElementRelationship == smdschema.Associative {
				c.lines[rule] = c.keys(atom.List)
			}
			c.visit(elem(e), atom.List.ElementType)
		}
	}
}

func (c *collector) keys(l *smdschema.List) string {
	if len(l.Keys) == 0 {
		return "set"
	}
	item, _ := c.schema.Resolve(l.ElementType)
	var words []string
	for _, k := range l.Keys {
		if f, ok := item.Map.FindField(k); ok && f.Default != nil {
			b, err := json.Marshal(f.Default)
			if err != nil {
				panic(err)
			}
			k += "=" + string(b)
		}
		words = append(words, k)
	}
	return strings.Join(words, ",")
}

// TestSchemasAreTheClients compares the schemas that are made of Go types with
// those that client-go carries.
func TestSchemasAreTheClients(t *testing.T) {
	conv := applyconfigurations.NewTypeConverter(scheme.Scheme)
	n := 0
	for gvk, typ := range scheme.Scheme.AllKnownTypes() {
		if !strings.HasPrefix(typ.PkgPath(), "k8s.io/api/") || strings.HasSuffix(gvk.Kind, "List") {
			continue
		}
		obj := reflect.New(typ).Interface().(runtime.Object)
		obj.GetObjectKind().SetGroupVersionKind(gvk)
		tv, err := conv.ObjectToTyped(obj)
		if err != nil {
			continue
		}
		n++
		ours := schemaOf(typ)
		s := &sameSchema{t: t, want: tv.Schema(), got: ours.Schema, seen: map[string]bool{}}
		s.compare(gvk.Kind, tv.TypeRef(), ours.TypeRef)
	}
	if n < 100 {
		t.Errorf("only %d kinds were compared", n)
	}
}

type sameSchema struct {
	t         *testing.T
	want, got *smdschema.Schema
	seen      map[string]bool
}

func (s *sameSchema) compare(path string, want, got smdschema.TypeRef) {
	if want.NamedType != nil {
		if key := *want.NamedType; s.seen[key] {
			return
		} else {
			s.seen[key] = want.ElementRelationship == nil
		}
	}
	w, okW := s.want.Resolve(want)
	g, okG := s.got.Resolve(got)
	if !okW || !okG {
		s.t.Errorf("%s: resolved %v, ours %v", path, okW, okG)
		return
	}
	if (w.Scalar == nil) != (g.Scalar == nil) || (w.List == nil) != (g.List == nil) || (w.Map == nil) != (g.Map == nil) {
		s.t.Errorf("%s: want %+v, got %+v", path, w, g)
		return
	}
	if w.Scalar != nil && *w.Scalar != *g.Scalar {
		s.t.Errorf("%s: want %s, got %s", path, *w.Scalar, *g.Scalar)
	}
	if w.List != nil {
		if w.List.ElementRelationship != g.List.ElementRelationship || !slices.Equal(w.List.Keys, g.List.Keys) {
			s.t.Errorf("%s: want a list %s %v, got %s %v", path, w.List.ElementRelationship, w.List.Keys, g.List.ElementRelationship, g.List.Keys)
		}
		for _, k := range w.List.Keys {
			x, _ := s.want.Resolve(w.List.ElementType)
			y, _ := s.got.Resolve(g.List.ElementType)
			a, _ := x.Map.FindField(k)
			b, _ := y.Map.FindField(k)
			if fmt.Sprint(a.Default) != fmt.Sprint(b.Default) {
				s.t.Errorf("%s: want the key %s to default to %v, got %v", path, k, a.Default, b.Default)
			}
		}
		s.compare(path+"[]", w.List.ElementType, g.List.ElementType)
	}
	if w.Map == nil {
		return
	}
	if (w.Map.ElementRelationship == smdschema.Atomic) != (g.Map.ElementRelationship == smdschema.Atomic) {
		s.t.Errorf("%s: want a map %q, got %q", path, w.Map.ElementRelationship, g.Map.ElementRelationship)
	}
	if !w.Map.ElementType.Equals(&smdschema.TypeRef{}) || !g.Map.ElementType.Equals(&smdschema.TypeRef{}) {
		s.compare(path+"{}", w.Map.ElementType, g.Map.ElementType)
	}
	fields := map[string]bool{}
	for _, f := range w.Map.Fields {
		fields[f.Name] = true
		x, ok := g.Map.FindField(f.Name)
		if !ok {
			s.t.Errorf("%s.%s is missing", path, f.Name)
			continue
		}
		s.compare(path+"."+f.Name, f.Type, x.Type)
	}
	for _, f := range g.Map.Fields {
		if !fields[f.Name] {
			s.t.Errorf("%s.%s is too many", path, f.Name)
		}
	}
}
