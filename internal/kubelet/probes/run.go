package probes

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Reports is where a probe's loop tells what it found.
type Reports struct {
	// Result is called when the result changes, first when there is one.
	Result func(ok bool)
	// Came, where set, is called for every outcome.
	Came func(o Outcome)
	// Said is called for every failure and warning.
	Said func(o Outcome, output string)
}

// Run asks until ctx ends, or until once is met: a startup probe ends with its
// first success, and a liveness probe with its first failure.
func Run(ctx context.Context, p *corev1.Probe, t Target, startedAt time.Time, until func(ok bool) bool, r Reports) {
	timer := time.NewTimer(max(0, time.Until(startedAt.Add(time.Duration(p.InitialDelaySeconds)*time.Second))))
	defer timer.Stop()
	counter := NewCounter(p)
	known, last := false, false
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(Period(p))
		outcome, output := Check(ctx, p, t)
		if ctx.Err() != nil {
			return
		}
		if r.Came != nil {
			r.Came(outcome)
		}
		if outcome != Success {
			r.Said(outcome, output)
		}
		ok, decided := counter.Add(outcome)
		if !decided {
			continue
		}
		if !known || ok != last {
			known, last = true, ok
			r.Result(ok)
		}
		if until(ok) {
			return
		}
	}
}
