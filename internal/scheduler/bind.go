package scheduler

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/monohull/monohull/internal/client"
)

// binding is a decision to be written.
type binding struct {
	item *item
	pod  *corev1.Pod
	node string
}

// bind writes a decision. When it returns the cache has it, or the pod is no
// longer counted on the node.
func (s *Scheduler) bind(ctx context.Context, b *binding) {
	err := client.Bind(ctx, s.client, b.pod, b.node)
	if err == nil {
		s.mu.Lock()
		if s.queue.items[b.item.uid()] == b.item {
			s.queue.remove(b.item.uid())
		}
		s.mu.Unlock()
		s.recorder.Event(ctx, b.pod, corev1.EventTypeNormal, "Scheduled",
			fmt.Sprintf("Successfully assigned %s/%s to %s", b.pod.Namespace, b.pod.Name, b.node))
		return
	}
	if ctx.Err() == nil {
		s.unbind(ctx, b, err)
	}
}

// unbind takes an assumption back, and has the pod tried again if it still
// needs a node.
func (s *Scheduler) unbind(ctx context.Context, b *binding, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	uid := b.pod.UID
	if !s.assumed[uid] {
		return // seen bound after all, or gone
	}
	delete(s.assumed, uid)
	now := s.clock.Now()
	if n := s.snap.removePod(uid); n != nil {
		s.wakeLocked(byResources|byPorts|bySpread|byPodAffinity, n)
	}
	cur, ok := s.pods.Get(b.pod.Namespace, b.pod.Name)
	if !ok || cur.UID != uid || cur.Spec.NodeName != "" || cur.DeletionTimestamp != nil {
		s.queue.remove(uid)
		s.poke()
		return
	}
	b.item.info = newPodInfo(cur) // it was not kept up to date in flight
	s.queue.fault(b.item, now)
	s.poke()
	message := fmt.Sprintf("binding rejected: running Bind plugin \"DefaultBinder\": %v", err)
	if !apierrors.IsConflict(err) {
		s.log.Warn("scheduler: a pod could not be bound; it is tried again", "namespace", b.pod.Namespace, "name", b.pod.Name, "node", b.node, "error", err)
	}
	s.recorder.Event(ctx, b.pod, corev1.EventTypeWarning, "FailedScheduling", truncated(message))
	s.reports.put(&report{pod: b.pod, reason: corev1.PodReasonSchedulerError, message: message, nominated: b.pod.Status.NominatedNodeName})
}
