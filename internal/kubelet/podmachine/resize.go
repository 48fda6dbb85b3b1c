package podmachine

import (
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// KeyResize is the key of a change of a running pod's limits.
const KeyResize = string(ResizePod) + "/"

// compute are the resources that may change while a pod runs.
var compute = [...]corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}

// Allocation is what a node gives a pod of the resources that may change: what the
// pod asks for, or asked for when that was last granted.
type Allocation struct {
	Pod        *corev1.ResourceRequirements
	Containers map[string]corev1.ResourceRequirements // by name, init containers too
}

// Desired is what a pod asks for.
func Desired(pod *corev1.Pod) Allocation {
	a := Allocation{Pod: pod.Spec.Resources, Containers: map[string]corev1.ResourceRequirements{}}
	each(pod, func(c *corev1.Container) { a.Containers[c.Name] = c.Resources })
	return a
}

func each(pod *corev1.Pod, f func(*corev1.Container)) {
	for i := range pod.Spec.InitContainers {
		f(&pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		f(&pod.Spec.Containers[i])
	}
}

// Recalled is what was given to a pod that an earlier process ran, by the status
// that process wrote.
func Recalled(pod *corev1.Pod) Allocation {
	a := Desired(pod)
	for _, l := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range l {
			st := &l[i]
			r, known := a.Containers[st.Name]
			if !known || st.AllocatedResources == nil || st.Resources == nil {
				continue
			}
			r = *r.DeepCopy()
			layOver(&r.Requests, st.AllocatedResources)
			layOver(&r.Limits, st.Resources.Limits)
			a.Containers[st.Name] = r
		}
	}
	return a
}

// layOver lays the compute resources of from over those of to.
func layOver(to *corev1.ResourceList, from corev1.ResourceList) {
	for _, name := range compute {
		if q, ok := from[name]; ok {
			if *to == nil {
				*to = corev1.ResourceList{}
			}
			(*to)[name] = q
		}
	}
}

// Apply is the pod with what it was given in place of what it asks for. It is the
// same object where that is the same.
func (a *Allocation) Apply(pod *corev1.Pod) *corev1.Pod {
	if a.Containers == nil || a.Grants(pod) {
		return pod
	}
	out := pod.DeepCopy()
	if a.Pod != nil && out.Spec.Resources != nil {
		out.Spec.Resources = a.Pod.DeepCopy()
	} else if a.Pod == nil {
		out.Spec.Resources = nil
	}
	each(out, func(c *corev1.Container) {
		if r, ok := a.Containers[c.Name]; ok {
			c.Resources = *r.DeepCopy()
		}
	})
	return out
}

// Grants tells whether a pod has been given all it asks for.
func (a *Allocation) Grants(pod *corev1.Pod) bool {
	if !sameOf(a.Pod, pod.Spec.Resources) {
		return false
	}
	same := true
	each(pod, func(c *corev1.Container) {
		if r, ok := a.Containers[c.Name]; ok {
			same = same && sameCompute(&r, &c.Resources)
		}
	})
	return same
}

func sameOf(a, b *corev1.ResourceRequirements) bool {
	var none corev1.ResourceRequirements
	if a == nil {
		a = &none
	}
	if b == nil {
		b = &none
	}
	return sameCompute(a, b)
}

func sameCompute(a, b *corev1.ResourceRequirements) bool {
	for _, name := range compute {
		if !equalIn(a.Requests, b.Requests, name) || !equalIn(a.Limits, b.Limits, name) {
			return false
		}
	}
	return true
}

func equalIn(a, b corev1.ResourceList, name corev1.ResourceName) bool {
	x, y := zeroOf(a, name), zeroOf(b, name)
	return x.Cmp(y) == 0
}

func zeroOf(l corev1.ResourceList, name corev1.ResourceName) resource.Quantity { return l[name] }

// mustRestart tells whether a container is to be restarted for a change of its
// resources, by its policies for those that change.
func mustRestart(c *corev1.Container, have *corev1.ResourceRequirements) bool {
	for _, p := range c.ResizePolicy {
		if p.RestartPolicy == corev1.RestartContainer &&
			(!equalIn(have.Requests, c.Resources.Requests, p.ResourceName) || !equalIn(have.Limits, c.Resources.Limits, p.ResourceName)) {
			return true
		}
	}
	return false
}

// lagging calls f for every container that runs with other resources than those its
// pod was given.
func (o *Observed) lagging(pod *corev1.Pod, f func(*corev1.Container, *Container, *corev1.ResourceRequirements)) {
	each(pod, func(c *corev1.Container) {
		cur := o.newest(c.Name)
		if cur == nil || cur.State != Running {
			return
		}
		if have, known := o.Actuated[cur.ID]; known && !sameCompute(&have, &c.Resources) {
			f(c, cur, &have)
		}
	})
}

// Resizing tells whether something runs with other resources than it was given.
func Resizing(pod *corev1.Pod, o *Observed) bool {
	found := !sameOf(o.ActuatedPod, pod.Spec.Resources)
	o.lagging(pod, func(*corev1.Container, *Container, *corev1.ResourceRequirements) { found = true })
	return found
}

// resize brings what runs to what it was given.
func (p *planner) resize() {
	due := !sameOf(p.o.ActuatedPod, p.pod.Spec.Resources)
	p.o.lagging(p.pod, func(c *corev1.Container, cur *Container, have *corev1.ResourceRequirements) {
		due = true
		if mustRestart(c, have) {
			p.kill(*cur, graceOf(p.pod), "", fmt.Sprintf("Container %s resize requires restart", c.Name))
		}
	})
	switch {
	case !due:
	case p.now.Before(p.o.ResizeRetry):
		p.wake(p.o.ResizeRetry)
	default:
		p.do(Action{Verb: ResizePod})
	}
}

// Updates lists the containers whose limits change without a restart, those that
// shrink first.
func Updates(pod *corev1.Pod, o *Observed) []Update {
	var grow, shrink []Update
	o.lagging(pod, func(c *corev1.Container, cur *Container, have *corev1.ResourceRequirements) {
		if mustRestart(c, have) {
			return
		}
		u := Update{ID: cur.ID, Container: c, Have: *have}
		was, now := have.Limits.Memory(), c.Resources.Limits.Memory()
		u.LessMemory = !now.IsZero() && (was.IsZero() || now.Cmp(*was) < 0)
		if u.LessMemory || c.Resources.Limits.Cpu().Cmp(*have.Limits.Cpu()) < 0 {
			shrink = append(shrink, u)
		} else {
			grow = append(grow, u)
		}
	})
	return append(shrink, grow...)
}

// Update is a change of a running container's limits.
type Update struct {
	ID         string
	Container  *corev1.Container
	Have       corev1.ResourceRequirements
	LessMemory bool
}

// actual is what a container runs with, as its status tells.
func actual(given, runsWith corev1.ResourceRequirements) *corev1.ResourceRequirements {
	out := given.DeepCopy()
	for _, l := range []struct{ to, from corev1.ResourceList }{{out.Limits, runsWith.Limits}, {out.Requests, runsWith.Requests}} {
		if l.to != nil {
			maps.DeleteFunc(l.to, func(name corev1.ResourceName, _ resource.Quantity) bool {
				return name == corev1.ResourceCPU || name == corev1.ResourceMemory
			})
			layOver(&l.to, l.from)
		}
	}
	return out
}
