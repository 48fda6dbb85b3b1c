// Package controllers runs control loops: each watches some kinds, and closes
// the difference between what is wanted and what is.
//
// A controller is a value: its name, its inputs (kinds, and how a change
// becomes a key), its outputs (what it alone or with others writes), and
// Reconcile, which reads the caches, decides with pure code, and writes. The
// engine owns everything else: queues, workers, back-off, time, metrics.
//
// A write returns when the caches have it, so a controller always sees its own
// writes: there are no expectations to keep. Reconcile is level triggered and
// idempotent; one key is never reconciled by two workers at once.
//
// Each controller lives in a folder of its area with its decisions in files
// without effects. Tests drive decisions by tables, and Reconcile on the real
// pipeline over a store in memory (controllertest).
package controllers

import (
	"context"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
)

// Back-off of a key whose reconciliation fails, upstream's controllers' values.
const (
	minBackoff = 5 * time.Millisecond
	maxBackoff = 1000 * time.Second
)

// A key whose turn took long rests before its next one, so that the changes of
// thousands of pods are taken in tens at a time, and one large object cannot
// keep a worker for itself.
const (
	restAfter  = 2 * time.Millisecond // turns shorter than this need none
	restFactor = 4
	maxRest    = 20 * time.Millisecond
)

// Key names the object a reconciliation is about.
type Key struct{ Namespace, Name string }

// KeyOf is the key of an object.
func KeyOf(o api.Object) Key { return Key{o.GetNamespace(), o.GetName()} }

// Input is a kind a controller reacts to. Make it with On.
type Input struct {
	// Kind is the Go type, for the table of who reads what.
	Kind   func(*api.Table) *api.Kind
	follow func(ctx context.Context, c *client.Client, add func(Key)) error
}

// On reacts to changes of a kind: keys names what is to be reconciled. old is
// nil for a new object; of a deletion, cur is the last state. A nil keys means
// the object itself.
func On[T api.Object](keys func(old, cur T) []Key) Input {
	return Input{
		Kind: api.For[T],
		follow: func(ctx context.Context, c *client.Client, add func(Key)) error {
			return client.Of[T](c).Follow(ctx, func(changes []client.Change[T]) {
				for _, ch := range changes {
					if keys == nil {
						add(KeyOf(ch.New))
						continue
					}
					for _, k := range keys(ch.Old, ch.New) {
						add(k)
					}
				}
			})
		},
	}
}

// OnKind is On for controllers that serve every kind alike. It sees whole
// events, and whether an object is gone.
func OnKind(k *api.Kind, keys func(cache.Event) []Key) Input {
	return Input{
		Kind: func(*api.Table) *api.Kind { return k },
		follow: func(ctx context.Context, c *client.Client, add func(Key)) error {
			return c.Caches().Of(k).Follow(ctx, func(events []cache.Event) {
				for _, e := range events {
					for _, key := range keys(e) {
						add(key)
					}
				}
			})
		},
	}
}

// Output is what a controller writes.
type Output struct {
	Kind      func(*api.Table) *api.Kind // nil: any
	Field     string                     // "" the object, "status", "spec.replicas", …
	Exclusive bool                       // no other controller writes it
}

// Controller is one control loop.
type Controller struct {
	Name    string
	Inputs  []Input
	Outputs []Output
	Workers int // 0: 2
	// Client writes under the controller's own service account; the engine
	// follows the inputs through it as well.
	Client *client.Client
	// Reconcile closes the difference for one key. A positive duration asks for
	// another turn after it; an error for one after the back-off. A conflict is
	// retried without a log line.
	Reconcile func(ctx context.Context, key Key) (time.Duration, error)
	// Background, where set, runs beside the workers with a function that adds
	// keys: for what no object change announces.
	Background func(ctx context.Context, add func(Key)) error
}

// Run runs the controllers until ctx ends, and returns after all of them.
func Run(ctx context.Context, log *slog.Logger, list []*Controller) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, c := range list {
		wg.Go(func() { c.run(ctx, log.With("controller", c.Name)) })
	}
	<-ctx.Done()
	return nil
}

func (c *Controller) run(ctx context.Context, log *slog.Logger) {
	q := workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[Key](minBackoff, maxBackoff))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer q.ShutDown()
	for _, in := range c.Inputs {
		wg.Go(func() {
			if err := in.follow(ctx, c.Client, q.Add); err != nil {
				log.Error("controllers: an input ended", "error", err)
			}
		})
	}
	if c.Background != nil {
		wg.Go(func() {
			if err := c.Background(ctx, q.Add); err != nil && ctx.Err() == nil {
				log.Error("controllers: the background of a controller ended", "error", err)
			}
		})
	}
	workers := c.Workers
	if workers == 0 {
		workers = 2
	}
	for range workers {
		wg.Go(func() {
			for c.turn(ctx, log, q) {
			}
		})
	}
	<-ctx.Done()
}

func (c *Controller) turn(ctx context.Context, log *slog.Logger, q workqueue.TypedRateLimitingInterface[Key]) bool {
	key, down := q.Get()
	if down {
		return false
	}
	start := time.Now()
	defer func() {
		// not done yet, as far as the queue knows: it holds changes back
		if took := time.Since(start); took > restAfter && ctx.Err() == nil {
			time.AfterFunc(min(restFactor*took, maxRest), func() { q.Done(key) })
			return
		}
		q.Done(key)
	}()
	again, err := c.Reconcile(ctx, key)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		if n := q.NumRequeues(key); !apierrors.IsConflict(err) && (n == 0 || n == 5) {
			log.Warn("controllers: a reconciliation failed; it is tried again", "namespace", key.Namespace, "name", key.Name, "error", err)
		}
		q.AddRateLimited(key)
	default:
		q.Forget(key)
		if again > 0 {
			q.AddAfter(key, again)
		}
	}
	return true
}
