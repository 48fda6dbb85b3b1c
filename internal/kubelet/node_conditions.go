package kubelet

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/kubelet/eviction"
)

// verdict is a node condition without its times.
type verdict struct {
	kind            corev1.NodeConditionType
	status          corev1.ConditionStatus
	reason, message string
}

// nodeVerdicts decides the node's conditions.
func nodeVerdicts(pressure *eviction.State, problem error) []verdict {
	pick := func(kind corev1.NodeConditionType, badReason, badMessage, reason, message string) verdict {
		if pressure.Has(kind) {
			return verdict{kind, corev1.ConditionTrue, badReason, badMessage}
		}
		return verdict{kind, corev1.ConditionFalse, reason, message}
	}
	out := []verdict{
		pick(corev1.NodeMemoryPressure,
			"KubeletHasInsufficientMemory", "kubelet has insufficient memory available", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
		pick(corev1.NodeDiskPressure,
			"KubeletHasDiskPressure", "kubelet has disk pressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
		pick(corev1.NodePIDPressure,
			"KubeletHasInsufficientPID", "kubelet has insufficient PID available", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
	}
	if problem != nil {
		return append(out, verdict{corev1.NodeReady, corev1.ConditionFalse, "KubeletNotReady", problem.Error()})
	}
	return append(out, verdict{corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"})
}

// runtimeProblem is why the runtime cannot run pods; nil if it can.
func runtimeProblem(res *runtimeapi.StatusResponse, err error) error {
	if err != nil {
		return fmt.Errorf("container runtime status check may not have completed yet: %w", err)
	}
	var problems []error
	seen := map[string]bool{}
	for _, c := range res.GetStatus().GetConditions() {
		seen[c.GetType()] = true
		if c.GetStatus() {
			continue
		}
		switch c.GetType() {
		case runtimeapi.RuntimeReady:
			problems = append(problems, fmt.Errorf("container runtime not ready: RuntimeReady=false reason:%s message:%s", c.GetReason(), c.GetMessage()))
		case runtimeapi.NetworkReady:
			problems = append(problems, fmt.Errorf("container runtime network not ready: NetworkReady=false reason:%s message:%s", c.GetReason(), c.GetMessage()))
		}
	}
	if !seen[runtimeapi.RuntimeReady] {
		problems = append(problems, errors.New("container runtime is down"))
	}
	return errors.Join(problems...)
}

// setNodeConditions puts verdicts among the conditions, each with its times.
func setNodeConditions(s *corev1.NodeStatus, verdicts []verdict, now time.Time) {
	t := metav1.NewTime(now).Rfc3339Copy()
	for _, v := range verdicts {
		c := corev1.NodeCondition{Type: v.kind, Status: v.status, Reason: v.reason, Message: v.message, LastHeartbeatTime: t, LastTransitionTime: t}
		found := false
		for i := range s.Conditions {
			if s.Conditions[i].Type != v.kind {
				continue
			}
			if s.Conditions[i].Status == v.status {
				c.LastTransitionTime = s.Conditions[i].LastTransitionTime
			}
			s.Conditions[i], found = c, true
		}
		if !found {
			s.Conditions = append(s.Conditions, c)
		}
	}
}
