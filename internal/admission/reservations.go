package admission

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/monohull/monohull/internal/api/quota"
)

// Reservations are what writes have reserved of quotas whose objects are not
// in the caches yet. The quota controller, which counts what is there, adds
// them: it would otherwise give the room away a second time.
//
// The order that makes this safe: a write is in here before its quota's status
// is, and until its object is in the caches; the controller reads the quota,
// then this, then the objects, and writes only over the quota it has read.
type Reservations struct {
	mu      sync.Mutex
	open    map[quotaName]map[*reservation]bool
	changed func(namespace, name string) // nil: nobody follows
	missed  map[quotaName]bool           // what changed while nobody did
}

type quotaName struct{ namespace, name string }

// NewReservations makes an empty set.
func NewReservations() *Reservations {
	return &Reservations{open: map[quotaName]map[*reservation]bool{}, missed: map[quotaName]bool{}}
}

// reservation is that of one write. It is nil where nothing is kept.
type reservation struct {
	set       *Reservations
	namespace string
	held      map[string]corev1.ResourceList // by quota
	counted   map[string]bool                // the controller has added it
}

func (r *Reservations) begin(namespace string) *reservation {
	if r == nil {
		return nil
	}
	return &reservation{set: r, namespace: namespace, held: map[string]corev1.ResourceList{}, counted: map[string]bool{}}
}

// hold notes what the write takes of a quota, nil for nothing.
func (h *reservation) hold(name string, l corev1.ResourceList) {
	if h == nil {
		return
	}
	h.set.mu.Lock()
	defer h.set.mu.Unlock()
	key := quotaName{h.namespace, name}
	if l == nil {
		delete(h.held, name)
		delete(h.set.open[key], h)
		return
	}
	h.held[name] = l
	if h.set.open[key] == nil {
		h.set.open[key] = map[*reservation]bool{}
	}
	h.set.open[key][h] = true
}

// end gives up the reservation. Quotas that hold it for an object that is not
// there, or twice, are to be counted again.
func (h *reservation) end(stored bool) {
	if h == nil {
		return
	}
	h.set.mu.Lock()
	var again []string
	for name := range h.held {
		key := quotaName{h.namespace, name}
		delete(h.set.open[key], h)
		if len(h.set.open[key]) == 0 {
			delete(h.set.open, key)
		}
		if !stored || h.counted[name] {
			again = append(again, name)
			if h.set.changed == nil {
				h.set.missed[key] = true
			}
		}
	}
	clear(h.held)
	changed := h.set.changed
	h.set.mu.Unlock()
	for _, name := range again {
		if changed != nil {
			changed(h.namespace, name)
		}
	}
}

// Pending is what is reserved of a quota beyond what the caches hold.
func (r *Reservations) Pending(namespace, name string) corev1.ResourceList {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var sum corev1.ResourceList
	for h := range r.open[quotaName{namespace, name}] {
		h.counted[name] = true
		sum = quota.Add(sum, h.held[name])
	}
	return sum
}

// Follow calls changed, until ctx ends, for each quota that is to be counted
// again because a reservation ended. There is one follower.
func (r *Reservations) Follow(ctx context.Context, changed func(namespace, name string)) error {
	if r == nil {
		<-ctx.Done()
		return nil
	}
	r.mu.Lock()
	missed := r.missed
	r.changed, r.missed = changed, map[quotaName]bool{}
	r.mu.Unlock()
	for q := range missed {
		changed(q.namespace, q.name)
	}
	<-ctx.Done()
	r.mu.Lock()
	r.changed = nil
	r.mu.Unlock()
	return nil
}
