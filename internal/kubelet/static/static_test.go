package static

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/all"
)

const manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - {name: main, image: nginx}\n"

func decoder() Decoder { return Decoder{Node: "node1", Kind: api.For[*corev1.Pod](all.Table())} }

func TestAManifestBecomesAPodOfThisNode(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	pods, err := decoder().Decode([]byte(manifest), FromFile, "/m/web.yaml", false, now)
	if err != nil || len(pods) != 1 {
		t.Fatal(pods, err)
	}
	p := pods[0]
	if p.Name != "web-node1" || p.Namespace != "default" || p.Spec.NodeName != "node1" || p.Status.Phase != corev1.PodPending || len(p.UID) != 32 {
		t.Errorf("%+v", p)
	}
	if p.Annotations[AnnotationHash] != string(p.UID) || p.Annotations[AnnotationSource] != "file" || p.Annotations[AnnotationSeen] != "2026-01-02T03:04:05.000000006Z" {
		t.Errorf("%v", p.Annotations)
	}
	if len(p.Spec.Tolerations) != 1 || p.Spec.Tolerations[0].Effect != corev1.TaintEffectNoExecute || p.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		t.Errorf("%+v", p.Spec)
	}
	again, _ := decoder().Decode([]byte(manifest), FromFile, "/m/web.yaml", false, now.Add(time.Hour))
	other, _ := decoder().Decode([]byte(manifest+"    # other\n"), FromFile, "/m/other.yaml", false, now)
	if again[0].UID != p.UID || other[0].UID == p.UID {
		t.Errorf("UIDs %s %s %s", p.UID, again[0].UID, other[0].UID)
	}
	m := Mirror(p, &corev1.Node{})
	if !IsMirrorOf(m, p) || !IsMirror(m) || m.UID != "" || !IsStatic(p) || m.OwnerReferences[0].Kind != "Node" {
		t.Errorf("mirror: %+v", m)
	}
}

func TestWhatCannotBeAStaticPod(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"no yaml", "{", "couldn't parse as pod"},
		{"not a pod", "apiVersion: v1\nkind: Service\n", "it is a Service of v1"},
		{"no name", "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: b}]}\n", "name is needed for the pod"},
		{"invalid", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n", "invalid pod: "},
		{"secret", manifest + "  volumes: [{name: v, secret: {secretName: s}}]\n", "static pods may not reference secrets"},
		{"account", manifest + "  serviceAccountName: a\n", "static pods may not reference serviceaccounts"},
		{"claim", manifest + "  volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]\n", "static pods may not reference persistentvolumeclaims"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := decoder().Decode([]byte(tc.text), FromFile, "f", false, time.Now()); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func TestADirectoryIsFollowed(t *testing.T) {
	dir := t.TempDir()
	got := make(chan []string, 100)
	s := New(Config{Path: dir, FileEvery: time.Hour, Decoder: decoder(), Logger: slog.New(slog.DiscardHandler), Now: time.Now}, func(_ string, pods []*corev1.Pod) {
		names := []string{}
		for _, p := range pods {
			names = append(names, p.Name)
		}
		got <- names
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	expect := func(want string) {
		t.Helper()
		for {
			select {
			case l := <-got:
				if strings.Join(l, " ") == want {
					return
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%q never came", want)
			}
		}
	}
	expect("")
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a.yaml", manifest)
	expect("web-node1")
	write(".hidden.yaml", strings.Replace(manifest, "web", "hidden", 1))
	write("b.json", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"json"},"spec":{"containers":[{"name":"main","image":"x"}]}}`)
	write("broken.yaml", "{")
	expect("web-node1 json-node1")
	if err := os.Remove(filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	expect("json-node1")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAURLIsRead(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Manifest") != "yes" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		w.Write([]byte(`{"apiVersion":"v1","kind":"PodList","items":[{"metadata":{"name":"one"},"spec":{"containers":[{"name":"main","image":"x"}]}}]}`))
	}))
	defer srv.Close()
	s := New(Config{URL: srv.URL, URLHeader: http.Header{"Manifest": {"yes"}}, Decoder: decoder(), Now: time.Now}, nil)
	pods, err := s.get(t.Context())
	if err != nil || len(pods) != 1 || pods[0].Annotations[AnnotationSource] != "http" || len(pods[0].Spec.Tolerations) != 0 {
		t.Errorf("%+v %v", pods, err)
	}
	s.cfg.URLHeader = nil
	if _, err := s.get(t.Context()); err == nil || !strings.Contains(err.Error(), "403") {
		t.Error(err)
	}
}
