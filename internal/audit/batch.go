package audit

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxInFlight bounds the batches of an asynchronous sink that are on their way
// at once.
const maxInFlight = 50

// batch gathers events for a sink.
type batch struct {
	BatchConfig
	write  func(context.Context, []encoded)
	buffer chan encoded
	limit  *rate.Limiter
	flight chan struct{}
}

func newBatch(c BatchConfig, write func(context.Context, []encoded)) *batch {
	b := &batch{BatchConfig: c, write: write, buffer: make(chan encoded, c.BufferSize), flight: make(chan struct{}, maxInFlight)}
	if c.Throttle {
		b.limit = rate.NewLimiter(rate.Limit(c.ThrottleQPS), c.ThrottleBurst)
	}
	return b
}

// put keeps an event for later; false if there is no room.
func (b *batch) put(e encoded) bool {
	select {
	case b.buffer <- e:
		return true
	default:
		return false
	}
}

// run hands on batches until ctx ends, then what is left.
func (b *batch) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		events, more := b.collect(ctx)
		if len(events) > 0 {
			b.send(ctx, &wg, events)
		}
		if !more {
			break
		}
	}
	for {
		events := b.rest()
		if len(events) == 0 {
			return
		}
		b.write(context.WithoutCancel(ctx), events)
	}
}

func (b *batch) send(ctx context.Context, wg *sync.WaitGroup, events []encoded) {
	if b.limit != nil {
		_ = b.limit.Wait(ctx) // at the end it does not wait
	}
	// what is on its way at the end still arrives
	out := context.WithoutCancel(ctx)
	if !b.Async {
		b.write(out, events)
		return
	}
	b.flight <- struct{}{}
	wg.Go(func() {
		defer func() { <-b.flight }()
		b.write(out, events)
	})
}

// collect gathers a batch; false at the end.
func (b *batch) collect(ctx context.Context) (events []encoded, more bool) {
	var full <-chan time.Time
	for len(events) < b.MaxSize {
		select {
		case <-ctx.Done():
			return events, false
		case e := <-b.buffer:
			if len(events) == 0 && b.MaxSize > 1 {
				t := time.NewTimer(b.MaxWait)
				defer t.Stop()
				full = t.C
			}
			events = append(events, e)
		case <-full:
			return events, true
		}
	}
	return events, true
}

// rest takes what is there.
func (b *batch) rest() (events []encoded) {
	for len(events) < b.MaxSize {
		select {
		case e := <-b.buffer:
			events = append(events, e)
		default:
			return events
		}
	}
	return events
}
