package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const reportWorkers = 4

// report is what is to be written about a pod that got no node.
type report struct {
	pod             *corev1.Pod
	reason, message string
	nominated       string
	// where others have to go first
	node    string
	victims []*podInfo
	demoted []*corev1.Pod
}

// reports keeps the newest report per pod until a worker has it. The pods of
// the queue bound it.
type reports struct {
	signal chan struct{}

	mu    sync.Mutex
	byUID map[types.UID]*report
	order []types.UID
	busy  map[types.UID]bool
}

func newReports() *reports {
	return &reports{signal: make(chan struct{}, 1), byUID: map[types.UID]*report{}, busy: map[types.UID]bool{}}
}

func (r *reports) put(x *report) {
	r.mu.Lock()
	uid := x.pod.UID
	if old := r.byUID[uid]; old == nil {
		r.order = append(r.order, uid)
	} else {
		// what it meant to do is still to be done
		if x.node == "" {
			x.node = old.node
		}
		x.victims, x.demoted = append(old.victims, x.victims...), append(old.demoted, x.demoted...)
	}
	r.byUID[uid] = x
	r.mu.Unlock()
	r.poke()
}

func (r *reports) poke() {
	select {
	case r.signal <- struct{}{}:
	default:
	}
}

// take gives the next report of a pod that no other worker writes about.
func (r *reports) take() *report {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, uid := range r.order {
		if r.busy[uid] {
			continue
		}
		x := r.byUID[uid]
		if i == 0 {
			r.order = r.order[1:]
		} else {
			r.order = append(r.order[:i:i], r.order[i+1:]...)
		}
		delete(r.byUID, uid)
		r.busy[uid] = true
		if len(r.order) > 0 {
			r.poke()
		}
		return x
	}
	return nil
}

func (r *reports) done(x *report) {
	r.mu.Lock()
	delete(r.busy, x.pod.UID)
	more := len(r.order) > 0
	r.mu.Unlock()
	if more {
		r.poke()
	}
}

// report writes reports until ctx ends.
func (s *Scheduler) report(ctx context.Context) {
	for {
		x := s.reports.take()
		if x == nil {
			select {
			case <-s.reports.signal:
				continue
			case <-ctx.Done():
				return
			}
		}
		s.write(ctx, x)
		s.reports.done(x)
	}
}

func (s *Scheduler) write(ctx context.Context, x *report) {
	if err := s.preempt(ctx, x); err != nil {
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("scheduler: a pod could not be preempted; its successor is tried again", "namespace", x.pod.Namespace, "name", x.pod.Name, "node", x.node, "error", err)
		s.mu.Lock()
		for _, v := range x.victims {
			delete(s.snap.leaving, v.pod.UID)
		}
		s.queue.nudge(x.pod.UID, s.clock.Now())
		s.mu.Unlock()
		s.poke()
	}
	if err := s.writeStatus(ctx, x.pod, x.nominated, &corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: x.reason, Message: x.message,
	}); err != nil && ctx.Err() == nil {
		s.log.Warn("scheduler: the status of a pod could not be written", "namespace", x.pod.Namespace, "name", x.pod.Name, "error", err)
	}
}

// preempt has the victims of a report leave.
func (s *Scheduler) preempt(ctx context.Context, x *report) error {
	for _, p := range x.demoted {
		if err := s.writeStatus(ctx, p, "", nil); err != nil {
			return fmt.Errorf("taking the nomination from %s/%s: %w", p.Namespace, p.Name, err)
		}
	}
	for _, v := range x.victims {
		victim := v.pod
		if victim.DeletionTimestamp != nil {
			continue
		}
		err := s.modify(ctx, victim, func(p *corev1.Pod) {
			setCondition(p, corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler,
				Message: s.name + ": preempting to accommodate a higher priority pod",
			}, metav1.NewTime(s.clock.Now()))
		})
		if err != nil {
			return fmt.Errorf("marking %s/%s: %w", victim.Namespace, victim.Name, err)
		}
		err = s.pods.Delete(ctx, victim.Namespace, victim.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(victim.UID))})
		if apierrors.IsConflict(err) {
			continue // another pod of that name: the victim is gone
		}
		if err != nil {
			return fmt.Errorf("deleting %s/%s: %w", victim.Namespace, victim.Name, err)
		}
		s.recorder.Event(ctx, victim, corev1.EventTypeNormal, "Preempted", fmt.Sprintf("Preempted by pod %s on node %s", x.pod.UID, x.node))
	}
	return nil
}

// writeStatus sets a pending pod's condition, if given, and the node it was
// promised. Of a pod that is bound or gone it writes nothing.
func (s *Scheduler) writeStatus(ctx context.Context, pod *corev1.Pod, nominated string, c *corev1.PodCondition) error {
	if cur, ok := s.pods.Get(pod.Namespace, pod.Name); !ok || cur.UID != pod.UID || cur.Spec.NodeName != "" || says(cur, nominated, c) {
		return nil
	}
	return s.modify(ctx, pod, func(p *corev1.Pod) {
		if p.Spec.NodeName != "" {
			return
		}
		p.Status.NominatedNodeName = nominated
		if c != nil {
			setCondition(p, *c, metav1.NewTime(s.clock.Now()))
		}
	})
}

// says tells whether a pod's status reads so already: most tries end as the
// one before.
func says(p *corev1.Pod, nominated string, c *corev1.PodCondition) bool {
	if p.Status.NominatedNodeName != nominated {
		return false
	}
	if c == nil {
		return true
	}
	for i := range p.Status.Conditions {
		if x := &p.Status.Conditions[i]; x.Type == c.Type {
			return x.Status == c.Status && x.Reason == c.Reason && x.Message == c.Message && x.ObservedGeneration == p.Generation
		}
	}
	return false
}

var errAnother = errors.New("another pod has the name now")

// modify changes a pod's status if it is still the same pod. A change that
// makes no difference costs no write.
func (s *Scheduler) modify(ctx context.Context, pod *corev1.Pod, change func(*corev1.Pod)) error {
	_, err := s.pods.Modify(ctx, pod.Namespace, pod.Name, "status", func(p *corev1.Pod) error {
		if p.UID != pod.UID {
			return errAnother
		}
		change(p)
		return nil
	})
	if apierrors.IsNotFound(err) || errors.Is(err, errAnother) {
		return nil
	}
	return err
}

// setCondition puts a condition in the place of the one of its type. Its time
// of transition stays while its status does.
func setCondition(p *corev1.Pod, c corev1.PodCondition, now metav1.Time) {
	c.ObservedGeneration, c.LastTransitionTime = p.Generation, now
	for i := range p.Status.Conditions {
		old := &p.Status.Conditions[i]
		if old.Type != c.Type {
			continue
		}
		c.LastProbeTime = old.LastProbeTime
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		*old = c
		return
	}
	p.Status.Conditions = append(p.Status.Conditions, c)
}
