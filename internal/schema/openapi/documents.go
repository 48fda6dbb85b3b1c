package openapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiversion "k8s.io/apimachinery/pkg/version"

	"github.com/monohull/monohull/internal/api"
)

// Virtual is a kind that is created and answered but never stored: the reviews
// of authentication and authorization, and bindings.
type Virtual struct {
	GVK        schema.GroupVersionKind
	Plural     string
	Namespaced bool
	Type       runtime.Object
}

// Documents describes a table. It is safe for concurrent use.
type Documents struct {
	version   string
	resources map[schema.GroupVersion][]entry
	groups    []schema.GroupVersion
	gvks      map[reflect.Type][]schema.GroupVersionKind

	// mu also keeps two documents from being built at once: that takes memory.
	mu    sync.Mutex
	built map[string]*document
}

// entry is a resource with its operations' conditions.
type entry struct {
	resource
	kind *api.Kind // nil for a virtual one
}

// document is one built document in one encoding.
type document struct {
	etag   string
	packed []byte // gzip
	size   int
}

// New describes the kinds of a table. Nothing is built yet. version is the
// server's, for the documents' info.
func New(table *api.Table, virtual []Virtual, version string) *Documents {
	d := &Documents{
		version:   version,
		resources: map[schema.GroupVersion][]entry{},
		gvks:      fixedKinds(),
		built:     map[string]*document{},
	}
	add := func(e entry) {
		gv := e.gvk.GroupVersion()
		e.gv = gv
		if _, ok := d.resources[gv]; !ok {
			d.groups = append(d.groups, gv)
		}
		d.resources[gv] = append(d.resources[gv], e)
		d.gvks[e.typ] = append(d.gvks[e.typ], e.gvk)
		if e.list != nil {
			d.gvks[e.list] = append(d.gvks[e.list], gv.WithKind(e.gvk.Kind+"List"))
		}
	}
	for _, k := range table.Kinds() {
		for _, v := range k.Served() {
			add(entry{kind: k, resource: resource{
				gvk: v.GVK, plural: v.Plural, namespaced: k.Namespaced, shown: deletionShows[k.GroupResource()],
				typ: v.GoType.Elem(), list: reflect.TypeOf(v.NewList()).Elem(),
			}})
		}
	}
	for _, v := range virtual {
		add(entry{resource: resource{gvk: v.GVK, plural: v.Plural, namespaced: v.Namespaced, typ: reflect.TypeOf(v.Type).Elem()}})
	}
	for t, gvks := range d.gvks {
		slices.SortFunc(gvks, func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
		d.gvks[t] = slices.Compact(gvks)
	}
	slices.SortFunc(d.groups, func(a, b schema.GroupVersion) int { return strings.Compare(a.String(), b.String()) })
	return d
}

// fixedKinds are the kinds of types that are served in no table.
func fixedKinds() map[reflect.Type][]schema.GroupVersionKind {
	v1 := corev1.SchemeGroupVersion
	return map[reflect.Type][]schema.GroupVersionKind{
		typeOf[metav1.Status]():                 {v1.WithKind("Status")},
		typeOf[metav1.APIResourceList]():        {v1.WithKind("APIResourceList")},
		typeOf[metav1.APIGroup]():               {v1.WithKind("APIGroup")},
		typeOf[metav1.APIGroupList]():           {v1.WithKind("APIGroupList")},
		typeOf[metav1.APIVersions]():            {v1.WithKind("APIVersions")},
		typeOf[corev1.Binding]():                {v1.WithKind("Binding")},
		typeOf[autoscalingv1.Scale]():           {autoscalingv1.SchemeGroupVersion.WithKind("Scale")},
		typeOf[policyv1.Eviction]():             {policyv1.SchemeGroupVersion.WithKind("Eviction")},
		typeOf[authenticationv1.TokenRequest](): {authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")},
	}
}

// kindsFor adds the kinds that every group has a copy of.
func (d *Documents) kindsFor(gvs ...schema.GroupVersion) map[reflect.Type][]schema.GroupVersionKind {
	out := make(map[reflect.Type][]schema.GroupVersionKind, len(d.gvks)+2)
	for t, gvks := range d.gvks {
		out[t] = gvks
	}
	if !slices.Contains(gvs, corev1.SchemeGroupVersion) {
		gvs = append([]schema.GroupVersion{corev1.SchemeGroupVersion}, gvs...)
	}
	for _, gv := range gvs {
		for kind, t := range map[string]reflect.Type{"DeleteOptions": typeOf[metav1.DeleteOptions](), "WatchEvent": typeOf[metav1.WatchEvent]()} {
			out[t] = append(out[t], gv.WithKind(kind))
		}
	}
	return out
}

// Paths lists the v3 documents: "api", "api/v1", "apis/apps", "apis/apps/v1" …
func (d *Documents) Paths() []string {
	out := []string{"api", "apis", "version", ".well-known/openid-configuration", "openid/v1/jwks"}
	for _, gv := range d.groups {
		path := strings.TrimPrefix(root(gv), "/")
		out = append(out, path)
		if group := "apis/" + gv.Group; gv.Group != "" && !slices.Contains(out, group) {
			out = append(out, group)
		}
	}
	slices.Sort(out)
	return out
}

// operations lists those of the v3 document at path, or nil.
func (d *Documents) operations(path string) []operation {
	get := operation{method: "get", consumes: media, produces: media, codes: []int{200}}
	switch path {
	case "api":
		get.path, get.id, get.words, get.tag, get.answer = "/api/", "getCoreAPIVersions", "get available API versions", "core", typeOf[metav1.APIVersions]()
		return []operation{get}
	case "apis":
		get.path, get.id, get.words, get.tag, get.answer = "/apis/", "getAPIVersions", "get available API versions", "apis", typeOf[metav1.APIGroupList]()
		return []operation{get}
	case "version":
		get.path, get.id, get.words, get.tag, get.answer = "/version/", "getCodeVersion", "get the version information for this server", "version", typeOf[apiversion.Info]()
		get.consumes, get.produces = media[:1], media[:1]
		return []operation{get}
	case ".well-known/openid-configuration":
		get.path, get.id, get.tag = "/"+path+"/", "getServiceAccountIssuerOpenIDConfiguration", "WellKnown"
		get.consumes = nil
		get.words = "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'"
		get.produces = media[:1]
		return []operation{get}
	case "openid/v1/jwks":
		get.path, get.id, get.tag = "/"+path+"/", "getServiceAccountIssuerOpenIDKeyset", "openid"
		get.consumes = nil
		get.words = "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)"
		get.produces = []string{"application/jwk-set+json"}
		return []operation{get}
	}
	for _, gv := range d.groups {
		if gv.Group != "" && path == "apis/"+gv.Group {
			camel, tag := groupWords(schema.GroupVersion{Group: gv.Group})
			get.path, get.id, get.words, get.tag, get.answer = "/"+path+"/", "get"+camel+"APIGroup", "get information of a group", tag, typeOf[metav1.APIGroup]()
			return []operation{get}
		}
		if "/"+path != root(gv) {
			continue
		}
		camel, tag := groupWords(gv)
		get.path, get.id, get.words, get.tag, get.answer = root(gv)+"/", "get"+camel+"APIResources", "get available resources", tag, typeOf[metav1.APIResourceList]()
		ops := []operation{get}
		for i := range d.resources[gv] {
			ops = append(ops, d.resources[gv][i].all()...)
		}
		return ops
	}
	return nil
}

// all lists what a resource and its subresources serve.
func (e *entry) all() []operation {
	if e.kind == nil {
		return e.operations(func(verb string) bool { return verb == "create" })
	}
	ops := e.operations(func(verb string) bool { return e.kind.Verbs == nil || slices.Contains(e.kind.Verbs, verb) })
	if e.kind.HasStatus {
		ops = append(ops, e.subOperations(subresource{name: "status", verbs: []string{"get", "update", "patch"}})...)
	}
	if e.kind.Scale != nil {
		ops = append(ops, e.subOperations(scaleSubresource())...)
	}
	for _, s := range subresources[e.kind.GroupResource()] {
		ops = append(ops, e.subOperations(s)...)
	}
	return ops
}

// tree builds the document at path; "" is the v2 one.
func (d *Documents) tree(path string) object {
	if path == "" {
		defs := newDefinitions(v2, d.kindsFor(d.groups...))
		var ops []operation
		for _, p := range d.Paths() {
			ops = append(ops, d.operations(p)...)
		}
		return defs.documentV2(ops, d.version)
	}
	var gvs []schema.GroupVersion
	for _, gv := range d.groups {
		if "/"+path == root(gv) {
			gvs = append(gvs, gv)
		}
	}
	return newDefinitions(v3, d.kindsFor(gvs...)).documentV3(d.operations(path), d.version)
}

// get gives a document, building it at first.
func (d *Documents) get(path string, binary bool) (*document, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.getLocked(path, binary)
}

func (d *Documents) getLocked(path string, binary bool) (*document, error) {
	key := path
	if binary {
		key += "+protobuf"
	}
	if doc := d.built[key]; doc != nil {
		return doc, nil
	}
	tree := d.tree(path)
	body, err := encode(tree)
	if err != nil {
		return nil, err
	}
	etag := fmt.Sprintf("%X", sha512.Sum512(body)) // of the JSON for both, as upstream
	if binary {
		write := protoV3
		if path == "" {
			write = protoV2
		}
		if body, err = write(tree); err != nil {
			return nil, err
		}
	}
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	zip.Write(body) // a buffer does not fail
	zip.Close()
	doc := &document{etag: etag, packed: bytes.Clone(packed.Bytes()), size: len(body)}
	d.built[key] = doc
	return doc, nil
}

// body unpacks a document.
func (doc *document) body() []byte {
	zip, err := gzip.NewReader(bytes.NewReader(doc.packed))
	if err == nil {
		out := bytes.NewBuffer(make([]byte, 0, doc.size+bytes.MinRead))
		if _, err = io.Copy(out, zip); err == nil {
			return out.Bytes()
		}
	}
	panic("openapi: a document in memory is broken: " + err.Error())
}

// Index is the answer to GET /openapi/v3: where each document is, with a hash
// by which clients may keep it for good.
func (d *Documents) Index() ([]byte, error) {
	type place struct {
		URL string `json:"serverRelativeURL"`
	}
	index := struct {
		Paths map[string]place `json:"paths"`
	}{map[string]place{}}
	for _, path := range d.Paths() {
		doc, err := d.get(path, false)
		if err != nil {
			return nil, err
		}
		index.Paths[path] = place{URL: address(path, doc.etag)}
	}
	return json.Marshal(index)
}

func address(path, etag string) string {
	return (&url.URL{Path: "/openapi/v3/" + path, RawQuery: url.Values{"hash": {etag}}.Encode()}).String()
}

// V3 is a v3 document in JSON; ok is false where there is none at path.
func (d *Documents) V3(path string) (body []byte, etag string, ok bool, err error) {
	return d.whole(path, false, true)
}

// V3Proto is a v3 document in protobuf.
func (d *Documents) V3Proto(path string) (body []byte, etag string, ok bool, err error) {
	return d.whole(path, true, true)
}

// V2 is the v2 document in JSON.
func (d *Documents) V2() (body []byte, etag string, err error) {
	body, etag, _, err = d.whole("", false, false)
	return body, etag, err
}

// V2Proto is the v2 document in protobuf.
func (d *Documents) V2Proto() (body []byte, etag string, err error) {
	body, etag, _, err = d.whole("", true, false)
	return body, etag, err
}

func (d *Documents) whole(path string, binary, v3 bool) ([]byte, string, bool, error) {
	if v3 && !slices.Contains(d.Paths(), path) {
		return nil, "", false, nil
	}
	doc, err := d.get(path, binary)
	if err != nil {
		return nil, "", true, err
	}
	return doc.body(), doc.etag, true, nil
}
