package apiserver

import (
	"strconv"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestUnknownSubresourcesAreNoLabels(t *testing.T) {
	r := newRig(t)
	r.get(maps+"/one/status").ok(404, nil)
	r.get(maps+"/one/%f0").ok(404, nil)
	r.get("/api/v1/namespaces/ns/pods/p/status").ok(404, nil)
	series := func() (n int) {
		ch := make(chan prometheus.Metric, 100)
		r.server.stats.requests.Collect(ch)
		return len(ch)
	}
	had := series()
	for i := range 50 {
		r.get(maps+"/one/x"+strconv.Itoa(i)).ok(404, nil)
	}
	if n := series(); n != had {
		t.Errorf("fifty subresources that do not exist made %d series of %d", n, had)
	}
}
