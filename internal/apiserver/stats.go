package apiserver

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// stats are the server's metrics, under upstream's names.
type stats struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newStats() *stats {
	return &stats{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_request_total", Help: "Requests by verb, group, version, resource, subresource and status code.",
		}, []string{"verb", "group", "version", "resource", "subresource", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "apiserver_request_duration_seconds", Help: "Seconds from a request's arrival to its answer, watches left out.",
			Buckets: []float64{0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 30, 60},
		}, []string{"verb", "group", "version", "resource", "subresource"}),
	}
}

// Collectors are the server's metrics, to register.
func (s *Server) Collectors() []prometheus.Collector {
	return []prometheus.Collector{s.stats.requests, s.stats.seconds}
}

func (s *stats) observe(r *requestInfo, code int, d time.Duration) {
	verb := metricVerb[r.verb]
	if verb == "" {
		verb = "other"
	}
	s.requests.WithLabelValues(verb, r.gv.Group, r.gv.Version, r.plural, r.subresource, strconv.Itoa(code)).Inc()
	if r.verb != "watch" {
		s.seconds.WithLabelValues(verb, r.gv.Group, r.gv.Version, r.plural, r.subresource).Observe(d.Seconds())
	}
}

var metricVerb = map[string]string{
	"get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE", "deletecollection": "DELETECOLLECTION",
}
