package kubelet

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/monohull/monohull/internal/kubelet/static"
)

// statusRetry is the pause after a status could not be written.
const statusRetry = time.Second

var errReplaced = errors.New("another pod has the name now")

// writeStatus brings the API's status up to date, one write at a time: what comes
// while one is under way is written after it, as one.
func (w *worker) writeStatus(ctx context.Context, want *corev1.PodStatus) {
	if w.static {
		w.writeMirror(ctx, want)
		return
	}
	w.obs.Written = w.sent != nil && apiequality.Semantic.DeepEqual(want, w.sent) && revision(w.pod) <= w.sentRev ||
		apiequality.Semantic.DeepEqual(want, &w.pod.Status)
	if w.obs.Written || w.writing {
		return
	}
	if now := w.k.cfg.Now(); now.Before(w.retryAt) {
		return
	}
	w.writing, w.retryAt = true, time.Time{}
	status, pod := want.DeepCopy(), w.pod
	w.tasks.Go(func() {
		got, err := w.k.pods.Modify(ctx, pod.Namespace, pod.Name, "status", func(p *corev1.Pod) error {
			if p.UID != pod.UID {
				return errReplaced
			}
			merged := status.DeepCopy()
			merged.Conditions = mergeForeign(merged.Conditions, p.Status.Conditions)
			p.Status = *merged
			return nil
		})
		w.post(func() {
			w.writing = false
			switch {
			case err == nil:
				w.sent, w.sentRev = status, revision(got)
				w.accept(got)
			case apierrors.IsNotFound(err) || errors.Is(err, errReplaced):
				w.obs.Gone = true
			default:
				w.retryAt = w.k.cfg.Now().Add(statusRetry)
				if ctx.Err() == nil {
					w.log.Warn("kubelet: a pod's status was not written; it is tried again", "error", err)
				}
			}
		})
	})
}

// writeMirror is writeStatus for a static pod: to its mirror, if it has one. The pod
// hangs on nothing of that.
func (w *worker) writeMirror(ctx context.Context, want *corev1.PodStatus) {
	w.obs.Written = true
	mirror, ok := w.k.pods.Get(w.namespace, w.name)
	if !ok || !static.IsMirrorOf(mirror, w.pod) || w.writing {
		return
	}
	if w.sentTo == mirror.UID && w.sent != nil && apiequality.Semantic.DeepEqual(want, w.sent) || apiequality.Semantic.DeepEqual(want, &mirror.Status) {
		return
	}
	if now := w.k.cfg.Now(); now.Before(w.retryAt) {
		return
	}
	w.writing, w.retryAt = true, time.Time{}
	status := want.DeepCopy()
	w.tasks.Go(func() {
		_, err := w.k.pods.Modify(ctx, mirror.Namespace, mirror.Name, "status", func(p *corev1.Pod) error {
			if p.UID != mirror.UID {
				return errReplaced
			}
			merged := status.DeepCopy()
			merged.Conditions = mergeForeign(merged.Conditions, p.Status.Conditions)
			p.Status = *merged
			return nil
		})
		w.post(func() {
			w.writing = false
			switch {
			case err == nil:
				w.sent, w.sentTo = status, mirror.UID
			case apierrors.IsNotFound(err) || errors.Is(err, errReplaced):
			default:
				w.retryAt = w.k.cfg.Now().Add(statusRetry)
				if ctx.Err() == nil {
					w.log.Warn("kubelet: a static pod's status was not written to its mirror; it is tried again", "error", err)
				}
			}
		})
	})
}

// mergeForeign takes conditions others own from the object being written: they may
// have changed since.
func mergeForeign(ours, current []corev1.PodCondition) []corev1.PodCondition {
	var out []corev1.PodCondition
	owned := map[corev1.PodConditionType]bool{
		corev1.PodReadyToStartContainers: true, corev1.PodInitialized: true, corev1.PodReady: true, corev1.ContainersReady: true,
		corev1.PodResizePending: true, corev1.PodResizeInProgress: true,
	}
	for _, c := range ours {
		if owned[c.Type] || c.Type == corev1.PodScheduled || c.Type == corev1.DisruptionTarget && c.Reason == corev1.PodReasonTerminationByKubelet {
			out = append(out, c)
		}
	}
	for _, c := range current {
		have := owned[c.Type]
		for _, o := range out {
			have = have || o.Type == c.Type
		}
		if !have {
			out = append(out, c)
		}
	}
	return out
}
