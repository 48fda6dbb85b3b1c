package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

func TestRegistryAnswersFromArchives(t *testing.T) {
	manifest := []byte(`{"schemaVersion":2}`)
	sum := sha256.Sum256(manifest)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	var body bytes.Buffer
	tw := tar.NewWriter(&body)
	for name, content := range map[string]string{
		"blobs/sha256/" + hex.EncodeToString(sum[:]): string(manifest), "oci-layout": "{}",
		"index.json": fmt.Sprintf(`{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"annotations":{"io.containerd.image.name":"registry.example/a/b:1"}}]}`, digest),
	} {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "a.tar")
	if err := os.WriteFile(file, body.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &registry{tags: map[string]string{}, blobs: map[string]blob{}}
	if err := r.load(file); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		host, path string
		code       int
	}{
		{"registry.example", "/v2/", 200},
		{"registry.example", "/v2/a/b/manifests/1", 200},
		{"registry.example", "/v2/a/b/manifests/" + digest, 200},
		{"registry.example", "/v2/a/b/blobs/" + digest, 200},
		{"registry.example", "/v2/a/b/manifests/2", 404},
		{"elsewhere.example", "/v2/a/b/manifests/1", 404},
		{"registry.example", "/other", 404},
	} {
		w := httptest.NewRecorder()
		r.answer(w, httptest.NewRequest("GET", c.path, nil), c.host)
		if w.Code != c.code {
			t.Errorf("%s%s: status %d, want %d", c.host, c.path, w.Code, c.code)
		}
		if c.code == 200 && c.path != "/v2/" && !bytes.Equal(w.Body.Bytes(), manifest) {
			t.Errorf("%s%s: body %q", c.host, c.path, w.Body)
		}
	}
}
