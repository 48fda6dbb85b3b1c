package podmachine

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func res(cpu, memory string) corev1.ResourceRequirements {
	l := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	return corev1.ResourceRequirements{Requests: l, Limits: l.DeepCopy()}
}

func resizable(cpu, memory string, policies ...corev1.ContainerResizePolicy) (*corev1.Pod, *Observed) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways,
		Containers: []corev1.Container{{Name: "main", Resources: res(cpu, memory), ResizePolicy: policies}}}}
	o := &Observed{
		Sandboxes: []Sandbox{{ID: "s", Ready: true}}, Volumes: VolumesMounted, Busy: map[string]time.Time{},
		Containers: map[string][]Container{"main": {{ID: "c", Name: "main", SandboxID: "s", State: Running}}},
		Actuated:   map[string]corev1.ResourceRequirements{"c": res("1", "1Gi")},
	}
	return pod, o
}

func TestALimitChangesInPlaceOrByRestart(t *testing.T) {
	restart := corev1.ContainerResizePolicy{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}
	for _, tc := range []struct {
		name        string
		cpu, memory string
		policies    []corev1.ContainerResizePolicy
		want        []Verb
	}{
		{"as it is", "1", "1Gi", nil, nil},
		{"in place", "2", "2Gi", nil, []Verb{ResizePod}},
		{"restart for memory", "1", "2Gi", []corev1.ContainerResizePolicy{restart}, []Verb{KillContainer, ResizePod}},
		{"no restart for CPU", "2", "1Gi", []corev1.ContainerResizePolicy{restart}, []Verb{ResizePod}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pod, o := resizable(tc.cpu, tc.memory, tc.policies...)
			plan := Step(pod, o, time.Unix(1000, 0))
			if len(plan.Actions) != len(tc.want) {
				t.Fatalf("%+v, want %v", plan.Actions, tc.want)
			}
			for i, a := range plan.Actions {
				if a.Verb != tc.want[i] {
					t.Errorf("%+v, want %v", plan.Actions, tc.want)
				}
				if a.Verb == KillContainer && a.Message != "Container main resize requires restart" {
					t.Error(a.Message)
				}
			}
			st := plan.Status.ContainerStatuses[0]
			if cpu := st.Resources.Limits.Cpu().String(); cpu != "1" {
				t.Errorf("runs with %s, and the status says so only when it does", cpu)
			}
			if got := st.AllocatedResources.Cpu().String(); got != tc.cpu {
				t.Errorf("allocated %s", got)
			}
		})
	}
}

func TestResizeConditionsStandWithTheOthers(t *testing.T) {
	pod, o := resizable("1", "1Gi")
	o.ResizePending = &corev1.PodCondition{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: corev1.PodReasonDeferred}
	s := Step(pod, o, time.Unix(1000, 0)).Status
	if c := condition(s.Conditions, corev1.PodResizePending); c == nil || c.Reason != "Deferred" {
		t.Fatalf("%+v", s.Conditions)
	}
	o.Last, o.ResizePending = &s, nil
	if c := condition(Step(pod, o, time.Unix(1001, 0)).Status.Conditions, corev1.PodResizePending); c != nil {
		t.Errorf("it stays: %+v", c)
	}
}

func TestWhatWasGivenIsRecalledFromTheStatus(t *testing.T) {
	pod, _ := resizable("4", "4Gi")
	was := res("1", "1Gi")
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", AllocatedResources: was.Requests, Resources: &was}}
	a := Recalled(pod)
	if a.Grants(pod) {
		t.Error("it was given what it only asks for")
	}
	if got := a.Apply(pod).Spec.Containers[0].Resources.Limits.Cpu().String(); got != "1" || pod.Spec.Containers[0].Resources.Limits.Cpu().String() != "4" {
		t.Errorf("given %s", got)
	}
	d := Desired(pod)
	if d.Apply(pod) != pod {
		t.Error("copied where nothing differs")
	}
}

func TestAnEvictedPodFailsWithItsReason(t *testing.T) {
	pod, o := resizable("1", "1Gi")
	o.Evicted = &Eviction{Message: "low", Grace: 3 * time.Second, Condition: &corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonTerminationByKubelet}}
	plan := Step(pod, o, time.Unix(1000, 0))
	if len(plan.Actions) != 1 || plan.Actions[0].Verb != KillContainer || plan.Actions[0].Grace != 3*time.Second {
		t.Fatalf("%+v", plan.Actions)
	}
	if plan.Status.Reason != "Evicted" || Terminal(plan.Status.Phase) {
		t.Errorf("%+v", plan.Status)
	}
	o.Last = &plan.Status
	o.Containers["main"][0].State = Exited
	s := Step(pod, o, time.Unix(1003, 0)).Status
	if s.Phase != corev1.PodFailed || s.Reason != "Evicted" || s.Message != "low" || condition(s.Conditions, corev1.DisruptionTarget) == nil {
		t.Errorf("%+v", s)
	}
}
