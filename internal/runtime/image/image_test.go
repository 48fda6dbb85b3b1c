package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the image store's tests unpack layers with owners and whiteouts and need root")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := New(Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// layerOf packs files; a name ending in a slash is a directory.
func layerOf(t *testing.T, files ...[2]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, f := range files {
		h := &tar.Header{Name: f[0], Mode: 0o755, Size: int64(len(f[1]))}
		if strings.HasSuffix(f[0], "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, f[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func imageOf(t *testing.T, layers ...[]byte) v1.Image {
	t.Helper()
	img := v1.Image(empty.Image)
	for _, body := range layers {
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			t.Fatal(err)
		}
	}
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", runtime.GOARCH
	cf.Config.User, cf.Config.Entrypoint, cf.Config.StopSignal = "1000:2", []string{"/run"}, "SIGINT"
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		t.Fatal(err)
	}
	return img
}

// testRegistry serves on loopback; with a user it wants credentials.
func testRegistry(t *testing.T, user, password string) (host string) {
	t.Helper()
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); user != "" && (u != user || p != password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func push(t *testing.T, ref string, img v1.Image, auth authn.Authenticator) {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, img, remote.WithAuth(auth)); err != nil {
		t.Fatal(err)
	}
}

func TestNormalise(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for in, want := range map[string]string{
		"nginx":                     "docker.io/library/nginx:latest",
		"nginx:1.2":                 "docker.io/library/nginx:1.2",
		"me/app":                    "docker.io/me/app:latest",
		"localhost:5000/app":        "localhost:5000/app:latest",
		"registry.example/a/b:c":    "registry.example/a/b:c",
		"nginx@" + digest:           "docker.io/library/nginx@" + digest,
		"nginx:1.2@" + digest:       "docker.io/library/nginx@" + digest,
		"index.docker.io/library/x": "docker.io/library/x:latest",
	} {
		if got, err := Normalise(in); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", in, got, err, want)
		}
	}
	if _, err := Normalise("Not A Name"); err == nil {
		t.Error("a name with spaces was accepted")
	}
}

func TestPull(t *testing.T) {
	s, host := newStore(t), testRegistry(t, "", "")
	lower := layerOf(t, [2]string{"etc/", ""}, [2]string{"etc/kept", "1"}, [2]string{"etc/gone", "2"})
	upper := layerOf(t, [2]string{"etc/", ""}, [2]string{"etc/.wh.gone", ""}, [2]string{"etc/new", "3"})
	img := imageOf(t, lower, upper)
	push(t, host+"/app:v1", img, authn.Anonymous)
	var mu sync.Mutex
	var last Progress
	got, err := s.Pull(t.Context(), host+"/app:v1", nil, func(p Progress) {
		mu.Lock()
		defer mu.Unlock()
		if p.Done > last.Done {
			last = p
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	id, _ := img.ConfigName()
	digest, _ := img.Digest()
	if got.ID != id.String() || len(got.Tags) != 1 || got.Tags[0] != host+"/app:v1" || got.Digests[0] != host+"/app@"+digest.String() {
		t.Errorf("image: %+v", got)
	}
	if got.Config.User != "1000:2" || got.Config.StopSignal != "SIGINT" {
		t.Errorf("configuration: %+v", got.Config)
	}
	if last.Done == 0 || last.Done > last.Total {
		t.Errorf("progress: %+v", last)
	}
	dirs := s.Lower(got)
	if body, _ := os.ReadFile(filepath.Join(dirs[1], "etc/new")); string(body) != "3" {
		t.Errorf("file in the upper layer: %q", body)
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(dirs[1], "etc/gone"), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
		t.Errorf("whiteout: %+v, %v", st, err)
	}
	for _, ref := range []string{host + "/app:v1", host + "/app@" + digest.String(), id.String(), id.Hex[:12], "sha256:" + id.Hex[:12]} {
		if found, err := s.Find(ref); ref != id.Hex[:12] && (err != nil || found.ID != got.ID) {
			t.Errorf("find %s: %v", ref, err)
		}
	}
	// The same again, by digest: nothing comes in but the name.
	if again, err := s.Pull(t.Context(), host+"/app@"+digest.String(), nil, nil); err != nil || again.ID != got.ID || len(again.Tags) != 1 {
		t.Errorf("pull by digest: %+v, %v", again, err)
	}
	// What was stored is there for the next one who opens it.
	if _, err := New(s.cfg); !errors.Is(err, ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	reopened, err := New(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reopened.Find(host + "/app:v1"); err != nil {
		t.Errorf("after reopening: %v", err)
	}
	if err := s.Remove(t.Context(), host+"/app:v1"); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Join(s.Dir(), "layers")); len(left) > 0 {
		t.Errorf("layers left after removal: %v", left)
	}
	if _, err := s.Find(id.String()); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed image: %v", err)
	}
}

func TestPullErrors(t *testing.T) {
	s, host := newStore(t), testRegistry(t, "", "")
	_, err := s.Pull(t.Context(), host+"/nosuch:v1", nil, nil)
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), `failed to pull and unpack image "`+host+`/nosuch:v1"`) || !strings.HasSuffix(err.Error(), "not found") {
		t.Errorf("image that is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Pull(ctx, host+"/nosuch:v1", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestPullWithCredentials(t *testing.T) {
	s, host := newStore(t), testRegistry(t, "me", "secret")
	img := imageOf(t, layerOf(t, [2]string{"file", "x"}))
	push(t, host+"/app:v1", img, &authn.Basic{Username: "me", Password: "secret"})
	if _, err := s.Pull(t.Context(), host+"/app:v1", nil, nil); err == nil || !strings.Contains(err.Error(), "failed to authorize") {
		t.Errorf("without credentials: %v", err)
	}
	for _, auth := range []*runtimeapi.AuthConfig{
		{Username: "me", Password: "wrong"},
		{Username: "me", Password: "secret", ServerAddress: "https://other.example"},
	} {
		if _, err := s.Pull(t.Context(), host+"/app:v1", auth, nil); err == nil {
			t.Errorf("pulled with %v", auth)
		}
	}
	for _, auth := range []*runtimeapi.AuthConfig{
		{Username: "me", Password: "secret"},
		{Auth: "bWU6c2VjcmV0"},
		{Username: "me", Password: "secret", ServerAddress: "http://" + host + "/v2/"},
	} {
		if _, err := s.Pull(t.Context(), host+"/app:v1", auth, nil); err != nil {
			t.Errorf("with %v: %v", auth, err)
		}
	}
}

func TestParallelPullsOfOneImage(t *testing.T) {
	s, host := newStore(t), testRegistry(t, "", "")
	push(t, host+"/app:v1", imageOf(t, layerOf(t, [2]string{"file", "x"}), layerOf(t, [2]string{"other", "y"})), authn.Anonymous)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := s.Pull(t.Context(), host+"/app:v1", nil, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(s.List()); n != 1 {
		t.Errorf("%d images, want 1", n)
	}
	if left, _ := os.ReadDir(filepath.Join(s.Dir(), "tmp")); len(left) > 0 {
		t.Errorf("left in the work directory: %v", left)
	}
}

func TestLayersInUseStay(t *testing.T) {
	used := map[string]bool{}
	s, err := New(Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), LayersInUse: func() map[string]bool { return used }})
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.Import(t.Context(), bytes.NewReader(dockerArchive(t, "a:1", layerOf(t, [2]string{"file", "x"}))))
	if err != nil {
		t.Fatal(err)
	}
	used[list[0].Layers[0]] = true
	if err := s.Remove(t.Context(), "a:1"); err != nil {
		t.Fatal(err)
	}
	if !s.hasLayer(list[0].Layers[0]) {
		t.Error("a layer in use was removed")
	}
	used = nil
	if err := s.Collect(t.Context()); err != nil || s.hasLayer(list[0].Layers[0]) {
		t.Errorf("a layer nobody needs stayed: %v", err)
	}
}

func TestUntagTakesOneNameAtATime(t *testing.T) {
	s := newStore(t)
	for _, name := range []string{"a:1", "b:1"} {
		if _, err := s.Import(t.Context(), bytes.NewReader(dockerArchive(t, name, layerOf(t, [2]string{"file", "x"})))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Untag(t.Context(), "a:1"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Find("a:1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the name that was taken: %v", err)
	}
	if _, err := s.Find("b:1"); err != nil {
		t.Errorf("the other name: %v", err)
	}
	if err := s.Untag(t.Context(), "a:1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	if err := s.Untag(t.Context(), "b:1"); err != nil || len(s.List()) > 0 {
		t.Errorf("the last name: %v, %d images left", err, len(s.List()))
	}
}

func pack(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for name, body := range files {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(body))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func configOf(t *testing.T, layer []byte) []byte {
	return marshal(t, map[string]any{
		"os": "linux", "architecture": runtime.GOARCH, "config": map[string]any{"Cmd": []string{"/x"}},
		"rootfs": map[string]any{"diff_ids": []string{digestOf(layer)}},
	})
}

func dockerArchive(t *testing.T, tag string, layer []byte) []byte {
	return pack(t, map[string][]byte{
		"abc.json": configOf(t, layer), "abc/layer.tar": layer,
		"manifest.json": marshal(t, []any{map[string]any{"Config": "abc.json", "RepoTags": []string{tag}, "Layers": []string{"abc/layer.tar"}}}),
	})
}

func ociArchive(t *testing.T, tag string, layer, blob []byte) map[string][]byte {
	config := configOf(t, layer)
	desc := func(b []byte) map[string]any {
		return map[string]any{"digest": digestOf(b), "size": len(b)}
	}
	manifest := marshal(t, map[string]any{"config": desc(config), "layers": []any{desc(blob)}})
	d := desc(manifest)
	d["annotations"] = map[string]string{"io.containerd.image.name": tag}
	other := desc([]byte("absent"))
	other["platform"] = map[string]string{"os": "plan9", "architecture": "z80"}
	path := func(b []byte) string { return "blobs/sha256/" + strings.TrimPrefix(digestOf(b), "sha256:") }
	return map[string][]byte{
		"index.json": marshal(t, map[string]any{"manifests": []any{other, d}}), "oci-layout": []byte("{}"),
		path(config): config, path(manifest): manifest, path(blob): blob,
	}
}

func TestImport(t *testing.T) {
	layer := layerOf(t, [2]string{"dir/", ""}, [2]string{"dir/file", "content"})
	var gz, zs bytes.Buffer
	g := gzip.NewWriter(&gz)
	_, _ = g.Write(layer)
	_ = g.Close()
	z, _ := zstd.NewWriter(&zs)
	_, _ = z.Write(layer)
	_ = z.Close()
	var whole bytes.Buffer
	g = gzip.NewWriter(&whole)
	_, _ = g.Write(dockerArchive(t, "app:1", layer))
	_ = g.Close()
	for kind, archive := range map[string][]byte{
		"docker save":            dockerArchive(t, "app:1", layer),
		"docker save, gzip":      whole.Bytes(),
		"OCI layout":             pack(t, ociArchive(t, "docker.io/library/app:1", layer, layer)),
		"OCI layout, gzip layer": pack(t, ociArchive(t, "docker.io/library/app:1", layer, gz.Bytes())),
		"OCI layout, zstd layer": pack(t, ociArchive(t, "docker.io/library/app:1", layer, zs.Bytes())),
	} {
		t.Run(kind, func(t *testing.T) {
			s := newStore(t)
			list, err := s.Import(t.Context(), bytes.NewReader(archive))
			if err != nil {
				t.Fatal(err)
			}
			if len(list) != 1 || list[0].Tags[0] != "docker.io/library/app:1" {
				t.Fatalf("images: %+v", list)
			}
			if body, _ := os.ReadFile(filepath.Join(s.Lower(list[0])[0], "dir/file")); string(body) != "content" {
				t.Errorf("file: %q", body)
			}
			if img, err := s.Find("app:1"); err != nil || img.Config.Cmd[0] != "/x" {
				t.Errorf("find: %+v, %v", img, err)
			}
		})
	}
	t.Run("directory", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, body := range ociArchive(t, "app:1", layer, gz.Bytes()) {
			if err := os.WriteFile(filepath.Join(dir, name), body, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := newStore(t).ImportFile(t.Context(), dir); err != nil {
			t.Error(err)
		}
	})
}

func TestImportRefusesWhatIsDamaged(t *testing.T) {
	layer := layerOf(t, [2]string{"file", "content"})
	flipped := ociArchive(t, "app:1", layer, layer)
	for name, body := range flipped {
		if bytes.Equal(body, layer) {
			changed := bytes.Clone(body)
			changed[600] ^= 1
			flipped[name] = changed
		}
	}
	escape := pack(t, map[string][]byte{"../../../../tmp/monohull-escaped": []byte("x")})
	for kind, archive := range map[string][]byte{
		"a flipped bit": pack(t, flipped), "not an image": pack(t, map[string][]byte{"x": nil}),
		"not an archive": []byte("hello"), "a path out of it": escape,
	} {
		s := newStore(t)
		if list, err := s.Import(t.Context(), bytes.NewReader(archive)); err == nil {
			t.Errorf("%s: imported %+v", kind, list)
		}
		if n := len(s.List()); n != 0 {
			t.Errorf("%s: %d images are there", kind, n)
		}
		if left, _ := os.ReadDir(filepath.Join(s.Dir(), "tmp")); len(left) > 0 {
			t.Errorf("%s: left in the work directory: %v", kind, left)
		}
	}
	if _, err := os.Stat("/tmp/monohull-escaped"); err == nil {
		t.Error("an archive wrote outside its directory")
	}
}

func TestNameMovesToTheNewImage(t *testing.T) {
	s := newStore(t)
	for _, content := range []string{"old", "new"} {
		if _, err := s.Import(t.Context(), bytes.NewReader(dockerArchive(t, "app:1", layerOf(t, [2]string{"f", content})))); err != nil {
			t.Fatal(err)
		}
	}
	img, err := s.Find("app:1")
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := os.ReadFile(filepath.Join(s.Lower(img)[0], "f")); string(body) != "new" {
		t.Errorf("the name stands for %q", body)
	}
	if n := len(s.List()); n != 2 {
		t.Errorf("%d images, want the old one without a name too", n)
	}
}
