package core

import (
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api/meta"
)

var podColumns = []metav1.TableColumnDefinition{
	meta.NameColumn,
	meta.Text("Ready", "The aggregate readiness state of this pod for accepting traffic."),
	meta.Text("Status", "The aggregate status of the containers in this pod."),
	meta.Text("Restarts", "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted."),
	meta.AgeColumn,
	meta.Wide("IP", "The primary address of the pod."),
	meta.Wide("Node", "The node the pod is bound to."),
	meta.Wide("Nominated Node", "The node preemption makes room on for the pod."),
	meta.Wide("Readiness Gates", "The readiness gates that are open."),
}

func podRowCells(pod *corev1.Pod, now time.Time) []any {
	s := summarize(pod)
	restarts := strconv.Itoa(s.restarts)
	if s.restarts != 0 && !s.lastRestart.IsZero() {
		restarts = fmt.Sprintf("%d (%s ago)", s.restarts, meta.Age(s.lastRestart, now))
	}
	ip := ""
	if len(pod.Status.PodIPs) > 0 {
		ip = pod.Status.PodIPs[0].IP
	}
	return []any{
		pod.Name, fmt.Sprintf("%d/%d", s.ready, s.total), s.reason, restarts, meta.Age(pod.CreationTimestamp, now),
		meta.OrNone(ip), meta.OrNone(pod.Spec.NodeName), meta.OrNone(pod.Status.NominatedNodeName), readinessGates(pod),
	}
}

func readinessGates(pod *corev1.Pod) string {
	if len(pod.Spec.ReadinessGates) == 0 {
		return "<none>"
	}
	open := 0
	for _, g := range pod.Spec.ReadinessGates {
		if podCondition(&pod.Status, g.ConditionType) {
			open++
		}
	}
	return fmt.Sprintf("%d/%d", open, len(pod.Spec.ReadinessGates))
}

func podCondition(s *corev1.PodStatus, t corev1.PodConditionType) bool {
	for _, c := range s.Conditions {
		if c.Type == t {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// podSummary is what one line can say of a pod.
type podSummary struct {
	reason       string
	ready, total int
	restarts     int
	lastRestart  metav1.Time
}

func (s *podSummary) countRestarts(st *corev1.ContainerStatus) {
	s.restarts += int(st.RestartCount)
	if t := st.LastTerminationState.Terminated; t != nil && s.lastRestart.Before(&t.FinishedAt) {
		s.lastRestart = t.FinishedAt
	}
}

// ended words how a container ended where it gave no reason.
func ended(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}

// summarize finds the reason a user wants to see: the first init container that
// holds the pod up; else what the regular containers say, the first above the
// later; above all, that the pod is being deleted.
func summarize(pod *corev1.Pod) podSummary {
	s := podSummary{reason: string(pod.Status.Phase), total: len(pod.Spec.Containers)}
	if pod.Status.Reason != "" {
		s.reason = pod.Status.Reason
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated {
			s.reason = corev1.PodReasonSchedulingGated
		}
	}
	sidecars := map[string]bool{}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; isSidecar(c) {
			sidecars[c.Name] = true
			s.total++
		}
	}
	ofSidecars, initializing := s.summarizeInit(pod, sidecars)
	if !initializing || podCondition(&pod.Status, corev1.PodInitialized) {
		// Restarts of finished init containers are history; those of sidecars are not.
		s.restarts, s.lastRestart = ofSidecars.restarts, ofSidecars.lastRestart
		s.summarizeContainers(pod)
	}
	terminal := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	if pod.DeletionTimestamp != nil && pod.Status.Reason == "NodeLost" {
		s.reason = "Unknown"
	} else if pod.DeletionTimestamp != nil && !terminal {
		s.reason = "Terminating"
	}
	return s
}

func (s *podSummary) summarizeInit(pod *corev1.Pod, sidecars map[string]bool) (ofSidecars podSummary, initializing bool) {
	for i := range pod.Status.InitContainerStatuses {
		st := &pod.Status.InitContainerStatuses[i]
		s.countRestarts(st)
		sidecar := sidecars[st.Name]
		if sidecar {
			ofSidecars.countRestarts(st)
		}
		switch t, w := st.State.Terminated, st.State.Waiting; {
		case t != nil && t.ExitCode == 0:
			continue
		case sidecar && st.Started != nil && *st.Started:
			if st.Ready {
				s.ready++
			}
			continue
		case t != nil:
			s.reason = "Init:" + ended(t)
		case w != nil && w.Reason != "" && w.Reason != "PodInitializing":
			s.reason = "Init:" + w.Reason
		default:
			s.reason = fmt.Sprintf("Init:%d/%d", i, len(pod.Spec.InitContainers))
		}
		return ofSidecars, true
	}
	return ofSidecars, false
}

func (s *podSummary) summarizeContainers(pod *corev1.Pod) {
	running, failure := false, ""
	for i := len(pod.Status.ContainerStatuses) - 1; i >= 0; i-- {
		st := &pod.Status.ContainerStatuses[i]
		s.countRestarts(st)
		switch t, w := st.State.Terminated, st.State.Waiting; {
		case w != nil && w.Reason != "":
			s.reason = w.Reason
		case t != nil:
			s.reason = ended(t)
			if t.ExitCode != 0 {
				failure = s.reason
			}
		case st.Ready && st.State.Running != nil:
			running = true
			s.ready++
		}
	}
	if s.reason != "Completed" {
		return
	}
	switch {
	case running && podCondition(&pod.Status, corev1.PodReady):
		s.reason = "Running"
	case failure != "":
		s.reason = failure
	case running:
		s.reason = "NotReady"
	}
}
