package cache

import (
	"context"
	"errors"
	"time"
)

// Follow calls handle with an event for each object there is, then with every
// change, until ctx ends. A follower that fell behind the window is brought up
// to date by the difference of what it saw last and what there is: it may miss
// states between, never the last one. handle runs on the caller's goroutine;
// the slice is shared and must not be kept.
func (c *Cache) Follow(ctx context.Context, handle func([]Event)) error {
	snap, w := c.SnapshotAndWatch()
	var first []Event
	snap.Ascend("", "", func(it *Item) bool {
		first = append(first, Event{Item: it, Rev: it.Rev})
		return true
	})
	if len(first) > 0 {
		handle(first)
	}
	for {
		events, changed, now, err := w.takeWithSnapshot()
		switch {
		case errors.Is(err, ErrExpired):
			now, w = c.SnapshotAndWatch()
			events = difference(snap, now)
		case err != nil:
			return err
		}
		if len(events) > 0 {
			snap = now
			handle(events)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *Watcher) takeWithSnapshot() ([]Event, <-chan struct{}, Snapshot, error) {
	c := w.c
	c.mu.Lock()
	defer c.mu.Unlock()
	events, changed, err := w.takeLocked()
	if err != nil || len(events) == 0 {
		return events, changed, Snapshot{}, err
	}
	return events, changed, c.snapshotLocked(), nil
}

// difference makes the events that lead from one snapshot to a later one, the
// deletions first.
func difference(from, to Snapshot) []Event {
	var out []Event
	now := time.Now()
	from.Ascend("", "", func(it *Item) bool {
		if to.Get(it.Key) == nil {
			out = append(out, Event{Item: it, Prev: it, Deleted: true, Rev: to.Rev, at: now})
		}
		return true
	})
	to.Ascend("", "", func(it *Item) bool {
		if prev := from.Get(it.Key); prev != it {
			out = append(out, Event{Item: it, Prev: prev, Rev: it.Rev, at: now})
		}
		return true
	})
	return out
}
