package fairness

import (
	"sync"
	"time"
)

// maxRetryAfterSeconds is the longest that clients are asked to stay away.
const maxRetryAfterSeconds = 32

// dropTracker finds how long refused clients should stay away: the more are
// refused, the longer.
type dropTracker struct {
	mu     sync.Mutex
	levels map[string]*drops
}

// drops is what is known of one level. The interval doubles while three or more
// are refused for each of its seconds, not oftener than once in it, and falls
// by a second when fewer than one are.
type drops struct {
	now    int64 // the second that is being counted
	count  int64
	past   []dropped // the seconds before, oldest first
	after  int64
	raised int64
}

type dropped struct{ second, count int64 }

func newDropTracker() *dropTracker { return &dropTracker{levels: map[string]*drops{}} }

func (d *dropTracker) note(level string, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.levels[level]
	if l == nil {
		l = &drops{after: 1}
		d.levels[level] = l
	}
	l.note(at.Unix())
}

func (d *dropTracker) after(level string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.levels[level]; l != nil {
		return int(l.after)
	}
	return 1
}

func (d *dropTracker) forget(level string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.levels, level)
}

func (l *drops) note(second int64) {
	if l.now == second {
		l.count++
		return
	}
	l.past = append(l.past, dropped{l.now, l.count})
	l.now, l.count = second, 1
	old := 0
	for old < len(l.past) && second-l.past[old].second > min(2*l.after, maxRetryAfterSeconds) {
		old++
	}
	l.past = l.past[old:]
	var n int64
	for _, p := range l.past {
		if second-p.second <= l.after {
			n += p.count
		}
	}
	switch {
	case second-l.raised >= l.after && n >= 3*l.after:
		l.after = min(2*l.after, maxRetryAfterSeconds)
		l.raised = second
	case n < l.after && l.after > 1:
		l.after--
	}
}
