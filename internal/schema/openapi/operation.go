package openapi

import (
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// operation is one method on one path, in terms that both versions of OpenAPI
// can be written from.
type operation struct {
	path, method string
	action       string // x-kubernetes-action
	id, words    string
	tag          string
	gvk          *schema.GroupVersionKind
	params       []param
	body         reflect.Type // nil without one
	bodyRequired bool
	consumes     []string
	produces     []string
	answer       reflect.Type // nil is plain text
	codes        []int
}

type param struct {
	name, in, words, kind string
	required              bool
}

var (
	anyMedia    = []string{"*/*"}
	media       = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}
	watchMedia  = append(slices.Clone(media), "application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
	logMedia    = append([]string{"text/plain"}, media...)
	patchMedia  = []string{string(types.JSONPatchType), string(types.MergePatchType), string(types.StrategicMergePatchType), string(types.ApplyYAMLPatchType)}
	statusWords = map[int]string{200: "OK", 201: "Created", 202: "Accepted", 401: "Unauthorized"}
)

// typeOf is the struct type of an API type.
func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

const prettyWords = "If 'true', then the output is pretty printed. Defaults to 'false' unless the user-agent indicates a browser " +
	"or command-line HTTP tool (curl and wget)."

func pretty() param { return param{name: "pretty", in: "query", words: prettyWords, kind: "string"} }

func nameParam(kind string) param {
	return param{name: "name", in: "path", words: "name of the " + kind, kind: "string", required: true}
}

func namespaceParam() param {
	return param{name: "namespace", in: "path", words: "object name and auth scope, such as for teams and projects", kind: "string", required: true}
}

func pathParam() param {
	return param{name: "path", in: "path", words: "path to the resource", kind: "string", required: true}
}

// optionParams are the query parameters that the fields of an options type are
// sent as.
func optionParams(t reflect.Type, except ...string) []param {
	words := docs(t)
	var out []param
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		ft := f.Type
		if ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		if name == "" || slices.Contains(except, name) || ft.Kind() == reflect.Struct {
			continue
		}
		if ft.Kind() == reflect.Slice {
			ft = ft.Elem()
		}
		kind := "string"
		switch ft.Kind() {
		case reflect.Bool:
			kind = "boolean"
		case reflect.Int32, reflect.Int64:
			kind = "integer"
		}
		out = append(out, param{name: name, in: "query", words: words[name], kind: kind})
	}
	return out
}

// groupWords gives a group and version as operation ids and tags spell them:
// "RbacAuthorizationV1", "rbacAuthorization_v1".
func groupWords(gv schema.GroupVersion) (camel, tag string) {
	group := strings.TrimSuffix(gv.Group, ".k8s.io")
	if group == "" {
		group = "core"
	}
	for part := range strings.SplitSeq(group, ".") {
		camel += title(part)
	}
	tag = strings.ToLower(camel[:1]) + camel[1:]
	if gv.Version != "" {
		camel += title(gv.Version)
		tag += "_" + gv.Version
	}
	return camel, tag
}

func title(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// article is what stands before a kind in a sentence.
func article(kind string) string {
	if strings.HasSuffix(kind, "s") && !strings.HasSuffix(kind, "ss") {
		return kind // Endpoints
	}
	if strings.ContainsAny(kind[:1], "AEIOUaeiou") {
		return "an " + kind
	}
	return "a " + kind
}

// resource is what paths of a kind are made of.
type resource struct {
	gv         schema.GroupVersion
	gvk        schema.GroupVersionKind
	plural     string
	namespaced bool
	typ, list  reflect.Type
	// shown is set where a deletion answers with the object.
	shown bool
}

func root(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "/api/" + gv.Version
	}
	return "/apis/" + gv.Group + "/" + gv.Version
}

func (r *resource) collection() string {
	if r.namespaced {
		return root(r.gv) + "/namespaces/{namespace}/" + r.plural
	}
	return root(r.gv) + "/" + r.plural
}

// scope is the word that ids of namespaced operations have.
func (r *resource) scope() string {
	if r.namespaced {
		return "Namespaced"
	}
	return ""
}

// at adds the parameters of the path to an operation.
func (r *resource) at(op operation, kind string) operation {
	op.params = slices.Clone(op.params)
	if strings.Contains(op.path, "{name}") {
		op.params = append(op.params, nameParam(kind))
	}
	if strings.Contains(op.path, "{namespace}") {
		op.params = append(op.params, namespaceParam())
	}
	return op
}

// operations lists what a kind's main resource serves.
func (r *resource) operations(serves func(verb string) bool) []operation {
	camel, tag := groupWords(r.gv)
	kind := r.gvk.Kind
	base := operation{tag: tag, gvk: &r.gvk, consumes: anyMedia, produces: media, codes: []int{200}}
	var out []operation
	add := func(verb string, op operation) {
		if serves(verb) {
			out = append(out, r.at(op, kind))
		}
	}
	listOptions := append(optionParams(typeOf[metav1.ListOptions]()), pretty())
	item, collection := r.collection()+"/{name}", r.collection()

	op := base
	op.path, op.method, op.action = collection, "get", "list"
	op.id, op.words = "list"+camel+r.scope()+kind, "list or watch objects of kind "+kind
	op.params, op.produces, op.answer = listOptions, watchMedia, r.list
	add("list", op)
	if r.namespaced {
		op.path, op.id = root(r.gv)+"/"+r.plural, "list"+camel+kind+"ForAllNamespaces"
		add("list", op)
	}

	op = base
	op.path, op.method, op.action = collection, "post", "post"
	op.id, op.words = "create"+camel+r.scope()+kind, "create "+article(kind)
	op.params = append(optionParams(typeOf[metav1.CreateOptions]()), pretty())
	op.body, op.bodyRequired, op.answer, op.codes = r.typ, true, r.typ, []int{200, 201, 202}
	add("create", op)

	op = base
	op.path, op.method, op.action = collection, "delete", "deletecollection"
	op.id, op.words = "delete"+camel+"Collection"+r.scope()+kind, "delete collection of "+kind
	op.params = append(optionParams(typeOf[metav1.DeleteOptions]()), pretty())
	for _, p := range optionParams(typeOf[metav1.ListOptions](), "watch", "allowWatchBookmarks") {
		if !slices.ContainsFunc(op.params, func(q param) bool { return q.name == p.name }) {
			op.params = append(op.params, p)
		}
	}
	op.body, op.answer = typeOf[metav1.DeleteOptions](), typeOf[metav1.Status]()
	add("deletecollection", op)

	out = append(out, r.items("", item, r.gvk, r.typ, serves)...)

	op = base
	op.path, op.method, op.action = item, "delete", "delete"
	op.id, op.words = "delete"+camel+r.scope()+kind, "delete "+article(kind)
	op.params = append(optionParams(typeOf[metav1.DeleteOptions]()), pretty())
	op.body, op.answer, op.codes = typeOf[metav1.DeleteOptions](), typeOf[metav1.Status](), []int{200, 202}
	if r.shown {
		op.answer = r.typ
	}
	add("delete", op)

	const deprecated = ". deprecated: use the 'watch' parameter with a list operation instead"
	watch := func(path, action, id, words string) {
		op := base
		op.path, op.method, op.action, op.id, op.words = root(r.gv)+"/watch"+strings.TrimPrefix(path, root(r.gv)), "get", action, id, words+deprecated
		op.params, op.produces, op.answer = listOptions, watchMedia, typeOf[metav1.WatchEvent]()
		if action == "watch" {
			op.words += ", filtered to a single item with the 'fieldSelector' parameter"
		}
		op.words += "."
		add("watch", op)
	}
	watch(collection, "watchlist", "watch"+camel+r.scope()+kind+"List", "watch individual changes to a list of "+kind)
	watch(item, "watch", "watch"+camel+r.scope()+kind, "watch changes to an object of kind "+kind)
	if r.namespaced {
		watch(root(r.gv)+"/"+r.plural, "watchlist", "watch"+camel+kind+"ListForAllNamespaces", "watch individual changes to a list of "+kind)
	}
	return out
}

// items lists reading, replacing and patching one object, or the part of it that
// a subresource shows.
func (r *resource) items(sub, path string, gvk schema.GroupVersionKind, typ reflect.Type, serves func(verb string) bool) []operation {
	camel, tag := groupWords(r.gv)
	base := operation{path: path, tag: tag, gvk: &gvk, consumes: anyMedia, produces: media, answer: typ}
	id := camel + r.scope() + r.gvk.Kind + title(sub)
	what := "the specified " + r.gvk.Kind
	if sub != "" {
		what = sub + " of " + what
	}
	var out []operation
	if serves("get") {
		op := base
		op.method, op.action, op.id, op.words, op.codes = "get", "get", "read"+id, "read "+what, []int{200}
		op.params = []param{pretty()}
		out = append(out, r.at(op, gvk.Kind))
	}
	if serves("update") {
		op := base
		op.method, op.action, op.id, op.words, op.codes = "put", "put", "replace"+id, "replace "+what, []int{200, 201}
		op.params = append(optionParams(typeOf[metav1.UpdateOptions]()), pretty())
		op.body, op.bodyRequired = typ, true
		out = append(out, r.at(op, gvk.Kind))
	}
	if serves("patch") {
		op := base
		op.method, op.action, op.id, op.words, op.codes = "patch", "patch", "patch"+id, "partially update "+what, []int{200, 201}
		op.params = append(optionParams(typeOf[metav1.PatchOptions]()), pretty())
		op.body, op.bodyRequired, op.consumes = typeOf[metav1.Patch](), true, patchMedia
		out = append(out, r.at(op, gvk.Kind))
	}
	return out
}
