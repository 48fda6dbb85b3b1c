package apiserver

import (
	"net/http"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// requestInfo is what a path and method ask for.
type requestInfo struct {
	resource    bool // a path below /api or /apis that names a resource
	verb        string
	path        string
	gv          schema.GroupVersion
	namespace   string
	plural      string
	name        string
	subresource string
	rest        string // the path after a proxy subresource
	query       url.Values
}

var httpVerbs = map[string]string{
	http.MethodGet: "get", http.MethodHead: "get", http.MethodPost: "create", http.MethodPut: "update",
	http.MethodPatch: "patch", http.MethodDelete: "delete", http.MethodOptions: "options",
}

// namespaceSubresources are subresources of the namespace object itself; any
// other word after a namespace's name is a resource in it.
var namespaceSubresources = map[string]bool{"status": true, "finalize": true}

// parse reads a request's path as upstream does:
//
//	/api/v1[/watch][/namespaces/NS]/RESOURCE[/NAME[/SUBRESOURCE]]
//	/apis/GROUP/VERSION…
func parse(req *http.Request) *requestInfo {
	r := &requestInfo{path: req.URL.Path, verb: strings.ToLower(req.Method)}
	if req.URL.RawQuery != "" {
		r.query = req.URL.Query()
	}
	parts := strings.Split(strings.Trim(req.URL.Path, "/"), "/")
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		r.gv, parts = schema.GroupVersion{Version: parts[1]}, parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		r.gv, parts = schema.GroupVersion{Group: parts[1], Version: parts[2]}, parts[3:]
	default:
		return r
	}
	r.resource = true
	r.verb = httpVerbs[req.Method]
	if parts[0] == "watch" && len(parts) > 1 {
		r.verb, parts = "watch", parts[1:]
	}
	if parts[0] == "namespaces" && len(parts) > 1 {
		r.namespace = parts[1]
		if len(parts) > 2 && !(len(parts) == 3 && namespaceSubresources[parts[2]]) {
			parts = parts[2:]
		}
	}
	r.plural = parts[0]
	if len(parts) > 1 {
		r.name = parts[1]
	}
	if len(parts) > 2 {
		r.subresource = parts[2]
	}
	if len(parts) > 3 {
		r.rest = strings.Join(parts[3:], "/")
	}
	if r.name == "" {
		switch r.verb {
		case "get":
			r.verb = "list"
			if isTrue(r.query.Get("watch")) {
				r.verb = "watch"
			}
		case "delete":
			r.verb = "deletecollection"
		}
	} else if r.verb == "get" && r.subresource == "" && isTrue(r.query.Get("watch")) {
		r.verb = "watch"
	}
	if (r.verb == "list" || r.verb == "watch" || r.verb == "deletecollection") && r.name == "" {
		// authorization may be for one name where the selector asks for one
		if sel, err := fields.ParseSelector(r.query.Get("fieldSelector")); err == nil {
			if name, ok := sel.RequiresExactMatch("metadata.name"); ok && !strings.ContainsAny(name, "/%") {
				r.name = name
			}
		}
	}
	return r
}

func isTrue(v string) bool { return v == "true" || v == "1" }
