package podmachine

import "time"

// Back-offs of containers and images.
const (
	minBackoff = 10 * time.Second
	maxBackoff = 5 * time.Minute
)

// Backoff is the delay before the next attempt at something that keeps failing.
type Backoff struct {
	Delay time.Duration
	// Last is the failure after which the delay was last made longer.
	Last time.Time
}

// Until is when an attempt may be made after a failure at the given time.
func (b Backoff) Until(failed time.Time) time.Time {
	if b.Delay == 0 || b.expired(failed) {
		return failed
	}
	return failed.Add(b.Delay)
}

// Next is the back-off after one more attempt that follows a failure.
func (b Backoff) Next(failed time.Time) Backoff {
	if b.Delay == 0 || b.expired(failed) {
		return Backoff{Delay: minBackoff, Last: failed}
	}
	return Backoff{Delay: min(2*b.Delay, maxBackoff), Last: failed}
}

// expired: it went well for long enough to begin anew.
func (b Backoff) expired(failed time.Time) bool { return failed.Sub(b.Last) > 2*maxBackoff }
