package fairness

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// meters are the metrics, under upstream's names.
type meters struct {
	rejected, dispatched, noRoom                     *prometheus.CounterVec
	inQueue, inQueueSeats, executing, executingSeats *prometheus.GaugeVec
	queueLength, wait, service, watchCount, seats    *prometheus.HistogramVec
	nominal, least, most, current                    *prometheus.GaugeVec
	peak, mean, dev, smooth, target                  *prometheus.GaugeVec
	fair, reading, mutating                          prometheus.Gauge

	inflights *prometheus.GaugeVec

	mu    sync.Mutex
	flows map[[2]string]*flowMeters
}

const (
	byLevel  = "priority_level"
	bySchema = "flow_schema"
)

func newMeters() *meters {
	flow := []string{byLevel, bySchema}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "apiserver", Subsystem: "flowcontrol", Name: name, Help: help}, append(flow[:2:2], labels...))
	}
	gauge := func(name, help string, labels []string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "apiserver", Subsystem: "flowcontrol", Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "apiserver", Subsystem: "flowcontrol", Name: name, Help: help, Buckets: buckets}, append(flow[:2:2], labels...))
	}
	level := []string{byLevel}
	inflight := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "apiserver_current_inflight_requests", Help: "Requests that are served, of watches their beginning.",
	}, []string{"request_kind"})
	seconds := []float64{0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30}
	return &meters{
		flows: map[[2]string]*flowMeters{},

		inflights: inflight, reading: inflight.WithLabelValues("readOnly"), mutating: inflight.WithLabelValues("mutating"),
		rejected:       counter("rejected_requests_total", "Requests that were refused, by reason.", "reason"),
		dispatched:     counter("dispatched_requests_total", "Requests that were let through."),
		noRoom:         counter("request_dispatch_no_accommodation_total", "Times when the next request was wider than the seats that were free."),
		inQueue:        gauge("current_inqueue_requests", "Requests that wait.", flow),
		inQueueSeats:   gauge("current_inqueue_seats", "Seats that are waited for.", flow),
		executing:      gauge("current_executing_requests", "Requests that are served, of watches their beginning.", flow),
		executingSeats: gauge("current_executing_seats", "Seats in use.", flow),
		queueLength:    histogram("request_queue_length_after_enqueue", "Length of its queue as each request saw it.", []float64{0, 10, 25, 50, 100, 250, 500, 1000}),
		wait:           histogram("request_wait_duration_seconds", "Seconds a request waited in its queue.", seconds, "execute"),
		service:        histogram("request_execution_seconds", "Seconds a request, or the beginning of a watch, was served.", seconds, "type"),
		watchCount:     histogram("watch_count_samples", "Watches that a change concerned.", []float64{0, 1, 10, 100, 1000, 10000}),
		seats:          histogram("work_estimated_seats", "Seats a request was estimated to take.", []float64{1, 2, 4, 8, 16, 32, 64, 100}),
		nominal:        gauge("nominal_limit_seats", "Seats a level has by its shares.", level),
		least:          gauge("lower_limit_seats", "Seats a level does not lend.", level),
		most:           gauge("upper_limit_seats", "Seats a level may have with what it borrows.", level),
		current:        gauge("current_limit_seats", "Seats a level has now.", level),
		peak:           gauge("demand_seats_high_watermark", "Most seats asked for in the last period.", level),
		mean:           gauge("demand_seats_average", "Seats asked for in the last period on the average.", level),
		dev:            gauge("demand_seats_stdev", "Standard deviation of the seats asked for in the last period.", level),
		smooth:         gauge("demand_seats_smoothed", "Seats asked for, smoothed over the periods.", level),
		target:         gauge("target_seats", "Seats a level should have by its demand.", level),
		fair: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "apiserver", Subsystem: "flowcontrol", Name: "seat_fair_frac",
			Help: "The fraction of its target that a level without bounds has."}),
	}
}

// Collectors are the metrics, to register.
func (f *Fairness) Collectors() []prometheus.Collector {
	m := f.meters
	return []prometheus.Collector{
		m.rejected, m.dispatched, m.noRoom, m.inQueue, m.inQueueSeats, m.executing, m.executingSeats, m.queueLength, m.wait, m.service,
		m.watchCount, m.seats, m.nominal, m.least, m.most, m.current, m.peak, m.mean, m.dev, m.smooth, m.target, m.fair, m.inflights,
	}
}

func (m *meters) inflight(verb string) prometheus.Gauge {
	if Mutating(verb) {
		return m.mutating
	}
	return m.reading
}

// flowMeters are those of one schema in one level, looked up once.
type flowMeters struct {
	all                                              *meters
	level, schema                                    string
	dispatched, noRoom                               prometheus.Counter
	inQueue, inQueueSeats, executing, executingSeats prometheus.Gauge
	queueLength, waited, waitedInVain                prometheus.Observer
	served, servedWatch, watchCount, seats           prometheus.Observer
}

func (m *meters) flow(level, schema string) *flowMeters {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := [2]string{level, schema}
	if f := m.flows[k]; f != nil {
		return f
	}
	f := &flowMeters{
		all: m, level: level, schema: schema,
		dispatched: m.dispatched.WithLabelValues(level, schema), noRoom: m.noRoom.WithLabelValues(level, schema),
		inQueue: m.inQueue.WithLabelValues(level, schema), inQueueSeats: m.inQueueSeats.WithLabelValues(level, schema),
		executing: m.executing.WithLabelValues(level, schema), executingSeats: m.executingSeats.WithLabelValues(level, schema),
		queueLength: m.queueLength.WithLabelValues(level, schema),
		waited:      m.wait.WithLabelValues(level, schema, "true"), waitedInVain: m.wait.WithLabelValues(level, schema, "false"),
		served: m.service.WithLabelValues(level, schema, "regular"), servedWatch: m.service.WithLabelValues(level, schema, "watch"),
		watchCount: m.watchCount.WithLabelValues(level, schema), seats: m.seats.WithLabelValues(level, schema),
	}
	m.flows[k] = f
	return f
}

func (f *flowMeters) reject(why string) prometheus.Counter {
	return f.all.rejected.WithLabelValues(f.level, f.schema, why)
}

// levelMeters are those of one level.
type levelMeters struct {
	nominal, least, most, current, peak, mean, dev, smooth, target prometheus.Gauge
}

func (m *meters) level(name string) *levelMeters {
	return &levelMeters{
		nominal: m.nominal.WithLabelValues(name), least: m.least.WithLabelValues(name), most: m.most.WithLabelValues(name),
		current: m.current.WithLabelValues(name), peak: m.peak.WithLabelValues(name), mean: m.mean.WithLabelValues(name),
		dev: m.dev.WithLabelValues(name), smooth: m.smooth.WithLabelValues(name), target: m.target.WithLabelValues(name),
	}
}

func (m *levelMeters) configured(s share) {
	m.nominal.Set(float64(s.nominal))
	m.least.Set(float64(s.least))
	m.most.Set(float64(s.most))
}

func (m *levelMeters) adjusted(d demand, target float64, limit int) {
	m.peak.Set(float64(d.peak))
	m.mean.Set(d.mean)
	m.dev.Set(d.dev)
	m.smooth.Set(d.smooth)
	m.target.Set(target)
	m.current.Set(float64(limit))
}
