// Package store keeps the cluster's state: bytes under keys, with revisions,
// transactions on one key and watch. It knows nothing of kinds.
//
// The keys and values are upstream's, so that an etcd of another Kubernetes
// can be read and ours be read by others. There are three stores behind one
// interface and one suite (storetest): etcd inside this process with no
// listener, etcd over the network, and memory for tests.
package store

import (
	"context"
	"errors"
	"fmt"
)

// MaxValueBytes is the largest value a store takes, etcd's request limit with
// room for the key and the transaction around it.
const MaxValueBytes = 1536*1024 - 8*1024

var (
	// ErrNotFound: the key has no value.
	ErrNotFound = errors.New("store: key not found")
	// ErrExists: Create of a key that has a value.
	ErrExists = errors.New("store: key exists")
	// ErrCompacted: the revision asked for is no longer kept.
	ErrCompacted = errors.New("store: revision compacted")
	// ErrFuture: the revision asked for has not happened yet.
	ErrFuture = errors.New("store: revision is in the future")
	// ErrTooLarge: the value is over MaxValueBytes.
	ErrTooLarge = errors.New("store: value too large")
)

// KV is a key with the value it had at ModRev.
type KV struct {
	Key    string
	Value  []byte
	ModRev int64
	// Sealed is set by a store that encrypts, for it to tell later whether the
	// value is stale.
	Sealed uint64
}

// Conflict is the error of an Update or Delete whose expectation did not hold.
// Current is what the key holds instead; a nil Value means nothing.
type Conflict struct{ Current KV }

func (c *Conflict) Error() string {
	return fmt.Sprintf("store: %s is at revision %d", c.Current.Key, c.Current.ModRev)
}

// Page is part of a range, in key order, as of Rev.
type Page struct {
	KVs  []KV
	Rev  int64
	More bool
}

// Event is one change of one key. Value is nil for a deletion.
type Event struct {
	Key     string
	Value   []byte
	Rev     int64
	Deleted bool
	Sealed  uint64 // as in KV
}

// Batch is a run of events in order; all events up to and including Rev of
// the watched prefix have been delivered with it. It may be empty: progress.
type Batch struct {
	Events []Event
	Rev    int64
}

// Store is the contract. Every method is safe for concurrent use. A mutation
// that fails with an error other than those above may still have happened.
type Store interface {
	// Revision is the newest committed revision (linearizable).
	Revision(ctx context.Context) (int64, error)
	// Range reads keys that begin with prefix and sort at or after start, at
	// revision at (0: now), limit at a time (0: all).
	Range(ctx context.Context, prefix, start string, at int64, limit int) (Page, error)
	// Create puts a value where there is none, and returns its revision.
	Create(ctx context.Context, key string, value []byte) (int64, error)
	// Update replaces the value last modified at revision expect.
	Update(ctx context.Context, key string, value []byte, expect int64) (int64, error)
	// Delete removes the value last modified at revision expect.
	Delete(ctx context.Context, key string, expect int64) (int64, error)
	// Watch sends every change of keys with the prefix at or after revision
	// from to handle, in order, until ctx ends or the watch breaks.
	Watch(ctx context.Context, prefix string, from int64, handle func(Batch)) error
	// Compact forgets revisions before rev.
	Compact(ctx context.Context, rev int64) error
	// Close releases the store; the data stays.
	Close() error
}
