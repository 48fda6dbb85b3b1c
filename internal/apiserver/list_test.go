package apiserver

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
)

func collect(t *testing.T, s *Server, each func(map[string]string)) {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(s.Collectors()...)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "apiserver_request_total" {
			continue
		}
		for _, m := range f.Metric {
			each(labelsOf(m))
		}
	}
}

func labelsOf(m *dto.Metric) map[string]string {
	out := map[string]string{}
	for _, l := range m.Label {
		out[l.GetName()] = l.GetValue()
	}
	return out
}

func itemNames(l corev1.ConfigMapList) string {
	var out []string
	for _, i := range l.Items {
		out = append(out, i.Name)
	}
	return strings.Join(out, " ")
}

func TestPagesStayOneListWhileObjectsChange(t *testing.T) {
	r := newRig(t)
	for i := range 7 {
		r.configMap(fmt.Sprint("m", i), nil)
	}
	var first, page corev1.ConfigMapList
	r.get(maps+"?limit=3").ok(200, &first)
	if itemNames(first) != "m0 m1 m2" || first.Continue == "" || first.RemainingItemCount == nil || *first.RemainingItemCount != 4 {
		t.Fatalf("the first page is %s, %+v", itemNames(first), first.ListMeta)
	}
	r.delete("m4")
	r.configMap("m3a", nil)
	r.label("m5", "new", "yes")
	r.get(maps+"?limit=3&continue="+first.Continue).ok(200, &page)
	if itemNames(page) != "m3 m4 m5" || page.ResourceVersion != first.ResourceVersion || page.Items[2].Labels != nil || *page.RemainingItemCount != 1 {
		t.Fatalf("the second page is %s, %+v", itemNames(page), page.ListMeta)
	}
	last := corev1.ConfigMapList{}
	r.get(maps+"?limit=3&continue="+page.Continue).ok(200, &last)
	if itemNames(last) != "m6" || last.Continue != "" || last.RemainingItemCount != nil {
		t.Fatalf("the last page is %s, %+v", itemNames(last), last.ListMeta)
	}
	var whole corev1.ConfigMapList
	r.get(maps+"?limit=7").ok(200, &whole)
	if itemNames(whole) != "m0 m1 m2 m3 m3a m5 m6" || whole.Continue != "" {
		t.Fatalf("the whole list is %s", itemNames(whole))
	}
	// with a selector nobody counts what is left
	r.label("m6", "new", "yes")
	page = corev1.ConfigMapList{}
	r.get(maps+"?limit=1&labelSelector=new").ok(200, &page)
	if itemNames(page) != "m5" || page.Continue == "" || page.RemainingItemCount != nil {
		t.Fatalf("the selected page is %s, %+v", itemNames(page), page.ListMeta)
	}
}

func TestExpiredPageIsA410WithATokenThatGoesOn(t *testing.T) {
	r := newRig(t)
	for i := range 4 {
		r.configMap(fmt.Sprint("m", i), nil)
	}
	var first corev1.ConfigMapList
	r.get(maps+"?limit=2").ok(200, &first)
	r.clock.SetTime(r.clock.Now().Add(pageLifetime * 3 / 4))
	r.get(maps+"?limit=1&continue="+first.Continue).ok(200, nil) // which keeps it no longer
	r.clock.SetTime(r.clock.Now().Add(pageLifetime / 2))         // no snapshot of its state is kept
	r.configMap("m9", nil)
	var second corev1.ConfigMapList
	r.get(maps+"?limit=2&continue="+first.Continue).ok(200, &second)
	if itemNames(second) != "m2 m3" || second.ResourceVersion != first.ResourceVersion {
		t.Fatalf("the store's own page is %s at %s", itemNames(second), second.ResourceVersion)
	}
	if err := r.store.Compact(t.Context(), r.caches.Rev()); err != nil {
		t.Fatal(err)
	}
	s := r.get(maps+"?limit=2&continue="+first.Continue).fails(410, metav1.StatusReasonExpired, "The provided continue parameter is too old")
	if s.Continue == "" {
		t.Fatal("there is no token to go on with")
	}
	var rest corev1.ConfigMapList
	r.get(maps+"?continue="+s.Continue).ok(200, &rest)
	if itemNames(rest) != "m2 m3 m9" || rest.ResourceVersion == first.ResourceVersion {
		t.Fatalf("the rest is %s", itemNames(rest))
	}
	r.get(maps+"?continue=nonsense").fails(400, metav1.StatusReasonBadRequest, "continue key is not valid")
	r.get(maps+"?resourceVersion=5&continue="+s.Continue).fails(400, metav1.StatusReasonBadRequest, "specifying resource version is not allowed when using continue")
	r.get(maps+"?limit=many").fails(400, metav1.StatusReasonBadRequest)
}

func TestListsAtAResourceVersion(t *testing.T) {
	r := newRig(t)
	first := r.configMap("a", nil).ResourceVersion
	r.configMap("b", nil)
	list := func(query string) (l corev1.ConfigMapList) {
		t.Helper()
		r.get(maps+"?"+query).ok(200, &l)
		return l
	}
	for _, q := range []string{"", "resourceVersion=0", "resourceVersion=" + first, "resourceVersion=" + first + "&resourceVersionMatch=NotOlderThan"} {
		if got := list(q); itemNames(got) != "a b" {
			t.Errorf("%q gives %s", q, itemNames(got))
		}
	}
	now := list("").ResourceVersion
	if got := list("resourceVersion=" + now + "&resourceVersionMatch=Exact"); itemNames(got) != "a b" || got.ResourceVersion != now {
		t.Errorf("exactly now gives %s at %s", itemNames(got), got.ResourceVersion)
	}
	if got := list("resourceVersion=" + first + "&resourceVersionMatch=Exact"); itemNames(got) != "a" || got.ResourceVersion != first {
		t.Errorf("exactly then gives %s at %s", itemNames(got), got.ResourceVersion)
	}
	if err := r.store.Compact(t.Context(), r.caches.Rev()); err != nil {
		t.Fatal(err)
	}
	r.get(maps+"?resourceVersion="+first+"&resourceVersionMatch=Exact").fails(410, metav1.StatusReasonExpired, "The resourceVersion for the provided list is too old.")
	r.get(maps+"?resourceVersionMatch=Exact").fails(422, metav1.StatusReasonInvalid, "resourceVersionMatch is forbidden unless resourceVersion is provided")
	r.get(maps+"?resourceVersion=0&resourceVersionMatch=Exact").fails(422, metav1.StatusReasonInvalid, `forbidden for resourceVersion "0"`)
	r.get(maps+"?resourceVersion=1&resourceVersionMatch=Nearly").fails(422, metav1.StatusReasonInvalid)
	r.get(maps+"?resourceVersion=x").fails(400, metav1.StatusReasonBadRequest)
	var one corev1.ConfigMap
	r.get(maps+"/a?resourceVersion=0").ok(200, &one)
	r.get(maps+"/a?resourceVersion="+first).ok(200, &one)
}

func TestRevisionThatHasNotComeIsATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for _, p := range []string{maps, maps + "/a"} {
			began := time.Now()
			s := r.get(p+"?resourceVersion=1000").fails(504, metav1.StatusReasonTimeout, "Too large resource version: 1000, current: 1")
			if took := time.Since(began); took != revisionWait {
				t.Errorf("%s: it waited %v", p, took)
			}
			if len(s.Details.Causes) != 1 || s.Details.Causes[0].Type != metav1.CauseTypeResourceVersionTooLarge || s.Details.RetryAfterSeconds != 1 {
				t.Errorf("%s: the details are %+v", p, s.Details)
			}
		}
		// one that comes while it waits is waited for
		go func() {
			time.Sleep(time.Second)
			r.configMap("a", nil)
		}()
		r.get(maps+"/a?resourceVersion=2").ok(200, nil)
	})
}

func TestSelectors(t *testing.T) {
	r := newRig(t)
	r.configMap("a", map[string]string{"app": "x", "tier": "1"})
	r.configMap("b", map[string]string{"app": "y"})
	r.configMap("c", nil)
	for q, want := range map[string]string{
		"labelSelector=app=x": "a", "labelSelector=app": "a b", "labelSelector=!app": "c", "labelSelector=app in (x,y),tier": "a",
		"labelSelector=app!=x": "b c", "fieldSelector=metadata.name=b": "b", "fieldSelector=metadata.name!=b": "a c", "fieldSelector=metadata.namespace=other": "",
	} {
		k, v, _ := strings.Cut(q, "=")
		var l corev1.ConfigMapList
		r.get(maps+"?"+k+"="+url.QueryEscape(v)).ok(200, &l)
		if itemNames(l) != want {
			t.Errorf("%s gives %q, want %q", q, itemNames(l), want)
		}
	}
	r.get(maps+"?labelSelector=a%3D%3D%3Db").fails(400, metav1.StatusReasonBadRequest, "unable to parse requirement")
	r.get(maps+"?fieldSelector=spec.x%3D1").fails(400, metav1.StatusReasonBadRequest, "field label not supported: spec.x")
}

func TestTablesAndMetadataAlone(t *testing.T) {
	r := newRig(t)
	cm := r.configMap("a", map[string]string{"l": "v"})
	r.clock.SetTime(testStart.Add(5 * time.Minute))
	const tableAccept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
	var tab metav1.Table
	r.get(maps, "Accept", tableAccept).ok(200, &tab)
	if tab.Kind != "Table" || tab.APIVersion != "meta.k8s.io/v1" || len(tab.Rows) != 1 || tab.ResourceVersion == "" {
		t.Fatalf("the table is %+v", tab)
	}
	var columns []string
	for _, c := range tab.ColumnDefinitions {
		columns = append(columns, c.Name)
	}
	if got := strings.Join(columns, " "); got != "Name Data Age" {
		t.Errorf("the columns are %s", got)
	}
	if got := fmt.Sprintln(tab.Rows[0].Cells...); got != "a 1 5m\n" {
		t.Errorf("the cells are %q", got)
	}
	var part metav1.PartialObjectMetadata
	if err := json.Unmarshal(tab.Rows[0].Object.Raw, &part); err != nil || part.Kind != "PartialObjectMetadata" || part.UID != cm.UID {
		t.Errorf("a row's object is %+v, %v", part, err)
	}
	tab = metav1.Table{}
	r.get(maps+"/a?includeObject=Object", "Accept", tableAccept).ok(200, &tab)
	var whole corev1.ConfigMap
	if err := json.Unmarshal(tab.Rows[0].Object.Raw, &whole); err != nil || whole.Data["k"] != "v" || whole.Kind != "ConfigMap" {
		t.Errorf("a row's whole object is %+v, %v", whole, err)
	}
	tab = metav1.Table{}
	r.get(maps+"?includeObject=None", "Accept", tableAccept).ok(200, &tab)
	if len(tab.Rows[0].Object.Raw) != 0 && string(tab.Rows[0].Object.Raw) != "null" {
		t.Errorf("a row that wants no object has %s", tab.Rows[0].Object.Raw)
	}
	var list metav1.PartialObjectMetadataList
	r.get(maps, "Accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").ok(200, &list)
	if list.Kind != "PartialObjectMetadataList" || len(list.Items) != 1 || list.Items[0].Labels["l"] != "v" || list.ResourceVersion == "" {
		t.Errorf("the metadata list is %+v", list)
	}
	a := r.get(maps+"/a", "Accept", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").ok(200, &part)
	if strings.Contains(string(a.body), `"data"`) || part.Name != "a" {
		t.Errorf("the metadata alone is %s", a.body)
	}
	r.get(maps, "Accept", "application/json;as=Frob;v=v1;g=meta.k8s.io").fails(406, metav1.StatusReasonNotAcceptable)
	pretty := r.get(maps+"/a?pretty=true").ok(200, nil)
	if !strings.Contains(string(pretty.body), "\n  \"kind\"") {
		t.Errorf("pretty is %s", pretty.body)
	}
}

func TestDiscoveryOldAndAggregated(t *testing.T) {
	r := newRig(t)
	var groups metav1.APIGroupList
	r.get("/apis").ok(200, &groups)
	if groups.Kind != "APIGroupList" || len(groups.Groups) < 4 {
		t.Fatalf("the groups are %+v", groups)
	}
	for _, g := range groups.Groups {
		var list metav1.APIResourceList
		r.get("/apis/"+g.PreferredVersion.GroupVersion).ok(200, &list)
		if list.GroupVersion != g.PreferredVersion.GroupVersion || len(list.APIResources) == 0 {
			t.Errorf("%s lists %+v", g.Name, list)
		}
		r.get("/apis/"+g.Name).ok(200, nil)
	}
	var core metav1.APIResourceList
	r.get("/api/v1").ok(200, &core)
	got := map[string]metav1.APIResource{}
	for _, x := range core.APIResources {
		got[x.Name] = x
	}
	if p := got["pods"]; p.Kind != "Pod" || !p.Namespaced || p.SingularName != "pod" || strings.Join(p.ShortNames, "") != "po" || strings.Join(p.Categories, "") != "all" || len(p.Verbs) != 8 {
		t.Errorf("pods are %+v", p)
	}
	for _, sub := range []string{"pods/status", "pods/log", "pods/exec", "pods/binding", "pods/eviction", "namespaces/finalize", "serviceaccounts/token", "nodes/status"} {
		if got[sub].Name == "" {
			t.Errorf("%s is not told of", sub)
		}
	}
	var versions metav1.APIVersions
	r.get("/api").ok(200, &versions)
	if strings.Join(versions.Versions, " ") != "v1" {
		t.Errorf("the versions are %v", versions.Versions)
	}
	const accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
	for _, path := range []string{"/api", "/apis"} {
		var all apidiscoveryv2.APIGroupDiscoveryList
		a := r.get(path, "Accept", accept).ok(200, &all).header("Content-Type", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList").header("Vary", "Accept")
		if all.Kind != "APIGroupDiscoveryList" || len(all.Items) == 0 || len(all.Items[0].Versions[0].Resources) == 0 {
			t.Errorf("%s gives %+v", path, all)
		}
		etag := a.head.Get("ETag")
		if b := r.get(path, "Accept", accept, "If-None-Match", etag); etag == "" || b.code != 304 || len(b.body) != 0 {
			t.Errorf("%s with its ETag %q gives %d", path, etag, b.code)
		}
	}
	if a := r.get("/apis/none.example.com"); a.code != 404 {
		t.Errorf("a group that is not there gives %d", a.code)
	}
}

func TestStatusAndScaleOverHTTP(t *testing.T) {
	r := newRig(t)
	const path = "/apis/apps/v1/namespaces/ns/deployments"
	r.do("POST", path, `{"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`).ok(201, nil)
	var scale struct {
		Kind, APIVersion string
		Spec             struct{ Replicas int }
		Status           struct{ Selector string }
	}
	r.get(path+"/d/scale").ok(200, &scale)
	if scale.Kind != "Scale" || scale.APIVersion != "autoscaling/v1" || scale.Spec.Replicas != 1 || scale.Status.Selector != "a=b" {
		t.Errorf("the scale is %+v", scale)
	}
	r.do("PATCH", path+"/d/scale", `{"spec":{"replicas":4}}`, "Content-Type", "application/merge-patch+json").ok(200, &scale)
	var d struct {
		Metadata metav1.ObjectMeta
		Spec     struct{ Replicas int }
		Status   struct{ Replicas int }
	}
	r.do("PATCH", path+"/d/status", `{"status":{"replicas":2},"spec":{"replicas":9}}`, "Content-Type", "application/merge-patch+json").ok(200, &d)
	if d.Spec.Replicas != 4 || d.Status.Replicas != 2 || d.Metadata.Generation != 2 {
		t.Errorf("after both the deployment is %+v", d)
	}
	if _, err := strconv.Atoi(d.Metadata.ResourceVersion); err != nil {
		t.Error(err)
	}
}

func TestLargeAnswersAreCompressedOverANetwork(t *testing.T) {
	r := newRig(t)
	r.configMap("large", nil, func(m *corev1.ConfigMap) { m.Data = map[string]string{"a": strings.Repeat("x", minGzip)} })
	for _, c := range []struct {
		path, peer, accept string
		want               bool
	}{
		{"/large", "192.0.2.7:1", "gzip", true},
		{"", "192.0.2.7:1", "deflate, gzip;q=0.5", true},
		{"/large", "192.0.2.7:1", "gzip;q=0", false},
		{"/large", "192.0.2.7:1", "", false},
		{"/large", "127.0.0.1:1", "gzip", false},
		{"/large", "[::1]:1", "gzip", false},
		{"?labelSelector=none", "192.0.2.7:1", "gzip", false},
	} {
		req := httptest.NewRequest("GET", maps+c.path, nil)
		req.RemoteAddr = c.peer
		req.Header.Set("Authorization", "Bearer "+adminToken)
		req.Header.Set("Accept-Encoding", c.accept)
		rec := httptest.NewRecorder()
		r.server.ServeHTTP(rec, req)
		if got := rec.Header().Get("Content-Encoding") == "gzip"; got != c.want {
			t.Errorf("%+v: compressed %v", c, got)
		}
		body := io.Reader(rec.Body)
		if c.want {
			z, err := gzip.NewReader(rec.Body)
			if err != nil {
				t.Fatal(err)
			}
			body = z
		}
		all, err := io.ReadAll(body)
		if err != nil || !json.Valid(all) {
			t.Errorf("%+v: %v, %d bytes", c, err, len(all))
		}
	}
}

func TestLongListsAreWrittenInPieces(t *testing.T) {
	r := newRig(t)
	for i := range minStreamed + 5 {
		r.configMap(fmt.Sprintf("m%03d", i), map[string]string{"n": strconv.Itoa(i)})
	}
	for _, media := range []string{typeJSON, typeProtobuf} {
		for _, query := range []string{"", "?limit=102"} {
			req := httptest.NewRequest("GET", maps+query, nil)
			req.Header.Set("Authorization", "Bearer "+adminToken)
			req.Header.Set("Accept", media)
			rec := httptest.NewRecorder()
			r.server.ServeHTTP(rec, req)
			if got := rec.Header().Get("Content-Length"); got != strconv.Itoa(rec.Body.Len()) {
				t.Errorf("%s: the length is said to be %s of %d", media, got, rec.Body.Len())
			}
			var l corev1.ConfigMapList
			var err error
			if media == typeProtobuf {
				err = l.Unmarshal(api.Raw(rec.Body.Bytes()))
			} else {
				err = json.Unmarshal(rec.Body.Bytes(), &l)
			}
			want := minStreamed + 5
			if query != "" {
				want = 102
			}
			if err != nil || len(l.Items) != want || (l.Continue != "") != (query != "") || l.ResourceVersion == "" {
				t.Fatalf("%s %s: %v, %d items, %+v", media, query, err, len(l.Items), l.ListMeta)
			}
			if m := l.Items[7]; m.Name != "m007" || m.Labels["n"] != "7" || m.ResourceVersion == "" {
				t.Errorf("%s: an item is %+v", media, m)
			}
		}
	}
}
