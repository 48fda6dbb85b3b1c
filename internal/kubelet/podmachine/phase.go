package podmachine

import corev1 "k8s.io/api/core/v1"

// phaseOf derives the phase from container statuses. over says that nothing will
// be started any more: what exited stays so.
func phaseOf(pod *corev1.Pod, s *corev1.PodStatus, over bool) corev1.PodPhase {
	pending, failedForGood := 0, 0
	running, waiting, stopped, stoppedForGood, succeeded, unknown := 0, 0, 0, 0, 0, 0
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		st := find(s.InitContainerStatuses, c.Name)
		ended := terminated(st)
		switch {
		case IsSidecar(c):
			switch {
			case st == nil:
				unknown++
			case st.State.Running != nil:
				running++
				if st.Started == nil || !*st.Started {
					pending++
				}
			case ended == nil:
				pending++
				waiting++
			}
		case ended == nil:
			pending++
		case ended.ExitCode != 0 && !restarts(pod, c, true, ended.ExitCode):
			failedForGood++
		case ended.ExitCode != 0:
			pending++
		}
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		st := find(s.ContainerStatuses, c.Name)
		switch ended := terminated(st); {
		case st == nil:
			unknown++
		case st.State.Running != nil:
			running++
		case ended != nil:
			stopped++
			if ended.ExitCode == 0 {
				succeeded++
			}
			if over || !restarts(pod, c, false, ended.ExitCode) {
				stoppedForGood++
			}
		case st.State.Waiting != nil:
			waiting++
		default:
			unknown++
		}
	}
	if failedForGood > 0 {
		return corev1.PodFailed
	}
	begun := anyRegularStarted(pod, s)
	switch {
	case pending > 0 && !begun, waiting > 0 && !over:
		return corev1.PodPending
	case over && stopped > 0 && running == 0:
		if stopped == succeeded && waiting == 0 && unknown == 0 {
			return corev1.PodSucceeded
		}
		return corev1.PodFailed
	case waiting > 0:
		return corev1.PodPending
	case stopped > 0 && stopped == stoppedForGood && stopped == len(pod.Spec.Containers):
		if stopped == succeeded {
			return corev1.PodSucceeded
		}
		return corev1.PodFailed
	case running > 0 && unknown == 0, stopped > 0 && unknown == 0:
		return corev1.PodRunning
	}
	return corev1.PodPending
}

// terminated is how a container that does not run ended, nil if it never ran.
func terminated(s *corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	switch {
	case s == nil || s.State.Running != nil:
		return nil
	case s.State.Terminated != nil:
		return s.State.Terminated
	case s.State.Waiting != nil:
		return s.LastTerminationState.Terminated
	}
	return nil
}

func anyRegularStarted(pod *corev1.Pod, s *corev1.PodStatus) bool {
	for i := range s.ContainerStatuses {
		st := &s.ContainerStatuses[i]
		if st.RestartCount > 0 || st.State.Running != nil || st.State.Terminated != nil || st.LastTerminationState.Terminated != nil {
			return true
		}
	}
	return false
}

func find(l []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	for i := range l {
		if l[i].Name == name {
			return &l[i]
		}
	}
	return nil
}

// Terminal tells whether a phase is an end.
func Terminal(p corev1.PodPhase) bool { return p == corev1.PodSucceeded || p == corev1.PodFailed }
