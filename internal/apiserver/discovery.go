package apiserver

import (
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"
	"sync"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiversion "k8s.io/apimachinery/pkg/version"

	"github.com/monohull/monohull/internal/api"
)

// discovery tells clients which kinds there are: the older documents, one per
// group, and the aggregated one. They are made once.
type discovery struct {
	table   *api.Table
	reviews map[string]review
	address string
	listOld bool // list old versions like the others
	hideOld bool // or not at all
	once    sync.Once
	docs    map[string]any // by path
	all     map[string]*aggregated
}

// aggregated is the answer to a client that asks for everything at once.
type aggregated struct {
	body []byte
	etag string
}

func newDiscovery(t *api.Table, reviews map[string]review, address string, listOld, hideOld bool) *discovery {
	return &discovery{table: t, reviews: reviews, address: address, listOld: listOld, hideOld: hideOld}
}

// groupOrder ranks the groups as upstream's server does.
var groupOrder = []string{"", "apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch",
	"certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io", "admissionregistration.k8s.io",
	"apiextensions.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io", "discovery.k8s.io", "flowcontrol.apiserver.k8s.io"}

func rank(group string) int {
	if i := slices.Index(groupOrder, group); i >= 0 {
		return i
	}
	return len(groupOrder)
}

func (d *discovery) build() {
	resources := map[schema.GroupVersion][]metav1.APIResource{}
	for _, k := range d.table.Kinds() {
		for _, v := range k.Served() {
			if v.Old && d.hideOld {
				continue
			}
			gv := v.GVK.GroupVersion()
			resources[gv] = append(resources[gv], d.entries(v)...)
		}
	}
	for _, r := range d.reviews {
		gv := r.gvk.GroupVersion()
		resources[gv] = append(resources[gv], metav1.APIResource{
			Name: r.plural, SingularName: r.singular, Namespaced: r.namespaced, Kind: r.gvk.Kind, Verbs: []string{"create"},
		})
	}
	d.docs = map[string]any{}
	versions := map[string][]string{} // by group
	for gv, list := range resources {
		versions[gv.Group] = append(versions[gv.Group], gv.Version)
		sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
		path := "/apis/" + gv.String()
		if gv.Group == "" {
			path = "/api/" + gv.Version
		}
		d.docs[path] = &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv.String(), APIResources: list}
	}
	groups := make([]metav1.APIGroup, 0, len(versions))
	for group, list := range versions {
		if group == "" {
			continue
		}
		sort.Slice(list, func(i, j int) bool { return apiversion.CompareKubeAwareVersionStrings(list[i], list[j]) > 0 })
		g := metav1.APIGroup{Name: group}
		for _, v := range list {
			g.Versions = append(g.Versions, metav1.GroupVersionForDiscovery{GroupVersion: group + "/" + v, Version: v})
		}
		g.PreferredVersion = g.Versions[0]
		groups = append(groups, g)
		g.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
		d.docs["/apis/"+group] = &g
	}
	sort.Slice(groups, func(i, j int) bool {
		if a, b := rank(groups[i].Name), rank(groups[j].Name); a != b {
			return a < b
		}
		return groups[i].Name < groups[j].Name
	})
	d.docs["/apis"] = &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: groups}
	d.docs["/api"] = &metav1.APIVersions{
		TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"},
		ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: d.address}},
	}
	var apis []apidiscoveryv2.APIGroupDiscovery
	for _, g := range groups {
		apis = append(apis, groupDiscovery(g.Name, versions[g.Name], resources))
	}
	core := groupDiscovery("", versions[""], resources)
	d.all = map[string]*aggregated{"/api": aggregate([]apidiscoveryv2.APIGroupDiscovery{core}), "/apis": aggregate(apis)}
}

// entries lists a kind in one version with its subresources. An old version is
// listed without verbs: clients find the path of a manifest that is written in
// it, and whoever goes through all there is passes it by.
func (d *discovery) entries(v *api.Version) []metav1.APIResource {
	k, verbs := v.Kind, v.Kind.Verbs
	if verbs == nil {
		verbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
	}
	main := metav1.APIResource{
		Name: v.Plural, SingularName: k.Singular, Namespaced: k.Namespaced, Kind: v.GVK.Kind, Verbs: verbs,
		ShortNames: k.ShortNames, Categories: k.Categories, StorageVersionHash: storageHash(k.GVK),
	}
	if v.Old && !d.listOld {
		main.Verbs, main.ShortNames, main.Categories = []string{}, nil, nil
		return []metav1.APIResource{main}
	}
	out := []metav1.APIResource{main}
	for sub, verbs := range subresourcesOf(k) {
		out = append(out, subresourceEntry(k, sub, verbs))
	}
	return out
}

func subresourceEntry(k *api.Kind, sub string, verbs []string) metav1.APIResource {
	e := metav1.APIResource{Name: k.Plural + "/" + sub, Namespaced: k.Namespaced, Kind: k.GVK.Kind, Verbs: verbs}
	switch sub {
	case "scale":
		e.Group, e.Version, e.Kind = "autoscaling", "v1", "Scale"
	case "binding":
		e.Kind = "Binding"
	case "eviction":
		e.Group, e.Version, e.Kind = "policy", "v1", "Eviction"
	case "token":
		e.Group, e.Version, e.Kind = "authentication.k8s.io", "v1", "TokenRequest"
	case "exec":
		e.Kind = "PodExecOptions"
	case "attach":
		e.Kind = "PodAttachOptions"
	case "portforward":
		e.Kind = "PodPortForwardOptions"
	case "proxy":
		e.Kind = k.GVK.Kind + "ProxyOptions"
	}
	return e
}

func storageHash(gvk schema.GroupVersionKind) string {
	sum := sha512.Sum512([]byte(gvk.Group + "/" + gvk.Version + "/" + gvk.Kind))
	return base64Std(sum[:8])
}

func groupDiscovery(group string, versions []string, resources map[schema.GroupVersion][]metav1.APIResource) apidiscoveryv2.APIGroupDiscovery {
	g := apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: group}}
	for _, v := range versions {
		g.Versions = append(g.Versions, versionDiscovery(group, v, resources[schema.GroupVersion{Group: group, Version: v}]))
	}
	return g
}

func versionDiscovery(group, version string, list []metav1.APIResource) apidiscoveryv2.APIVersionDiscovery {
	v := apidiscoveryv2.APIVersionDiscovery{Version: version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
	at := map[string]int{}
	for _, r := range list {
		name, sub, isSub := strings.Cut(r.Name, "/")
		kind := &metav1.GroupVersionKind{Group: group, Version: version, Kind: r.Kind}
		if r.Version != "" {
			kind.Group, kind.Version = r.Group, r.Version
		}
		if isSub {
			i := at[name]
			v.Resources[i].Subresources = append(v.Resources[i].Subresources, apidiscoveryv2.APISubresourceDiscovery{Subresource: sub, ResponseKind: kind, Verbs: r.Verbs})
			continue
		}
		scope := apidiscoveryv2.ScopeCluster
		if r.Namespaced {
			scope = apidiscoveryv2.ScopeNamespace
		}
		at[name] = len(v.Resources)
		v.Resources = append(v.Resources, apidiscoveryv2.APIResourceDiscovery{
			Resource: name, ResponseKind: kind, Scope: scope, SingularResource: r.SingularName, Verbs: r.Verbs, ShortNames: r.ShortNames, Categories: r.Categories,
		})
	}
	return v
}

func aggregate(items []apidiscoveryv2.APIGroupDiscovery) *aggregated {
	doc := apidiscoveryv2.APIGroupDiscoveryList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: "apidiscovery.k8s.io/v2"}, Items: items}
	body, err := json.Marshal(doc)
	if err != nil {
		panic(err) // plain data
	}
	return &aggregated{body: body, etag: fmt.Sprintf(`"%X"`, sha512.Sum512(body))}
}

// serve answers a discovery path, or returns false.
func (d *discovery) serve(s *Server, w http.ResponseWriter, req *http.Request, path string) bool {
	d.once.Do(d.build)
	path = strings.TrimSuffix(path, "/")
	if agg := d.all[path]; agg != nil && wantsAggregated(req) {
		h := w.Header()
		h.Set("Vary", "Accept")
		h.Set("ETag", agg.etag)
		if req.Header.Get("If-None-Match") == agg.etag {
			w.WriteHeader(http.StatusNotModified)
			return true
		}
		h.Set("Content-Type", typeJSON+";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
		_, _ = w.Write(agg.body)
		return true
	}
	doc := d.docs[path]
	if doc == nil {
		return false
	}
	if d.all[path] != nil {
		w.Header().Set("Vary", "Accept")
	}
	s.respondJSON(w, req, http.StatusOK, doc)
	return true
}

func wantsAggregated(req *http.Request) bool {
	for _, c := range acceptClauses(req.Header.Get("Accept")) {
		if c.params["as"] == "APIGroupDiscoveryList" && c.params["g"] == "apidiscovery.k8s.io" && c.params["v"] == "v2" {
			return true
		}
		if c.params["as"] == "" {
			return false
		}
	}
	return false
}
