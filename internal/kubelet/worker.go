package kubelet

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/monohull/monohull/internal/kubelet/criconfig"
	"github.com/monohull/monohull/internal/kubelet/eviction"
	"github.com/monohull/monohull/internal/kubelet/podmachine"
	"github.com/monohull/monohull/internal/kubelet/static"
	"github.com/monohull/monohull/internal/kubelet/volumes"
)

// observeRetry is the pause after the runtime could not be asked.
const observeRetry = time.Second

// worker owns one pod. Its methods in other files run on its goroutine unless they
// say otherwise.
type worker struct {
	k               *Kubelet
	log             *slog.Logger
	namespace, name string
	uid             types.UID
	wake            chan struct{} // holds one

	// static pods are no objects of the API; others show them there.
	static bool

	mu    sync.Mutex // guards what follows, up to the pod
	inbox inbox
	// latest is the pod as last seen, for those outside; admitted that the node took it.
	latest   *corev1.Pod
	admitted bool
	alloc    podmachine.Allocation
	shown    map[string]string // where its volumes are

	// api is the pod as the API has it; pod is that with what it was given.
	api *corev1.Pod
	// Only the worker's goroutine touches what follows.
	pod                       *corev1.Pod
	obs                       podmachine.Observed
	known                     bool // observed at least once
	judged                    bool // admission has been decided
	dirty                     bool // the runtime is to be looked at
	paths                     map[string]string
	tasks                     sync.WaitGroup
	cancels                   map[string]task
	probes                    map[probeKey]context.CancelFunc
	pulls                     map[string]podmachine.Backoff // by image
	messages                  map[string]string             // by container ID: why it ended
	sent                      *corev1.PodStatus             // last one written
	sentRev                   int64
	writing                   bool
	retryAt                   time.Time // of a status that could not be written
	sentTo                    types.UID // the mirror it was written to
	launches                  map[launchKey]corev1.ResourceRequirements
	grouped                   criconfig.Cgroup // as it was set last
	resizeFor                 int64            // generation looked at last
	resizeAt                  time.Time        // when to look at it again
	counted                   bool             // among the pods started
	volumeFails, sandboxFails int
}

// inbox is what came in since the worker's last turn.
type inbox struct {
	pod     *corev1.Pod
	gone    bool
	look    bool
	sources []source
	done    []func()
}

type source struct{ kind, name string }

// task is an action under way.
type task struct {
	cancel context.CancelFunc
	n      int
}

func newWorker(k *Kubelet, pod *corev1.Pod) *worker {
	w := &worker{
		k: k, log: k.log.With("namespace", pod.Namespace, "pod", pod.Name), namespace: pod.Namespace, name: pod.Name, uid: pod.UID,
		wake: make(chan struct{}, 1), static: static.IsStatic(pod) && !static.IsMirror(pod), latest: pod, pod: pod, api: pod, dirty: true,
		paths: map[string]string{}, cancels: map[string]task{}, probes: map[probeKey]context.CancelFunc{},
		pulls: map[string]podmachine.Backoff{}, messages: map[string]string{},
		launches: map[launchKey]corev1.ResourceRequirements{},
	}
	w.obs = podmachine.Observed{
		HostIPs: k.cfg.NodeIPs, Containers: map[string][]podmachine.Container{}, Probes: map[string]podmachine.Probes{},
		Waiting: map[string]podmachine.Waiting{}, Crash: map[string]podmachine.Backoff{}, Busy: map[string]time.Time{},
		Actuated: map[string]corev1.ResourceRequirements{}, ActuatedPod: pod.Spec.Resources,
	}
	if pod.Status.Reason == eviction.Reason && !podmachine.Terminal(pod.Status.Phase) {
		w.obs.Evicted = &podmachine.Eviction{Message: pod.Status.Message} // by an earlier process
	}
	if !k.vols.Exists(string(pod.UID)) {
		w.obs.Volumes = podmachine.VolumesNone
	}
	return w
}

func (w *worker) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// setPod, setGone, look, sourceChanged and post are called from anywhere.

func (w *worker) setPod(pod *corev1.Pod) {
	w.mu.Lock()
	w.inbox.pod, w.latest = pod, pod
	w.mu.Unlock()
	w.rouse()
}

func (w *worker) setGone(last *corev1.Pod) {
	w.mu.Lock()
	w.inbox.gone = true
	if last != nil {
		w.inbox.pod = last
	}
	w.mu.Unlock()
	w.rouse()
}

func (w *worker) look() {
	w.mu.Lock()
	w.inbox.look = true
	w.mu.Unlock()
	w.rouse()
}

func (w *worker) sourceChanged(kind, name string) {
	w.mu.Lock()
	s := source{kind, name}
	if !slices.Contains(w.inbox.sources, s) && refers(w.latest, kind, name) {
		w.inbox.sources = append(w.inbox.sources, s)
		w.rouse()
	}
	w.mu.Unlock()
}

func (w *worker) post(f func()) {
	w.mu.Lock()
	w.inbox.done = append(w.inbox.done, f)
	w.mu.Unlock()
	w.rouse()
}

// refers tells whether a pod reads an object, in a volume or a variable.
func refers(pod *corev1.Pod, kind, name string) bool {
	if volumes.References(pod, kind, name) {
		return true
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, e := range list[i].EnvFrom {
				if kind == "ConfigMap" && e.ConfigMapRef != nil && e.ConfigMapRef.Name == name || kind == "Secret" && e.SecretRef != nil && e.SecretRef.Name == name {
					return true
				}
			}
			for _, e := range list[i].Env {
				if f := e.ValueFrom; f != nil && (kind == "ConfigMap" && f.ConfigMapKeyRef != nil && f.ConfigMapKeyRef.Name == name ||
					kind == "Secret" && f.SecretKeyRef != nil && f.SecretKeyRef.Name == name) {
					return true
				}
			}
		}
	}
	return false
}

// run works until the pod is over or the process ends.
func (w *worker) run(ctx context.Context) {
	defer w.tasks.Wait()
	defer func() {
		for _, cancel := range w.probes {
			cancel()
		}
	}()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wakeAt, over := w.turn(ctx)
		if over || ctx.Err() != nil {
			return
		}
		var alarm <-chan time.Time
		if !wakeAt.IsZero() {
			timer.Reset(max(0, wakeAt.Sub(w.k.cfg.Now())))
			alarm = timer.C
		}
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-alarm:
		}
	}
}

// turn takes what came in, decides, and acts.
func (w *worker) turn(ctx context.Context) (wakeAt time.Time, over bool) {
	w.take()
	if w.dirty {
		if err := w.observe(ctx); err != nil {
			if ctx.Err() == nil {
				w.log.Warn("kubelet: the runtime could not be asked about a pod; it is tried again", "error", err)
			}
			return w.k.cfg.Now().Add(observeRetry), false
		}
		w.dirty = false
	}
	if w.judge() && podmachine.QOSClass(w.pod) == corev1.PodQOSBurstable {
		w.k.weighBurstable() // it runs already, and this process does not count it yet
	}
	now := w.k.cfg.Now()
	w.reallocate(now)
	written := w.obs.Written
	plan := podmachine.Step(w.pod, &w.obs, now)
	status := plan.Status
	w.obs.Last = &status
	if w.obs.Gone {
		w.obs.Written = true
	} else {
		w.writeStatus(ctx, &status)
	}
	if w.obs.Written != written {
		plan = podmachine.Step(w.pod, &w.obs, now) // it hangs on that whether the object may go
	}
	w.syncProbes(ctx, plan.Stopping)
	for _, a := range plan.Actions {
		w.perform(ctx, a)
	}
	if w.obs.ResizePending != nil {
		plan.WakeAt = soonest(plan.WakeAt, w.resizeAt)
	}
	w.count(&plan.Status, now)
	return soonest(plan.WakeAt, w.retryAt), plan.Over
}

func soonest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// count notes for the metrics that the pod has started.
func (w *worker) count(s *corev1.PodStatus, now time.Time) {
	if w.counted || s.Phase != corev1.PodRunning {
		return
	}
	w.counted = true
	w.k.metrics.startedPods.Inc()
	if s.StartTime != nil {
		w.k.metrics.podStart.Observe(now.Sub(s.StartTime.Time).Seconds())
	}
}

// take empties the inbox.
func (w *worker) take() {
	w.mu.Lock()
	in := w.inbox
	w.inbox = inbox{}
	w.mu.Unlock()
	if in.pod != nil {
		w.accept(in.pod)
	}
	if in.gone {
		w.obs.Gone = true
		delete(w.obs.Busy, podmachine.Action{Verb: podmachine.DeletePod}.Key())
	}
	w.dirty = w.dirty || in.look
	for _, s := range in.sources {
		if volumes.References(w.pod, s.kind, s.name) {
			w.obs.VolumesDirty = true
			w.obs.VolumesRetry = time.Time{}
		}
		for name, wait := range w.obs.Waiting {
			if wait.Reason == errConfig {
				wait.Until = time.Time{}
				w.obs.Waiting[name] = wait
			}
		}
	}
	for _, f := range in.done {
		f()
	}
}

// accept takes a newer state of the pod.
func (w *worker) accept(pod *corev1.Pod) {
	if w.static || revision(pod) < revision(w.pod) {
		return
	}
	if !sameMap(pod.Labels, w.pod.Labels) || !sameMap(pod.Annotations, w.pod.Annotations) {
		w.obs.VolumesDirty = w.obs.VolumesDirty || showsMetadata(pod)
	}
	w.api, w.pod = pod, w.alloc.Apply(pod)
}

func showsMetadata(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.DownwardAPI != nil {
			return true
		}
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.DownwardAPI != nil {
				return true
			}
		}
	}
	return false
}

func sameMap(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if x, ok := b[k]; !ok || x != v {
			return false
		}
	}
	return true
}

func revision(pod *corev1.Pod) int64 {
	n, err := strconv.ParseInt(pod.ResourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
