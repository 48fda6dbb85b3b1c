package probes

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Outcome is what one check said.
type Outcome int

// The outcomes.
const (
	Success Outcome = iota
	Warning         // a success with something to say
	Failure
)

// Counter finds a probe's result among its outcomes.
type Counter struct {
	SuccessThreshold, FailureThreshold int32

	last Outcome
	run  int32
}

// NewCounter counts by a probe's thresholds.
func NewCounter(p *corev1.Probe) *Counter {
	return &Counter{SuccessThreshold: max(p.SuccessThreshold, 1), FailureThreshold: orDefault(p.FailureThreshold, 3), last: -1}
}

// Add counts an outcome. decided says that its run is long enough to be the result.
func (c *Counter) Add(o Outcome) (ok, decided bool) {
	if o == Warning {
		o = Success
	}
	if o != c.last {
		c.last, c.run = o, 0
	}
	c.run++
	if o == Success {
		return true, c.run >= c.SuccessThreshold
	}
	return false, c.run >= c.FailureThreshold
}

func orDefault(v, d int32) int32 {
	if v == 0 {
		return d
	}
	return v
}

// Period is the time between checks.
func Period(p *corev1.Probe) time.Duration {
	return time.Duration(orDefault(p.PeriodSeconds, 10)) * time.Second
}

// Timeout is the time one check may take.
func Timeout(p *corev1.Probe) time.Duration {
	return time.Duration(orDefault(p.TimeoutSeconds, 1)) * time.Second
}
