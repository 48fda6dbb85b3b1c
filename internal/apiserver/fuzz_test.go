package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
)

// fuzzPatience bounds a request of a fuzzing client: it is one that waits for a
// state that never comes.
const fuzzPatience = 100 * time.Millisecond

// calm are the codes that a request may be answered with, whatever it says. 500
// is none of them.
var calm = []int{
	http.StatusOK, http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusConflict,
	http.StatusGone, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity, http.StatusGatewayTimeout,
}

// calmly sends a request made of what a fuzzer thinks up, and wants it answered
// calmly. It returns nil where no such request can be sent.
func (r *rig) calmly(t *testing.T, method, path, query, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	u := &url.URL{Scheme: "https", Host: "example.test", Path: path, RawQuery: query}
	if strings.ContainsAny(query, "# \t\r\n") {
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), fuzzPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), strings.NewReader(body))
	if err != nil {
		return nil
	}
	req.RequestURI = u.RequestURI()
	req.Header.Set("Authorization", "Bearer "+adminToken)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	r.server.ServeHTTP(w, req)
	if !slices.Contains(calm, w.Code) {
		t.Errorf("%s %q ? %q: %d %.300s", method, path, query, w.Code, w.Body.Bytes())
	}
	return w
}

func FuzzDecode(f *testing.F) {
	types := []string{typeJSON, typeYAML, typeProtobuf, "", "text/plain", "application/x-yaml; charset=utf-8", "no/such", ";"}
	modes := []string{metav1.FieldValidationStrict, metav1.FieldValidationWarn, metav1.FieldValidationIgnore}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"a": "b"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	raw, err := pod.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	whole := api.Envelope("v1", "Pod", raw)
	for i, body := range []string{
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"a":1}},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerport":80}]}]}}`,
		"apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n    name: d\n", string(whole), string(whole[:len(whole)-7]), string(api.Envelope("v1", "Secret", raw)),
		`{"kind":"Pod","kind":"Pod"}`, `null`, `[]`, ``, `{"metadata":null}`, "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\n", "a: &a\n  b: *a\n",
		strings.Repeat("[", 20000), strings.Repeat(`{"a":`, 20000), "k8s\x00", "\xff\xfe", `{"spec":{"activeDeadlineSeconds":1e999999999}}`, "? {a: b}\n: c\n", `{"metadata":{"managedFields":[{"fieldsV1":{"f:x":1}}]}}`,
	} {
		f.Add([]byte(body), uint8(i), uint8(i))
		f.Add([]byte(body), uint8(1), uint8(0))
	}
	gvk := corev1.SchemeGroupVersion.WithKind("Pod")
	f.Fuzz(func(t *testing.T, body []byte, media, mode uint8) {
		into, warnings := new(corev1.Pod), 0
		v := fieldValidation{mode: modes[int(mode)%len(modes)], warn: func(string) { warnings++ }}
		err := decode(body, types[int(media)%len(types)], gvk, into, v)
		var status apierrors.APIStatus
		switch {
		case warnings > maxStrictWarnings+1: // and one of the YAML
			t.Errorf("%d warnings", warnings)
		case err == nil:
			if out, err := api.EncodeJSON(into); err != nil {
				t.Errorf("what was read cannot be written: %v", err)
			} else if err := api.DecodeJSON(out, new(corev1.Pod)); err != nil {
				t.Errorf("what was written cannot be read: %v", err)
			}
		case !errors.As(err, &status) || status.Status().Code < 400 || status.Status().Code >= 500:
			t.Errorf("%#v", err)
		}
	})
}

func FuzzSelectors(f *testing.F) {
	for _, s := range []string{
		"", "a=b", "a in (b,c),!d", "a notin ()", "a=b=c", "metadata.name=x", "metadata.name!=x,metadata.namespace=ns", "x.y=z", "a in (" + strings.Repeat("b,", 3000) + "b)",
		strings.Repeat("a=b,", 3000), "!!a", "a>1,b<2", `a\=b=c\,d`, "\x00", "metadata.name=a,metadata.name=b", strings.Repeat("(", 5000), "a>99999999999999999999", "é=ü",
	} {
		f.Add(s, s)
		f.Add(s, "")
		f.Add("", s)
	}
	r := newRig(f)
	r.configMap("one", map[string]string{"a": "b"})
	f.Fuzz(func(t *testing.T, labels, fields string) {
		q := url.Values{"labelSelector": {labels}, "fieldSelector": {fields}}
		w := r.calmly(t, "GET", maps, q.Encode(), "")
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest && w.Code != http.StatusGatewayTimeout || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%q %q: %d %.300s", labels, fields, w.Code, w.Body.Bytes())
		}
	})
}

func FuzzListAndWatchQuery(f *testing.F) {
	for _, q := range []string{
		"", "limit=1", "limit=-1", "limit=99999999999999999999", "limit=1&continue=" + token(1, "/registry/configmaps/ns/one"), "continue=" + token(-1, ""), "continue=%00",
		"resourceVersion=0", "resourceVersion=-1", "resourceVersion=1&resourceVersionMatch=Exact", "resourceVersion=0&resourceVersionMatch=Exact", "resourceVersionMatch=NotOlderThan",
		"watch=1", "watch=1&resourceVersion=1", "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1", "watch=1&timeoutSeconds=0", "watch=1&timeoutSeconds=-5",
		"watch=1&resourceVersion=99999999999999999999", "timeoutSeconds=x", "pretty=1", "fieldSelector=metadata.name%3Done&watch=1", "limit=1&limit=2", "a=b;c=d", "%zz", "watch=1&limit=1&continue=x",
		"sendInitialEvents=maybe&watch=1", "includeObject=None", "labelSelector=a&watch=1&resourceVersion=0",
	} {
		f.Add(q, "application/json")
		f.Add(q, "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
		f.Add(q, "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
	}
	f.Add("includeObject=None", "*/*;q=0,;;=,")
	r := newRig(f)
	r.configMap("one", map[string]string{"a": "b"})
	r.configMap("two", nil)
	f.Fuzz(func(t *testing.T, query, accept string) {
		r.calmly(t, "GET", maps, query, "", "Accept", accept)
	})
}

func FuzzContinueToken(f *testing.F) {
	for _, s := range []string{"", "e30", token(7, "/registry/configmaps/ns/one"), token(-1, "x"), token(1<<62, "../../../secrets"), "eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ", "=", "\x00"} {
		f.Add(s)
	}
	r := newRig(f)
	r.configMap("one", nil)
	f.Fuzz(func(t *testing.T, s string) {
		rev, after, err := parseToken(s)
		if err == nil {
			if rev2, after2, err := parseToken(token(rev, after)); err != nil || rev2 != rev || after2 != strings.ToValidUTF8(after, "\uFFFD") {
				t.Errorf("%q is %d %q, again %d %q %v", s, rev, after, rev2, after2, err)
			}
		}
		w := r.calmly(t, "GET", maps, url.Values{"continue": {s}}.Encode(), "")
		if s != "" && err != nil && w.Code != http.StatusBadRequest && w.Code != http.StatusGatewayTimeout {
			t.Errorf("%q: %d %s", s, w.Code, w.Body.Bytes())
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, p := range []string{
		"/", "/api", "/apis/", "/api/v1", "/api/v1/namespaces/ns/configmaps/one", "/api/v1/watch/namespaces/ns/configmaps", "/apis/apps/v1/deployments", "/api/v1/namespaces//configmaps", "//api//v1",
		"/api/v1/namespaces/ns/pods/p/log", "/api/v1/namespaces/ns/status", "/api/v1/namespaces/ns/finalize", "/api/v1/watch", "/apis/apps/v1/namespaces/ns/deployments/d/scale", "/openapi/v2", "/version",
		"/api/v1/namespaces/ns/services/s/proxy/../../x", "/healthz/../x", "/apis/a/b/c/d/e/f/g/h", "/api/v1/nodes/n/proxy", "/%2e%2e",
	} {
		f.Add("GET", p)
		f.Add("POST", p)
		f.Add("PATCH", p)
	}
	f.Add("0", "/api/v1/services//\xf0") // once a label of a metric, and a panic
	r := newRig(f)
	r.configMap("one", nil)
	f.Fuzz(func(t *testing.T, method, path string) {
		if !strings.HasPrefix(path, "/") || strings.Contains(path, "/proxy") || strings.Contains(path, "/exec") || strings.Contains(path, "/attach") {
			return // those are upgraded, or answered by others
		}
		r.calmly(t, method, path, "", "")
	})
}
