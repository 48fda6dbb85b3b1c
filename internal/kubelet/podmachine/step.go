package podmachine

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// planner gathers one step's decisions.
type planner struct {
	pod  *corev1.Pod
	o    *Observed
	now  time.Time
	plan Plan
	// expired: it ran for longer than its deadline allows.
	expired bool
}

const (
	reasonDeadline = "DeadlineExceeded"
	reasonEvicted  = "Evicted"
)

// Step decides what a pod needs now.
func Step(pod *corev1.Pod, o *Observed, now time.Time) Plan {
	p := &planner{pod: pod, o: o, now: now}
	st := p.stage()
	p.plan.Stopping = st != living
	p.plan.Status = statusOf(pod, o, st, now)
	if p.expired {
		p.plan.Status.Reason, p.plan.Status.Message = reasonDeadline, "Pod was active on the node longer than the specified deadline"
		if st == over {
			p.plan.Status.Phase = corev1.PodFailed
			p.plan.Status.Conditions = conditionsOf(pod, p.plan.Status.Conditions, &p.plan.Status, false, now)
		}
	}
	if e := o.Evicted; e != nil {
		p.plan.Status.Reason, p.plan.Status.Message = reasonEvicted, e.Message
		if st == over {
			p.plan.Status.Phase = corev1.PodFailed
			p.plan.Status.Conditions = conditionsOf(pod, p.plan.Status.Conditions, &p.plan.Status, false, now, o.further(corev1.PodFailed)...)
		}
	}
	if st == living {
		p.live()
	} else {
		p.stop(st)
	}
	p.collect()
	return p.plan
}

// stage tells whether the pod lives, stops, or has stopped.
func (p *planner) stage() stage {
	o := p.o
	p.expired = o.Last != nil && o.Last.Reason == reasonDeadline
	leaving := o.Gone || o.Rejected != nil || o.Evicted != nil || p.pod.DeletionTimestamp != nil || Terminal(p.pod.Status.Phase) ||
		o.Last != nil && Terminal(o.Last.Phase) || p.expired || p.finished()
	if !leaving {
		d := deadlineOf(p.pod, startTime(p.pod, o))
		if !d.passed(p.now) {
			p.wake(d.at)
			return living
		}
		p.expired = true
	}
	if len(p.running()) > 0 || p.busy(KeyStart) || p.busy(KeySandbox) {
		return stopping
	}
	return over
}

// finished tells whether all that was to run has run.
func (p *planner) finished() bool {
	if p.busy(KeyStart) {
		return false
	}
	done := 0
	for i := range p.pod.Spec.InitContainers {
		c := &p.pod.Spec.InitContainers[i]
		cur := p.o.newest(c.Name)
		if !IsSidecar(c) && cur != nil && cur.State == Exited && cur.ExitCode != 0 && !restarts(p.pod, c, true, cur.ExitCode) {
			return true
		}
	}
	for i := range p.pod.Spec.Containers {
		c := &p.pod.Spec.Containers[i]
		code, ended := p.exit(c.Name)
		if !ended || restarts(p.pod, c, false, code) {
			return false
		}
		done++
	}
	return done > 0
}

// exit is how a container ended: by the runtime, or if it no longer knows the
// container, by the status written before.
func (p *planner) exit(name string) (int32, bool) {
	if cur := p.o.newest(name); cur != nil {
		return cur.ExitCode, cur.State == Exited
	}
	prev := &p.pod.Status
	if p.o.Last != nil {
		prev = p.o.Last
	}
	if st := find(prev.ContainerStatuses, name); st != nil && st.State.Terminated != nil {
		return st.State.Terminated.ExitCode, true
	}
	return 0, false
}

type deadline struct{ at time.Time }

func (d deadline) passed(now time.Time) bool { return !d.at.IsZero() && !now.Before(d.at) }

func (p *planner) busy(key string) bool { _, ok := p.o.Busy[key]; return ok }

func (p *planner) wake(t time.Time) {
	if !t.IsZero() && (p.plan.WakeAt.IsZero() || t.Before(p.plan.WakeAt)) {
		p.plan.WakeAt = t
	}
}

// do asks for an action unless one on the same thing is under way.
func (p *planner) do(a Action) bool {
	if p.busy(a.Key()) {
		return false
	}
	p.plan.Actions = append(p.plan.Actions, a)
	return true
}

// live brings the pod to where all its containers run.
func (p *planner) live() {
	o := p.o
	if o.Volumes != VolumesMounted {
		if p.now.Before(o.VolumesRetry) {
			p.wake(o.VolumesRetry)
			return
		}
		p.do(Action{Verb: MountVolumes})
		return
	}
	p.refresh()
	sb := o.sandbox()
	if sb == nil || !sb.Ready {
		p.newSandbox(sb)
		return
	}
	p.resize()
	for i := range p.pod.Spec.EphemeralContainers {
		c := corev1.Container(p.pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		if o.newest(c.Name) == nil && p.start(&c, nil) {
			return
		}
	}
	if !p.initialize(sb) {
		return
	}
	for i := range p.pod.Spec.Containers {
		c := &p.pod.Spec.Containers[i]
		p.keep(c, false, o.newest(c.Name))
	}
}

func (p *planner) refresh() {
	o := p.o
	if o.VolumesDirty || !o.VolumesExpire.IsZero() && !p.now.Before(o.VolumesExpire) {
		if p.now.Before(o.VolumesRetry) {
			p.wake(o.VolumesRetry)
			return
		}
		p.do(Action{Verb: RefreshVolumes})
		return
	}
	p.wake(o.VolumesExpire)
}

func (p *planner) newSandbox(sb *Sandbox) {
	if p.now.Before(p.o.SandboxRetry) {
		p.wake(p.o.SandboxRetry)
		return
	}
	if p.busy(KeySandbox) || p.busy(KeyStart) {
		return
	}
	a := Action{Verb: CreateSandbox}
	if sb != nil {
		// What still ran in it shared its namespaces: it cannot go on alone.
		if kills := p.running(); len(kills) > 0 {
			for _, c := range kills {
				p.kill(c, time.Second, "SandboxChanged", "Stopping container "+c.Name)
			}
			return
		}
		a.Attempt = int32(sb.Attempt) + 1
		a.Message = "Pod sandbox changed, it will be killed and re-created."
	}
	p.do(a)
}

// initialize runs init containers in their order, and tells whether the others may run.
func (p *planner) initialize(sb *Sandbox) bool {
	begun := p.o.begun(p.pod)
	for i := range p.pod.Spec.InitContainers {
		c := &p.pod.Spec.InitContainers[i]
		cur := p.o.newest(c.Name)
		here := cur != nil && cur.SandboxID == sb.ID
		if IsSidecar(c) {
			if here {
				p.keep(c, true, cur)
			} else {
				p.start(c, cur)
			}
			if !begun && !(here && p.o.Started(c, cur)) {
				return false
			}
			continue
		}
		switch {
		case begun, here && cur.State == Exited && cur.ExitCode == 0:
			continue
		case here && cur.live():
			return false
		case here && cur.State == Exited && !restarts(p.pod, c, true, cur.ExitCode):
			return false
		default:
			p.start(c, cur)
			return false
		}
	}
	return true
}

// keep keeps one container running.
func (p *planner) keep(c *corev1.Container, init bool, cur *Container) {
	if cur == nil {
		p.start(c, nil)
		return
	}
	if cur.live() {
		probes, grace := p.o.Probes[cur.ID], graceOf(p.pod)
		again := ""
		if init || p.pod.Spec.RestartPolicy != corev1.RestartPolicyNever || c.RestartPolicy != nil {
			again = ", will be restarted"
		}
		switch {
		case cur.Hash != "" && cur.Hash != Hash(c):
			p.kill(*cur, grace, "", fmt.Sprintf("Container %s definition changed, will be restarted", c.Name))
		case probes.Startup == ResultFailure:
			p.kill(*cur, probeGrace(c.StartupProbe, grace), "StartupProbe", fmt.Sprintf("Container %s failed startup probe%s", c.Name, again))
		case probes.Liveness == ResultFailure:
			p.kill(*cur, probeGrace(c.LivenessProbe, grace), "LivenessProbe", fmt.Sprintf("Container %s failed liveness probe%s", c.Name, again))
		}
		return
	}
	if cur.State == Exited && !restarts(p.pod, c, init, cur.ExitCode) {
		return
	}
	p.start(c, cur)
}

// start starts a container, or says how long it has to wait. last is the attempt
// before. It tells whether a start is under way now.
func (p *planner) start(c *corev1.Container, last *Container) bool {
	if p.busy(KeyStart) || p.busy(KeyResize) || slices.ContainsFunc(p.plan.Actions, func(a Action) bool { return a.Verb == StartContainer || a.Verb == ResizePod }) {
		return true
	}
	a := Action{Verb: StartContainer, Container: c.Name}
	lastID := ""
	var failed time.Time
	if last != nil {
		lastID, a.Attempt = last.ID, last.Attempt+1
		if failed = last.FinishedAt; failed.IsZero() {
			failed = last.CreatedAt
		}
	} else if st := p.before(c.Name); st != nil && (st.State.Running != nil || st.State.Terminated != nil || st.LastTerminationState.Terminated != nil) {
		a.Attempt = st.RestartCount + 1
	}
	w, held := p.o.Waiting[c.Name]
	if held && w.ForID == lastID && p.now.Before(w.Until) {
		p.wake(w.Until)
		if !w.FlipAt.IsZero() {
			if p.now.Before(w.FlipAt) {
				p.wake(w.FlipAt)
			} else {
				p.do(Action{Verb: BackOff, Container: c.Name, Reason: "ImagePullBackOff", Waiting: w})
			}
		}
		return false
	}
	if last != nil && !(held && w.ForID == lastID && w.Reason != "CrashLoopBackOff" && !w.Made) {
		b := p.o.Crash[c.Name]
		if until := b.Until(failed); p.now.Before(until) {
			p.wake(until)
			if !held || w.ForID != lastID || w.Made {
				p.do(Action{Verb: BackOff, Container: c.Name, ID: lastID, Reason: "CrashLoopBackOff", Waiting: Waiting{
					Reason: "CrashLoopBackOff", ForID: lastID, Until: until,
					Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", b.Delay, c.Name, Describe(p.pod)),
				}})
			}
			return false
		}
		next := b.Next(failed)
		a.Backoff = &next
	}
	a.ID = lastID
	return p.do(a)
}

func (p *planner) before(name string) *corev1.ContainerStatus {
	prev := &p.pod.Status
	if p.o.Last != nil {
		prev = p.o.Last
	}
	if st := find(prev.ContainerStatuses, name); st != nil {
		return st
	}
	return find(prev.InitContainerStatuses, name)
}

func (p *planner) kill(c Container, grace time.Duration, reason, message string) {
	a := Action{Verb: KillContainer, Container: c.Name, ID: c.ID, Grace: grace, Reason: reason, Message: message}
	if ends, ok := p.o.Busy[a.Key()]; ok {
		// Under way; only a shorter grace is news.
		if p.now.Add(grace).Before(ends.Add(-500 * time.Millisecond)) {
			p.plan.Actions = append(p.plan.Actions, a)
		}
		return
	}
	p.plan.Actions = append(p.plan.Actions, a)
}

// running are the containers that may have processes, in no order.
func (p *planner) running() []Container {
	var out []Container
	for _, l := range p.o.Containers {
		for i := range l {
			if l[i].live() {
				out = append(out, l[i])
			}
		}
	}
	slices.SortFunc(out, func(a, b Container) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return out
}

// Describe is how messages name a pod.
func Describe(pod *corev1.Pod) string {
	return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID)
}
