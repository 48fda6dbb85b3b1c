package openapi

import (
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// object is a JSON object of a document under construction.
type object = map[string]any

// dialect is what OpenAPI v2 and v3 do not share.
type dialect struct {
	v3     bool
	prefix string // of references to definitions
}

var (
	v2 = dialect{prefix: "#/definitions/"}
	v3 = dialect{v3: true, prefix: "#/components/schemas/"}
)

// definitions collects the schemas of the types that a document refers to.
type definitions struct {
	dialect
	gvks  map[reflect.Type][]schema.GroupVersionKind
	byKey map[string]any
}

func newDefinitions(d dialect, gvks map[reflect.Type][]schema.GroupVersionKind) *definitions {
	return &definitions{dialect: d, gvks: gvks, byKey: map[string]any{}}
}

// The methods by which types tell how they appear in a document.
type (
	named      interface{ OpenAPIModelName() string }
	documented interface{ SwaggerDoc() map[string]string }
	typed      interface{ OpenAPISchemaType() []string }
	formatted  interface{ OpenAPISchemaFormat() string }
	oneOf      interface{ OpenAPIV3OneOfTypes() []string }
)

// modelName is the key of a type's definition: its path with the domain
// reversed.
func modelName(t reflect.Type) string {
	if n, ok := reflect.Zero(t).Interface().(named); ok {
		return n.OpenAPIModelName()
	}
	domain, rest, _ := strings.Cut(t.PkgPath(), "/")
	labels := strings.Split(domain, ".")
	slices.Reverse(labels)
	return strings.Join(labels, ".") + "." + strings.ReplaceAll(rest, "/", ".") + "." + t.Name()
}

func docs(t reflect.Type) map[string]string {
	if d, ok := reflect.Zero(t).Interface().(documented); ok {
		return d.SwaggerDoc()
	}
	return generated().words[modelName(t)]
}

// ref refers to the definition of a struct type, and makes sure it exists.
func (d *definitions) ref(t reflect.Type) object {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	key := modelName(t)
	if _, ok := d.byKey[key]; !ok {
		d.byKey[key] = object{} // types may refer to themselves
		d.byKey[key] = d.define(key, t)
	}
	return object{"$ref": d.prefix + key}
}

func (d *definitions) define(key string, t reflect.Type) object {
	out := object{}
	if text := description(key, t); text != "" {
		out["description"] = text
	}
	if !d.scalar(t, out) {
		out["type"] = "object"
		props, required := object{}, []string(nil)
		d.fields(key, t, props, &required)
		if len(props) > 0 {
			out["properties"] = props
		}
		if len(required) > 0 {
			out["required"] = required
		}
	}
	m := marks()[key]
	if m.mapType != "" {
		out["x-kubernetes-map-type"] = m.mapType
	}
	if m.unions != nil {
		out["x-kubernetes-unions"] = m.unions
	}
	if gvks := d.gvks[t]; len(gvks) > 0 {
		list := make([]any, len(gvks))
		for i, gvk := range gvks {
			list[i] = gvkObject(gvk)
		}
		out["x-kubernetes-group-version-kind"] = list
	}
	return out
}

func description(key string, t reflect.Type) string {
	if text, ok := typeWords[key]; ok {
		return text
	}
	return docs(t)[""]
}

func gvkObject(gvk schema.GroupVersionKind) object {
	return object{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind}
}

// scalar describes struct types that are no objects on the wire.
func (d *definitions) scalar(t reflect.Type, out object) bool {
	zero := reflect.Zero(t).Interface()
	own, ok := zero.(typed)
	if !ok {
		return false
	}
	if f, ok := zero.(formatted); ok && f.OpenAPISchemaFormat() != "" {
		out["format"] = f.OpenAPISchemaFormat()
	}
	if many, ok := zero.(oneOf); ok && d.v3 {
		var types []any
		for _, name := range many.OpenAPIV3OneOfTypes() {
			types = append(types, object{"type": name})
		}
		out["oneOf"] = types
		return true
	}
	if types := own.OpenAPISchemaType(); len(types) > 0 { // none: any JSON
		out["type"] = types[0]
	}
	return true
}

// fields adds the properties of a struct, those of inlined structs included.
func (d *definitions) fields(key string, t reflect.Type, props object, required *[]string) {
	words := docs(t)
	for i := range t.NumField() {
		f := t.Field(i)
		name, flags, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		if name == "" {
			if f.Anonymous || strings.Contains(flags, "inline") {
				inner := f.Type
				if inner.Kind() == reflect.Pointer {
					inner = inner.Elem()
				}
				d.fields(key, inner, props, required)
			}
			continue
		}
		m := marks()[key+"."+name]
		omitted := strings.Contains(flags, "omitempty") || strings.Contains(flags, "omitzero")
		if m.required || !omitted && !m.optional {
			*required = append(*required, name)
		}
		p := d.property(f, words[name], omitted, m)
		list, keys := listType(key, name, f.Type, f.Tag.Get("patchMergeKey"), m)
		if list != "" {
			p["x-kubernetes-list-type"] = list
		}
		if len(keys) > 0 {
			p["x-kubernetes-list-map-keys"] = keys
		}
		props[name] = p
	}
}

func (d *definitions) property(f reflect.StructField, words string, omitted bool, m mark) object {
	p := d.of(f.Type)
	if d.v3 && !m.bare {
		d.defaultTo(p, f.Type, omitted)
		if m.value != nil {
			p["default"] = m.value
		}
	}
	if values := enumOf(f.Type); len(values) > 0 {
		words = strings.TrimPrefix(words+enumWords(values), "\n\n")
	}
	if words != "" {
		p["description"] = words
	}
	if s := f.Tag.Get("patchStrategy"); s != "" {
		p["x-kubernetes-patch-strategy"] = s
	}
	if key := f.Tag.Get("patchMergeKey"); key != "" {
		p["x-kubernetes-patch-merge-key"] = key
	}
	if m.mapType != "" {
		p["x-kubernetes-map-type"] = m.mapType
	}
	return d.settle(p)
}

// of describes a value of a type.
func (d *definitions) of(t reflect.Type) object {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	p := object{}
	switch t.Kind() {
	case reflect.Struct:
		return d.ref(t)
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "format": "byte"}
		}
		return object{"type": "array", "items": d.element(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.element(t.Elem())}
	case reflect.String:
		p["type"] = "string"
	case reflect.Bool:
		p["type"] = "boolean"
	case reflect.Int32, reflect.Int16, reflect.Int8, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		p["type"], p["format"] = "integer", "int32"
	case reflect.Int, reflect.Int64, reflect.Uint, reflect.Uint64:
		p["type"], p["format"] = "integer", "int64"
	case reflect.Float32:
		p["type"], p["format"] = "number", "float"
	case reflect.Float64:
		p["type"], p["format"] = "number", "double"
	default:
		p["type"] = "object"
	}
	if values := enumOf(t); len(values) > 0 {
		p["enum"] = values
	}
	return p
}

// element describes what a list or map holds.
func (d *definitions) element(t reflect.Type) object {
	p := d.of(t)
	if d.v3 {
		d.defaultTo(p, t, false)
	}
	return d.settle(p)
}

// defaultTo sets the value that an absent field is read as, where the Go type
// cannot be absent.
func (d *definitions) defaultTo(p object, t reflect.Type, omitted bool) {
	switch t.Kind() {
	case reflect.Struct:
		if _, isScalar := reflect.Zero(t).Interface().(typed); !isScalar {
			p["default"] = object{}
		}
	case reflect.String:
		if !omitted {
			p["default"] = ""
		}
	case reflect.Bool:
		if !omitted {
			p["default"] = false
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Float32, reflect.Float64:
		if !omitted {
			p["default"] = 0
		}
	}
}

// settle wraps a reference that has siblings, which v3 does not allow.
func (d *definitions) settle(p object) object {
	if ref, ok := p["$ref"]; ok && d.v3 && len(p) > 1 {
		delete(p, "$ref")
		p["allOf"] = []any{object{"$ref": ref}}
	}
	return p
}
