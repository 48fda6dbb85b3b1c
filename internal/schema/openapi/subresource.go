package openapi

import (
	"reflect"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// subresource is a path below an object that is neither status nor scale.
type subresource struct {
	name  string
	gvk   schema.GroupVersionKind // the parent's where empty
	typ   reflect.Type            // the parent's where nil
	verbs []string                // get update patch create, or connect
	// methods of a connection; options are its query.
	methods []string
	options reflect.Type
	tail    bool // also serves any path below
}

var (
	upgradeMethods = []string{"get", "post"}
	proxyMethods   = []string{"get", "post", "put", "patch", "delete", "head", "options"}
	core           = corev1.SchemeGroupVersion
)

func connection(name, kind string, options reflect.Type, methods []string, tail bool) subresource {
	return subresource{name: name, gvk: core.WithKind(kind), verbs: []string{"connect"}, methods: methods, options: options, tail: tail}
}

// subresources by the resource they belong to.
var subresources = map[schema.GroupResource][]subresource{
	{Resource: "pods"}: {
		{name: "ephemeralcontainers", verbs: []string{"get", "update", "patch"}},
		{name: "resize", verbs: []string{"get", "update", "patch"}},
		{name: "log", verbs: []string{"log"}, options: typeOf[corev1.PodLogOptions]()},
		{name: "binding", gvk: core.WithKind("Binding"), typ: typeOf[corev1.Binding](), verbs: []string{"create"}},
		{name: "eviction", gvk: policyv1.SchemeGroupVersion.WithKind("Eviction"), typ: typeOf[policyv1.Eviction](), verbs: []string{"create"}},
		connection("exec", "PodExecOptions", typeOf[corev1.PodExecOptions](), upgradeMethods, false),
		connection("attach", "PodAttachOptions", typeOf[corev1.PodAttachOptions](), upgradeMethods, false),
		connection("portforward", "PodPortForwardOptions", typeOf[corev1.PodPortForwardOptions](), upgradeMethods, false),
		connection("proxy", "PodProxyOptions", typeOf[corev1.PodProxyOptions](), proxyMethods, true),
	},
	{Resource: "services"}: {connection("proxy", "ServiceProxyOptions", typeOf[corev1.ServiceProxyOptions](), proxyMethods, true)},
	{Resource: "nodes"}:    {connection("proxy", "NodeProxyOptions", typeOf[corev1.NodeProxyOptions](), proxyMethods, true)},
	{Resource: "serviceaccounts"}: {
		{name: "token", gvk: authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"), typ: typeOf[authenticationv1.TokenRequest](), verbs: []string{"create"}},
	},
	{Resource: "namespaces"}: {{name: "finalize", verbs: []string{"update"}}},
	{Group: "certificates.k8s.io", Resource: "certificatesigningrequests"}: {
		{name: "approval", verbs: []string{"get", "update", "patch"}},
	},
}

// deletionShows are the resources whose deletion answers with the object rather
// than with a Status.
var deletionShows = map[schema.GroupResource]bool{
	{Resource: "pods"}: true, {Resource: "podtemplates"}: true, {Resource: "services"}: true, {Resource: "serviceaccounts"}: true,
	{Resource: "persistentvolumes"}: true, {Resource: "persistentvolumeclaims"}: true, {Resource: "resourcequotas"}: true,
	{Group: "storage.k8s.io", Resource: "storageclasses"}: true, {Group: "storage.k8s.io", Resource: "volumeattachments"}: true,
	{Group: "storage.k8s.io", Resource: "csinodes"}: true, {Group: "storage.k8s.io", Resource: "csidrivers"}: true,
	{Group: "storage.k8s.io", Resource: "volumeattributesclasses"}: true,
	{Group: "resource.k8s.io", Resource: "deviceclasses"}:          true, {Group: "resource.k8s.io", Resource: "resourceclaims"}: true,
	{Group: "resource.k8s.io", Resource: "resourceclaimtemplates"}: true, {Group: "resource.k8s.io", Resource: "resourceslices"}: true,
}

func scaleSubresource() subresource {
	return subresource{
		name: "scale", gvk: autoscalingv1.SchemeGroupVersion.WithKind("Scale"), typ: typeOf[autoscalingv1.Scale](),
		verbs: []string{"get", "update", "patch"},
	}
}

// subOperations lists what a subresource serves.
func (r *resource) subOperations(s subresource) []operation {
	gvk, typ := r.gvk, r.typ
	if s.gvk.Kind != "" {
		gvk = s.gvk
	}
	if s.typ != nil {
		typ = s.typ
	}
	camel, tag := groupWords(r.gv)
	path := r.collection() + "/{name}/" + s.name
	op := operation{path: path, tag: tag, gvk: &gvk, consumes: anyMedia, produces: media}
	id := r.scope() + r.gvk.Kind + title(s.name)
	switch s.verbs[0] {
	case "connect":
		var out []operation
		for _, method := range s.methods {
			op.method, op.action, op.codes, op.produces = method, "connect", []int{200}, anyMedia
			op.words = "connect " + strings.ToUpper(method) + " requests to " + s.name + " of " + r.gvk.Kind
			op.id = "connect" + camel + title(method) + id
			op.path, op.params = path, optionParams(s.options)
			out = append(out, r.at(op, gvk.Kind))
			if s.tail {
				op.path, op.id = path+"/{path}", op.id+"WithPath"
				op.params = append(slices.Clone(op.params), pathParam())
				out = append(out, r.at(op, gvk.Kind))
			}
		}
		return out
	case "log":
		op.method, op.action, op.codes, op.produces = "get", "get", []int{200}, logMedia
		op.id, op.words = "read"+camel+id, "read "+s.name+" of the specified "+r.gvk.Kind
		op.params = append(optionParams(s.options), pretty())
		return []operation{r.at(op, gvk.Kind)}
	case "create":
		op.method, op.action, op.codes = "post", "post", []int{200, 201, 202}
		op.id, op.words = "create"+camel+id, "create "+s.name+" of "+article(r.gvk.Kind)
		op.params = append(optionParams(typeOf[metav1.CreateOptions]()), pretty())
		op.body, op.bodyRequired, op.answer = typ, true, typ
		return []operation{r.at(op, gvk.Kind)}
	}
	return r.items(s.name, path, gvk, typ, func(verb string) bool { return slices.Contains(s.verbs, verb) })
}
