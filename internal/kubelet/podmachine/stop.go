package podmachine

import (
	"hash/fnv"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// minGrace is the least time between asking and killing when a user asked for none.
const minGrace = time.Second

// graceOf is how long a pod's containers have to end by themselves.
func graceOf(pod *corev1.Pod) time.Duration {
	s := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		s = *pod.Spec.TerminationGracePeriodSeconds
	}
	if pod.DeletionGracePeriodSeconds != nil {
		s = *pod.DeletionGracePeriodSeconds
	}
	return max(time.Duration(s)*time.Second, minGrace)
}

func probeGrace(p *corev1.Probe, pod time.Duration) time.Duration {
	if p != nil && p.TerminationGracePeriodSeconds != nil {
		return max(time.Duration(*p.TerminationGracePeriodSeconds)*time.Second, minGrace)
	}
	return pod
}

func startTime(pod *corev1.Pod, o *Observed) *metav1.Time {
	if o.Last != nil && o.Last.StartTime != nil {
		return o.Last.StartTime
	}
	return pod.Status.StartTime
}

func deadlineOf(pod *corev1.Pod, start *metav1.Time) deadline {
	if pod.Spec.ActiveDeadlineSeconds == nil || start == nil {
		return deadline{}
	}
	return deadline{at: start.Add(time.Duration(*pod.Spec.ActiveDeadlineSeconds) * time.Second)}
}

// Hash identifies what of a container cannot change while it runs.
func Hash(c *corev1.Container) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(c.Name + "\x00" + c.Image)) // never fails
	return strconv.FormatUint(uint64(h.Sum32()), 16)
}

// stop takes the pod down: containers, then sidecars last first, sandbox,
// volumes; then the object; then what the node keeps of it.
func (p *planner) stop(st stage) {
	o := p.o
	if p.busy(KeyStart) || p.busy(KeySandbox) {
		p.plan.Actions = append(p.plan.Actions, Action{Verb: Abort})
	}
	if st == stopping {
		p.killAll()
		return
	}
	for _, sb := range o.Sandboxes {
		if sb.Ready {
			if p.now.Before(o.SandboxRetry) {
				p.wake(o.SandboxRetry)
			} else {
				p.do(Action{Verb: StopSandbox, ID: sb.ID})
			}
		}
	}
	for _, sb := range o.Sandboxes {
		if sb.Ready {
			return
		}
	}
	if o.Volumes != VolumesNone {
		if p.now.Before(o.VolumesRetry) {
			p.wake(o.VolumesRetry)
			return
		}
		p.do(Action{Verb: UnmountVolumes})
		return
	}
	switch {
	case o.Gone:
		p.remove()
	case p.pod.DeletionTimestamp != nil && o.Written:
		p.do(Action{Verb: DeletePod})
	}
}

func (p *planner) killAll() {
	rank := map[string]int{}
	for i := range p.pod.Spec.InitContainers {
		if c := &p.pod.Spec.InitContainers[i]; IsSidecar(c) {
			rank[c.Name] = i + 1
		}
	}
	// Every container that is no sidecar goes at once; then the last sidecar.
	lastSidecar, ordinary := -1, false
	list := p.running()
	for i, c := range list {
		switch r := rank[c.Name]; {
		case r == 0:
			ordinary = true
		case lastSidecar < 0 || r > rank[list[lastSidecar].Name]:
			lastSidecar = i
		}
	}
	grace := graceOf(p.pod)
	if o := p.o; o.Rejected != nil {
		grace = minGrace
	} else if o.Evicted != nil {
		grace = min(grace, max(o.Evicted.Grace, minGrace))
	}
	for i, c := range list {
		switch {
		case rank[c.Name] == 0:
			p.kill(c, grace, "", "Stopping container "+c.Name)
		case !ordinary && i == lastSidecar:
			if p.pod.DeletionTimestamp != nil {
				grace = max(min(grace, p.pod.DeletionTimestamp.Sub(p.now)), minGrace)
			}
			p.kill(c, grace, "", "Stopping container "+c.Name)
		}
	}
}

// remove clears the node of a pod that is no longer in the API.
func (p *planner) remove() {
	o := p.o
	left := false
	for _, l := range o.Containers {
		for i := range l {
			left = true
			p.do(Action{Verb: RemoveContainer, Container: l[i].Name, ID: l[i].ID})
		}
	}
	if left {
		return
	}
	for _, sb := range o.Sandboxes {
		p.do(Action{Verb: RemoveSandbox, ID: sb.ID})
	}
	if len(o.Sandboxes) > 0 {
		return
	}
	if !o.Removed {
		p.do(Action{Verb: RemoveDir})
		return
	}
	p.plan.Over = len(o.Busy) == 0
}

// collect removes what nobody will ask for again: of each container the newest
// stays, and the one before it while the newest has not ended.
func (p *planner) collect() {
	o := p.o
	if o.Gone || p.busy(KeyStart) {
		return
	}
	inUse := map[string]bool{}
	for name, l := range o.Containers {
		for i := range l {
			keep := i == 0 || i == 1 && l[0].State != Exited
			if keep || l[i].live() {
				inUse[l[i].SandboxID] = true
				continue
			}
			p.do(Action{Verb: RemoveContainer, Container: name, ID: l[i].ID})
			inUse[l[i].SandboxID] = true
		}
	}
	for i, sb := range o.Sandboxes {
		switch {
		case i == 0 || inUse[sb.ID]:
		case sb.Ready:
			p.do(Action{Verb: StopSandbox, ID: sb.ID})
		default:
			p.do(Action{Verb: RemoveSandbox, ID: sb.ID})
		}
	}
}
