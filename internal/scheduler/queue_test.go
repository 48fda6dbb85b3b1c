package scheduler

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

var zero = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func after(d time.Duration) time.Time { return zero.Add(d) }

func popName(q *queue, now time.Time) (string, *item) {
	it := q.pop(now)
	if it == nil {
		return "", nil
	}
	return it.info.pod.Name, it
}

func wantPop(t *testing.T, q *queue, now time.Time, want string) *item {
	t.Helper()
	got, it := popName(q, now)
	if got != want {
		t.Fatalf("pop gave %q, want %q", got, want)
	}
	return it
}

func TestQueueOrdersByPriorityThenTime(t *testing.T) {
	q := newQueue()
	q.add(newPodInfo(makePod("late", "", "")), after(1))
	q.add(newPodInfo(makePod("early", "", "")), zero)
	q.add(newPodInfo(makePod("high", "", "", withPriority(9))), after(2))
	q.add(newPodInfo(makePod("gone", "", "")), zero)
	q.remove("gone")
	for _, want := range []string{"high", "early", "late", ""} {
		wantPop(t, q, after(3), want)
	}
}

func TestQueueWakesOnlyForWhatMatters(t *testing.T) {
	q := newQueue()
	q.add(newPodInfo(makePod("p", "", "")), zero)
	q.fail(wantPop(t, q, zero, "p"), byTaints, zero)
	q.wake(byResources, nil, after(time.Second))
	wantPop(t, q, after(time.Second), "")
	q.wake(byTaints, func(*item) bool { return false }, after(time.Second))
	wantPop(t, q, after(time.Second), "")
	q.wake(byTaints|byResources, nil, after(time.Second))
	wantPop(t, q, after(time.Second), "p")
}

func TestQueueTriesTheWaitingAfterFiveMinutes(t *testing.T) {
	q := newQueue()
	q.add(newPodInfo(makePod("p", "", "")), zero)
	q.fail(wantPop(t, q, zero, "p"), byVolumes, zero)
	if at, ok := q.next(); !ok || !at.Equal(after(5*time.Minute)) {
		t.Fatalf("next at %v %v", at, ok)
	}
	wantPop(t, q, after(5*time.Minute-1), "")
	wantPop(t, q, after(5*time.Minute), "p")
}

func TestQueueBackoffDoublesToTenSeconds(t *testing.T) {
	q := newQueue()
	q.add(newPodInfo(makePod("p", "", "")), zero)
	it := wantPop(t, q, zero, "p")
	now := zero
	for _, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
		q.fault(it, now)
		wantPop(t, q, now.Add(want*time.Second-1), "")
		if at, ok := q.next(); !ok || !at.Equal(now.Add(want*time.Second)) {
			t.Fatalf("next at %v after %v, want %vs", at, now, int(want))
		}
		now = now.Add(want * time.Second)
		it = wantPop(t, q, now, "p")
	}
}

func TestQueueTriesBackoffEarlyWhenIdle(t *testing.T) {
	q := newQueue()
	q.add(newPodInfo(makePod("p", "", "")), zero)
	q.fail(wantPop(t, q, zero, "p"), byResources, zero)
	q.wake(byResources, nil, zero)
	q.add(newPodInfo(makePod("new", "", "")), after(1))
	wantPop(t, q, after(1), "new")
	wantPop(t, q, after(1), "p")
}

func TestQueueHoldsGatedPods(t *testing.T) {
	q := newQueue()
	p := makePod("p", "", "", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}} })
	q.add(newPodInfo(p), zero)
	q.wake(byAll, nil, zero)
	wantPop(t, q, zero, "")
	open := p.DeepCopy()
	open.Spec.SchedulingGates = nil
	q.update(newPodInfo(open), true, zero)
	wantPop(t, q, zero, "p")
}

func TestQueueUpdateWakesAChangedPod(t *testing.T) {
	q := newQueue()
	p := newPodInfo(makePod("p", "", ""))
	q.add(p, zero)
	q.fail(wantPop(t, q, zero, "p"), byResources, zero)
	q.update(p, false, after(time.Minute))
	wantPop(t, q, after(time.Minute), "")
	q.update(p, true, after(time.Minute))
	it := wantPop(t, q, after(time.Minute), "p")
	q.remove("p")
	q.fail(it, byResources, after(time.Minute))
	if len(q.items) != 0 || q.waiting.Len() != 0 {
		t.Fatal("a deleted pod came back from its flight")
	}
}
