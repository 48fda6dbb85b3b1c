package probes

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestResultsNeedTheirThreshold(t *testing.T) {
	c := NewCounter(&corev1.Probe{SuccessThreshold: 2, FailureThreshold: 3})
	for i, step := range []struct {
		o           Outcome
		ok, decided bool
	}{
		{Success, true, false}, {Warning, true, true}, {Failure, false, false}, {Failure, false, false}, {Failure, false, true},
		{Success, true, false}, {Failure, false, false}, {Success, true, false}, {Success, true, true},
	} {
		if ok, decided := c.Add(step.o); ok != step.ok || decided != step.decided {
			t.Errorf("step %d: %v %v", i, ok, decided)
		}
	}
}
