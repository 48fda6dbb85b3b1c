package encrypt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/monohull/monohull/internal/store"
)

// Config says how a Store encrypts.
type Config struct {
	// Path of the EncryptionConfiguration.
	Path string
	// Reload says that the file may change.
	Reload bool
	// ServerID tells this server from others in the services' metrics.
	ServerID string
	// ResourceOf tells which resource a key of the store belongs to.
	ResourceOf func(key string) (schema.GroupResource, bool)
	Logger     *slog.Logger
}

// Store is a store whose values are encrypted.
type Store struct {
	inner store.Store
	Config
	reloads *reloads
	keys    atomic.Pointer[keyring]
	epoch   atomic.Uint64
}

var _ store.Store = (*Store)(nil)

// Open reads the configuration, and puts encryption before a store. ctx bounds
// the connections to key management services; Run keeps the keys up to date.
func Open(ctx context.Context, inner store.Store, c Config) (*Store, error) {
	s := &Store{inner: inner, Config: c, reloads: newReloads()}
	s.epoch.Store(1)
	k, err := s.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	for _, x := range k.kms {
		if err := x.ask(ctx); err != nil { // it may come up later than we do
			s.Logger.Warn("encrypt: a key management service is not ready", "name", x.name, "error", err)
		}
	}
	s.keys.Store(k)
	return s, nil
}

func (s *Store) load(ctx context.Context) (*keyring, error) {
	content, hash, err := readFile(s.Path)
	if err != nil {
		return nil, err
	}
	c, err := parse(s.Path, content, s.Reload)
	if err != nil {
		return nil, err
	}
	return newKeyring(ctx, c, hash, s.ServerID, s.next)
}

// next begins another epoch.
func (s *Store) next() { s.epoch.Add(1) }

// Stale tells whether a value that was read as sealed should be written anew,
// though it has not changed.
func (s *Store) Stale(key string, sealed uint64) bool {
	t, _ := s.rule(key)
	return t != nil && sealed != s.epoch.Load()
}

func (s *Store) rule(key string) (value.Transformer, schema.GroupResource) {
	gr, ok := s.ResourceOf(key)
	if !ok {
		return nil, gr
	}
	return s.keys.Load().of(gr), gr
}

func about(ctx context.Context, gr schema.GroupResource) context.Context {
	return request.WithRequestInfo(ctx, &request.RequestInfo{IsResourceRequest: true, APIGroup: gr.Group, Resource: gr.Resource})
}

// seal encrypts a value.
func (s *Store) seal(ctx context.Context, key string, plain []byte) ([]byte, error) {
	t, gr := s.rule(key)
	if t == nil {
		return plain, nil
	}
	out, err := t.TransformToStorage(about(ctx, gr), plain, value.DefaultContext(key))
	if err != nil {
		return nil, fmt.Errorf("encrypt: encrypting %s: %w", key, err)
	}
	return out, nil
}

// open decrypts a value. It fails only where another attempt may succeed.
func (s *Store) open(ctx context.Context, key string, data []byte) (plain []byte, sealed uint64, err error) {
	epoch := s.epoch.Load() // before: what changes meanwhile makes the value stale
	t, gr := s.rule(key)
	if t == nil {
		return data, 0, nil
	}
	plain, stale, err := t.TransformFromStorage(about(ctx, gr), data, value.DefaultContext(key))
	switch {
	case err != nil && bytes.HasPrefix(data, []byte(prefixKMS)) && s.serves(data):
		return nil, 0, fmt.Errorf("encrypt: decrypting %s: %w", key, err)
	case err != nil:
		s.Logger.Error("encrypt: a value in the store cannot be decrypted; is its key still in the configuration?", "key", key, "error", err)
		return data, 0, nil
	case stale:
		return plain, 0, nil
	}
	return plain, epoch, nil
}

// serves tells whether a value is that of a service in the configuration.
func (s *Store) serves(data []byte) bool {
	for _, x := range s.keys.Load().kms {
		if bytes.HasPrefix(data, []byte(prefixKMSv2+x.name+":")) {
			return true
		}
	}
	return false
}

// Revision implements store.Store.
func (s *Store) Revision(ctx context.Context) (int64, error) { return s.inner.Revision(ctx) }

// Range implements store.Store.
func (s *Store) Range(ctx context.Context, prefix, start string, at int64, limit int) (store.Page, error) {
	p, err := s.inner.Range(ctx, prefix, start, at, limit)
	if err != nil {
		return p, err
	}
	kvs := make([]store.KV, len(p.KVs))
	for i, kv := range p.KVs {
		if kv.Value, kv.Sealed, err = s.open(ctx, kv.Key, kv.Value); err != nil {
			return store.Page{}, err
		}
		kvs[i] = kv
	}
	p.KVs = kvs
	return p, nil
}

// Create implements store.Store.
func (s *Store) Create(ctx context.Context, key string, plain []byte) (int64, error) {
	data, err := s.seal(ctx, key, plain)
	if err != nil {
		return 0, err
	}
	return s.inner.Create(ctx, key, data)
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, key string, plain []byte, expect int64) (int64, error) {
	data, err := s.seal(ctx, key, plain)
	if err != nil {
		return 0, err
	}
	rev, err := s.inner.Update(ctx, key, data, expect)
	return rev, s.conflict(ctx, err)
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, key string, expect int64) (int64, error) {
	rev, err := s.inner.Delete(ctx, key, expect)
	return rev, s.conflict(ctx, err)
}

// conflict decrypts the value that a conflict shows.
func (s *Store) conflict(ctx context.Context, err error) error {
	var c *store.Conflict
	if !errors.As(err, &c) || c.Current.Value == nil {
		return err
	}
	now := c.Current
	var openErr error
	if now.Value, now.Sealed, openErr = s.open(ctx, now.Key, now.Value); openErr != nil {
		return openErr
	}
	return &store.Conflict{Current: now}
}

// Watch implements store.Store. It breaks where a key management service does
// not answer.
func (s *Store) Watch(ctx context.Context, prefix string, from int64, handle func(store.Batch)) error {
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	var broken error
	err := s.inner.Watch(watch, prefix, from, func(b store.Batch) {
		if broken != nil {
			return
		}
		events := make([]store.Event, len(b.Events))
		for i, e := range b.Events {
			if !e.Deleted {
				if e.Value, e.Sealed, broken = s.open(ctx, e.Key, e.Value); broken != nil {
					cancel()
					return
				}
			}
			events[i] = e
		}
		b.Events = events
		handle(b)
	})
	if broken != nil {
		return broken
	}
	return err
}

// Compact implements store.Store.
func (s *Store) Compact(ctx context.Context, rev int64) error { return s.inner.Compact(ctx, rev) }

// RequestProgress asks the store behind for its progress, if it can be asked.
func (s *Store) RequestProgress(ctx context.Context) error {
	if p, ok := s.inner.(interface{ RequestProgress(context.Context) error }); ok {
		return p.RequestProgress(ctx)
	}
	return nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.keys.Load().close()
	return s.inner.Close()
}
