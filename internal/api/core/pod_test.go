package core

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var now = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func waiting(reason string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
}

func terminated(code int32, reason string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}}
}

var running = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}

func TestPodStatusColumn(t *testing.T) {
	status := func(states ...corev1.ContainerState) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			for i, s := range states {
				p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: fmt.Sprint("c", i), State: s, Ready: s.Running != nil})
			}
		}
	}
	initial := func(states ...corev1.ContainerState) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			for i, s := range states {
				p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: fmt.Sprint("i", i)})
				p.Status.InitContainerStatuses = append(p.Status.InitContainerStatuses, corev1.ContainerStatus{Name: fmt.Sprint("i", i), State: s})
			}
		}
	}
	deleted := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: now} }
	phase := func(ph corev1.PodPhase) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Status.Phase = ph } }
	ready := func(p *corev1.Pod) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue})
	}
	signalled := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Signal: 9}}
	for _, c := range []struct {
		name          string
		make          []func(*corev1.Pod)
		ready, status string
	}{
		{"pending", nil, "0/2", "Pending"},
		{"evicted", []func(*corev1.Pod){func(p *corev1.Pod) { p.Status.Reason = "Evicted" }}, "0/2", "Evicted"},
		{"gated", []func(*corev1.Pod){func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Reason: corev1.PodReasonSchedulingGated}}
		}}, "0/2", "SchedulingGated"},
		{"creating", []func(*corev1.Pod){status(waiting("ContainerCreating"), waiting("ContainerCreating"))}, "0/2", "ContainerCreating"},
		{"running", []func(*corev1.Pod){phase(corev1.PodRunning), status(running, running)}, "2/2", "Running"},
		{"the first container wins", []func(*corev1.Pod){status(waiting("CrashLoopBackOff"), waiting("ErrImagePull"))}, "0/2", "CrashLoopBackOff"},
		{"exit code", []func(*corev1.Pod){status(terminated(3, ""), running)}, "1/2", "ExitCode:3"},
		{"signal", []func(*corev1.Pod){status(signalled)}, "0/2", "Signal:9"},
		{"one completed, one ready", []func(*corev1.Pod){ready, status(terminated(0, "Completed"), running)}, "1/2", "Running"},
		{"one completed, one not ready", []func(*corev1.Pod){status(terminated(0, "Completed"), running)}, "1/2", "NotReady"},
		{"one completed, one failed", []func(*corev1.Pod){status(terminated(0, "Completed"), terminated(1, "Error"))}, "0/2", "Error"},
		{"completed", []func(*corev1.Pod){phase(corev1.PodSucceeded), status(terminated(0, "Completed"), terminated(0, "Completed"))}, "0/2", "Completed"},
		{"second init runs", []func(*corev1.Pod){initial(terminated(0, "Completed"), running)}, "0/2", "Init:1/2"},
		{"init waits", []func(*corev1.Pod){initial(waiting("PodInitializing"))}, "0/2", "Init:0/1"},
		{"init loops", []func(*corev1.Pod){initial(waiting("CrashLoopBackOff"))}, "0/2", "Init:CrashLoopBackOff"},
		{"init failed", []func(*corev1.Pod){initial(terminated(2, ""))}, "0/2", "Init:ExitCode:2"},
		{"init killed", []func(*corev1.Pod){initial(signalled)}, "0/2", "Init:Signal:9"},
		{"init done", []func(*corev1.Pod){initial(terminated(0, "Completed")), status(waiting("PodInitializing"))}, "0/2", "PodInitializing"},
		{"terminating", []func(*corev1.Pod){deleted, status(running, running)}, "2/2", "Terminating"},
		{"ended and deleted", []func(*corev1.Pod){deleted, phase(corev1.PodSucceeded), status(terminated(0, "Completed"))}, "0/2", "Completed"},
		{"node lost", []func(*corev1.Pod){deleted, func(p *corev1.Pod) { p.Status.Reason = "NodeLost" }}, "0/2", "Unknown"},
	} {
		p := &corev1.Pod{Spec: corev1.PodSpec{Containers: make([]corev1.Container, 2)}, Status: corev1.PodStatus{Phase: corev1.PodPending}}
		for _, f := range c.make {
			f(p)
		}
		cells := podRowCells(p, now)
		if cells[1] != c.ready || cells[2] != c.status {
			t.Errorf("%s: got %v %v, want %s %s", c.name, cells[1], cells[2], c.ready, c.status)
		}
	}
}

func TestSidecarsCountAsContainers(t *testing.T) {
	always, yes := corev1.ContainerRestartPolicyAlways, true
	p := &corev1.Pod{
		Spec:   corev1.PodSpec{InitContainers: []corev1.Container{{Name: "side", RestartPolicy: &always}}, Containers: make([]corev1.Container, 1)},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, InitContainerStatuses: []corev1.ContainerStatus{{Name: "side", Started: &yes, Ready: true, State: running, RestartCount: 1}}},
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Ready: true, State: running, RestartCount: 2, LastTerminationState: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(now.Add(-5 * time.Minute))}}}}
	cells := podRowCells(p, now)
	if got := fmt.Sprint(cells[1:4]); got != "[2/2 Running 3 (5m ago)]" {
		t.Errorf("got %s", got)
	}
}

func TestPullPolicyFollowsTheTag(t *testing.T) {
	for image, want := range map[string]corev1.PullPolicy{
		"nginx": corev1.PullAlways, "nginx:latest": corev1.PullAlways, "nginx:1": corev1.PullIfNotPresent, "r:5000/a/b": corev1.PullAlways,
		"a@sha256:" + strings.Repeat("0", 64): corev1.PullIfNotPresent, "Bad Image": corev1.PullIfNotPresent,
	} {
		if got := pullPolicyOf(image); got != want {
			t.Errorf("%s: got %s, want %s", image, got, want)
		}
	}
}

func TestQOSFollowsResources(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		l := corev1.ResourceList{}
		if cpu != "" {
			l[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			l[corev1.ResourceMemory] = resource.MustParse(memory)
		}
		return l
	}
	for _, c := range []struct {
		requests, limits corev1.ResourceList
		want             corev1.PodQOSClass
	}{
		{nil, nil, corev1.PodQOSBestEffort},
		{list("0", ""), nil, corev1.PodQOSBestEffort},
		{list("1", ""), nil, corev1.PodQOSBurstable},
		{list("1", "1Gi"), list("1", "1Gi"), corev1.PodQOSGuaranteed},
		{list("1", "1Gi"), list("2", "1Gi"), corev1.PodQOSBurstable},
		{list("1", ""), list("1", ""), corev1.PodQOSBurstable},
	} {
		p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: c.requests, Limits: c.limits}}}}}
		if got := ComputeQOS(p); got != c.want {
			t.Errorf("requests %v limits %v: got %s, want %s", c.requests, c.limits, got, c.want)
		}
	}
}

func TestGracePeriod(t *testing.T) {
	ten, minus := int64(10), int64(-5)
	bound := &corev1.Pod{Spec: corev1.PodSpec{NodeName: "n", TerminationGracePeriodSeconds: &ten}}
	done := bound.DeepCopy()
	done.Status.Phase = corev1.PodFailed
	for _, c := range []struct {
		pod       *corev1.Pod
		requested *int64
		want      int64
	}{
		{bound, nil, 10}, {bound, new(int64), 0}, {bound, &minus, 1}, {done, &ten, 0}, {&corev1.Pod{}, &ten, 0},
	} {
		if got := podGracePeriod(c.pod, c.requested); got != c.want {
			t.Errorf("got %d, want %d", got, c.want)
		}
	}
}

func TestNewPodIsPendingAndCountsItsGeneration(t *testing.T) {
	p := &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "1.2.3.4"}, Spec: corev1.PodSpec{SchedulingGates: []corev1.PodSchedulingGate{{Name: "g"}}}}
	preparePodCreate(p)
	if p.Status.Phase != corev1.PodPending || p.Status.PodIP != "" || p.Generation != 1 || p.Status.QOSClass != corev1.PodQOSBestEffort || p.Status.Conditions[0].Reason != "SchedulingGated" {
		t.Errorf("got %+v", p)
	}
}

func TestEndedContainersStayEnded(t *testing.T) {
	pod := func(policy corev1.RestartPolicy, st corev1.ContainerState) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", ResourceVersion: "1"},
			Spec:       corev1.PodSpec{RestartPolicy: policy, Containers: []corev1.Container{{Name: "c"}}},
			Status:     corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "c", State: st}}},
		}
	}
	for _, c := range []struct {
		policy corev1.RestartPolicy
		code   int32
		ok     bool
	}{{corev1.RestartPolicyAlways, 0, true}, {corev1.RestartPolicyNever, 1, false}, {corev1.RestartPolicyOnFailure, 0, false}, {corev1.RestartPolicyOnFailure, 1, true}} {
		errs := validatePodStatus(pod(c.policy, running), pod(c.policy, terminated(c.code, "")))
		if (len(errs) == 0) != c.ok {
			t.Errorf("%s after exit %d: %v", c.policy, c.code, errs)
		}
	}
}

func TestWarningsOfDuplicates(t *testing.T) {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Env:   []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "A", Value: "2"}, {Name: "B", Value: "1"}, {Name: "B", Value: "$(B):2"}},
		Ports: []corev1.ContainerPort{{Name: "x", ContainerPort: 80}, {Name: "x", ContainerPort: 80}},
	}}}}
	got := podWarnings(nil, &p.ObjectMeta, &p.Spec)
	want := []string{
		`spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply`,
		"spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
		`spec.containers[0].ports[1]: duplicate port name "x" with spec.containers[0].ports[0], services and probes that select ports by name will use spec.containers[0].ports[0]`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestServiceUpdateKeepsAllocations(t *testing.T) {
	old := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"},
		ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyCluster, Ports: []corev1.ServicePort{{Name: "a", Port: 1, NodePort: 30000}}}}
	s := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Name: "a", Port: 2}}}}
	prepareServiceUpdate(s, old)
	if s.Spec.ClusterIP != "10.0.0.1" || s.Spec.ClusterIPs[0] != "10.0.0.1" || s.Spec.Ports[0].NodePort != 30000 {
		t.Errorf("allocations were lost: %+v", s.Spec)
	}
	s = old.DeepCopy()
	s.Spec.Type = corev1.ServiceTypeExternalName
	prepareServiceUpdate(s, old)
	if s.Spec.ClusterIP != "" || s.Spec.ClusterIPs != nil || s.Spec.Ports[0].NodePort != 0 || s.Spec.ExternalTrafficPolicy != "" {
		t.Errorf("a changed type kept what it has no use for: %+v", s.Spec)
	}
}
