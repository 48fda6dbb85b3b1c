package apiserver

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/monohull/monohull/internal/api"
)

// stats are the server's metrics, under upstream's names.
type stats struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	// known are the subresources of each kind asked for one, by *api.Kind: what
	// else a path may say is no label, for there is no end of it.
	known sync.Map
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

// observe counts a request for a kind that is served.
func (s *stats) observe(k *api.Kind, r *requestInfo, code int, d time.Duration) {
	verb := metricVerb[r.verb]
	if verb == "" {
		verb = "other"
	}
	sub := r.subresource
	if sub != "" {
		known, ok := s.known.Load(k)
		if !ok {
			known, _ = s.known.LoadOrStore(k, subresourcesOf(k))
		}
		if known.(map[string][]string)[sub] == nil {
			sub = "other"
		}
	}
	s.requests.WithLabelValues(verb, r.gv.Group, r.gv.Version, r.plural, sub, strconv.Itoa(code)).Inc()
	if r.verb != "watch" {
		s.seconds.WithLabelValues(verb, r.gv.Group, r.gv.Version, r.plural, sub).Observe(d.Seconds())
	}
}

var metricVerb = map[string]string{
	"get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE", "deletecollection": "DELETECOLLECTION",
}
