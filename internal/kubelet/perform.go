package kubelet

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/kubelet/criconfig"
	"github.com/monohull/monohull/internal/kubelet/events"
	"github.com/monohull/monohull/internal/kubelet/logs"
	"github.com/monohull/monohull/internal/kubelet/podmachine"
)

// Pauses between attempts at what failed.
const (
	minRetry    = 500 * time.Millisecond
	maxRetry    = 2*time.Minute + 2*time.Second // of volumes, as upstream
	maxSandbox  = 10 * time.Second
	removeRetry = 2 * time.Second
)

// perform begins an action. What takes long runs beside the worker.
func (w *worker) perform(ctx context.Context, a podmachine.Action) {
	switch a.Verb {
	case podmachine.MountVolumes, podmachine.RefreshVolumes:
		w.mountVolumes(ctx, a)
	case podmachine.UnmountVolumes:
		w.unmountVolumes(ctx, a)
	case podmachine.CreateSandbox:
		w.createSandbox(ctx, a)
	case podmachine.StopSandbox:
		w.begin(ctx, a, func(ctx context.Context) func() {
			_, err := w.k.deps.Runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: a.ID})
			return w.retrySandbox(ctx, err, "stopped")
		})
	case podmachine.RemoveSandbox:
		w.begin(ctx, a, func(ctx context.Context) func() {
			_, err := w.k.deps.Runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: a.ID})
			return w.retrySandbox(ctx, err, "removed")
		})
	case podmachine.StartContainer:
		if a.Backoff != nil {
			w.obs.Crash[a.Container] = *a.Backoff
		}
		w.startContainer(ctx, a)
	case podmachine.KillContainer:
		w.killContainer(ctx, a)
	case podmachine.RemoveContainer:
		w.removeContainer(ctx, a)
	case podmachine.BackOff:
		w.backOff(a)
	case podmachine.Abort:
		for _, key := range []string{podmachine.KeyStart, podmachine.KeySandbox} {
			if t, ok := w.cancels[key]; ok {
				t.cancel()
			}
		}
	case podmachine.ResizePod:
		w.resizePod(ctx, a)
	case podmachine.DeletePod:
		w.deletePod(ctx, a)
	case podmachine.RemoveDir:
		w.begin(ctx, a, func(context.Context) func() {
			err := w.k.vols.Remove(string(w.uid))
			if err == nil && w.name != "" {
				err = os.RemoveAll(w.k.podLogDir(w.namespace, w.name, string(w.uid)))
			}
			if err != nil {
				w.log.Warn("kubelet: a pod's directory was not removed; it is tried again", "error", err)
				pause(ctx, removeRetry)
				return nil
			}
			return func() { w.obs.Removed = true }
		})
	}
}

// begin runs f beside the worker. What f returns runs on the worker afterwards.
func (w *worker) begin(ctx context.Context, a podmachine.Action, f func(context.Context) func()) {
	key := a.Key()
	ctx, cancel := context.WithCancel(ctx)
	n := w.cancels[key].n + 1
	w.cancels[key] = task{cancel, n}
	w.obs.Busy[key] = w.k.cfg.Now().Add(a.Grace)
	w.tasks.Go(func() {
		apply := f(ctx)
		w.post(func() {
			// Not before: what is applied asks ctx whether it was aborted.
			defer cancel()
			if w.cancels[key].n == n { // not replaced by a later one
				delete(w.cancels, key)
				delete(w.obs.Busy, key)
			}
			if apply != nil {
				apply()
			}
			w.dirty = true
		})
	})
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// retrySandbox notes how an action on a sandbox went.
func (w *worker) retrySandbox(ctx context.Context, err error, what string) func() {
	return func() {
		if err == nil || isGone(err) {
			w.sandboxFails = 0
			return
		}
		w.sandboxFails++
		w.obs.SandboxRetry = w.k.cfg.Now().Add(grow(w.sandboxFails, maxSandbox))
		if ctx.Err() == nil {
			w.log.Warn("kubelet: a sandbox was not "+what+"; it is tried again", "error", err)
		}
	}
}

// grow is the pause after so many failures.
func grow(fails int, limit time.Duration) time.Duration {
	d := minRetry
	for range min(fails-1, 20) {
		d *= 2
	}
	return min(d, limit)
}

func isGone(err error) bool { return grpcstatus.Code(err) == codes.NotFound }

// event reports something about the pod, or a container of it. Anyone may call it.
func (w *worker) event(container, eventType, reason, message string) {
	w.mu.Lock()
	pod := w.latest
	w.mu.Unlock()
	path := ""
	if container != "" {
		path = criconfig.FieldPath(pod, container)
	}
	w.k.rec.Event(events.PodRef(pod, path), eventType, reason, message)
}

func (w *worker) mountVolumes(ctx context.Context, a podmachine.Action) {
	pod := w.pod
	w.obs.VolumesDirty = false
	w.begin(ctx, a, func(ctx context.Context) func() {
		set, err := w.k.vols.Mount(ctx, pod)
		return func() {
			if err == nil {
				w.paths, w.volumeFails = set.Paths, 0
				w.mu.Lock()
				w.shown = set.Paths
				w.mu.Unlock()
				w.obs.Volumes, w.obs.VolumesExpire, w.obs.VolumesRetry = podmachine.VolumesMounted, set.Expire, time.Time{}
				return
			}
			if ctx.Err() != nil {
				return
			}
			if w.obs.Volumes == podmachine.VolumesNone {
				w.obs.Volumes = podmachine.VolumesUnknown // some may be there
			}
			if w.volumeFails++; w.volumeFails > 1 || a.Verb == podmachine.MountVolumes {
				w.event("", corev1.EventTypeWarning, "FailedMount", err.Error())
			}
			w.obs.VolumesDirty = a.Verb == podmachine.RefreshVolumes
			w.obs.VolumesRetry = w.k.cfg.Now().Add(grow(w.volumeFails, maxRetry))
		}
	})
}

func (w *worker) unmountVolumes(ctx context.Context, a podmachine.Action) {
	pod := w.pod
	w.begin(ctx, a, func(ctx context.Context) func() {
		err := w.k.vols.Unmount(string(pod.UID))
		if err == nil {
			err = w.removeCgroups(pod)
		}
		return func() {
			if err == nil {
				w.obs.Volumes, w.volumeFails, w.obs.VolumesRetry = podmachine.VolumesNone, 0, time.Time{}
				w.k.resizesAgain(w)
				return
			}
			w.volumeFails++
			w.obs.VolumesRetry = w.k.cfg.Now().Add(grow(w.volumeFails, maxRetry))
			w.log.Warn("kubelet: a pod's volumes were not taken down; it is tried again", "error", err)
		}
	})
}

// removeCgroups removes the pod's group. Of a pod that is known by its remains
// only, the class is not known: it is looked for in each.
func (w *worker) removeCgroups(pod *corev1.Pod) error {
	classes := []corev1.PodQOSClass{podmachine.QOSClass(pod)}
	if len(pod.Spec.Containers) == 0 {
		classes = []corev1.PodQOSClass{corev1.PodQOSGuaranteed, corev1.PodQOSBurstable, corev1.PodQOSBestEffort}
	}
	for _, c := range classes {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: pod.UID}, Status: corev1.PodStatus{QOSClass: c}}
		if err := w.k.deps.Host.RemoveCgroup(criconfig.PodCgroup(w.k.cfg.CgroupRoot, p).Path); err != nil {
			return err
		}
	}
	if podmachine.QOSClass(pod) == corev1.PodQOSBurstable {
		w.mu.Lock()
		w.admitted = false
		w.mu.Unlock()
		w.k.weighBurstable()
	}
	return nil
}

func (w *worker) removeContainer(ctx context.Context, a podmachine.Action) {
	path := ""
	var attempt int32
	for _, c := range w.obs.Containers[a.Container] {
		if c.ID == a.ID {
			path, attempt = c.LogPath, c.Attempt
		}
	}
	w.begin(ctx, a, func(ctx context.Context) func() {
		_, err := w.k.deps.Runtime.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: a.ID})
		if err == nil && path != "" {
			err = logs.Remove(path)
		}
		if err == nil {
			// Absent if it never wrote one.
			_ = os.Remove(w.messagePath(a.Container, attempt))
		}
		if err != nil && !isGone(err) && ctx.Err() == nil {
			w.log.Warn("kubelet: a container was not removed; it is tried again", "container", a.Container, "error", err)
			pause(ctx, removeRetry)
		}
		return nil
	})
}

// deletePod completes the deletion of the object. It stays busy until the object
// is gone, which others may hold up with finalizers.
func (w *worker) deletePod(ctx context.Context, a podmachine.Action) {
	pod := w.pod
	w.obs.Busy[a.Key()] = time.Time{}
	w.tasks.Go(func() {
		zero := int64(0)
		err := w.k.pods.Delete(ctx, pod.Namespace, pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &pod.UID},
		})
		if err == nil || apierrors.IsNotFound(err) {
			if now, ok := w.k.pods.Get(pod.Namespace, pod.Name); !ok || now.UID != pod.UID {
				w.setGone(nil)
			}
			return
		}
		if apierrors.IsConflict(err) { // its UID is not the one: it is gone
			w.setGone(nil)
			return
		}
		if ctx.Err() != nil {
			return
		}
		w.log.Warn("kubelet: a pod's object was not deleted; it is tried again", "error", err)
		pause(ctx, removeRetry)
		w.post(func() { delete(w.obs.Busy, a.Key()) })
	})
}

// backOff notes that a container waits, and tells so once.
func (w *worker) backOff(a podmachine.Action) {
	switch a.Reason {
	case "CrashLoopBackOff":
		w.obs.Waiting[a.Container] = a.Waiting
		w.event(a.Container, corev1.EventTypeWarning, "BackOff",
			fmt.Sprintf("Back-off restarting failed container %s in pod %s", a.Container, podmachine.Describe(w.pod)))
	case errImageBackOff:
		c := criconfig.FindContainer(w.pod, a.Container)
		if c == nil {
			return
		}
		wait := a.Waiting
		wait.FlipAt = time.Time{}
		message := fmt.Sprintf("Back-off pulling image %q", c.Image)
		wait.Message = message + ": " + wait.Reason + ": " + wait.Message
		wait.Reason = errImageBackOff
		w.obs.Waiting[a.Container] = wait
		w.event(a.Container, corev1.EventTypeNormal, "BackOff", message)
		w.event(a.Container, corev1.EventTypeWarning, "Failed", "Error: "+errImageBackOff)
	}
	w.rouse() // the status says so
}
