package store

import (
	"context"
	"strings"
	"sync"

	"github.com/tidwall/btree"
)

// Memory is a store that forgets at exit. It serves tests and simulations.
type Memory struct {
	mu        sync.Mutex
	now       *btree.BTreeG[KV]
	rev       int64
	compacted int64
	history   []Event // every event after compacted, in order
	old       map[int64]*btree.BTreeG[KV]
	changed   chan struct{} // closed and replaced at each event
}

// NewMemory makes an empty store at revision 1, as etcd begins.
func NewMemory() *Memory {
	return &Memory{
		now:     btree.NewBTreeGOptions(func(a, b KV) bool { return a.Key < b.Key }, btree.Options{NoLocks: true}),
		rev:     1,
		old:     map[int64]*btree.BTreeG[KV]{},
		changed: make(chan struct{}),
	}
}

// Revision implements Store.
func (m *Memory) Revision(context.Context) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rev, nil
}

// Range implements Store. Past revisions are rebuilt from the history.
func (m *Memory) Range(_ context.Context, prefix, start string, at int64, limit int) (Page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	tree, err := m.treeLocked(at)
	if err != nil {
		return Page{}, err
	}
	if at == 0 {
		at = m.rev
	}
	p := Page{Rev: m.rev}
	tree.Ascend(KV{Key: max(prefix, start)}, func(kv KV) bool {
		if !strings.HasPrefix(kv.Key, prefix) {
			return false
		}
		if limit > 0 && len(p.KVs) == limit {
			p.More = true
			return false
		}
		p.KVs = append(p.KVs, kv)
		return true
	})
	return p, nil
}

func (m *Memory) treeLocked(at int64) (*btree.BTreeG[KV], error) {
	switch {
	case at == 0 || at == m.rev:
		return m.now, nil
	case at > m.rev:
		return nil, ErrFuture
	case at < m.compacted || m.old[at] == nil:
		return nil, ErrCompacted
	}
	return m.old[at], nil
}

// Create implements Store.
func (m *Memory) Create(_ context.Context, key string, value []byte) (int64, error) {
	if len(value) > MaxValueBytes {
		return 0, ErrTooLarge
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.now.Get(KV{Key: key}); ok {
		return 0, ErrExists
	}
	return m.applyLocked(Event{Key: key, Value: value}), nil
}

// Update implements Store.
func (m *Memory) Update(_ context.Context, key string, value []byte, expect int64) (int64, error) {
	if len(value) > MaxValueBytes {
		return 0, ErrTooLarge
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.expectLocked(key, expect); err != nil {
		return 0, err
	}
	return m.applyLocked(Event{Key: key, Value: value}), nil
}

// Delete implements Store.
func (m *Memory) Delete(_ context.Context, key string, expect int64) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.expectLocked(key, expect); err != nil {
		return 0, err
	}
	return m.applyLocked(Event{Key: key, Deleted: true}), nil
}

func (m *Memory) expectLocked(key string, expect int64) error {
	cur, ok := m.now.Get(KV{Key: key})
	if !ok {
		return &Conflict{Current: KV{Key: key}}
	}
	if cur.ModRev != expect {
		return &Conflict{Current: cur}
	}
	return nil
}

func (m *Memory) applyLocked(e Event) int64 {
	m.old[m.rev] = m.now.Copy()
	m.rev++
	e.Rev = m.rev
	if e.Deleted {
		m.now.Delete(KV{Key: e.Key})
	} else {
		m.now.Set(KV{Key: e.Key, Value: e.Value, ModRev: e.Rev})
	}
	m.history = append(m.history, e)
	close(m.changed)
	m.changed = make(chan struct{})
	return m.rev
}

// Watch implements Store.
func (m *Memory) Watch(ctx context.Context, prefix string, from int64, handle func(Batch)) error {
	for {
		m.mu.Lock()
		if from <= m.compacted {
			m.mu.Unlock()
			return ErrCompacted
		}
		var b Batch
		for _, e := range m.history {
			if e.Rev >= from && strings.HasPrefix(e.Key, prefix) {
				b.Events = append(b.Events, e)
			}
		}
		b.Rev = m.rev
		changed := m.changed
		m.mu.Unlock()
		if b.Rev >= from {
			from = b.Rev + 1
			handle(b)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// Compact implements Store.
func (m *Memory) Compact(_ context.Context, rev int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if rev <= m.compacted {
		return ErrCompacted
	}
	if rev > m.rev {
		return ErrFuture
	}
	m.compacted = rev
	for r := range m.old {
		if r < rev {
			delete(m.old, r)
		}
	}
	kept := m.history[:0:0]
	for _, e := range m.history {
		if e.Rev > rev {
			kept = append(kept, e)
		}
	}
	m.history = kept
	return nil
}

// Close implements Store.
func (m *Memory) Close() error { return nil }
