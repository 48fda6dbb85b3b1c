package kubelet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/monohull/monohull/internal/kubelet/criconfig"
	"github.com/monohull/monohull/internal/kubelet/podmachine"
	"github.com/monohull/monohull/internal/kubelet/server"
	"github.com/monohull/monohull/internal/kubelet/stats"
)

// What the kubelet's own API asks: Kubelet is server.Node and server.Stats.
var (
	_ server.Node  = (*Kubelet)(nil)
	_ server.Stats = (*Kubelet)(nil)
)

// runLimit bounds what a command prints that is run for someone.
const runLimit = 10 << 20

// Pods are those the node has to run, as users know them.
func (k *Kubelet) Pods() []*corev1.Pod {
	k.mu.Lock()
	var out []*corev1.Pod
	for _, w := range k.workers {
		w.mu.Lock()
		if len(w.latest.Spec.Containers) > 0 { // not what only remains of one
			out = append(out, w.latest)
		}
		w.mu.Unlock()
	}
	k.mu.Unlock()
	for i, p := range out {
		if m, ok := k.pods.Get(p.Namespace, p.Name); ok && m.UID != p.UID && runtimeUID(m) == p.UID {
			p = p.DeepCopy()
			p.Status = *m.Status.DeepCopy()
			out[i] = p
		}
	}
	slices.SortFunc(out, func(a, b *corev1.Pod) int { return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name) })
	return out
}

// Pod finds one of them.
func (k *Kubelet) Pod(namespace, name string) (*corev1.Pod, bool) {
	for _, p := range k.Pods() {
		if p.Namespace == namespace && p.Name == name {
			return p, true
		}
	}
	return nil, false
}

// RunningPods are what the runtime runs, with what it knows of them.
func (k *Kubelet) RunningPods(ctx context.Context) ([]*corev1.Pod, error) {
	list, err := k.deps.Runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{
		State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING}}})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	found := map[string]*corev1.Pod{}
	for _, c := range list.GetContainers() {
		l := c.GetLabels()
		uid := l[criconfig.LabelPodUID]
		if uid == "" {
			continue
		}
		p := found[uid]
		if p == nil {
			p = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: l[criconfig.LabelPodNamespace], Name: l[criconfig.LabelPodName], UID: types.UID(uid)}}
			found[uid] = p
		}
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: l[criconfig.LabelContainerName], Image: c.GetImage().GetImage()})
	}
	var out []*corev1.Pod
	for _, p := range found {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *corev1.Pod) int { return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name) })
	return out, nil
}

// RunCommand runs a command in a container and returns what it printed.
func (k *Kubelet) RunCommand(ctx context.Context, namespace, pod, container string, cmd []string) ([]byte, error) {
	out := &bounded{left: runLimit}
	code, err := k.Exec(ctx, namespace, pod, container, cmd, false, nil, out, out, nil)
	switch {
	case err != nil:
		return nil, err
	case code != 0:
		return nil, fmt.Errorf("command '%s' exited with %d: %s", strings.Join(cmd, " "), code, out.buf.String())
	}
	return out.buf.Bytes(), nil
}

type bounded struct {
	mu   sync.Mutex
	buf  bytes.Buffer // guarded by mu
	left int
}

// Write keeps what there is room for, and takes the rest.
func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	keep := p[:min(len(p), b.left)]
	b.left -= len(keep)
	b.buf.Write(keep)
	return len(p), nil
}

// Healthy says why the kubelet does not keep up with its pods.
func (k *Kubelet) Healthy() error {
	select {
	case <-k.ready:
		return nil
	default:
		return errNotStarted
	}
}

// Summary measures the node and its pods.
func (k *Kubelet) Summary(ctx context.Context, fresh time.Duration) (*statsapi.Summary, error) {
	if k.stats == nil {
		return nil, errNotStarted
	}
	return k.stats.Summary(ctx, fresh)
}

func (k *Kubelet) newStats() *stats.Stats {
	return stats.New(stats.Config{
		NodeName: k.cfg.NodeName, Dir: k.cfg.DataDir, PodGroup: k.podsGroup(), Booted: k.cfg.Now(),
		KeepVolumes: k.opts.Kubelet.VolumeStatsAggPeriod.Duration, Now: k.cfg.Now,
		Allocatable: func() int64 {
			m := k.capacity[corev1.ResourceMemory].DeepCopy()
			m.Sub(k.opts.Reserved[corev1.ResourceMemory])
			return m.Value()
		},
		Pods: k.measured, UIDLabel: criconfig.LabelPodUID, NameLabel: criconfig.LabelContainerName,
	}, struct {
		Runtime
		Images
	}{k.deps.Runtime, k.deps.Images}, k.deps.Host)
}

// measured are the pods to measure.
func (k *Kubelet) measured() []stats.Pod {
	var out []stats.Pod
	for _, p := range k.Pods() {
		k.mu.Lock()
		w := k.workers[p.UID]
		k.mu.Unlock()
		if w == nil {
			continue
		}
		one := stats.Pod{Pod: p, UID: string(p.UID), LogDir: k.podLogDir(p.Namespace, p.Name, string(p.UID)), Started: map[string]time.Time{}}
		w.mu.Lock()
		one.Volumes = w.shown
		w.mu.Unlock()
		for _, l := range [][]corev1.ContainerStatus{p.Status.ContainerStatuses, p.Status.InitContainerStatuses} {
			for _, s := range l {
				if s.State.Running != nil {
					one.Started[s.Name] = s.State.Running.StartedAt.Time
				}
			}
		}
		out = append(out, one)
	}
	return out
}

// ProbeCounts are how probes came out so far.
func (k *Kubelet) ProbeCounts() []server.ProbeCount {
	k.probeMu.Lock()
	defer k.probeMu.Unlock()
	out := make([]server.ProbeCount, 0, len(k.probeCounts))
	for c, n := range k.probeCounts {
		c.Count = *n
		out = append(out, c)
	}
	return out
}

// countProbe counts one outcome.
func (k *Kubelet) countProbe(c server.ProbeCount) {
	k.probeMu.Lock()
	defer k.probeMu.Unlock()
	n := k.probeCounts[c]
	if n == nil {
		n = new(float64)
		k.probeCounts[c] = n
	}
	*n++
}

// forgetProbes drops the counts of a pod that is gone.
func (k *Kubelet) forgetProbes(uid types.UID) {
	k.probeMu.Lock()
	defer k.probeMu.Unlock()
	for c := range k.probeCounts {
		if c.UID == string(uid) {
			delete(k.probeCounts, c)
		}
	}
}

// metrics are the kubelet's series.
type metrics struct {
	registry          *prometheus.Registry
	evictions         *prometheus.CounterVec
	imagesCollected   *prometheus.CounterVec
	startedPods       prometheus.Counter
	startedPodsErrors prometheus.Counter
	started           *prometheus.CounterVec
	startedErrors     *prometheus.CounterVec
	podStart          prometheus.Histogram
	pulls             prometheus.Histogram
}

func newMetrics(k *Kubelet) *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_" + name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	one := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "kubelet_" + name, Help: help})
		m.registry.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kubelet_" + name, Help: help, Buckets: buckets})
		m.registry.MustRegister(h)
		return h
	}
	m.evictions = vec("evictions", "Cumulative number of pod evictions by eviction signal", "eviction_signal")
	m.imagesCollected = vec("image_garbage_collected_total", "Total number of images garbage collected by the kubelet, whether through disk usage or image age.", "reason")
	m.startedPods = one("started_pods_total", "Cumulative number of pods started")
	m.startedPodsErrors = one("started_pods_errors_total", "Cumulative number of errors when starting pods")
	m.started = vec("started_containers_total", "Cumulative number of containers started", "container_type")
	m.startedErrors = vec("started_containers_errors_total", "Cumulative number of errors when starting containers", "container_type", "code")
	m.podStart = histogram("pod_start_duration_seconds", "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run",
		[]float64{0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600})
	m.pulls = histogram("image_pull_duration_seconds", "Duration in seconds to pull an image.", []float64{1, 5, 10, 20, 30, 60, 180, 360, 480, 600, 900, 1200, 1800, 3600})
	gauge := func(name, help string, labels prometheus.Labels, f func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "kubelet_" + name, Help: help, ConstLabels: labels}, f))
	}
	gauge("node_name", "The node's name. The count is always 1.", prometheus.Labels{"node": k.cfg.NodeName}, func() float64 { return 1 })
	count := func(which func(*worker, *corev1.Pod) bool) func() float64 {
		return func() float64 {
			n := 0.0
			k.mu.Lock()
			defer k.mu.Unlock()
			for _, w := range k.workers {
				w.mu.Lock()
				if which(w, w.latest) {
					n++
				}
				w.mu.Unlock()
			}
			return n
		}
	}
	for kind, isStatic := range map[string]bool{"true": true, "": false} {
		labels := prometheus.Labels{"static": kind}
		gauge("desired_pods", "The number of pods the kubelet is being instructed to run. static is true if the pod is not from the apiserver.", labels,
			count(func(w *worker, _ *corev1.Pod) bool { return w.static == isStatic }))
		gauge("active_pods", "The number of pods the kubelet considers active and which are being considered when admitting new pods. static is true if the pod is not from the apiserver.", labels,
			count(func(w *worker, p *corev1.Pod) bool {
				return w.static == isStatic && w.admitted && !podmachine.Terminal(p.Status.Phase)
			}))
	}
	gauge("mirror_pods", "The number of mirror pods the kubelet will try to create (one per admitted static pod)", nil, count(func(w *worker, _ *corev1.Pod) bool { return w.static }))
	gauge("running_pods", "Number of pods that have a running pod sandbox", nil, func() float64 {
		return float64(k.sandboxCount())
	})
	for state, v := range map[string]runtimeapi.ContainerState{
		"created": runtimeapi.ContainerState_CONTAINER_CREATED, "running": runtimeapi.ContainerState_CONTAINER_RUNNING, "exited": runtimeapi.ContainerState_CONTAINER_EXITED,
	} {
		gauge("running_containers", "Number of containers currently running", prometheus.Labels{"container_state": state}, func() float64 { return float64(k.containerCount(v)) })
	}
	m.registry.MustRegister(volumeSeries{k})
	return m
}

// countTimeout bounds asking the runtime for a metric.
const countTimeout = 5 * time.Second

func (k *Kubelet) sandboxCount() int {
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	res, err := k.deps.Runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{
		State: &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY}}})
	if err != nil {
		return 0
	}
	return len(res.GetItems())
}

func (k *Kubelet) containerCount(state runtimeapi.ContainerState) int {
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	res, err := k.deps.Runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{State: &runtimeapi.ContainerStateValue{State: state}}})
	if err != nil {
		return 0
	}
	return len(res.GetContainers())
}

// Metrics are the kubelet's own series.
func (k *Kubelet) Metrics() prometheus.Gatherer { return k.metrics.registry }

// volumeSeries are those of claims' volumes.
type volumeSeries struct{ k *Kubelet }

// Describe says nothing: what there is depends on the pods there are.
func (volumeSeries) Describe(chan<- *prometheus.Desc) {}

// Collect measures.
func (v volumeSeries) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	sum, err := v.k.Summary(ctx, time.Second)
	if err != nil {
		if !errors.Is(err, errNotStarted) {
			v.k.log.Warn("kubelet: volumes could not be measured", "error", err)
		}
		return
	}
	told := map[statsapi.PVCReference]bool{}
	for i := range sum.Pods {
		for j := range sum.Pods[i].VolumeStats {
			s := &sum.Pods[i].VolumeStats[j]
			if s.PVCRef == nil || told[*s.PVCRef] {
				continue
			}
			told[*s.PVCRef] = true
			put := func(name, help string, v *uint64) {
				if v != nil {
					ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("kubelet_volume_stats_"+name, help, []string{"namespace", "persistentvolumeclaim"}, nil),
						prometheus.GaugeValue, float64(*v), s.PVCRef.Namespace, s.PVCRef.Name)
				}
			}
			put("capacity_bytes", "Capacity in bytes of the volume", s.CapacityBytes)
			put("available_bytes", "Number of available bytes in the volume", s.AvailableBytes)
			put("used_bytes", "Number of used bytes in the volume", s.UsedBytes)
			put("inodes", "Maximum number of inodes in the volume", s.Inodes)
			put("inodes_free", "Number of free inodes in the volume", s.InodesFree)
			put("inodes_used", "Number of used inodes in the volume", s.InodesUsed)
		}
	}
}
