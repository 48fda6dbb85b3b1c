// Package cache is the one copy of every object.
//
// A Cache holds all objects of a kind in a persistent tree, in key order, with
// indexes as further trees; a Set holds a Cache per kind and feeds them all
// from one watch of the store. Lists, watches, controllers, the scheduler, the
// kubelet and DNS read the same pointers: nothing read from here may be
// written to. Taking a Snapshot costs O(1) whatever the size, and a snapshot
// never changes.
//
// Each cache keeps a bounded window of its newest events. A watcher is a
// position in that window: it holds no buffer of its own, is woken when there
// is more, and is cut with ErrExpired when the window has moved past it. No
// watcher can hold memory or delay another.
//
// Writers announce an object with Expect before they put its bytes into the
// store; the feed then takes the announced object instead of decoding the
// bytes again, and wakes the writer. So a write returns when every reader can
// see it.
//
// Lock order: Set.expectMu and Cache.mu are leaves; none is held across I/O.
//
// Tests: on store.Memory, with synctest.
package cache
