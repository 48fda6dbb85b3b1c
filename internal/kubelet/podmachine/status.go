package podmachine

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RuntimeName prefixes container IDs in statuses.
const RuntimeName = "monohull"

const (
	reasonUnknown  = "ContainerStatusUnknown"
	messageUnknown = "The container could not be located when the pod was terminated"
)

// stage says how near its end a pod is.
type stage int

const (
	living stage = iota
	stopping
	over // nothing runs any more
)

// statusOf computes a pod's whole status.
func statusOf(pod *corev1.Pod, o *Observed, st stage, now time.Time) corev1.PodStatus {
	prev := &pod.Status
	if o.Last != nil {
		prev = o.Last
	}
	s := corev1.PodStatus{
		ObservedGeneration: pod.Generation,
		StartTime:          prev.StartTime,
		QOSClass:           QOSClass(pod),
		HostIPs:            hostIPs(o.HostIPs),
		Reason:             prev.Reason, Message: prev.Message,
		NominatedNodeName:           pod.Status.NominatedNodeName,
		ResourceClaimStatuses:       pod.Status.ResourceClaimStatuses,
		ExtendedResourceClaimStatus: pod.Status.ExtendedResourceClaimStatus,
	}
	if s.StartTime == nil {
		t := metav1.NewTime(now).Rfc3339Copy()
		s.StartTime = &t
	}
	if len(o.HostIPs) > 0 {
		s.HostIP = o.HostIPs[0]
	}
	for _, ip := range podIPs(pod, o, prev) {
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
	}
	if len(s.PodIPs) > 0 {
		s.PodIP = s.PodIPs[0].IP
	}
	if o.Rejected != nil {
		s.Phase, s.Reason, s.Message = corev1.PodFailed, o.Rejected.Reason, o.Rejected.Message
		s.Conditions = slices.Clone(prev.Conditions)
		s.HostIP, s.HostIPs = "", nil
		return s
	}
	begun := o.begun(pod)
	waiting := "ContainerCreating"
	if len(pod.Spec.InitContainers) > 0 {
		waiting = "PodInitializing"
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		cs := containerStatus(pod, o, c, find(prev.InitContainerStatuses, c.Name), waiting, st, true)
		switch {
		case IsSidecar(c):
			setReady(o, c, &cs)
		case begun && cs.State.Terminated == nil && o.newest(c.Name) == nil:
			cs.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed",
				Message: "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally"}}
			cs.Ready = true
		default:
			cs.Ready = cs.State.Terminated != nil && cs.State.Terminated.ExitCode == 0
		}
		if !IsSidecar(c) {
			cs.Started = new(bool)
		}
		s.InitContainerStatuses = append(s.InitContainerStatuses, cs)
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		cs := containerStatus(pod, o, c, find(prev.ContainerStatuses, c.Name), waiting, st, false)
		setReady(o, c, &cs)
		s.ContainerStatuses = append(s.ContainerStatuses, cs)
	}
	for i := range pod.Spec.EphemeralContainers {
		c := corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		s.EphemeralContainerStatuses = append(s.EphemeralContainerStatuses,
			containerStatus(pod, o, &c, find(prev.EphemeralContainerStatuses, c.Name), waiting, st, false))
	}
	if st == over {
		loseUnknown(pod, &s)
	}
	s.Phase = phaseOf(pod, &s, st == over)
	switch {
	case Terminal(prev.Phase):
		s.Phase = prev.Phase
	case st == over && !Terminal(s.Phase):
		s.Phase = corev1.PodFailed
	case st != over && Terminal(s.Phase):
		// It is an end when everything has ended.
		s.Phase = corev1.PodRunning
		if prev.Phase == corev1.PodPending {
			s.Phase = corev1.PodPending
		}
	}
	sb := o.sandbox()
	s.Conditions = conditionsOf(pod, mergeConditions(prev.Conditions, pod.Status.Conditions), &s, sb != nil && sb.Ready, now, o.further(s.Phase)...)
	return s
}

// further are conditions that are neither computed nor others'.
func (o *Observed) further(phase corev1.PodPhase) []*corev1.PodCondition {
	var out []*corev1.PodCondition
	if !Terminal(phase) {
		out = append(out, o.ResizePending, o.ResizeInProgress)
	}
	if o.Evicted != nil {
		out = append(out, o.Evicted.Condition)
	}
	return out
}

// mergeConditions takes what the kubelet owns from its own last status and the
// rest from the API.
func mergeConditions(own, api []corev1.PodCondition) []corev1.PodCondition {
	var out []corev1.PodCondition
	for _, c := range own {
		if isOwned(c.Type) {
			out = append(out, c)
		}
	}
	for _, c := range api {
		if !isOwned(c.Type) || condition(own, c.Type) == nil {
			out = append(out, c)
		}
	}
	return out
}

func hostIPs(l []string) []corev1.HostIP {
	var out []corev1.HostIP
	for _, ip := range l {
		out = append(out, corev1.HostIP{IP: ip})
	}
	return out
}

func podIPs(pod *corev1.Pod, o *Observed, prev *corev1.PodStatus) []string {
	sb := o.sandbox()
	switch {
	case pod.Spec.HostNetwork && sb != nil:
		return o.HostIPs
	case sb != nil && len(sb.IPs) > 0:
		return sb.IPs
	case sb != nil && sb.Ready:
		return nil
	}
	var out []string
	for _, ip := range prev.PodIPs {
		out = append(out, ip.IP)
	}
	return out
}

// loseUnknown marks containers of which nobody knows how they ended.
func loseUnknown(pod *corev1.Pod, s *corev1.PodStatus) {
	lost := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: reasonUnknown, Message: messageUnknown, ExitCode: 137}}
	initDone := len(pod.Spec.InitContainers) == 0
	last := -1
	for i := range s.InitContainerStatuses {
		st := &s.InitContainerStatuses[i]
		if st.State.Terminated != nil || st.State.Running != nil || st.LastTerminationState.Terminated != nil {
			last = i
		}
	}
	for i := 0; i <= last; i++ {
		if s.InitContainerStatuses[i].State.Terminated == nil {
			s.InitContainerStatuses[i].State = lost
		}
	}
	if !initDone {
		initDone = anyRegularStarted(pod, s) || initialized(pod, s).status == corev1.ConditionTrue
	}
	if !initDone {
		return
	}
	for i := range s.ContainerStatuses {
		if s.ContainerStatuses[i].State.Terminated == nil {
			s.ContainerStatuses[i].State = lost
			s.ContainerStatuses[i].Ready = false
		}
	}
}

// begun tells whether a regular container was ever made in the current sandbox.
func (o *Observed) begun(pod *corev1.Pod) bool {
	sb := o.sandbox()
	for i := range pod.Spec.Containers {
		if c := o.newest(pod.Spec.Containers[i].Name); c != nil && (sb == nil || c.SandboxID == sb.ID) {
			return true
		}
	}
	return false
}

func setReady(o *Observed, c *corev1.Container, cs *corev1.ContainerStatus) {
	cur := o.newest(c.Name)
	started := cs.State.Running != nil && o.Started(c, cur)
	cs.Started = &started
	cs.Ready = started && (c.ReadinessProbe == nil || o.Probes[cur.ID].Readiness == ResultSuccess)
}

func containerStatus(pod *corev1.Pod, o *Observed, c *corev1.Container, old *corev1.ContainerStatus, waiting string, st stage, init bool) corev1.ContainerStatus {
	cs := corev1.ContainerStatus{Name: c.Name, Image: c.Image, Resources: c.Resources.DeepCopy()}
	if len(c.Resources.Requests) > 0 {
		cs.AllocatedResources = c.Resources.Requests.DeepCopy()
	}
	for _, m := range c.VolumeMounts {
		ms := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := corev1.RecursiveReadOnlyDisabled
			if m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled {
				mode = corev1.RecursiveReadOnlyEnabled
			}
			ms.RecursiveReadOnly = &mode
		}
		cs.VolumeMounts = append(cs.VolumeMounts, ms)
	}
	if old != nil {
		cs.RestartCount, cs.LastTerminationState = old.RestartCount, old.LastTerminationState
	}
	w, held := o.Waiting[c.Name]
	cur := o.newest(c.Name)
	if cur == nil {
		switch {
		case old != nil && old.State.Terminated != nil && !held:
			cs.State, cs.ContainerID, cs.ImageID = old.State, old.ContainerID, old.ImageID
		case old != nil && old.State.Running != nil:
			cs.State.Terminated = &corev1.ContainerStateTerminated{Reason: reasonUnknown, Message: messageUnknown, ExitCode: 137}
			cs.ContainerID, cs.ImageID = old.ContainerID, old.ImageID
		case held && st == living:
			cs.State.Waiting = &corev1.ContainerStateWaiting{Reason: w.Reason, Message: w.Message}
		default:
			cs.State.Waiting = &corev1.ContainerStateWaiting{Reason: waiting}
		}
		return cs
	}
	cs.RestartCount = cur.Attempt
	cs.ContainerID = containerID(cur.ID)
	cs.ImageID = cur.ImageRef
	if cur.Image != "" {
		cs.Image = cur.Image
	}
	if l := o.Containers[c.Name]; len(l) > 1 && l[1].State == Exited {
		cs.LastTerminationState = corev1.ContainerState{Terminated: ended(&l[1])}
	} else if old != nil && old.ContainerID != cs.ContainerID && old.State.Terminated != nil {
		cs.LastTerminationState = old.State
	}
	switch cur.State {
	case Running:
		cs.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(cur.StartedAt).Rfc3339Copy()}
		cs.User = cur.User
		if have, ok := o.Actuated[cur.ID]; ok {
			cs.Resources = actual(c.Resources, have)
		}
		return cs
	case Exited:
		cs.State.Terminated = ended(cur)
		if st == living && held && w.ForID == cur.ID && (restarts(pod, c, init, cur.ExitCode)) {
			cs.LastTerminationState = corev1.ContainerState{Terminated: cs.State.Terminated}
			cs.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: w.Reason, Message: w.Message}}
		}
	default:
		cs.State.Waiting = &corev1.ContainerStateWaiting{Reason: waiting}
		if held {
			cs.State.Waiting = &corev1.ContainerStateWaiting{Reason: w.Reason, Message: w.Message}
		}
	}
	return cs
}

func ended(c *Container) *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{
		ExitCode: c.ExitCode, Reason: c.Reason, Message: c.Message,
		StartedAt: metav1.NewTime(c.StartedAt).Rfc3339Copy(), FinishedAt: metav1.NewTime(c.FinishedAt).Rfc3339Copy(),
		ContainerID: containerID(c.ID),
	}
}

func containerID(id string) string { return RuntimeName + "://" + id }
