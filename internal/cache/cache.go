package cache

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/monohull/monohull/internal/api"
	"github.com/tidwall/btree"
)

// Bounds of the window of events that a cache keeps for its watchers.
const (
	maxWindowEvents = 32768
	maxWindowBytes  = 16 << 20
	// windowAge is how long an event is kept at least while the bounds allow,
	// so that a client that reconnects can go on where it was.
	windowAge = 75 * time.Second
)

// ErrExpired: the revision is older than what the window holds. List again.
var ErrExpired = errors.New("cache: too old resource version")

// Event is one change of one object. Item is the new state, or, of a deletion,
// the last state at the revision of the deletion. Prev is the state before,
// nil when the object is new.
type Event struct {
	Item    *Item
	Prev    *Item
	Deleted bool
	Rev     int64
	at      time.Time
}

// Index names a further order of a kind's objects: the values it files an
// object under.
type Index struct {
	Name   string
	Values func(api.Object) []string
}

// Cache holds all objects of one kind.
type Cache struct {
	Kind    *api.Kind
	indexes []Index
	set     *Set

	mu      sync.Mutex
	tree    *btree.BTreeG[*Item]
	filed   []*btree.BTreeG[entry] // one per index
	last    int64                  // revision of the newest event applied
	floor   int64                  // the window holds every event after floor
	window  []Event
	bytes   int           // of the window
	size    int64         // of all objects
	changed chan struct{} // closed and replaced when the window grows
}

type entry struct {
	value string
	item  *Item
}

func newCache(s *Set, k *api.Kind, indexes []Index) *Cache {
	c := &Cache{Kind: k, indexes: indexes, set: s, changed: make(chan struct{})}
	c.tree = newTree()
	for range indexes {
		c.filed = append(c.filed, newFiled())
	}
	return c
}

func newTree() *btree.BTreeG[*Item] {
	return btree.NewBTreeGOptions(func(a, b *Item) bool { return a.Key < b.Key }, btree.Options{NoLocks: true})
}

func newFiled() *btree.BTreeG[entry] {
	return btree.NewBTreeGOptions(func(a, b entry) bool {
		if a.value != b.value {
			return a.value < b.value
		}
		return a.item.Key < b.item.Key
	}, btree.Options{NoLocks: true})
}

// Snapshot is all objects of a kind as of Rev. It never changes.
type Snapshot struct {
	Rev   int64
	last  int64
	cache *Cache
	tree  *btree.BTreeG[*Item]
	filed []*btree.BTreeG[entry]
}

// Snapshot returns the newest state.
func (c *Cache) Snapshot() Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.snapshotLocked()
}

func (c *Cache) snapshotLocked() Snapshot {
	s := Snapshot{Rev: max(c.set.rev.Load(), c.last), last: c.last, cache: c, tree: c.tree.Copy()}
	for _, f := range c.filed {
		s.filed = append(s.filed, f.Copy())
	}
	return s
}

// Get finds one object's item by key, or nil.
func (c *Cache) Get(key string) *Item {
	c.mu.Lock()
	defer c.mu.Unlock()
	it, _ := c.tree.Get(&Item{Key: key})
	return it
}

// LastChange is the revision of the newest change of the kind.
func (c *Cache) LastChange() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// Len is the number of objects.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tree.Len()
}

// Size is the number of objects and how many bytes their messages take.
func (c *Cache) Size() (objects int, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tree.Len(), c.size
}

// LastChange is the revision of the newest change of the kind in it.
func (s Snapshot) LastChange() int64 { return s.last }

// At is the same state as of another revision at which it was the state too.
func (s Snapshot) At(rev int64) Snapshot {
	s.Rev = rev
	return s
}

// Get finds one object's item by key, or nil.
func (s Snapshot) Get(key string) *Item {
	it, _ := s.tree.Get(&Item{Key: key})
	return it
}

// Len is the number of objects.
func (s Snapshot) Len() int { return s.tree.Len() }

// Ascend calls fn for each item of a namespace ("" for all) in key order from
// the key after on ("" from the first), until fn returns false.
func (s Snapshot) Ascend(namespace, after string, fn func(*Item) bool) {
	prefix := ""
	if namespace != "" && s.cache.Kind.Namespaced {
		prefix = namespace + "/"
	}
	s.tree.Ascend(&Item{Key: max(prefix, after)}, func(it *Item) bool {
		if !strings.HasPrefix(it.Key, prefix) {
			return false
		}
		return it.Key == after || fn(it)
	})
}

// ByIndex calls fn for each item filed under value, in key order.
func (s Snapshot) ByIndex(index, value string, fn func(*Item) bool) {
	for i, ix := range s.cache.indexes {
		if ix.Name != index {
			continue
		}
		s.filed[i].Ascend(entry{value: value, item: &Item{}}, func(e entry) bool {
			return e.value == value && fn(e.item)
		})
		return
	}
	panic("cache: " + s.cache.Kind.Plural + " has no index " + index)
}

// apply puts one event into tree, indexes and window. Only the feed calls it.
func (c *Cache) apply(ch change, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	prev, ok := c.fileLocked(ch)
	if !ok {
		return
	}
	c.last = ch.rev
	c.window = append(c.window, Event{Item: ch.item, Prev: prev, Deleted: ch.deleted, Rev: ch.rev, at: now})
	c.bytes += ch.item.size
	if prev != nil && prev.Rev <= c.floor {
		prev.retire() // neither current nor in the window
	}
	c.trimLocked(now)
	c.wakeLocked()
}

// reload puts in what differs after a load of the whole store. The states
// between are lost and the order is not that of the revisions: so it all shows
// at once, and watchers from before are cut.
func (c *Cache) reload(changes []change, at int64) {
	c.mu.Lock()
	for _, ch := range changes {
		if prev, _ := c.fileLocked(ch); prev != nil {
			prev.retire()
		}
	}
	for i := range c.window {
		c.leaveLocked(&c.window[i])
	}
	c.floor, c.last, c.window, c.bytes = at, at, nil, 0
	c.wakeLocked()
	c.mu.Unlock()
	for _, ch := range changes {
		ch.announce()
	}
}

// fileLocked changes tree and indexes; false where there was nothing to delete.
func (c *Cache) fileLocked(ch change) (prev *Item, ok bool) {
	if ch.deleted {
		if prev, _ = c.tree.Delete(ch.item); prev == nil {
			return nil, false
		}
	} else {
		prev, _ = c.tree.Set(ch.item)
		c.size += int64(ch.item.size)
	}
	if prev != nil {
		c.size -= int64(prev.size)
	}
	for i, ix := range c.indexes {
		if prev != nil {
			for _, v := range ix.Values(prev.Obj) {
				c.filed[i].Delete(entry{v, prev})
			}
		}
		if !ch.deleted {
			for _, v := range ix.Values(ch.item.Obj) {
				c.filed[i].Set(entry{v, ch.item})
			}
		}
	}
	return prev, true
}

func (c *Cache) wakeLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// leaveLocked ends the encodings of an event's object that leaves the window,
// unless it is the current one.
func (c *Cache) leaveLocked(e *Event) {
	if cur, _ := c.tree.Get(e.Item); cur != e.Item {
		e.Item.retire()
	}
}

// trimLocked drops the oldest events while the window is over a bound or they
// are over age. Watchers may still read the dropped ones through their slices.
func (c *Cache) trimLocked(now time.Time) {
	n := 0
	for n < len(c.window)-1 {
		e := c.window[n]
		if len(c.window)-n <= maxWindowEvents && c.bytes <= maxWindowBytes && now.Sub(e.at) < windowAge {
			break
		}
		c.bytes -= e.Item.size
		c.floor = e.Rev
		c.leaveLocked(&e)
		n++
	}
	if n == 0 {
		return
	}
	c.window = c.window[n:]
	if cap(c.window) > 64 && len(c.window) < cap(c.window)/4 {
		c.window = append([]Event(nil), c.window...)
	}
}

// trim lets go of events over age when no new ones push them out.
func (c *Cache) trim(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trimLocked(now)
}

// Watcher is a position in a cache's events.
type Watcher struct {
	c   *Cache
	rev int64 // the next event is the first one after rev
}

// Watch follows the events after revision rev.
func (c *Cache) Watch(rev int64) (*Watcher, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rev < c.floor {
		return nil, ErrExpired
	}
	return &Watcher{c: c, rev: rev}, nil
}

// SnapshotAndWatch returns the newest state and a watcher that goes on from it.
func (c *Cache) SnapshotAndWatch() (Snapshot, *Watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.snapshotLocked()
	return s, &Watcher{c: c, rev: s.Rev}
}

// Next waits for events after those it returned before, and returns all there
// are. The slice is shared: read it, do not keep it long. It fails with
// ErrExpired when the watcher fell behind the window, or with ctx's error.
func (w *Watcher) Next(ctx context.Context) ([]Event, error) {
	for {
		events, changed, err := w.take()
		if err != nil || len(events) > 0 {
			return events, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Poll is Next without waiting: it may return no events, and then a channel
// that closes when there are some.
func (w *Watcher) Poll() ([]Event, <-chan struct{}, error) { return w.take() }

func (w *Watcher) take() ([]Event, <-chan struct{}, error) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	return w.takeLocked()
}

func (w *Watcher) takeLocked() ([]Event, <-chan struct{}, error) {
	c := w.c
	if w.rev < c.floor {
		return nil, nil, ErrExpired
	}
	if w.rev >= c.last {
		return nil, c.changed, nil
	}
	lo, hi := 0, len(c.window)
	for lo < hi {
		if mid := (lo + hi) / 2; c.window[mid].Rev <= w.rev {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	events := c.window[lo:len(c.window):len(c.window)]
	w.rev = c.last
	return events, c.changed, nil
}

// Rev is the revision up to which the watcher has seen every event: what a
// bookmark may say.
func (w *Watcher) Rev() int64 {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if w.rev >= w.c.last {
		w.rev = max(w.rev, w.c.set.rev.Load())
	}
	return w.rev
}
