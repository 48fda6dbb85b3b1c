package apiserver

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
)

func TestObjectsAreTakenAndGivenInThreeForms(t *testing.T) {
	r := newRig(t)
	var cm corev1.ConfigMap
	r.do("POST", maps, named("json"), "Content-Type", "application/json").ok(201, &cm).header("Content-Type", "application/json")
	if cm.Kind != "ConfigMap" || cm.APIVersion != "v1" || cm.Namespace != "ns" || cm.UID == "" {
		t.Errorf("the answer is %+v", cm)
	}
	r.do("POST", maps, "kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: yaml\ndata: {k: v}\n", "Content-Type", "application/yaml").ok(201, nil)
	raw, _ := (&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "proto"}, Data: map[string]string{"k": "v"}}).Marshal()
	a := r.do("POST", maps, string(api.Envelope("v1", "ConfigMap", raw)), "Content-Type", typeProtobuf, "Accept", typeProtobuf).ok(201, nil).header("Content-Type", typeProtobuf)
	sameProto(t, a.body, "proto")
	for _, name := range []string{"json", "yaml", "proto"} {
		var j, y corev1.ConfigMap
		r.get(maps+"/"+name).ok(200, &j)
		if err := yaml.Unmarshal(r.get(maps+"/"+name, "Accept", "application/yaml").ok(200, nil).header("Content-Type", "application/yaml").body, &y); err != nil {
			t.Fatal(err)
		}
		if j.Data["k"] != "v" || y.Data["k"] != "v" || j.ResourceVersion != y.ResourceVersion || y.Kind != "ConfigMap" {
			t.Errorf("%s: as JSON %+v, as YAML %+v", name, j, y)
		}
		got := sameProto(t, r.get(maps+"/"+name, "Accept", typeProtobuf).ok(200, nil).body, name)
		if got.ResourceVersion != j.ResourceVersion || got.UID != j.UID {
			t.Errorf("%s: as protobuf %+v", name, got.ObjectMeta)
		}
	}
	var env runtime.Unknown
	body := r.get(maps, "Accept", typeProtobuf).ok(200, nil).body
	if err := env.Unmarshal(body[4:]); err != nil {
		t.Fatal(err)
	}
	var list corev1.ConfigMapList
	if err := list.Unmarshal(env.Raw); err != nil || len(list.Items) != 3 || env.Kind != "ConfigMapList" || list.ResourceVersion == "" || list.Items[0].ResourceVersion == "" {
		t.Errorf("the protobuf list is %+v, %v", list, err)
	}
}

func sameProto(t *testing.T, body []byte, name string) *corev1.ConfigMap {
	t.Helper()
	var env runtime.Unknown
	var cm corev1.ConfigMap
	if len(body) < 4 || string(body[:4]) != "k8s\x00" {
		t.Fatalf("no protobuf: %q", body)
	}
	if err := env.Unmarshal(body[4:]); err != nil {
		t.Fatal(err)
	}
	if err := cm.Unmarshal(env.Raw); err != nil {
		t.Fatal(err)
	}
	if env.Kind != "ConfigMap" || env.APIVersion != "v1" || cm.Name != name || cm.Data["k"] != "v" {
		t.Errorf("the envelope is %s %s, the object %+v", env.APIVersion, env.Kind, cm)
	}
	return &cm
}

func TestUnknownFieldsAreRefusedWarnedOfOrIgnored(t *testing.T) {
	r := newRig(t)
	body := func(name string) string {
		return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + name + `","colour":"red"},"data":{"k":"1","k":"2"},"spec":{}}`
	}
	s := r.do("POST", maps+"?fieldValidation=Strict", body("strict")).fails(400, metav1.StatusReasonBadRequest, "strict decoding error", `unknown field "metadata.colour"`, `unknown field "spec"`, `duplicate field "data.k"`)
	if !strings.HasPrefix(s.Message, `ConfigMap in version "v1" cannot be handled as a ConfigMap: `) {
		t.Errorf("it says %q", s.Message)
	}
	a := r.do("POST", maps, body("warn")).ok(201, nil)
	if w := a.head.Values("Warning"); len(w) != 3 || !strings.HasPrefix(w[0], `299 - "`) {
		t.Errorf("the warnings are %q", w)
	}
	if w := r.do("POST", maps+"?fieldValidation=Ignore", body("ignore")).ok(201, nil).head.Values("Warning"); len(w) != 0 {
		t.Errorf("ignored fields are warned of: %q", w)
	}
	r.do("POST", maps+"?fieldValidation=Maybe", body("x")).fails(422, metav1.StatusReasonInvalid, `fieldValidation: Unsupported value: "Maybe": supported values: "", "Ignore", "Strict", "Warn"`)
	r.do("PATCH", maps+"/warn?fieldValidation=Strict", `{"colour":"red"}`, "Content-Type", "application/merge-patch+json").fails(400, metav1.StatusReasonBadRequest, `unknown field "colour"`)
	yamlBody := "kind: ConfigMap\napiVersion: v1\nmetadata: {name: y}\ndata:\n  k: a\n  k: b\n"
	r.do("POST", maps+"?fieldValidation=Strict", yamlBody, "Content-Type", "application/yaml").fails(400, metav1.StatusReasonBadRequest, `"k" already set in map`)
}

func TestBadBodiesAreRefused(t *testing.T) {
	r := newRig(t)
	for name, c := range map[string]struct {
		body, media string
		code        int
		reason      metav1.StatusReason
		says        string
	}{
		"malformed JSON":        {`{"kind":`, "application/json", 400, metav1.StatusReasonBadRequest, "json parse error"},
		"malformed YAML":        {"a: b: c", "application/yaml", 400, metav1.StatusReasonBadRequest, "yaml"},
		"a wrong type":          {`{"metadata":{"name":"a"},"data":{"k":1}}`, "application/json", 400, metav1.StatusReasonBadRequest, "cannot unmarshal number into Go struct field ConfigMap.data of type string"},
		"a wrong kind":          {`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}`, "application/json", 400, metav1.StatusReasonBadRequest, "does not match the expected API version (v1, Kind=ConfigMap)"},
		"a wrong version":       {`{"apiVersion":"v2","kind":"ConfigMap","metadata":{"name":"a"}}`, "application/json", 400, metav1.StatusReasonBadRequest, "v2"},
		"an unknown media type": {"<a/>", "application/xml", 415, metav1.StatusReasonUnsupportedMediaType, "application/json, application/yaml, application/vnd.kubernetes.protobuf"},
		"no protobuf":           {"{}", typeProtobuf, 400, metav1.StatusReasonBadRequest, "protobuf"},
		"another namespace":     {`{"metadata":{"name":"a","namespace":"b"}}`, "application/json", 400, metav1.StatusReasonBadRequest, "the namespace of the provided object does not match the namespace sent on the request"},
		"no name":               {`{"metadata":{}}`, "application/json", 422, metav1.StatusReasonInvalid, "name or generateName is required"},
		"a resource version":    {`{"metadata":{"name":"a","resourceVersion":"1"}}`, "application/json", 400, metav1.StatusReasonBadRequest, "resourceVersion should not be set"},
		"nothing":               {"", "application/json", 400, metav1.StatusReasonBadRequest, ""},
		"too much":              {`{"data":{"k":"` + strings.Repeat("x", maxBodyBytes) + `"}}`, "application/json", 413, metav1.StatusReasonRequestEntityTooLarge, fmt.Sprint("limit is ", maxBodyBytes)},
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			r.do("POST", maps, c.body, "Content-Type", c.media).fails(c.code, c.reason, c.says)
		})
	}
	r.t = t
	if n := r.caches.Of(r.server.Table.ByGVK(corev1.SchemeGroupVersion.WithKind("ConfigMap"))).Len(); n != 0 {
		t.Errorf("%d bad bodies were stored", n)
	}
}

func TestInvalidObjectListsItsFields(t *testing.T) {
	r := newRig(t)
	s := r.do("POST", "/api/v1/namespaces/ns/pods", `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"Bad"},"spec":{"containers":[{"name":"c"}],"restartPolicy":"Maybe"}}`).
		fails(422, metav1.StatusReasonInvalid, `Pod "Bad" is invalid: [`, `metadata.name: Invalid value: "Bad"`)
	if s.Details == nil || s.Details.Kind != "Pod" || s.Details.Name != "Bad" {
		t.Fatalf("the details are %+v", s.Details)
	}
	got := map[string]metav1.CauseType{}
	for _, c := range s.Details.Causes {
		got[c.Field] = c.Type
	}
	for f, typ := range map[string]metav1.CauseType{
		"metadata.name": metav1.CauseTypeFieldValueInvalid, "spec.containers[0].image": metav1.CauseTypeFieldValueRequired, "spec.restartPolicy": metav1.CauseTypeFieldValueNotSupported,
	} {
		if got[f] != typ {
			t.Errorf("%s: the cause is %q, want %q", f, got[f], typ)
		}
	}
}

func TestWhatIsNotThereIsA404(t *testing.T) {
	r := newRig(t)
	s := r.get(maps+"/none").fails(404, metav1.StatusReasonNotFound)
	if s.Message != `configmaps "none" not found` || s.Details.Name != "none" || s.Details.Kind != "configmaps" {
		t.Errorf("it says %q, %+v", s.Message, s.Details)
	}
	s = r.get("/apis/apps/v1/namespaces/ns/deployments/none").fails(404, metav1.StatusReasonNotFound, `deployments.apps "none" not found`)
	if s.Details.Group != "apps" {
		t.Errorf("the details are %+v", s.Details)
	}
	for _, p := range []string{"/api/v1/frobs", "/apis/none/v1/frobs", "/apis/apps/v9/deployments", maps + "/a/frob", "/api/v1/namespaces/ns/nodes", "/api/v1/configmaps/a"} {
		r.get(p).fails(404, metav1.StatusReasonNotFound, "the server could not find the requested resource")
	}
	if a := r.get("/nothing"); a.code != 404 {
		t.Errorf("/nothing is %d", a.code)
	}
	r.do("DELETE", maps+"/none", "").fails(404, metav1.StatusReasonNotFound)
	r.do("PUT", maps+"/none", named("none")).fails(404, metav1.StatusReasonNotFound)
	r.do("PATCH", maps+"/none", "{}", "Content-Type", "application/merge-patch+json").fails(404, metav1.StatusReasonNotFound)
	if list := r.get(maps); list.code != 200 || !strings.Contains(string(list.body), `"items":[]`) {
		t.Errorf("an empty list is %d %s", list.code, list.body)
	}
}

func TestMethodsThatDoNotFitAre405And406(t *testing.T) {
	r := newRig(t)
	r.configMap("a", nil)
	r.do("POST", maps+"/a", named("a")).fails(405, metav1.StatusReasonMethodNotAllowed)
	r.do("PUT", maps, named("a")).fails(405, metav1.StatusReasonMethodNotAllowed)
	r.do("PATCH", maps, "{}", "Content-Type", "application/merge-patch+json").fails(405, metav1.StatusReasonMethodNotAllowed)
	r.do("OPTIONS", maps, "").fails(405, metav1.StatusReasonMethodNotAllowed)
	r.get("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").fails(405, metav1.StatusReasonMethodNotAllowed)
	r.get(maps+"/a", "Accept", "text/csv").fails(406, metav1.StatusReasonNotAcceptable, "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf")
	r.get(maps+"/a", "Accept", "text/csv, application/json;q=0.1").ok(200, nil)
	r.get(maps+"/a", "Accept", "application/json;q=0.1, application/yaml").ok(200, nil).header("Content-Type", "application/yaml")
	r.do("PATCH", maps+"/a", "{}", "Content-Type", "application/json").fails(415, metav1.StatusReasonUnsupportedMediaType, "application/strategic-merge-patch+json")
}

func TestUpdateAndDeleteOverHTTP(t *testing.T) {
	r := newRig(t)
	old := r.configMap("a", nil)
	r.label("a", "x", "y")
	s := r.do("PUT", maps+"/a", fmt.Sprintf(`{"metadata":{"name":"a","resourceVersion":%q}}`, old.ResourceVersion)).fails(409, metav1.StatusReasonConflict, "the object has been modified; please apply your changes to the latest version and try again")
	if s.Details.Kind != "configmaps" || s.Details.Name != "a" {
		t.Errorf("the details are %+v", s.Details)
	}
	r.do("PUT", maps+"/a", named("b")).fails(400, metav1.StatusReasonBadRequest, "the name of the object (b) does not match the name on the URL (a)")
	r.do("POST", maps, named("a")).fails(409, metav1.StatusReasonAlreadyExists, `configmaps "a" already exists`)
	r.do("POST", maps+"?dryRun=All", named("dry")).ok(201, nil)
	r.get(maps+"/dry").fails(404, metav1.StatusReasonNotFound)
	r.do("POST", maps+"?dryRun=Some", named("dry")).fails(422, metav1.StatusReasonInvalid, `dryRun: Unsupported value: ["Some"]: supported values: "All"`)
	var done metav1.Status
	r.do("DELETE", maps+"/a", `{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background"}`).ok(200, &done)
	if done.Status != metav1.StatusSuccess || done.Details == nil || done.Details.Name != "a" || done.Details.Kind != "configmaps" || done.Details.UID != old.UID {
		t.Errorf("a deletion answers %+v", done)
	}
	for i := range 20 {
		r.configMap(fmt.Sprint("m", i), map[string]string{"odd": fmt.Sprint(i % 2)})
	}
	var gone corev1.ConfigMapList
	r.do("DELETE", maps+"?labelSelector=odd%3D1", "").ok(200, &gone)
	var left corev1.ConfigMapList
	r.get(maps).ok(200, &left)
	if len(gone.Items) != 10 || len(left.Items) != 10 || left.Items[0].Labels["odd"] != "0" {
		t.Errorf("of 20, %d were deleted and %d are left", len(gone.Items), len(left.Items))
	}
}

func TestCredentialsThatAreNotGoodAre401(t *testing.T) {
	r := newRig(t)
	account, err := client.Of[*corev1.ServiceAccount](r.client).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "app"}})
	if err != nil {
		t.Fatal(err)
	}
	var req authenticationv1.TokenRequest
	r.do("POST", "/api/v1/namespaces/ns/serviceaccounts/app/token", `{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","spec":{"expirationSeconds":600}}`).ok(201, &req)
	token := "Bearer " + req.Status.Token
	r.get(maps, "Authorization", token).fails(403, metav1.StatusReasonForbidden, `User "system:serviceaccount:ns:app" cannot list resource`)

	s := r.get(maps, "Authorization", "Bearer nonsense").fails(401, metav1.StatusReasonUnauthorized)
	if s.Message != "Unauthorized" || s.Details != nil {
		t.Errorf("it says %q, %+v", s.Message, s.Details)
	}
	r.get("/healthz", "Authorization", "Bearer nonsense").fails(401, metav1.StatusReasonUnauthorized)
	r.clock.SetTime(testStart.Add(2 * time.Hour))
	r.get(maps, "Authorization", token).fails(401, metav1.StatusReasonUnauthorized) // expired
	r.clock.SetTime(testStart)
	r.get(maps, "Authorization", token).fails(403, metav1.StatusReasonForbidden)
	if err := client.Of[*corev1.ServiceAccount](r.client).Delete(t.Context(), "ns", account.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.get(maps, "Authorization", token).fails(401, metav1.StatusReasonUnauthorized) // its account is gone
}

func TestCertificatesOfOurAuthorityAlone(t *testing.T) {
	r := newRig(t)
	ts := r.serve()
	get := func(c tls.Certificate) int {
		hc := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{c}}}}
		defer hc.CloseIdleConnections()
		res, err := hc.Get(ts.URL + maps)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	if code := get(r.ca.client(t, "admin")); code != 200 {
		t.Errorf("a certificate of ours for admin gets %d", code)
	}
	if code := get(r.ca.client(t, "guest")); code != 403 {
		t.Errorf("a certificate of ours for guest gets %d", code)
	}
	if code := get(newCA(t).client(t, "admin")); code != 401 {
		t.Errorf("a foreign certificate for admin gets %d", code)
	}
}

func TestForbiddenSaysWhoMayNotDoWhat(t *testing.T) {
	r := newRig(t)
	guest := []string{"Authorization", "Bearer " + guestToken}
	for path, want := range map[string]string{
		maps:                           `configmaps is forbidden: User "guest" cannot list resource "configmaps" in API group "" in the namespace "ns"`,
		maps + "/a":                    `configmaps "a" is forbidden: User "guest" cannot get resource "configmaps" in API group "" in the namespace "ns"`,
		"/apis/apps/v1/deployments":    `deployments.apps is forbidden: User "guest" cannot list resource "deployments" in API group "apps" at the cluster scope`,
		"/api/v1/nodes/n1/status":      `nodes "n1" is forbidden: User "guest" cannot get resource "nodes/status" in API group "" at the cluster scope`,
		"/metrics":                     `forbidden: User "guest" cannot get path "/metrics"`,
		"/apis/no.such/v1/things":      `things.no.such is forbidden: User "guest" cannot list resource "things" in API group "no.such" at the cluster scope`,
		maps + "?watch=1":              `configmaps is forbidden: User "guest" cannot watch resource "configmaps" in API group "" in the namespace "ns"`,
		"/api/v1/namespaces/ns/status": `namespaces "ns" is forbidden: User "guest" cannot get resource "namespaces/status" in API group "" in the namespace "ns"`,
	} {
		s := r.get(path, guest...).fails(403, metav1.StatusReasonForbidden)
		if s.Message != want {
			t.Errorf("%s says\n %q, want\n %q", path, s.Message, want)
		}
		if s.Details == nil {
			t.Errorf("%s has no details", path)
		}
	}
	r.get(maps, "Authorization", "").fails(403, metav1.StatusReasonForbidden, `User "system:anonymous" cannot list`)
	if a := r.get("/healthz", "Authorization", ""); a.code != 200 {
		t.Errorf("a public path gives %d to the anonymous", a.code)
	}
	r.get(maps, "Authorization", "Bearer "+guestToken, "Impersonate-User", "admin").fails(403, metav1.StatusReasonForbidden, `User "guest" cannot impersonate`)
	r.get(maps, "Impersonate-User", "guest").fails(403, metav1.StatusReasonForbidden, `User "guest" cannot list`)
}

func TestHealthVersionMetrics(t *testing.T) {
	r := newRig(t)
	text := func(path string, code int) string {
		t.Helper()
		return string(r.get(path).ok(code, nil).body)
	}
	for _, root := range []string{"/healthz", "/livez", "/readyz"} {
		if got := text(root, 200); got != "ok" {
			t.Errorf("%s says %q", root, got)
		}
	}
	if got := text("/readyz?verbose", 200); got != "[+]ping ok\n[+]moody ok\n[+]late ok\nreadyz check passed\n" {
		t.Errorf("it says %q", got)
	}
	if got := text("/livez?verbose", 200); strings.Contains(got, "late") {
		t.Errorf("liveness asks for readiness: %q", got)
	}
	r.sick.Store(true)
	if got := text("/livez", 500); got != "[+]ping ok\n[-]moody failed: reason withheld\nlivez check failed\n" {
		t.Errorf("it says %q", got)
	}
	if got := text("/livez?exclude=moody&verbose", 200); got != "[+]ping ok\n[+]moody excluded: ok\nlivez check passed\n" {
		t.Errorf("it says %q", got)
	}
	text("/livez/ping", 200)
	text("/livez/moody", 500)
	text("/livez/none", 404)
	var v struct{ GitVersion, GoVersion, Major, Minor string }
	r.get("/version").ok(200, &v)
	if !strings.HasPrefix(v.GitVersion, "v1.36") || v.Major != "1" || v.Minor != "36" || !strings.HasPrefix(v.GoVersion, "go1.") {
		t.Errorf("the version is %+v", v)
	}
	if got := text("/metrics", 200); got != "a_metric 1\n" {
		t.Errorf("the metrics are %q", got)
	}
	var paths struct{ Paths []string }
	r.get("/").ok(200, &paths)
	if !strings.Contains(strings.Join(paths.Paths, " "), "/apis/apps/v1 ") {
		t.Errorf("the paths are %v", paths.Paths)
	}
}

func TestPanicIsAnAnswerAndALine(t *testing.T) {
	r := newRig(t)
	r.server.Writer = nil
	r.do("POST", maps, named("a")).fails(500, metav1.StatusReasonInternalError)
	if !strings.Contains(r.log.String(), "panic") {
		t.Error("a panic is not logged")
	}
}

func TestRequestsAreCounted(t *testing.T) {
	r := newRig(t)
	r.get(maps).ok(200, nil)
	r.get(maps + "/none")
	found := map[string]bool{}
	collect(t, r.server, func(labels map[string]string) {
		found[labels["verb"]+" "+labels["resource"]+" "+labels["code"]] = true
	})
	if !found["LIST configmaps 200"] || !found["GET configmaps 404"] {
		t.Errorf("counted %v", found)
	}
}

func TestErrorsTeach(t *testing.T) {
	r := newRig(t)
	const services = "/api/v1/namespaces/ns/services"
	s := r.do("POST", services+"?fieldValidation=Strict", `{"metadata":{"name":"s"},"spec":{"clusterip":"None","ports":[{"port":80,"nodeport":3}]}}`).fails(400, metav1.StatusReasonBadRequest)
	want := `Service in version "v1" cannot be handled as a Service: strict decoding error: unknown field "spec.clusterip", unknown field "spec.ports[0].nodeport"; ` +
		`spec.clusterip: did you mean "clusterIP"?; spec.ports[0].nodeport: did you mean "nodePort"?`
	if s.Message != want {
		t.Errorf("misspelt fields: %s", s.Message)
	}
	s = r.do("POST", services, `{"metadata":{"name":"s"},"spec":{"ports":[{"port":"http"}]}}`).fails(400, metav1.StatusReasonBadRequest)
	want = `Service in version "v1" cannot be handled as a Service: json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32; spec.ports[0].port: expected an integer, found the string "http"`
	if s.Message != want {
		t.Errorf("a value of the wrong type: %s", s.Message)
	}
}
