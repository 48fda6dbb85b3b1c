package encrypt

import (
	"bytes"
	"context"
	"crypto/aes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage/value"
	aestransformer "k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	"k8s.io/apiserver/pkg/storage/value/encrypt/secretbox"
	kmsservice "k8s.io/kms/pkg/service"

	"github.com/monohull/monohull/internal/store"
)

const secretKey = "/registry/secrets/default/a"

var (
	key1 = bytes.Repeat([]byte{1}, 32)
	key2 = bytes.Repeat([]byte{2}, 32)
)

func resourceOf(key string) (schema.GroupResource, bool) {
	parts := strings.Split(strings.TrimPrefix(key, "/registry/"), "/")
	gr := schema.ParseGroupResource(parts[0])
	return gr, gr.Resource != "ranges"
}

func config(rules ...string) string {
	return "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n" + strings.Join(rules, "")
}

func rule(resource string, providers ...string) string {
	return "- resources: ['" + resource + "']\n  providers:\n" + strings.Join(providers, "")
}

func keys(provider string, named ...any) string {
	s := "  - " + provider + ":\n      keys:\n"
	for i := 0; i < len(named); i += 2 {
		s += fmt.Sprintf("      - {name: %s, secret: %s}\n", named[i], base64.StdEncoding.EncodeToString(named[i+1].([]byte)))
	}
	return s
}

const plain = "  - identity: {}\n"

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, inner store.Store, content string) *Store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "enc.yaml")
	write(t, path, content)
	s, err := Open(t.Context(), inner, Config{Path: path, Reload: true, ResourceOf: resourceOf, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func read(t *testing.T, s store.Store, key string) store.KV {
	t.Helper()
	p, err := s.Range(t.Context(), key, "", 0, 1)
	if err != nil || len(p.KVs) != 1 {
		t.Fatalf("reading %s: %v, %v", key, p.KVs, err)
	}
	return p.KVs[0]
}

// theirs are upstream's transformers, as its API server would use them.
func theirs(t *testing.T) map[string]value.Transformer {
	t.Helper()
	block, err := aes.NewCipher(key1)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := aestransformer.NewGCMTransformer(block)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]value.Transformer{
		"aescbc": aestransformer.NewCBCTransformer(block), "aesgcm": gcm, "secretbox": secretbox.NewSecretboxTransformer([32]byte(key1)),
	}
}

func TestDataAreInterchangeableWithUpstreams(t *testing.T) {
	for provider, other := range theirs(t) {
		t.Run(provider, func(t *testing.T) {
			inner := store.NewMemory()
			s := open(t, inner, config(rule("secrets", keys(provider, "k1", key1), plain)))
			prefix := "k8s:enc:" + provider + ":v1:k1:"
			if _, err := s.Create(t.Context(), secretKey, []byte("ours")); err != nil {
				t.Fatal(err)
			}
			stored := read(t, inner, secretKey).Value
			if !bytes.HasPrefix(stored, []byte(prefix)) || bytes.Contains(stored, []byte("ours")) {
				t.Fatalf("stored as %q", stored)
			}
			got, _, err := other.TransformFromStorage(t.Context(), stored[len(prefix):], value.DefaultContext(secretKey))
			if err != nil || string(got) != "ours" {
				t.Errorf("upstream reads %q, %v", got, err)
			}
			if provider == "aesgcm" { // the key in the store is authenticated
				if _, _, err := other.TransformFromStorage(t.Context(), stored[len(prefix):], value.DefaultContext(secretKey+"x")); err == nil {
					t.Error("a value can be moved to another key")
				}
			}
			data, err := other.TransformToStorage(t.Context(), []byte("theirs"), value.DefaultContext(secretKey+"2"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := inner.Create(t.Context(), secretKey+"2", append([]byte(prefix), data...)); err != nil {
				t.Fatal(err)
			}
			kv := read(t, s, secretKey+"2")
			if string(kv.Value) != "theirs" || s.Stale(kv.Key, kv.Sealed) {
				t.Errorf("we read %q, stale %t", kv.Value, s.Stale(kv.Key, kv.Sealed))
			}
		})
	}
}

func TestRulesFindTheirResources(t *testing.T) {
	inner := store.NewMemory()
	s := open(t, inner, config(
		rule("secrets", keys("aescbc", "own", key1)),
		rule("*.apps", keys("aescbc", "group", key1)),
		rule("events", plain),
		rule("*.*", keys("aescbc", "any", key1)),
	))
	for key, want := range map[string]string{
		secretKey: "k8s:enc:aescbc:v1:own:", "/registry/deployments.apps/default/a": "k8s:enc:aescbc:v1:group:",
		"/registry/events/default/a": "value", "/registry/pods/default/a": "k8s:enc:aescbc:v1:any:",
		"/registry/ranges/serviceips": "value", // no resource
	} {
		if _, err := s.Create(t.Context(), key, []byte("value")); err != nil {
			t.Fatal(err)
		}
		if got := read(t, inner, key).Value; !strings.HasPrefix(string(got), want) {
			t.Errorf("%s is stored as %q, want %s…", key, got, want)
		}
		if kv := read(t, s, key); string(kv.Value) != "value" || s.Stale(key, kv.Sealed) {
			t.Errorf("%s: %q, stale %t", key, kv.Value, s.Stale(key, kv.Sealed))
		}
	}
}

func TestOldKeysReadAndTheirValuesAreStale(t *testing.T) {
	inner := store.NewMemory()
	s := open(t, inner, config(rule("secrets", keys("aescbc", "old", key1))))
	if _, err := inner.Create(t.Context(), secretKey+"0", []byte("plain")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), secretKey, []byte("value")); err != nil {
		t.Fatal(err)
	}
	before := read(t, s, secretKey)
	write(t, s.Path, config(rule("secrets", keys("aesgcm", "new", key2), keys("aescbc", "old", key1), plain)))
	var wg sync.WaitGroup
	s.reload(t.Context(), &wg)
	wg.Wait()
	if !s.Stale(secretKey, before.Sealed) {
		t.Error("what was read before the change is not stale")
	}
	for _, k := range []string{secretKey, secretKey + "0"} {
		p, err := s.Range(t.Context(), k, "", 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		kv := p.KVs[0]
		if !s.Stale(k, kv.Sealed) {
			t.Errorf("%s is not stale", k)
		}
		if _, err := s.Update(t.Context(), k, kv.Value, kv.ModRev); err != nil {
			t.Fatal(err)
		}
		p, err = s.Range(t.Context(), k, "", 0, 1)
		if err != nil || s.Stale(k, p.KVs[0].Sealed) || !bytes.Equal(p.KVs[0].Value, kv.Value) {
			t.Errorf("%s after it was written anew: %+v, %v", k, p.KVs, err)
		}
	}
	// a file that cannot be used changes nothing
	epoch := s.epoch.Load()
	write(t, s.Path, config(rule("secrets")))
	s.reload(t.Context(), &wg)
	if kv := read(t, s, secretKey); string(kv.Value) != "value" || s.epoch.Load() != epoch {
		t.Errorf("after a bad file: %+v, epoch %d, was %d", kv, s.epoch.Load(), epoch)
	}
}

func TestAValueWithoutItsKeyIsHandedOnAsItIs(t *testing.T) {
	inner := store.NewMemory()
	if _, err := open(t, inner, config(rule("secrets", keys("aescbc", "lost", key1)))).Create(t.Context(), secretKey, []byte("value")); err != nil {
		t.Fatal(err)
	}
	s := open(t, inner, config(rule("secrets", keys("aescbc", "other", key2))))
	if kv := read(t, s, secretKey); !bytes.HasPrefix(kv.Value, []byte(prefixAny)) {
		t.Errorf("read %q", kv.Value)
	}
}

func TestConflictsAndWatchesShowPlainValues(t *testing.T) {
	inner := store.NewMemory()
	s := open(t, inner, config(rule("secrets", keys("secretbox", "k", key1))))
	rev, err := s.Create(t.Context(), secretKey, []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Update(t.Context(), secretKey, []byte("two"), rev-1)
	var c *store.Conflict
	if !errors.As(err, &c) || string(c.Current.Value) != "one" || c.Current.ModRev != rev || c.Current.Sealed == 0 {
		t.Errorf("the conflict shows %+v", err)
	}
	if _, err := s.Delete(t.Context(), secretKey, rev); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var got []store.Event
	_ = s.Watch(ctx, "/registry/", 2, func(b store.Batch) {
		if got = append(got, b.Events...); len(got) >= 2 {
			cancel()
		}
	})
	if len(got) != 2 || string(got[0].Value) != "one" || got[0].Sealed == 0 || !got[1].Deleted {
		t.Errorf("events %+v", got)
	}
}

func TestConfigurationsAreJudgedAsUpstreamDoes(t *testing.T) {
	for _, c := range []struct{ content, want string }{
		{"", "is empty"},
		{"apiVersion: v1\nkind: Pod", "error decoding encryption provider configuration file"},
		{config(rule("secrets", keys("aescbc", "k", []byte("short")))), "secret is not of the expected length"},
		{config(rule("secrets")), "resources[0].providers: Required value"},
		{config(rule("*.*", plain), rule("secrets", plain)), `resource "secrets" is masked by earlier rule "*.*"`},
		{config(rule("secrets", "  - kms: {name: k, endpoint: 'unix:///x', apiVersion: v1}\n")), "KMSv1 is deprecated"},
		{config(rule("secrets", "  - kms: {name: k, endpoint: 'http://x', apiVersion: v2}\n")), "unsupported scheme"},
		{config(rule("secrets", "  - identity: {}\n    surplus: 1\n")), "unknown field"},
	} {
		path := filepath.Join(t.TempDir(), "enc.yaml")
		write(t, path, c.content)
		_, err := Open(t.Context(), store.NewMemory(), Config{Path: path, ResourceOf: resourceOf, Logger: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n%v\nwant: %s", c.content, err, c.want)
		}
	}
}

// keeper is a key management service that turns bits around.
type keeper struct {
	mu    sync.Mutex
	keyID string
	sick  bool
}

func (k *keeper) Status(context.Context) (*kmsservice.StatusResponse, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	health := "ok"
	if k.sick {
		health = "ill"
	}
	return &kmsservice.StatusResponse{Version: "v2", Healthz: health, KeyID: k.keyID}, nil
}

func turned(b []byte) []byte {
	out := make([]byte, len(b))
	for i := range b {
		out[i] = ^b[i]
	}
	return out
}

func (k *keeper) Encrypt(_ context.Context, _ string, data []byte) (*kmsservice.EncryptResponse, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return &kmsservice.EncryptResponse{Ciphertext: turned(data), KeyID: k.keyID}, nil
}

func (k *keeper) Decrypt(_ context.Context, _ string, req *kmsservice.DecryptRequest) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sick {
		return nil, errors.New("ill")
	}
	return turned(req.Ciphertext), nil
}

func TestAKeyManagementServiceKeepsTheKeys(t *testing.T) {
	dir, err := os.MkdirTemp("", "kms") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	k := &keeper{keyID: "1"}
	server := kmsservice.NewGRPCService(socket, 5*time.Second, k)
	done := make(chan error, 1)
	go func() { done <- server.ListenAndServe() }()
	defer func() {
		server.Shutdown()
		<-done
	}()
	inner := store.NewMemory()
	content := config(rule("secrets", "  - kms: {name: vault, endpoint: 'unix://"+socket+"', apiVersion: v2, timeout: 10s}\n", plain))
	s := open(t, inner, content)
	if err := s.Check(t.Context()); err != nil {
		// the socket may not have been there yet
		if err := s.keys.Load().kms[0].ask(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Create(t.Context(), secretKey, []byte("value")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, inner, secretKey).Value; !bytes.HasPrefix(got, []byte("k8s:enc:kms:v2:vault:")) || bytes.Contains(got, []byte("value")) {
		t.Errorf("stored as %q", got)
	}
	kv := read(t, s, secretKey)
	if string(kv.Value) != "value" || s.Stale(secretKey, kv.Sealed) {
		t.Errorf("read %q, stale %t", kv.Value, s.Stale(secretKey, kv.Sealed))
	}
	// another key: what is there is stale
	k.mu.Lock()
	k.keyID = "2"
	k.mu.Unlock()
	if err := s.keys.Load().kms[0].ask(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !s.Stale(secretKey, kv.Sealed) {
		t.Error("not stale though the service has another key")
	}
	if kv := read(t, s, secretKey); string(kv.Value) != "value" || !s.Stale(secretKey, kv.Sealed) {
		t.Errorf("read again: %q, stale %t", kv.Value, s.Stale(secretKey, kv.Sealed))
	}
	// another process, while the service is ill: reading fails, and is not taken for an absence
	k.mu.Lock()
	k.sick = true
	k.mu.Unlock()
	other := open(t, inner, content)
	if err := other.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "got unexpected healthz status: ill") {
		t.Errorf("health: %v", err)
	}
	if other.CheckName() != "kms-providers" {
		t.Errorf("the check is called %q", other.CheckName())
	}
	if _, err := other.Range(t.Context(), "/registry/", "", 0, 0); err == nil {
		t.Error("the value was read without its key")
	}
	if err := other.Watch(t.Context(), "/registry/", 2, func(store.Batch) {}); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v", err)
	}
}
