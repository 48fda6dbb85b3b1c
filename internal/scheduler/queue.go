package scheduler

import (
	"container/heap"
	"container/list"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Times of the queue, upstream's defaults.
const (
	initialBackoff = time.Second
	maxBackoff     = 10 * time.Second
	// maxWait is how long a pod waits for an event before it is tried anyway.
	maxWait = 5 * time.Minute
)

// state is where a pod of the queue is:
//
//	gated ──gates gone──▶ active ──pop──▶ flying ──bound, deleted──▶ (gone)
//	                        ▲ ▲              │
//	              time over │ └──── event ───┤ no node: waiting
//	                     backoff ◀── event ──┘
//	                        ▲────── error ───┘
//
// An event moves a waiting pod to backoff while its time is not over. A pod
// there is still tried early where nothing else is to do; one that met an
// error is not.
type state int

const (
	gated state = iota
	active
	backoff
	faulty // in backoff after an error
	waiting
	flying
)

// item is a pod in the queue.
type item struct {
	info     *podInfo
	state    state
	since    time.Time // when it came into the queue, or was tried last
	seq      uint64    // breaks ties: who came first
	failures int       // tries without a node
	errors   int       // tries ended by an error
	until    time.Time // end of its back-off
	by       cause
	pos      int           // in its heap
	elem     *list.Element // among the waiting
}

func (it *item) uid() types.UID { return it.info.pod.UID }

// queue orders the pods that need a node. It has no clock: its callers say
// what time it is. Every pod is in it once, so pods bound it.
type queue struct {
	items   map[types.UID]*item
	active  itemHeap // by priority, then by time
	backoff itemHeap // by end of back-off
	faulty  itemHeap // likewise
	waiting *list.List
	seq     uint64
}

func newQueue() *queue {
	byUntil := func(a, b *item) bool {
		if !a.until.Equal(b.until) {
			return a.until.Before(b.until)
		}
		return a.seq < b.seq
	}
	return &queue{
		items: map[types.UID]*item{}, waiting: list.New(),
		active: itemHeap{less: func(a, b *item) bool {
			if a.info.priority != b.info.priority {
				return a.info.priority > b.info.priority
			}
			if !a.since.Equal(b.since) {
				return a.since.Before(b.since)
			}
			return a.seq < b.seq
		}},
		backoff: itemHeap{less: byUntil}, faulty: itemHeap{less: byUntil},
	}
}

// add puts a new pod into the queue.
func (q *queue) add(info *podInfo, now time.Time) {
	q.remove(info.pod.UID)
	q.seq++
	it := &item{info: info, since: now, seq: q.seq, state: flying}
	q.items[it.uid()] = it
	if len(info.pod.Spec.SchedulingGates) > 0 {
		it.state = gated
		return
	}
	q.put(it, active)
}

// update replaces a pod's state; changed says that it may now fit where it did
// not.
func (q *queue) update(info *podInfo, changed bool, now time.Time) {
	it := q.items[info.pod.UID]
	if it == nil {
		q.add(info, now)
		return
	}
	moved := it.info.priority != info.priority
	it.info = info
	switch {
	case it.state == gated && len(info.pod.Spec.SchedulingGates) == 0:
		it.since = now
		q.put(it, active)
	case it.state == waiting && changed:
		q.ready(it, now)
	case moved && it.state == active:
		heap.Fix(&q.active, it.pos)
	}
}

// remove forgets a pod.
func (q *queue) remove(uid types.UID) {
	if it := q.items[uid]; it != nil {
		q.leave(it)
		delete(q.items, uid)
	}
}

// pop takes the next pod to try, or nil. Its caller ends the flight with fail
// or remove.
func (q *queue) pop(now time.Time) *item {
	q.flush(now)
	it := q.active.top()
	if it == nil {
		it = q.backoff.top()
	}
	if it == nil {
		return nil
	}
	q.leave(it)
	it.state = flying
	return it
}

// fail ends a flight without a node: the pod waits for an event that the
// filters in by care about.
func (q *queue) fail(it *item, by cause, now time.Time) {
	if q.items[it.uid()] != it {
		return // deleted meanwhile
	}
	it.failures++
	it.errors = 0
	it.by, it.since, it.until = by, now, now.Add(backoffOf(it.failures))
	q.put(it, waiting)
}

// fault ends a flight with an error: the pod is tried again after the back-off.
func (q *queue) fault(it *item, now time.Time) {
	if q.items[it.uid()] != it {
		return
	}
	it.errors++
	it.since, it.until = now, now.Add(backoffOf(it.errors))
	q.put(it, faulty)
}

// backoffOf doubles with each try up to the maximum.
func backoffOf(tries int) time.Duration {
	d := initialBackoff
	for i := 1; i < tries && d < maxBackoff; i++ {
		d *= 2
	}
	return min(d, maxBackoff)
}

// wake readies the waiting pods that were refused by one of the filters in by,
// and for which the event is of use.
func (q *queue) wake(by cause, useful func(*item) bool, now time.Time) {
	for e := q.waiting.Front(); e != nil; {
		it := e.Value.(*item)
		e = e.Next()
		if it.by&by != 0 && (useful == nil || useful(it)) {
			q.ready(it, now)
		}
	}
}

// nudge readies one pod if it waits.
func (q *queue) nudge(uid types.UID, now time.Time) {
	if it := q.items[uid]; it != nil && it.state == waiting {
		q.ready(it, now)
	}
}

func (q *queue) ready(it *item, now time.Time) {
	if now.Before(it.until) {
		q.put(it, backoff)
	} else {
		q.put(it, active)
	}
}

// flush moves on whoever's time is over.
func (q *queue) flush(now time.Time) {
	for _, h := range []*itemHeap{&q.backoff, &q.faulty} {
		for it := h.top(); it != nil && !now.Before(it.until); it = h.top() {
			q.put(it, active)
		}
	}
	for e := q.waiting.Front(); e != nil; e = q.waiting.Front() {
		it := e.Value.(*item)
		if now.Before(it.since.Add(maxWait)) {
			break // the others came later
		}
		q.ready(it, now)
	}
}

// next is when flush has something to do, if ever.
func (q *queue) next() (at time.Time, ok bool) {
	sooner := func(t time.Time) {
		if !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	for _, h := range []*itemHeap{&q.backoff, &q.faulty} {
		if it := h.top(); it != nil {
			sooner(it.until)
		}
	}
	if e := q.waiting.Front(); e != nil {
		sooner(e.Value.(*item).since.Add(maxWait))
	}
	return at, ok
}

// put moves an item to a place.
func (q *queue) put(it *item, to state) {
	q.leave(it)
	it.state = to
	switch to {
	case active:
		heap.Push(&q.active, it)
	case backoff:
		heap.Push(&q.backoff, it)
	case faulty:
		heap.Push(&q.faulty, it)
	case waiting:
		it.elem = q.waiting.PushBack(it)
	default:
		panic("scheduler: nothing is put there")
	}
}

func (q *queue) leave(it *item) {
	switch it.state {
	case active:
		heap.Remove(&q.active, it.pos)
	case backoff:
		heap.Remove(&q.backoff, it.pos)
	case faulty:
		heap.Remove(&q.faulty, it.pos)
	case waiting:
		q.waiting.Remove(it.elem)
		it.elem = nil
	}
	it.state = flying
}

// itemHeap implements heap.Interface.
type itemHeap struct {
	list []*item
	less func(a, b *item) bool
}

func (h *itemHeap) top() *item {
	if len(h.list) == 0 {
		return nil
	}
	return h.list[0]
}

func (h *itemHeap) Len() int           { return len(h.list) }
func (h *itemHeap) Less(i, j int) bool { return h.less(h.list[i], h.list[j]) }
func (h *itemHeap) Swap(i, j int) {
	h.list[i], h.list[j] = h.list[j], h.list[i]
	h.list[i].pos, h.list[j].pos = i, j
}
func (h *itemHeap) Push(x any) {
	it := x.(*item)
	it.pos = len(h.list)
	h.list = append(h.list, it)
}
func (h *itemHeap) Pop() any {
	last := len(h.list) - 1
	it := h.list[last]
	h.list[last] = nil
	h.list = h.list[:last]
	return it
}
