package kubelet

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// statusRetry is the pause after a status could not be written.
const statusRetry = time.Second

var errReplaced = errors.New("another pod has the name now")

// writeStatus brings the API's status up to date, one write at a time: what comes
// while one is under way is written after it, as one.
func (w *worker) writeStatus(ctx context.Context, want *corev1.PodStatus) {
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

// mergeForeign takes conditions others own from the object being written: they may
// have changed since.
func mergeForeign(ours, current []corev1.PodCondition) []corev1.PodCondition {
	var out []corev1.PodCondition
	owned := map[corev1.PodConditionType]bool{
		corev1.PodReadyToStartContainers: true, corev1.PodInitialized: true, corev1.PodReady: true, corev1.ContainersReady: true,
	}
	for _, c := range ours {
		if owned[c.Type] || c.Type == corev1.PodScheduled {
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
