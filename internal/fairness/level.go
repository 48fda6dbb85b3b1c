package fairness

import (
	"sync"
	"time"
)

// expectedService is how long a request is taken to be served before it is known.
const expectedService = 3 * time.Millisecond

// queuing is how a level's requests wait. Without queues they do not.
type queuing struct {
	queues, hand, length int
}

// level is a priority level at work.
//
// Its clock is virtual: r grows with the seats that are used over the number of
// queues that use them, so that it tells how much each queue in use has got, or
// should have. A queue's next is the r at which its next request would begin if
// all queues were served a bit at a time; the request that would end first is
// let through first (fair queuing).
type level struct {
	name   string
	exempt bool
	meters *levelMeters

	mu        sync.Mutex
	queuing   queuing
	limit     int // seats
	queues    []*queue
	now       time.Time
	r         float64 // in seat seconds
	live      int     // queues with a request
	inUse     int     // seats
	seatsWait int     // seats that are waited for
	executing int     // requests
	waiting   int
	robin     int  // the queue that was served last
	enqueued  int  // requests ever, to begin each choice at another queue
	free      list // requests that are served and are of no queue
	period    period

	dispatched, rejected, cancelled int
}

// queue is where some flows of a level wait.
type queue struct {
	waiting   list
	executing list
	inUse     int // seats
	waitWork  float64
	waitSeats int
	next      float64
}

func (q *queue) lives() bool { return q.waiting.n > 0 || q.executing.n > 0 }

// list is requests in order of their arrival.
type list struct {
	first, last *Ticket
	n           int
}

func (l *list) push(t *Ticket) {
	t.prev, t.next = l.last, nil
	if l.last != nil {
		l.last.next = t
	} else {
		l.first = t
	}
	l.last = t
	l.n++
}

func (l *list) remove(t *Ticket) {
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		l.first = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	} else {
		l.last = t.prev
	}
	t.prev, t.next = nil, nil
	l.n--
}

// Reasons of a refusal.
const (
	refusedLimit = "concurrency-limit"
	refusedFull  = "queue-full"
	refusedTime  = "time-out"
)

// configure changes a level that may be at work.
func (l *level) configure(c queuing, limit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tickLocked()
	l.queuing, l.limit = c, limit
	for len(l.queues) < c.queues {
		l.queues = append(l.queues, &queue{})
	}
	l.trimLocked()
	l.dispatchLocked()
}

// trimLocked lets go of queues that no flow is dealt any more, when they are empty.
func (l *level) trimLocked() {
	for n := len(l.queues); n > l.queuing.queues; n-- {
		if q := l.queues[n-1]; q.lives() || q.inUse > 0 {
			return
		}
		l.queues[n-1] = nil
		l.queues = l.queues[:n-1]
	}
}

// tickLocked brings the clocks up to the present.
func (l *level) tickLocked() time.Time {
	now := time.Now()
	seconds := now.Sub(l.now).Seconds()
	l.now = now
	l.period.add(seconds, float64(l.inUse+l.seatsWait))
	if l.live == 0 {
		l.r = 0 // no queue refers to it: the first that is used begins there
		return now
	}
	l.r += seconds * float64(min(l.inUse+l.seatsWait, l.limit)) / float64(l.live)
	return now
}

// askLocked notes what is asked for now.
func (l *level) askLocked() { l.period.peak = max(l.period.peak, float64(l.inUse+l.seatsWait)) }

// fitsLocked tells whether so many seats are free. What is wider than the level
// is served alone.
func (l *level) fitsLocked(seats int) bool {
	switch {
	case l.exempt:
		return true
	case seats > l.limit:
		return l.executing == 0
	}
	return l.inUse+seats <= l.limit
}

// begin serves, queues or refuses a request. A queued one is served when its
// ready channel is closed.
func (l *level) begin(t *Ticket, hash uint64) (refused string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t.arrived = l.tickLocked()
	seats := t.work.seats()
	if l.queuing.queues == 0 {
		if !l.fitsLocked(seats) {
			l.rejected++
			return refusedLimit
		}
		l.executeLocked(t)
		return ""
	}
	q := l.chooseLocked(hash)
	if l.inUse >= l.limit && q.waiting.n >= l.queuing.length {
		l.rejected++
		return refusedFull
	}
	t.queue, t.arrivalR = q, l.r
	if !q.lives() {
		q.next = l.r
		l.live++
	}
	if l.waiting == 0 && l.inUse < l.limit && l.fitsLocked(seats) {
		t.meters.queueLength.Observe(1) // as if it had been queued
		l.startLocked(t)
		return ""
	}
	t.ready = make(chan struct{})
	t.state = ticketWaiting
	q.waiting.push(t)
	q.waitWork += t.work.total()
	q.waitSeats += seats
	l.waiting++
	l.seatsWait += seats
	l.askLocked()
	t.meters.queueLength.Observe(float64(q.waiting.n))
	t.meters.inQueue.Inc()
	t.meters.inQueueSeats.Add(float64(seats))
	l.boundLocked(q)
	l.dispatchLocked()
	return ""
}

// chooseLocked picks the queue with the least work waiting among those that the
// flow may use.
func (l *level) chooseLocked(hash uint64) *queue {
	var cards [maxHand]int
	hand := deal(hash, l.queuing.queues, l.queuing.hand, &cards)
	offset := l.enqueued % len(hand)
	l.enqueued++
	var best *queue
	for i := range hand {
		if q := l.queues[hand[(offset+i)%len(hand)]]; best == nil || q.waitWork < best.waitWork {
			best = q
		}
	}
	return best
}

// boundLocked keeps a queue from saving up turns for requests that had not come.
func (l *level) boundLocked(q *queue) {
	if t := q.waiting.first; t != nil {
		q.next = max(q.next, t.arrivalR)
	}
}

// dispatchLocked serves those who wait while there are seats.
func (l *level) dispatchLocked() {
	for l.waiting > 0 && l.inUse < l.limit {
		t, at := l.nextLocked()
		if !l.fitsLocked(t.work.seats()) {
			t.meters.noRoom.Inc()
			return
		}
		l.robin = at
		l.leaveLocked(t)
		if t.work.final > l.limit { // the same work, but longer
			t.work.after = t.work.after * time.Duration(t.work.final) / time.Duration(l.limit)
			t.work.final = l.limit
		}
		l.startLocked(t)
		l.boundLocked(t.queue)
		close(t.ready)
	}
}

// nextLocked is the waiting request that would end first in virtual time, the
// queues taken in turn where that is equal.
func (l *level) nextLocked() (t *Ticket, at int) {
	var best float64
	for i := range l.queues {
		n := (l.robin + 1 + i) % len(l.queues)
		q := l.queues[n]
		if q.waiting.first == nil {
			continue
		}
		if end := q.next + q.waiting.first.work.total(); t == nil || end < best {
			t, at, best = q.waiting.first, n, end
		}
	}
	return t, at
}

// leaveLocked takes a request out of its queue.
func (l *level) leaveLocked(t *Ticket) {
	q, seats := t.queue, t.work.seats()
	q.waiting.remove(t)
	q.waitWork -= t.work.total()
	q.waitSeats -= seats
	if q.waiting.n == 0 {
		q.waitWork = 0 // no rest from rounding
	}
	l.waiting--
	l.seatsWait -= seats
	t.meters.inQueue.Dec()
	t.meters.inQueueSeats.Sub(float64(seats))
}

// startLocked serves a request of a queue.
func (l *level) startLocked(t *Ticket) {
	l.executeLocked(t)
	t.queue.inUse += t.work.seats()
	t.queue.next += t.work.total()
}

func (l *level) executeLocked(t *Ticket) {
	t.state, t.started = ticketExecuting, l.now
	l.executing++
	l.dispatched++
	l.inUse += t.work.seats()
	l.askLocked()
	if t.queue != nil {
		t.queue.executing.push(t)
	} else {
		l.free.push(t)
	}
	t.meters.executing.Inc()
	t.meters.executingSeats.Add(float64(t.work.seats()))
}

// giveUp takes a request that waits out of its queue; false if it was served meanwhile.
func (l *level) giveUp(t *Ticket) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.state != ticketWaiting {
		return false
	}
	l.tickLocked()
	t.state = ticketDone
	l.leaveLocked(t)
	if !t.queue.lives() {
		l.live--
	}
	l.boundLocked(t.queue)
	l.rejected++
	l.cancelled++
	l.dispatchLocked() // it may have been too wide for the seats that are free
	return true
}

// finish ends a request's service; its seats are free at once or a while later.
func (l *level) finish(t *Ticket) (served time.Duration, done bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.state != ticketExecuting {
		return 0, false
	}
	now := l.tickLocked()
	t.state = ticketDone
	served = now.Sub(t.started)
	l.executing--
	t.meters.executing.Dec()
	if q := t.queue; q != nil {
		q.executing.remove(t)
		q.next -= float64(t.work.initial) * (expectedService - served).Seconds()
		l.boundLocked(q)
		if !q.lives() {
			l.live--
		}
	} else {
		l.free.remove(t)
	}
	if t.work.after > 0 {
		time.AfterFunc(t.work.after, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.tickLocked()
			l.releaseLocked(t)
		})
	} else {
		l.releaseLocked(t)
	}
	return served, true
}

func (l *level) releaseLocked(t *Ticket) {
	seats := t.work.seats()
	l.inUse -= seats
	t.meters.executingSeats.Sub(float64(seats))
	if t.queue != nil {
		t.queue.inUse -= seats
	}
	if len(l.queues) > l.queuing.queues {
		l.trimLocked()
	}
	l.dispatchLocked()
}

func (l *level) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.idleLocked()
}

func (l *level) idleLocked() bool { return l.waiting == 0 && l.executing == 0 }

// takePeriod ends the period of demand and begins the next.
func (l *level) takePeriod() period {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tickLocked()
	p := l.period
	l.period = period{peak: float64(l.inUse + l.seatsWait)}
	return p
}
