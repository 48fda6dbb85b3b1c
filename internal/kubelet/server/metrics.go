package server

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

const (
	// summaryAge is how old figures may be that are asked for.
	summaryAge = time.Second
	// measureTimeout bounds a measurement for metrics.
	measureTimeout = 30 * time.Second
)

// series are what a collection yields.
type series struct {
	ch  chan<- prometheus.Metric
	at  time.Time
	err error
}

// put tells one value; names and values of labels alternate.
func (s *series) put(name, help string, kind prometheus.ValueType, v float64, labels ...string) {
	var names, values []string
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	m, err := prometheus.NewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, v, values...)
	if err != nil {
		s.ch <- prometheus.NewInvalidMetric(prometheus.NewDesc(name, help, names, nil), err)
		return
	}
	if !s.at.IsZero() {
		m = prometheus.NewMetricWithTimestamp(s.at, m)
	}
	s.ch <- m
}

// opt tells a value that may not be known.
func (s *series) opt(name, help string, kind prometheus.ValueType, v *uint64, scale float64, labels ...string) {
	if v != nil {
		s.put(name, help, kind, float64(*v)*scale, labels...)
	}
}

// collection is a collector that measures when it is asked.
type collection struct {
	ctx     context.Context
	collect func(context.Context, *series)
}

// Describe says nothing: what there is depends on the pods there are.
func (collection) Describe(chan<- *prometheus.Desc) {}

// Collect measures.
func (c collection) Collect(ch chan<- prometheus.Metric) { c.collect(c.ctx, &series{ch: ch}) }

// collected serves what a collection yields.
func (s *Server) collected(collect func(context.Context, *series)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), measureTimeout)
		defer cancel()
		reg := prometheus.NewRegistry()
		if err := reg.Register(collection{ctx, collect}); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		promhttp.HandlerFor(reg, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}).ServeHTTP(w, r)
	}
}

const (
	gauge   = prometheus.GaugeValue
	counter = prometheus.CounterValue
	nano    = 1e-9
)

// resource are the series that metrics-server reads.
func (s *Server) resource(ctx context.Context, out *series) {
	failed := 0.0
	sum, err := s.deps.Stats.Summary(ctx, summaryAge)
	if err != nil {
		failed = 1
		s.log.Error("kubelet: metrics could not be measured", "error", err)
	}
	out.put("scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", gauge, failed)
	out.put("resource_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", gauge, failed)
	if err != nil {
		return
	}
	cpu := func(name, help string, c *statsapi.CPUStats, labels ...string) {
		if c != nil {
			out.at = c.Time.Time
			out.opt(name, help, counter, c.UsageCoreNanoSeconds, nano, labels...)
			out.at = time.Time{}
		}
	}
	memory := func(name, help string, m *statsapi.MemoryStats, labels ...string) {
		if m != nil {
			out.at = m.Time.Time
			out.opt(name, help, gauge, m.WorkingSetBytes, 1, labels...)
			out.at = time.Time{}
		}
	}
	swap := func(name, help string, v *statsapi.SwapStats, labels ...string) {
		if v != nil {
			out.at = v.Time.Time
			out.opt(name, help, gauge, v.SwapUsageBytes, 1, labels...)
			out.at = time.Time{}
		}
	}
	cpu("node_cpu_usage_seconds_total", "Cumulative cpu time consumed by the node in core-seconds", sum.Node.CPU)
	memory("node_memory_working_set_bytes", "Current working set of the node in bytes", sum.Node.Memory)
	swap("node_swap_usage_bytes", "Current swap usage of the node in bytes. Reported only on non-windows systems", sum.Node.Swap)
	for i := range sum.Pods {
		p := &sum.Pods[i]
		pod := []string{"pod", p.PodRef.Name, "namespace", p.PodRef.Namespace}
		for j := range p.Containers {
			c := &p.Containers[j]
			l := append([]string{"container", c.Name}, pod...)
			if !c.StartTime.IsZero() {
				out.put("container_start_time_seconds", "Start time of the container since unix epoch in seconds", gauge, float64(c.StartTime.UnixNano())*nano, l...)
			}
			cpu("container_cpu_usage_seconds_total", "Cumulative cpu time consumed by the container in core-seconds", c.CPU, l...)
			memory("container_memory_working_set_bytes", "Current working set of the container in bytes", c.Memory, l...)
			swap("container_swap_usage_bytes", "Current amount of the container swap usage in bytes. Reported only on non-windows systems", c.Swap, l...)
			if c.Swap != nil && c.Swap.SwapUsageBytes != nil && c.Swap.SwapAvailableBytes != nil {
				out.put("container_swap_limit_bytes", "Current amount of the container swap limit in bytes. Reported only on non-windows systems", gauge,
					float64(*c.Swap.SwapUsageBytes+*c.Swap.SwapAvailableBytes), l...)
			}
		}
		cpu("pod_cpu_usage_seconds_total", "Cumulative cpu time consumed by the pod in core-seconds", p.CPU, pod...)
		memory("pod_memory_working_set_bytes", "Current working set of the pod in bytes", p.Memory, pod...)
		swap("pod_swap_usage_bytes", "Current amount of the pod swap usage in bytes. Reported only on non-windows systems", p.Swap, pod...)
	}
}

// cadvisor are the series dashboards know by their names.
func (s *Server) cadvisor(ctx context.Context, out *series) {
	sum, err := s.deps.Stats.Summary(ctx, summaryAge)
	if err != nil {
		s.log.Error("kubelet: metrics could not be measured", "error", err)
		out.put("container_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", gauge, 1)
		return
	}
	out.put("container_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", gauge, 0)
	labels := func(id, container, image, name, pod, namespace string) []string {
		return []string{"container", container, "id", id, "image", image, "name", name, "namespace", namespace, "pod", pod}
	}
	root := labels("/", "", "", "", "", "")
	s.usage(out, sum.Node.CPU, sum.Node.Memory, sum.Node.Swap, root)
	if sum.Node.Memory != nil {
		total := uint64(0)
		if m := sum.Node.Memory; m.AvailableBytes != nil && m.WorkingSetBytes != nil {
			total = *m.AvailableBytes + *m.WorkingSetBytes
		}
		out.put("machine_memory_bytes", "Amount of memory installed on the machine.", gauge, float64(total))
	}
	disk(out, sum.Node.Fs, root)
	for i := range sum.Pods {
		p := &sum.Pods[i]
		known, _ := s.deps.Node.Pod(p.PodRef.Namespace, p.PodRef.Name)
		id := "/kubepods/pod" + p.PodRef.UID
		pod := labels(id, "", "", "", p.PodRef.Name, p.PodRef.Namespace)
		s.usage(out, p.CPU, p.Memory, p.Swap, pod)
		if p.ProcessStats != nil {
			out.opt("container_processes", "Number of processes running inside the container.", gauge, p.ProcessStats.ProcessCount, 1, pod...)
		}
		if n := p.Network; n != nil {
			for _, f := range n.Interfaces {
				l := append([]string{"interface", f.Name}, pod...)
				out.opt("container_network_receive_bytes_total", "Cumulative count of bytes received", counter, f.RxBytes, 1, l...)
				out.opt("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving", counter, f.RxErrors, 1, l...)
				out.opt("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", counter, f.TxBytes, 1, l...)
				out.opt("container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting", counter, f.TxErrors, 1, l...)
			}
		}
		for j := range p.Containers {
			c := &p.Containers[j]
			image, name := "", ""
			var l []string
			if known != nil {
				for _, st := range known.Status.ContainerStatuses {
					if st.Name == c.Name {
						image, name = st.Image, bare(st.ContainerID)
					}
				}
				l = labels(id+"/"+name, c.Name, image, name, p.PodRef.Name, p.PodRef.Namespace)
				for k := range known.Spec.Containers {
					if spec := &known.Spec.Containers[k]; spec.Name == c.Name {
						if cpu := spec.Resources.Limits.Cpu().MilliValue(); cpu > 0 {
							out.put("container_spec_cpu_quota", "CPU quota of the container.", gauge, float64(cpu*100), l...)
							out.put("container_spec_cpu_period", "CPU period of the container.", gauge, 100000, l...)
						}
						out.put("container_spec_cpu_shares", "CPU share of the container.", gauge, float64(max(2, spec.Resources.Requests.Cpu().MilliValue()*1024/1000)), l...)
						out.put("container_spec_memory_limit_bytes", "Memory limit for the container.", gauge, float64(spec.Resources.Limits.Memory().Value()), l...)
					}
				}
			} else {
				l = labels(id+"/"+c.Name, c.Name, "", "", p.PodRef.Name, p.PodRef.Namespace)
			}
			s.usage(out, c.CPU, c.Memory, c.Swap, l)
			disk(out, c.Rootfs, l)
			if !c.StartTime.IsZero() {
				out.put("container_start_time_seconds", "Start time of the container since unix epoch in seconds.", gauge, math.Floor(float64(c.StartTime.UnixNano())*nano), l...)
			}
			out.put("container_last_seen", "Last time a container was seen by the exporter", gauge, float64(s.cfg.Now().Unix()), l...)
		}
	}
}

func bare(id string) string {
	for i := 0; i+2 < len(id); i++ {
		if id[i:i+3] == "://" {
			return id[i+3:]
		}
	}
	return id
}

func (s *Server) usage(out *series, c *statsapi.CPUStats, m *statsapi.MemoryStats, sw *statsapi.SwapStats, l []string) {
	if c != nil {
		out.at = c.Time.Time
		out.opt("container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", counter, c.UsageCoreNanoSeconds, nano, append([]string{"cpu", "total"}, l...)...)
		if p := c.PSI; p != nil {
			out.put("container_pressure_cpu_waiting_seconds_total", "Total time duration tasks in the container have waited due to CPU congestion.", counter, float64(p.Some.Total)*1e-6, l...)
			out.put("container_pressure_cpu_stalled_seconds_total", "Total time duration no tasks in the container could make progress due to CPU congestion.", counter, float64(p.Full.Total)*1e-6, l...)
		}
	}
	if m != nil {
		out.at = m.Time.Time
		out.opt("container_memory_usage_bytes", "Current memory usage in bytes, including all memory regardless of when it was accessed", gauge, m.UsageBytes, 1, l...)
		out.opt("container_memory_working_set_bytes", "Current working set in bytes.", gauge, m.WorkingSetBytes, 1, l...)
		out.opt("container_memory_rss", "Size of RSS in bytes.", gauge, m.RSSBytes, 1, l...)
		if m.UsageBytes != nil && m.RSSBytes != nil {
			out.put("container_memory_cache", "Number of bytes of page cache memory.", gauge, math.Max(0, float64(*m.UsageBytes)-float64(*m.RSSBytes)), l...)
		}
		out.opt("container_memory_failures_total", "Cumulative count of memory allocation failures.", counter, m.PageFaults, 1, append([]string{"failure_type", "pgfault", "scope", "container"}, l...)...)
		out.opt("container_memory_failures_total", "Cumulative count of memory allocation failures.", counter, m.MajorPageFaults, 1, append([]string{"failure_type", "pgmajfault", "scope", "container"}, l...)...)
		if p := m.PSI; p != nil {
			out.put("container_pressure_memory_waiting_seconds_total", "Total time duration tasks in the container have waited due to memory congestion.", counter, float64(p.Some.Total)*1e-6, l...)
			out.put("container_pressure_memory_stalled_seconds_total", "Total time duration no tasks in the container could make progress due to memory congestion.", counter, float64(p.Full.Total)*1e-6, l...)
		}
	}
	if sw != nil {
		out.opt("container_memory_swap", "Container swap usage in bytes.", gauge, sw.SwapUsageBytes, 1, l...)
	}
	out.at = time.Time{}
}

func disk(out *series, f *statsapi.FsStats, l []string) {
	if f == nil {
		return
	}
	l = append([]string{"device", ""}, l...)
	out.opt("container_fs_usage_bytes", "Number of bytes that are consumed by the container on this filesystem.", gauge, f.UsedBytes, 1, l...)
	out.opt("container_fs_limit_bytes", "Number of bytes that can be consumed by the container on this filesystem.", gauge, f.CapacityBytes, 1, l...)
	out.opt("container_fs_inodes_free", "Number of available Inodes", gauge, f.InodesFree, 1, l...)
	out.opt("container_fs_inodes_total", "Number of Inodes", gauge, f.Inodes, 1, l...)
}

func (s *Server) probes(_ context.Context, out *series) {
	for _, c := range s.deps.Node.ProbeCounts() {
		out.put("prober_probe_total", "Cumulative number of a liveness, readiness or startup probe for a container by result.", counter, c.Count,
			"container", c.Container, "namespace", c.Namespace, "pod", c.Pod, "pod_uid", c.UID, "probe_type", c.Kind, "result", c.Result)
	}
}
