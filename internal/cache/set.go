package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/store"
)

// Prefix is where objects lie in the store.
const Prefix = "/registry/"

const (
	loadPage     = 2000
	trimInterval = time.Minute
	// retryInterval lies between a watch of the store that broke and the next.
	retryInterval = 100 * time.Millisecond
)

// Set is the caches of all kinds, fed from one watch of the store.
type Set struct {
	store    store.Store
	log      *slog.Logger
	caches   []*Cache
	byKind   map[*api.Kind]*Cache
	byPrefix map[string]*Cache // "pods", "services/specs"
	shared   bool              // others write to the store too

	rev    atomic.Int64 // all events up to rev are in the caches
	loaded chan struct{}

	expectMu sync.Mutex
	expected map[string][]*Expectation // by store key
	waiters  map[chan struct{}]int64   // wake when rev reaches the value
}

// Config describes a Set.
type Config struct {
	Store   store.Store
	Table   *api.Table
	Indexes map[*api.Kind][]Index
	// Shared says that other processes write to the store as well, so that a
	// consistent read has to ask it for its revision.
	Shared bool
	Logger *slog.Logger
}

// NewSet makes empty caches; Run fills them.
func NewSet(cfg Config) *Set {
	s := &Set{
		store: cfg.Store, log: cfg.Logger, shared: cfg.Shared,
		byKind: map[*api.Kind]*Cache{}, byPrefix: map[string]*Cache{},
		loaded: make(chan struct{}), expected: map[string][]*Expectation{}, waiters: map[chan struct{}]int64{},
	}
	for _, k := range cfg.Table.Kinds() {
		c := newCache(s, k, cfg.Indexes[k])
		s.caches = append(s.caches, c)
		s.byKind[k], s.byPrefix[k.Prefix] = c, c
	}
	return s
}

// Of returns the cache of a kind.
func (s *Set) Of(k *api.Kind) *Cache { return s.byKind[k] }

// Loaded is closed once every cache holds what the store held at start.
func (s *Set) Loaded() <-chan struct{} { return s.loaded }

// Rev is the revision up to which the caches are complete.
func (s *Set) Rev() int64 { return s.rev.Load() }

// Run loads the store and follows it until ctx ends. A broken watch is begun
// again, with a fresh load where history was lost; readers see only events.
func (s *Set) Run(ctx context.Context) error {
	rev, err := s.load(ctx)
	if err != nil {
		return fmt.Errorf("cache: loading: %w", err)
	}
	close(s.loaded)
	ticker := time.NewTicker(trimInterval)
	defer ticker.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-ticker.C:
				for _, c := range s.caches {
					c.trim(now)
				}
			}
		}
	})
	for {
		err := s.store.Watch(ctx, Prefix, rev+1, func(b store.Batch) {
			s.feed(b)
			rev = max(rev, b.Rev)
		})
		if ctx.Err() != nil {
			return nil
		}
		s.log.Warn("cache: the watch of the store broke; it is begun again", "after", rev, "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryInterval):
		}
		if !errors.Is(err, store.ErrCompacted) {
			continue // the history since rev is still there
		}
		r, err := s.load(ctx)
		switch {
		case err == nil:
			rev = r
		case ctx.Err() == nil:
			s.log.Error("cache: the store could not be loaded again", "error", err)
		}
	}
}

// load reads everything and turns differences from what the caches hold into
// one change of each cache that differs.
func (s *Set) load(ctx context.Context) (int64, error) {
	seen := map[*Cache]map[string]bool{}
	changes := map[*Cache][]change{}
	start, at := "", int64(0)
	for {
		p, err := s.store.Range(ctx, Prefix, start, at, loadPage)
		if err != nil {
			return 0, err
		}
		if at == 0 {
			at = p.Rev
		}
		for _, kv := range p.KVs {
			c, key := s.find(kv.Key)
			if c == nil {
				continue
			}
			if seen[c] == nil {
				seen[c] = map[string]bool{}
			}
			seen[c][key] = true
			if cur := c.Get(key); cur != nil && cur.Rev == kv.ModRev {
				continue
			}
			if ch, ok := s.changeTo(c, kv.Key, kv.Value, kv.ModRev); ok {
				ch.item.sealed = kv.Sealed
				changes[c] = append(changes[c], ch)
			}
		}
		if !p.More {
			break
		}
		start = p.KVs[len(p.KVs)-1].Key + "\x00"
	}
	for _, c := range s.caches {
		c.Snapshot().Ascend("", "", func(it *Item) bool {
			if !seen[c][it.Key] {
				changes[c] = append(changes[c], s.removal(c, it, at))
			}
			return true
		})
		c.reload(changes[c], at)
	}
	s.advance(at)
	return at, nil
}

func (s *Set) feed(b store.Batch) {
	now := time.Now()
	for _, e := range b.Events {
		c, key := s.find(e.Key)
		if c == nil {
			continue
		}
		if e.Deleted {
			if cur := c.Get(key); cur != nil {
				c.apply(s.removal(c, cur, e.Rev), now)
			}
			continue
		}
		s.put(c, e, now)
	}
	s.advance(b.Rev)
}

// find tells the cache and the cache's key of a store key.
func (s *Set) find(storeKey string) (*Cache, string) {
	rest := storeKey[len(Prefix):]
	for i := range len(rest) {
		if rest[i] == '/' {
			if c := s.byPrefix[rest[:i]]; c != nil {
				return c, rest[i+1:]
			}
		}
	}
	return nil, ""
}

// change is one object's new state on its way into a cache.
type change struct {
	item    *Item
	rev     int64
	deleted bool
	exp     *Expectation // the write that waits for it, if any
}

// announce tells the writer that its object can be read.
func (ch change) announce() {
	if ch.exp != nil {
		ch.exp.item = ch.item
		close(ch.exp.done)
	}
}

func (s *Set) put(c *Cache, e store.Event, now time.Time) {
	if ch, ok := s.changeTo(c, e.Key, e.Value, e.Rev); ok {
		ch.item.sealed = e.Sealed
		c.apply(ch, now)
		ch.announce()
	}
}

// changeTo reads a stored value, or takes the object that was announced with it.
func (s *Set) changeTo(c *Cache, storeKey string, value []byte, rev int64) (change, bool) {
	if exp := s.match(storeKey, value); exp != nil {
		setRevision(exp.obj, rev)
		return change{item: newItem(c.Kind, exp.obj, rev, api.Raw(exp.value)), rev: rev, exp: exp}, true
	}
	obj, raw, err := c.Kind.DecodeStored(value, rev)
	if err != nil {
		s.log.Error("cache: an object in the store cannot be read; it is left out", "key", storeKey, "error", err)
		return change{}, false
	}
	return change{item: newItem(c.Kind, obj, rev, raw), rev: rev}, true
}

func (s *Set) removal(c *Cache, cur *Item, rev int64) change {
	obj := cur.Obj.DeepCopyObject().(api.Object)
	setRevision(obj, rev)
	return change{item: newItem(c.Kind, obj, rev, cur.raw), rev: rev, deleted: true}
}

func (s *Set) advance(rev int64) {
	if rev > s.rev.Load() {
		s.rev.Store(rev)
	}
	s.expectMu.Lock()
	defer s.expectMu.Unlock()
	for ch, want := range s.waiters {
		if rev >= want {
			delete(s.waiters, ch)
			close(ch)
		}
	}
}

// WaitFor returns when the caches hold every event up to rev.
func (s *Set) WaitFor(ctx context.Context, rev int64) error {
	if s.rev.Load() >= rev {
		return nil
	}
	ch := make(chan struct{})
	s.expectMu.Lock()
	s.waiters[ch] = rev
	s.expectMu.Unlock()
	if s.rev.Load() >= rev { // it advanced before the waiter was there
		s.expectMu.Lock()
		delete(s.waiters, ch)
		s.expectMu.Unlock()
		return nil
	}
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		s.expectMu.Lock()
		delete(s.waiters, ch)
		s.expectMu.Unlock()
		return fmt.Errorf("cache: waiting for revision %d: %w", rev, ctx.Err())
	}
}

// Stale tells whether an object should be written anew though it has not
// changed, because the store has encrypted it with a key that is no longer the
// newest.
func (s *Set) Stale(it *Item) bool {
	enc, ok := s.store.(interface {
		Stale(key string, sealed uint64) bool
	})
	return ok && enc.Stale(it.Kind.StoreKey(it.Obj.GetNamespace(), it.Obj.GetName()), it.sealed)
}

// progresser is a store whose watches tell their progress on request.
type progresser interface{ RequestProgress(context.Context) error }

// Fresh returns when the caches hold everything that was written before the
// call, by whomever.
func (s *Set) Fresh(ctx context.Context) error {
	if !s.shared {
		return nil // every writer waited for the caches before it answered
	}
	rev, err := s.store.Revision(ctx)
	if err != nil {
		return err
	}
	if p, ok := s.store.(progresser); ok && s.rev.Load() < rev {
		// what moved the revision may lie outside of what is watched
		if err := p.RequestProgress(ctx); err != nil {
			return err
		}
	}
	return s.WaitFor(ctx, rev)
}

// Expectation is a write under way.
type Expectation struct {
	set   *Set
	key   string
	value []byte
	obj   api.Object
	done  chan struct{}
	item  *Item
}

// Expect announces that value, the encoding of obj, is about to be put at
// storeKey. The object belongs to the cache from now on.
func (s *Set) Expect(storeKey string, value []byte, obj api.Object) *Expectation {
	e := &Expectation{set: s, key: storeKey, value: value, obj: obj, done: make(chan struct{})}
	s.expectMu.Lock()
	s.expected[storeKey] = append(s.expected[storeKey], e)
	s.expectMu.Unlock()
	return e
}

func (s *Set) match(storeKey string, value []byte) *Expectation {
	s.expectMu.Lock()
	defer s.expectMu.Unlock()
	for _, e := range s.expected[storeKey] {
		if bytes.Equal(e.value, value) {
			s.dropLocked(e)
			return e
		}
	}
	return nil
}

func (s *Set) dropLocked(e *Expectation) {
	list := s.expected[e.key]
	for i, x := range list {
		if x == e {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(s.expected, e.key)
	} else {
		s.expected[e.key] = list
	}
}

// Cancel ends an expectation whose write did not happen.
func (e *Expectation) Cancel() {
	e.set.expectMu.Lock()
	defer e.set.expectMu.Unlock()
	e.set.dropLocked(e)
}

// Wait returns the item written at revision rev once readers can see it.
func (e *Expectation) Wait(ctx context.Context, c *Cache, rev int64) (*Item, error) {
	select {
	case <-e.done:
		if e.item.Rev == rev {
			return e.item, nil
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-e.set.passed(rev):
	}
	e.Cancel()
	if err := e.set.WaitFor(ctx, rev); err != nil {
		return nil, err
	}
	select {
	case <-e.done:
		if e.item.Rev == rev {
			return e.item, nil
		}
	default:
	}
	// a twin write took the announced object: read our own bytes
	obj, raw, err := c.Kind.DecodeStored(e.value, rev)
	if err != nil {
		return nil, err
	}
	return NewItem(c.Kind, obj, rev, raw), nil
}

// passed is closed when the caches have moved on to rev. It guards a writer
// against a watch that broke between its write and its event.
func (s *Set) passed(rev int64) <-chan struct{} {
	ch := make(chan struct{})
	s.expectMu.Lock()
	defer s.expectMu.Unlock()
	if s.rev.Load() >= rev {
		close(ch)
		return ch
	}
	s.waiters[ch] = rev
	return ch
}

func setRevision(obj api.Object, rev int64) {
	obj.SetResourceVersion(strconv.FormatInt(rev, 10))
}
