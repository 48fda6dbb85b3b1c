package apiserver

import (
	"context"
	"net/http"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/apiserver/streams"
	"github.com/monohull/monohull/internal/audit"
	"github.com/monohull/monohull/internal/auth"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
)

// call is one request for a resource, as the verbs get it.
type call struct {
	*requestInfo
	s    *Server
	w    http.ResponseWriter
	req  *http.Request
	user user.Info
	kind *api.Kind
	ver  *api.Version // the one asked for
	view view
}

func noResource() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
		Details: &metav1.StatusDetails{}, Message: "the server could not find the requested resource",
	}}
}

func (s *Server) serveResource(w http.ResponseWriter, req *http.Request, info *requestInfo, u user.Info) error {
	c := &call{requestInfo: info, s: s, w: w, req: req, user: u}
	if r, ok := s.reviews[info.gv.String()+"/"+info.plural]; ok {
		return c.review(r)
	}
	if c.ver = s.Table.Served(info.gv.WithResource(info.plural)); c.ver == nil || c.ver.Old && s.RefuseOldVersions {
		return noResource()
	}
	c.kind = c.ver.Kind
	if c.kind.Namespaced && info.namespace == "" && !(info.name == "" || info.verb == "list" || info.verb == "watch") {
		return noResource()
	}
	if !c.kind.Namespaced && info.namespace != "" && c.kind.Plural != "namespaces" {
		return noResource()
	}
	if c.subresource != "" {
		return c.serveSubresource()
	}
	if c.kind.Verbs != nil && !slices.Contains(c.kind.Verbs, c.verb) {
		return apierrors.NewMethodNotSupported(c.kind.GroupResource(), c.verb)
	}
	if err := c.negotiate(true); err != nil {
		return err
	}
	for _, m := range []string{c.kind.Deprecated, c.ver.Deprecated} {
		if m != "" {
			warn(c.w, m)
		}
	}
	if make := c.s.Computed[c.plural]; make != nil && c.gv == corev1.SchemeGroupVersion {
		return c.compute(make)
	}
	switch c.verb {
	case "get":
		return c.get()
	case "list":
		return c.list()
	case "watch":
		return c.watch()
	case "create":
		if c.pathName() != "" {
			return apierrors.NewMethodNotSupported(c.kind.GroupResource(), "POST")
		}
		return c.create("")
	case "update", "patch":
		if c.name == "" {
			return apierrors.NewMethodNotSupported(c.kind.GroupResource(), c.req.Method)
		}
		if c.verb == "patch" {
			return c.patch("")
		}
		return c.update("")
	case "delete":
		return c.delete()
	case "deletecollection":
		return c.deleteCollection()
	}
	return apierrors.NewMethodNotSupported(c.kind.GroupResource(), c.verb)
}

func (c *call) negotiate(tables bool) error {
	var ok bool
	if c.view, ok = negotiate(c.req, c.query.Get, tables); !ok {
		return notAcceptable()
	}
	c.view.version = c.ver
	return nil
}

// pathName is the name in the path; requestInfo.name may come from a selector.
func (c *call) pathName() string {
	switch c.verb {
	case "list", "deletecollection":
		return ""
	}
	return c.name
}

// request is what the pipeline is asked.
func (c *call) request(subresource string) (client.Request, error) {
	r := client.Request{
		User: c.user, Kind: c.kind, Version: c.ver, Namespace: c.namespace, Name: c.pathName(), Subresource: subresource,
		Warn:  func(m string) { warn(c.w, m) },
		Audit: func(key, value string) { audit.Annotate(c.req.Context(), key, value) },
	}
	if !c.kind.Namespaced {
		r.Namespace = ""
	}
	return r, c.options(&r)
}

func (c *call) cache() *cache.Cache { return c.s.Caches.Of(c.kind) }

func (c *call) reply(code int, it *cache.Item) error {
	body, err := viewBytes(it, c.view, c.s.Clock.Now())
	if err != nil {
		return err
	}
	respond(c.w, c.view, code, body)
	return nil
}

// kindOfAnswer is the type of objects that subresources answer with.
func kindOfAnswer(o api.Object) schema.GroupVersionKind {
	switch o.(type) {
	case *autoscalingv1.Scale:
		return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
	case *authenticationv1.TokenRequest:
		return authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")
	case *policyv1.Eviction:
		return policyv1.SchemeGroupVersion.WithKind("Eviction")
	case *corev1.Binding:
		return corev1.SchemeGroupVersion.WithKind("Binding")
	}
	return o.GetObjectKind().GroupVersionKind()
}

// get answers one object.
func (c *call) get() error {
	if rv := c.query.Get("resourceVersion"); rv != "" && rv != "0" {
		if err := c.waitFor(rv); err != nil {
			return err
		}
	} else if rv == "" {
		if err := c.s.Caches.Fresh(c.req.Context()); err != nil {
			return err
		}
	}
	it := c.current()
	if it == nil {
		return apierrors.NewNotFound(c.kind.GroupResource(), c.name)
	}
	return c.reply(http.StatusOK, it)
}

func (c *call) current() *cache.Item {
	ns := c.namespace
	return c.cache().Get(c.kind.Key(ns, c.name))
}

// object reads the body as an object of the version asked for, and makes the
// kind's own of it.
func (c *call) object() (api.Object, error) {
	obj := c.ver.New()
	if err := c.body(c.ver.GVK, obj); err != nil {
		return nil, err
	}
	if c.ver.Warnings != nil {
		for _, m := range c.ver.Warnings(obj) {
			warn(c.w, m)
		}
	}
	obj, err := c.ver.Convert(obj)
	if err != nil {
		return nil, badObject(c.ver.GVK, err)
	}
	return obj, nil
}

func (c *call) body(gvk schema.GroupVersionKind, into api.Object) error {
	body, err := readBody(c.req)
	if err != nil {
		return err
	}
	return c.decode(body, gvk, into)
}

func (c *call) decode(body []byte, gvk schema.GroupVersionKind, into api.Object) error {
	f, err := fieldValidationOf(c.query.Get, func(m string) { warn(c.w, m) })
	if err != nil {
		return err
	}
	return decode(body, c.req.Header.Get("Content-Type"), gvk, into, f)
}

// create stores the body as a new object.
func (c *call) create(sub string) error {
	r, err := c.request(sub)
	if err != nil {
		return err
	}
	obj, err := c.object()
	if err != nil {
		return err
	}
	if c.kind.Namespaced && obj.GetNamespace() != "" && obj.GetNamespace() != c.namespace {
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	if r.Name == "" {
		r.Name = obj.GetName()
	}
	it, err := c.s.Writer.Create(c.req.Context(), r, obj)
	if err != nil {
		return err
	}
	return c.reply(http.StatusCreated, it)
}

// update replaces an object by the body.
func (c *call) update(sub string) error {
	r, err := c.request(sub)
	if err != nil {
		return err
	}
	var obj api.Object
	if sub == "scale" {
		obj = &autoscalingv1.Scale{}
		err = c.body(autoscalingv1.SchemeGroupVersion.WithKind("Scale"), obj)
	} else {
		obj, err = c.object()
	}
	if err != nil {
		return err
	}
	existed := c.current() != nil
	it, err := c.s.Writer.Update(c.req.Context(), r, obj)
	if err != nil {
		return err
	}
	code := http.StatusOK
	if !existed {
		code = http.StatusCreated
	}
	return c.reply(code, it)
}

// bodies that are posted to a subresource.
var postBodies = map[string]func() (api.Object, schema.GroupVersionKind){
	"binding": func() (api.Object, schema.GroupVersionKind) {
		return &corev1.Binding{}, corev1.SchemeGroupVersion.WithKind("Binding")
	},
	"eviction": func() (api.Object, schema.GroupVersionKind) {
		return &policyv1.Eviction{}, policyv1.SchemeGroupVersion.WithKind("Eviction")
	},
	"token": func() (api.Object, schema.GroupVersionKind) {
		return &authenticationv1.TokenRequest{}, authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")
	},
}

var proxyVerbs = []string{"create", "delete", "get", "patch", "update"}

// subresourcesOf lists a kind's subresources with their verbs; discovery shows
// the same table.
func subresourcesOf(k *api.Kind) map[string][]string {
	out := map[string][]string{}
	if k.HasStatus {
		out["status"] = []string{"get", "patch", "update"}
	}
	for name, p := range k.Parts {
		out[name] = p.Verbs
	}
	if k.Scale != nil {
		out["scale"] = []string{"get", "patch", "update"}
	}
	switch k.GVK.Group + "/" + k.Plural {
	case "/pods":
		out["binding"] = []string{"create"}
		out["eviction"] = []string{"create"}
		out["log"] = []string{"get"}
		out["exec"] = []string{"create", "get"}
		out["attach"] = []string{"create", "get"}
		out["portforward"] = []string{"create", "get"}
		out["proxy"] = proxyVerbs
	case "/services", "/nodes":
		out["proxy"] = proxyVerbs
	case "/serviceaccounts":
		out["token"] = []string{"create"}
	}
	return out
}

func (c *call) serveSubresource() error {
	verbs, ok := subresourcesOf(c.kind)[c.subresource]
	if !ok {
		return noResource()
	}
	if c.subresource == "proxy" {
		return c.proxy() // whatever the method
	}
	if !slices.Contains(verbs, c.verb) {
		gr := c.kind.GroupResource()
		gr.Resource += "/" + c.subresource
		return apierrors.NewMethodNotSupported(gr, c.verb)
	}
	switch c.subresource {
	case "log", "exec", "attach", "portforward":
		return c.stream()
	}
	if err := c.negotiate(true); err != nil {
		return err
	}
	switch c.verb {
	case "create":
		return c.post(postBodies[c.subresource])
	case "update":
		return c.update(c.subresource)
	case "patch":
		return c.patch(c.subresource)
	}
	it := c.current()
	if it == nil {
		return apierrors.NewNotFound(c.kind.GroupResource(), c.name)
	}
	if c.subresource == "scale" {
		it = &cache.Item{Obj: scaleOf(c.kind, it.Obj)}
	}
	return c.reply(http.StatusOK, it)
}

func (c *call) post(empty func() (api.Object, schema.GroupVersionKind)) error {
	r, err := c.request(c.subresource)
	if err != nil {
		return err
	}
	obj, gvk := empty()
	body, err := readBody(c.req)
	if err != nil {
		return err
	}
	var head metav1.TypeMeta
	if c.subresource == "eviction" && api.DecodeJSON(body, &head) == nil && head.APIVersion == "policy/v1beta1" {
		gvk.Version = "v1beta1" // of the same shape
	}
	if err := c.decode(body, gvk, obj); err != nil {
		return err
	}
	it, err := c.s.Writer.Create(c.req.Context(), r, obj)
	if err != nil {
		return err
	}
	if _, ok := it.Obj.(*corev1.Binding); ok {
		return c.success(http.StatusCreated)
	}
	return c.reply(http.StatusCreated, it)
}

func (c *call) success(code int) error {
	st := &metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess, Code: int32(code)}
	body, err := objectBytes(st, st.GroupVersionKind(), c.view.media)
	if err != nil {
		return err
	}
	respond(c.w, c.view, code, body)
	return nil
}

// connect takes the opening of a connection through admission.
func (c *call) connect() error {
	if c.s.Connect == nil {
		return nil
	}
	return c.s.Connect(c.req.Context(), client.Request{
		User: c.user, Kind: c.kind, Version: c.ver, Namespace: c.namespace, Name: c.name, Subresource: c.subresource,
		Warn: func(m string) { warn(c.w, m) },
	})
}

// compute answers a read of objects that are made for it.
func (c *call) compute(make func(context.Context) []api.Object) error {
	sel, err := c.selection()
	if err != nil {
		return err
	}
	var items []*cache.Item
	for _, o := range make(c.req.Context()) {
		it := cache.NewItem(c.kind, o, 0, nil)
		switch {
		case c.verb == "get" && o.GetName() == c.name:
			return c.reply(http.StatusOK, it)
		case c.verb == "list" && sel.matches(o):
			items = append(items, it)
		}
	}
	if c.verb == "get" {
		return apierrors.NewNotFound(schema.GroupResource{Resource: c.kind.Singular}, c.name)
	}
	body, err := viewListBytes(c.kind, items, listMeta{}, c.view, c.s.Clock.Now())
	if err != nil {
		return err
	}
	respond(c.w, c.view, http.StatusOK, body)
	return nil
}

// stream hands a request for a pod's streams to the node that runs it.
func (c *call) stream() error {
	it := c.current()
	if it == nil {
		return apierrors.NewNotFound(c.kind.GroupResource(), c.name)
	}
	pod := it.Obj.(*corev1.Pod)
	if c.subresource != "log" && c.verb == "get" {
		// WebSocket clients come by GET, for what is no reading
		a := c.attributes(c.user)
		a.Verb = "create"
		if err := auth.Check(c.req.Context(), c.s.Authorizer, a); err != nil {
			return err
		}
	}
	if c.subresource != "log" {
		if err := c.connect(); err != nil {
			return err
		}
	}
	backend, err := c.s.Streams(pod)
	if err != nil {
		return err
	}
	switch c.subresource {
	case "log":
		o, err := streams.ParseLogOptions(c.query)
		if err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
		streams.Log(c.w, c.req, pod, o, backend)
	case "exec":
		streams.Exec(c.w, c.req, pod, streams.ParseExecOptions(c.query), backend)
	case "attach":
		streams.Attach(c.w, c.req, pod, streams.ParseAttachOptions(c.query), backend)
	case "portforward":
		o, err := streams.ParsePortForwardOptions(c.query)
		if err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
		streams.PortForward(c.w, c.req, pod, o, backend)
	}
	return nil
}
