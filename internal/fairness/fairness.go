package fairness

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
)

const (
	// adjustInterval is how often levels lend and call in seats.
	adjustInterval = 10 * time.Second
	// maxWait is the longest a request waits in a queue.
	maxWait = time.Minute
)

// Config is what a Fairness is made of.
type Config struct {
	// Seats is how many are shared among the levels.
	Seats int
	// RequestTimeout is the longest a request may take; a quarter of it, or of
	// the time that the request itself has left, may be spent in a queue.
	RequestTimeout time.Duration
	// Size, where set, tells how large a collection is; false for kinds that are
	// served elsewhere.
	Size   func(group, plural string) (Size, bool)
	Logger *slog.Logger
}

// Fairness decides who is served.
type Fairness struct {
	Config
	meters  *meters
	watches *watches
	drops   *dropTracker

	current atomic.Pointer[snapshot]
	mu      sync.Mutex
	levels  map[string]*state // those of the snapshot, and those that are being emptied
}

// New makes a Fairness that knows the mandatory levels alone; Run keeps it to
// the cluster's.
func New(c Config) *Fairness {
	f := &Fairness{
		Config: c, meters: newMeters(), watches: newWatches(), drops: newDropTracker(), levels: map[string]*state{},
	}
	f.digest(nil, nil)
	return f
}

// Run follows the cluster's configuration, and moves seats between levels,
// until ctx ends.
func (f *Fairness) Run(ctx context.Context, table *api.Table, caches *cache.Set) error {
	changed := make(chan struct{}, 1)
	poke := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	levels := caches.Of(api.For[*flowcontrolv1.PriorityLevelConfiguration](table))
	schemas := caches.Of(api.For[*flowcontrolv1.FlowSchema](table))
	for _, c := range []*cache.Cache{levels, schemas} {
		wg.Go(func() {
			if err := c.Follow(ctx, func([]cache.Event) { poke() }); err != nil {
				f.Logger.Error("fairness: the configuration is no longer followed", "kind", c.Kind.GVK.Kind, "error", err)
			}
		})
	}
	t := time.NewTicker(adjustInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			f.digest(all[*flowcontrolv1.PriorityLevelConfiguration](levels), all[*flowcontrolv1.FlowSchema](schemas))
		case <-t.C:
			f.adjust()
		}
	}
}

func all[T api.Object](c *cache.Cache) (out []T) {
	c.Snapshot().Ascend("", "", func(it *cache.Item) bool {
		out = append(out, it.Obj.(T))
		return true
	})
	return out
}

// Ticket is one request's place. End gives it back.
type Ticket struct {
	level  *level
	schema *schema
	meters *flowMeters
	queue  *queue
	work   work
	flow   string
	req    Request

	arrived, started time.Time
	arrivalR         float64
	ready            chan struct{} // of one that waits
	prev, next       *Ticket

	state  ticketState // under the level's lock
	forget bool        // it is a watch that is counted
}

// ticketState: new → waiting → executing → done, or new → executing, or waiting → done.
type ticketState uint8

const (
	ticketNew ticketState = iota
	ticketWaiting
	ticketExecuting
	ticketDone
)

// What the answer's headers are called, upstream's names as Go writes them.
const (
	schemaHeader = "X-Kubernetes-Pf-Flowschema-Uid"
	levelHeader  = "X-Kubernetes-Pf-Prioritylevel-Uid"
)

// Mark tells the client by which schema and level its request was judged.
func (t *Ticket) Mark(h http.Header) {
	h[schemaHeader], h[levelHeader] = t.schema.uid, t.schema.levelUID
}

// Begin classifies a request and waits until it may be served. The ticket is
// never nil; if it was refused, false comes with it and it need not be ended.
func (f *Fairness) Begin(ctx context.Context, r *Request) (*Ticket, bool) {
	s := f.current.Load().classify(r)
	t := &Ticket{level: s.level.level, schema: s, meters: s.meters, req: *r}
	t.req.Query = nil
	t.work = f.estimate(r, s)
	s.meters.seats.Observe(float64(t.work.seats()))
	var hash uint64
	if !t.level.exempt && s.queues > 1 {
		t.flow = distinguisher(s.method, r)
		hash = flowHash(s.name, t.flow)
	}
	if why := t.level.begin(t, hash); why != "" {
		f.refused(t, why, 0)
		return t, false
	}
	if t.ready != nil && !f.wait(ctx, t) {
		f.refused(t, refusedTime, time.Since(t.arrived))
		return t, false
	}
	if !t.level.exempt {
		s.meters.waited.Observe(t.started.Sub(t.arrived).Seconds())
	}
	s.meters.dispatched.Inc()
	f.meters.inflight(r.Verb).Inc()
	if r.Verb == "watch" && r.Resource {
		t.forget = f.watches.add(r, 1)
	}
	return t, true
}

// wait returns false where the request's turn does not come in time.
func (f *Fairness) wait(ctx context.Context, t *Ticket) bool {
	limit := f.RequestTimeout / 4
	if deadline, ok := ctx.Deadline(); ok {
		limit = deadline.Sub(t.arrived) / 4
	}
	timer := time.NewTimer(min(limit, maxWait))
	defer timer.Stop()
	select {
	case <-t.ready:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return !t.level.giveUp(t)
}

func (f *Fairness) refused(t *Ticket, why string, waited time.Duration) {
	t.meters.reject(why).Inc()
	t.meters.waitedInVain.Observe(waited.Seconds())
	f.drops.note(t.level.name, time.Now())
}

// RetryAfter is how many seconds a request that was refused should stay away.
func (f *Fairness) RetryAfter(t *Ticket) int { return f.drops.after(t.level.name) }

// End ends what the request takes seats for: all of it, or the beginning of a
// watch. A second call does nothing.
func (f *Fairness) End(t *Ticket) {
	served, ok := t.level.finish(t)
	if !ok {
		return
	}
	f.meters.inflight(t.req.Verb).Dec()
	if t.req.Verb == "watch" {
		t.meters.servedWatch.Observe(served.Seconds())
		return
	}
	t.meters.served.Observe(served.Seconds())
}

// Forget ends a watch: it is no longer among those who are told of changes.
func (f *Fairness) Forget(t *Ticket) {
	if t.forget {
		t.forget = false
		f.watches.add(&t.req, -1)
	}
}

// estimate is the work of a request of a schema.
func (f *Fairness) estimate(r *Request, s *schema) work {
	if !r.Resource {
		return work{initial: 1}
	}
	most := int(s.level.most.Load())
	switch r.Verb {
	case "list", "watch":
		var size Size
		var known bool
		if f.Size != nil {
			size, known = f.Size(r.Group, r.Plural)
		}
		return listWork(r, size, known, most)
	case "create", "update", "patch", "delete":
		if r.Plural == "serviceaccounts" && r.Subresource == "token" {
			return work{initial: 1} // nobody is told of it
		}
		n := f.watches.interested(r)
		s.meters.watchCount.Observe(float64(n))
		return writeWork(n, most)
	}
	return work{initial: 1}
}
