package kubelet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/kubelet/criconfig"
	"github.com/monohull/monohull/internal/kubelet/podmachine"
)

const (
	// resizeAgain is the time after which a resize that did not fit is looked at anew
	// though nothing else happened, as upstream.
	resizeAgain = 3 * time.Minute
	// resizeRetry is the pause after limits could not be set.
	resizeRetry = 10 * time.Second
)

// resources are a container's limits for the runtime, as this kubelet sets them.
func (k *Kubelet) resources(pod *corev1.Pod, c *corev1.Container) *runtimeapi.LinuxContainerResources {
	r := criconfig.Resources(pod, c, k.facts.MemoryBytes)
	period := k.opts.Kubelet.CPUCFSQuotaPeriod.Duration.Microseconds()
	switch {
	case !*k.opts.Kubelet.CPUCFSQuota:
		r.CpuQuota = 0
	case period != r.CpuPeriod && r.CpuQuota > 0:
		r.CpuQuota = max(r.CpuQuota*period/r.CpuPeriod, 1000)
		r.CpuPeriod = period
	}
	return r
}

// group is a pod's control group, as this kubelet sets it.
func (k *Kubelet) group(pod *corev1.Pod) criconfig.Cgroup {
	g := criconfig.PodCgroup(k.cfg.CgroupRoot, pod)
	if !*k.opts.Kubelet.CPUCFSQuota {
		g.Quota = 0
	}
	g.Processes = max(0, *k.opts.Kubelet.PodPidsLimit)
	return g
}

// given notes what the pod was granted; the pod is from then on seen with that.
func (w *worker) given(a podmachine.Allocation) {
	w.mu.Lock()
	w.alloc = a
	w.mu.Unlock()
	w.pod = a.Apply(w.api)
}

// reallocate looks whether the pod asks for other resources than it was given, and
// whether the node has them.
func (w *worker) reallocate(now time.Time) {
	if !w.judged || w.obs.Gone || w.obs.Rejected != nil || w.obs.Evicted != nil || w.pod.DeletionTimestamp != nil || podmachine.Terminal(w.pod.Status.Phase) {
		return
	}
	if w.alloc.Grants(w.api) {
		w.obs.ResizePending, w.resizeAt = nil, time.Time{}
		if podmachine.Resizing(w.pod, &w.obs) {
			w.progress(now, "", "")
		} else if c := w.obs.ResizeInProgress; c != nil {
			w.obs.ResizeInProgress = nil
			w.event("", corev1.EventTypeNormal, "ResizeCompleted", resizeMessage("Pod resize completed", w.api, c.ObservedGeneration, ""))
		}
		return
	}
	if w.resizeFor == w.api.Generation && now.Before(w.resizeAt) {
		return
	}
	w.resizeFor, w.resizeAt = w.api.Generation, now.Add(resizeAgain)
	k := w.k
	k.admitMu.Lock()
	refusal := fits(w.api, k.allocatable, k.admittedBut(w))
	if refusal == nil {
		w.given(podmachine.Desired(w.api))
	}
	k.admitMu.Unlock()
	if refusal == nil {
		w.obs.ResizePending, w.obs.ResizeInProgress, w.obs.ResizeRetry, w.resizeAt = nil, nil, time.Time{}, time.Time{}
		w.progress(now, "", "")
		w.event("", corev1.EventTypeNormal, "ResizeStarted", resizeMessage("Pod resize started", w.api, w.api.Generation, ""))
		if podmachine.QOSClass(w.pod) == corev1.PodQOSBurstable {
			k.weighBurstable()
		}
		k.resizesAgain(w) // it may have grown smaller
		return
	}
	was := w.obs.ResizePending
	if was != nil && was.Message == refusal.Message && was.ObservedGeneration == w.api.Generation {
		return
	}
	w.obs.ResizePending = resizeCondition(corev1.PodResizePending, was, corev1.PodReasonDeferred, refusal.Message, w.api.Generation, now)
	w.event("", corev1.EventTypeWarning, "ResizeDeferred", resizeMessage("Pod resize "+corev1.PodReasonDeferred, w.api, w.api.Generation, refusal.Message))
}

// progress notes that what runs is not yet what was given.
func (w *worker) progress(now time.Time, reason, message string) {
	was := w.obs.ResizeInProgress
	if was != nil && (was.Reason == reason && was.Message == message || reason == "") {
		return
	}
	generation := w.api.Generation
	if was != nil {
		generation = was.ObservedGeneration
	}
	w.obs.ResizeInProgress = resizeCondition(corev1.PodResizeInProgress, was, reason, message, generation, now)
}

func resizeCondition(t corev1.PodConditionType, was *corev1.PodCondition, reason, message string, generation int64, now time.Time) *corev1.PodCondition {
	at := metav1.NewTime(now).Rfc3339Copy()
	c := &corev1.PodCondition{Type: t, Status: corev1.ConditionTrue, LastProbeTime: at, LastTransitionTime: at, Reason: reason, Message: message, ObservedGeneration: generation}
	if was != nil && was.Reason == reason {
		c.LastTransitionTime = was.LastTransitionTime
	}
	return c
}

// resizeMessage tells of a resize with all that the pod asks for.
func resizeMessage(prefix string, pod *corev1.Pod, generation int64, problem string) string {
	type asked struct {
		Name      string                      `json:"name"`
		Resources corev1.ResourceRequirements `json:"resources,omitempty"`
	}
	all := struct {
		InitContainers []asked `json:"initContainers,omitempty"`
		Containers     []asked `json:"containers,omitempty"`
		Generation     int64   `json:"generation"`
		Error          string  `json:"error,omitempty"`
	}{Generation: generation, Error: problem}
	for _, c := range pod.Spec.InitContainers {
		all.InitContainers = append(all.InitContainers, asked{c.Name, c.Resources})
	}
	for _, c := range pod.Spec.Containers {
		all.Containers = append(all.Containers, asked{c.Name, c.Resources})
	}
	body, err := json.Marshal(all)
	if err != nil {
		return prefix
	}
	return prefix + ": " + string(body)
}

// resizesAgain has pods whose resize did not fit look again: something was freed.
func (k *Kubelet) resizesAgain(but *worker) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.workers {
		if w != but {
			w.post(func() {
				if w.obs.ResizePending != nil {
					w.resizeAt = time.Time{}
				}
			})
		}
	}
}

// recallResize takes over what an earlier process said of a resize.
func (w *worker) recallResize() {
	for i := range w.pod.Status.Conditions {
		c := w.pod.Status.Conditions[i]
		switch c.Type {
		case corev1.PodResizePending:
			w.obs.ResizePending = &c
		case corev1.PodResizeInProgress:
			w.obs.ResizeInProgress = &c
		}
	}
}

// actuate notes what containers run with, of those that are new here.
func (w *worker) actuate() {
	for name, l := range w.obs.Containers {
		for i := range l {
			c := &l[i]
			if _, known := w.obs.Actuated[c.ID]; known || c.State != podmachine.Running {
				continue
			}
			r, started := w.launches[launchKey{name, c.Attempt}]
			if !started {
				r = w.ranWith(name, c.ID)
			}
			delete(w.launches, launchKey{name, c.Attempt})
			w.obs.Actuated[c.ID] = r
		}
	}
}

type launchKey struct {
	name    string
	attempt int32
}

// ranWith is what a container of an earlier process runs with, by its status.
func (w *worker) ranWith(name, id string) corev1.ResourceRequirements {
	for _, l := range [][]corev1.ContainerStatus{w.pod.Status.ContainerStatuses, w.pod.Status.InitContainerStatuses} {
		for _, st := range l {
			if st.Name == name && st.ContainerID == podmachine.RuntimeName+"://"+id && st.Resources != nil {
				return *st.Resources.DeepCopy()
			}
		}
	}
	if c := criconfig.FindContainer(w.pod, name); c != nil {
		return *c.Resources.DeepCopy()
	}
	return corev1.ResourceRequirements{}
}

// resizePod gives what runs its new limits: the pod's group first where it grows,
// then containers, those that shrink first, then the group as it is to be.
func (w *worker) resizePod(ctx context.Context, a podmachine.Action) {
	if len(w.obs.Sandboxes) == 0 {
		return
	}
	pod, sandbox, updates := w.pod, w.obs.Sandboxes[0].ID, podmachine.Updates(w.pod, &w.obs)
	before := w.grouped
	w.begin(ctx, a, func(ctx context.Context) func() {
		want := w.k.group(pod)
		done, err := w.update(ctx, pod, sandbox, before, want, updates)
		return func() {
			for _, u := range done {
				r := u.Have.DeepCopy()
				*r = *u.Container.Resources.DeepCopy()
				w.obs.Actuated[u.ID] = *r
			}
			now := w.k.cfg.Now()
			if err == nil {
				w.grouped, w.obs.ResizeRetry = want, time.Time{}
				w.obs.ActuatedPod = pod.Spec.Resources.DeepCopy()
				return
			}
			if ctx.Err() != nil {
				return
			}
			w.obs.ResizeRetry = now.Add(resizeRetry)
			told := w.obs.ResizeInProgress
			if told == nil || told.Message != err.Error() {
				w.event("", corev1.EventTypeWarning, "ResizeError", resizeMessage("Pod resize error", pod, pod.Generation, err.Error()))
			}
			w.progress(now, corev1.PodReasonError, err.Error())
		}
	})
}

// update runs beside the worker. It returns the updates that were made.
func (w *worker) update(ctx context.Context, pod *corev1.Pod, sandbox string, before, want criconfig.Cgroup, updates []podmachine.Update) ([]podmachine.Update, error) {
	if err := w.memoryAllows(ctx, sandbox, before, want, updates); err != nil {
		return nil, err
	}
	first := want
	first.Quota, first.MemoryLimit = larger(before.Quota, want.Quota), larger(before.MemoryLimit, want.MemoryLimit)
	if err := w.k.deps.Host.SetCgroup(first); err != nil {
		return nil, fmt.Errorf("failed to set the pod's control group: %w", err)
	}
	var done []podmachine.Update
	for _, u := range updates {
		_, err := w.k.deps.Runtime.UpdateContainerResources(ctx, &runtimeapi.UpdateContainerResourcesRequest{ContainerId: u.ID, Linux: w.k.resources(pod, u.Container)})
		if err != nil {
			return done, fmt.Errorf("failed to update container %q: %w", u.Container.Name, plain(err))
		}
		done = append(done, u)
	}
	if first != want {
		if err := w.k.deps.Host.SetCgroup(want); err != nil {
			return done, fmt.Errorf("failed to set the pod's control group: %w", err)
		}
	}
	return done, nil
}

// larger of two limits, where 0 is none.
func larger(a, b int64) int64 {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}

// memoryAllows refuses limits below what is used now: the kernel would kill for them.
func (w *worker) memoryAllows(ctx context.Context, sandbox string, before, want criconfig.Cgroup, updates []podmachine.Update) error {
	podShrinks := want.MemoryLimit > 0 && (before.MemoryLimit == 0 || want.MemoryLimit < before.MemoryLimit)
	limits := map[string]podmachine.Update{}
	for _, u := range updates {
		if u.LessMemory {
			limits[u.ID] = u
		}
	}
	if !podShrinks && len(limits) == 0 {
		return nil
	}
	res, err := w.k.deps.Runtime.ListPodSandboxStats(ctx, &runtimeapi.ListPodSandboxStatsRequest{Filter: &runtimeapi.PodSandboxStatsFilter{Id: sandbox}})
	if err != nil {
		return fmt.Errorf("unable to read memory usage for pod %q", w.name)
	}
	var errs []error
	for _, sb := range res.GetStats() {
		if sb.GetAttributes().GetId() != sandbox {
			continue
		}
		used := sb.GetLinux().GetMemory().GetUsageBytes().GetValue()
		if podShrinks && used >= uint64(want.MemoryLimit) {
			errs = append(errs, fmt.Errorf("attempting to set pod memory limit (%d) below current usage (%d)", want.MemoryLimit, used))
		}
		for _, c := range sb.GetLinux().GetContainers() {
			u, ok := limits[c.GetAttributes().GetId()]
			if !ok {
				continue
			}
			limit, used := u.Container.Resources.Limits.Memory().Value(), c.GetMemory().GetUsageBytes().GetValue()
			if used >= uint64(limit) {
				errs = append(errs, fmt.Errorf("attempting to set container %q memory limit (%d) below current usage (%d)", u.Container.Name, limit, used))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot decrease memory limits: %w", err)
	}
	return nil
}
