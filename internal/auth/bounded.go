package auth

import "sync"

// bounded is a map of limited size that forgets what was not used for longest, roughly: it has two halves; when
// the young one is full it becomes the old one, and the old one goes. It holds at most twice its limit.
type bounded[K comparable, V any] struct {
	limit int

	mu         sync.RWMutex
	young, old map[K]V
}

func newBounded[K comparable, V any](limit int) *bounded[K, V] {
	return &bounded[K, V]{limit: limit, young: map[K]V{}}
}

func (b *bounded[K, V]) get(key K) (V, bool) {
	b.mu.RLock()
	v, ok := b.young[key]
	if ok {
		b.mu.RUnlock()
		return v, true
	}
	v, ok = b.old[key]
	b.mu.RUnlock()
	if ok {
		b.put(key, v)
	}
	return v, ok
}

func (b *bounded[K, V]) put(key K, v V) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.young) >= b.limit {
		b.old, b.young = b.young, map[K]V{}
	}
	b.young[key] = v
}
