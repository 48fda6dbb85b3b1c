package openapi

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	cliresource "k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/openapi3"
	"k8s.io/client-go/rest"
	"k8s.io/kubectl/pkg/cmd/explain"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/util/openapi"

	"github.com/monohull/monohull/internal/api/all"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// serve answers discovery and the documents.
func serve(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	answer := func(path string, v any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(v)
		})
	}
	lists := map[schema.GroupVersion]*metav1.APIResourceList{}
	groups := &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
	for _, k := range all.Table().Kinds() {
		gv := k.GVK.GroupVersion()
		if lists[gv] == nil {
			lists[gv] = &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv.String()}
			if gv.Group != "" {
				version := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
				groups.Groups = append(groups.Groups, metav1.APIGroup{Name: gv.Group, Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version})
			}
		}
		lists[gv].APIResources = append(lists[gv].APIResources, metav1.APIResource{
			Name: k.Plural, SingularName: k.Singular, Kind: k.GVK.Kind, Namespaced: k.Namespaced, ShortNames: k.ShortNames, Verbs: []string{"get", "list"},
		})
	}
	answer("/api", &metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}})
	answer("/apis", groups)
	for gv, list := range lists {
		answer(root(gv), list)
	}
	mux.Handle("/openapi/", testDocuments())
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func factory(t *testing.T, s *httptest.Server) cmdutil.Factory {
	flags := genericclioptions.NewConfigFlags(false)
	cache := t.TempDir()
	flags.APIServer, flags.CacheDir = &s.URL, &cache
	return cmdutil.NewFactory(flags)
}

// TestKubectlExplain compares what kubectl prints with testdata.
func TestKubectlExplain(t *testing.T) {
	cmdutil.BehaviorOnFatal(func(text string, _ int) { panic(text) })
	t.Cleanup(cmdutil.DefaultBehaviorOnFatal)
	s := serve(t)
	for name, args := range map[string][]string{
		"pod-ports":          {"pod.spec.containers.ports"},
		"pod-recursive":      {"pod.spec.securityContext", "--recursive"},
		"pod-restart-policy": {"pods.spec.restartPolicy"},
		"deployment":         {"deployment"},
		"deployment-surge":   {"deploy.spec.strategy.rollingUpdate.maxSurge"},
		"replicaset-v2":      {"replicaset.spec", "--output=plaintext-openapiv2"},
		"container-limits":   {"pod.spec.containers.resources"},
		"managed-fields":     {"configmap.metadata.managedFields"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			cmd := explain.NewCmdExplain("kubectl", factory(t, s), genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &out})
			cmd.SetArgs(args)
			if err := cmd.Execute(); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".txt", out.Bytes())
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not as expected (-update rewrites it); got:\n%s", name, got)
	}
}

func TestGoldenSchemas(t *testing.T) {
	defs := newDefinitions(v3, nil)
	defs.ref(typeOf[corev1.ServiceSpec]())
	defs.ref(typeOf[appsv1.DeploymentSpec]())
	for _, name := range []string{
		"io.k8s.api.core.v1.ContainerPort", "io.k8s.api.core.v1.ServiceSpec", "io.k8s.api.apps.v1.DeploymentSpec",
		"io.k8s.apimachinery.pkg.api.resource.Quantity", "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
	} {
		body, err := json.MarshalIndent(defs.byKey[name], "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", append(body, '\n'))
	}
}

// TestKubectlLeavesValidationToTheServer asks as kubectl apply does whether
// every kind's patches take fieldValidation.
func TestKubectlLeavesValidationToTheServer(t *testing.T) {
	s := serve(t)
	config := &rest.Config{Host: s.URL}
	disco := discovery.NewDiscoveryClientForConfigOrDie(config)
	dyn := dynamic.NewForConfigOrDie(config)
	verifiers := map[string]cliresource.Verifier{
		"v2": cliresource.NewQueryParamVerifier(dyn, disco, cliresource.QueryParamFieldValidation),
		"v3": cliresource.NewQueryParamVerifierV3(dyn, disco.OpenAPIV3(), cliresource.QueryParamFieldValidation),
	}
	for version, v := range verifiers {
		for _, k := range all.Table().Kinds() {
			if k.Verbs != nil && !slices.Contains(k.Verbs, "patch") {
				continue
			}
			if err := v.HasSupport(k.GVK); err != nil {
				t.Errorf("%s: %v", version, err)
			}
		}
		if err := v.HasSupport(corev1.SchemeGroupVersion.WithKind("Nothing")); err == nil {
			t.Errorf("%s: a kind that does not exist is supported", version)
		}
	}
}

func TestKubectlFindsSchemasOfKinds(t *testing.T) {
	s := serve(t)
	disco := discovery.NewDiscoveryClientForConfigOrDie(&rest.Config{Host: s.URL})
	doc, err := disco.OpenAPISchema()
	if err != nil {
		t.Fatal(err)
	}
	resources, err := openapi.NewOpenAPIData(doc)
	if err != nil {
		t.Fatal(err)
	}
	v3root := openapi3.NewRoot(disco.OpenAPIV3())
	for _, k := range all.Table().Kinds() {
		if resources.LookupResource(k.GVK) == nil {
			t.Errorf("v2 has no schema of %v", k.GVK)
		}
		if consumes := resources.GetConsumes(k.GVK, "PATCH"); k.Verbs == nil && !slices.Contains(consumes, "application/strategic-merge-patch+json") {
			t.Errorf("patches of %v are %v", k.GVK, consumes)
		}
		spec, err := v3root.GVSpec(k.GVK.GroupVersion())
		if err != nil {
			t.Fatal(err)
		}
		if spec.Components.Schemas[modelName(k.GoType.Elem())] == nil {
			t.Errorf("v3 has no schema of %v", k.GVK)
		}
	}
}

func TestServingNegotiatesAndCaches(t *testing.T) {
	s := serve(t)
	get := func(path string, header ...string) *http.Response {
		t.Helper()
		req, _ := http.NewRequest("GET", s.URL+path, nil)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	for _, c := range []struct{ path, accept, want string }{
		{"/openapi/v2", "", "application/json"},
		{"/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", protoTypeV2},
		{"/openapi/v2", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf", protoTypeV2},
		{"/openapi/v3/api/v1", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf", protoTypeV3},
		{"/openapi/v3/apis/apps/v1", "text/html, application/json;q=0.9, */*;q=0.1", "application/json"},
	} {
		if got := get(c.path, "Accept", c.accept).Header.Get("Content-Type"); got != c.want {
			t.Errorf("%s, accepting %q, is %q", c.path, c.accept, got)
		}
	}
	if got := get("/openapi/v2", "Accept", "text/html").StatusCode; got != 406 {
		t.Errorf("accepting text/html gives %d", got)
	}
	if got := get("/openapi/v3/apis/none/v1").StatusCode; got != 404 {
		t.Errorf("a group that is not served gives %d", got)
	}
	resp := get("/openapi/v3/version?hash=stale")
	to := resp.Header.Get("Location")
	if resp.StatusCode != 301 || !strings.HasPrefix(to, "/openapi/v3/version?hash=") {
		t.Fatalf("a stale hash gives %d to %q", resp.StatusCode, to)
	}
	resp = get(to)
	if got := resp.Header.Get("Cache-Control"); got != "public, immutable" {
		t.Errorf("with its hash, caching is %q", got)
	}
	if got := get("/openapi/v3/version", "If-None-Match", resp.Header.Get("Etag")).StatusCode; got != 304 {
		t.Errorf("an unchanged document gives %d", got)
	}
}
