package kubelet

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAdmissionSaysWhatDoesNotFit(t *testing.T) {
	allocatable := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi"), corev1.ResourcePods: resource.MustParse("2")}
	pod := func(cpu string, port int32) *corev1.Pod {
		return &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{HostPort: port}},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}}}}
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	tainted := node.DeepCopy()
	tainted.Spec.Taints = []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoExecute}, {Key: "s", Effect: corev1.TaintEffectNoSchedule}}
	for _, tc := range []struct {
		name            string
		node            *corev1.Node
		pod             *corev1.Pod
		others          []*corev1.Pod
		reason, message string
	}{
		{"fits", node, pod("500m", 0), []*corev1.Pod{pod("500m", 0)}, "", ""},
		{"cpu", node, pod("600m", 0), []*corev1.Pod{pod("500m", 0)}, "OutOfcpu", "Node didn't have enough resource: cpu, requested: 600, used: 500, capacity: 1000"},
		{"pods", node, pod("0", 0), []*corev1.Pod{pod("0", 0), pod("0", 0)}, "OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2"},
		{"ports", node, pod("0", 80), []*corev1.Pod{pod("0", 80)}, "NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"},
		{"taint", tainted, pod("0", 0), nil, "TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := admit(tc.pod, tc.node, allocatable, tc.others)
			switch {
			case got == nil && tc.reason == "":
			case got == nil || got.Reason != tc.reason || got.Message != tc.message:
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestPullSecretsMatchTheirRegistry(t *testing.T) {
	s := &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(
		`{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"reg.example.com":{"username":"a","password":"b"},"reg.example.com/team":{"username":"t"},"*.example.org":{"username":"w"}}}`)}}
	all := parseSecret(s)
	for _, tc := range []struct {
		registry, repository string
		want                 []string
	}{
		{"index.docker.io", "library/x", []string{"u"}}, {"reg.example.com", "x", []string{"a"}}, {"reg.example.com", "team/x", []string{"t", "a"}},
		{"reg.example.com", "teams/x", []string{"a"}}, {"q.example.org", "x", []string{"w"}}, {"q.r.example.org", "x", nil}, {"other", "x", nil},
	} {
		got := matching(all, tc.registry, tc.repository)
		if len(got) != len(tc.want) {
			t.Errorf("%s/%s: %v", tc.registry, tc.repository, got)
			continue
		}
		for i := range got {
			if got[i].Username != tc.want[i] {
				t.Errorf("%s/%s: %v", tc.registry, tc.repository, got)
			}
		}
	}
}

func TestWhoseLogIsMeant(t *testing.T) {
	status := func(s corev1.ContainerStatus) *corev1.Pod {
		s.Name = "c"
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{s}}}
	}
	waiting := func(reason string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
	}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: "monohull://old"}}
	for _, tc := range []struct {
		s        corev1.ContainerStatus
		previous bool
		id, err  string
	}{
		{corev1.ContainerStatus{ContainerID: "monohull://x", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}, false, "x", ""},
		{corev1.ContainerStatus{State: waiting("ContainerCreating")}, false, "", `container "c" in pod "p" is waiting to start: ContainerCreating`},
		{corev1.ContainerStatus{State: waiting("ErrImagePull")}, false, "", `container "c" in pod "p" is waiting to start: image can't be pulled`},
		{corev1.ContainerStatus{State: waiting("ImagePullBackOff")}, false, "", `container "c" in pod "p" is waiting to start: trying and failing to pull image`},
		{corev1.ContainerStatus{State: waiting("CrashLoopBackOff"), LastTerminationState: ended}, false, "old", ""},
		{corev1.ContainerStatus{LastTerminationState: ended}, true, "old", ""},
		{corev1.ContainerStatus{}, true, "", `previous terminated container "c" in pod "p" not found`},
	} {
		id, err := logContainer(status(tc.s), "c", tc.previous)
		if id != tc.id || (err == nil) != (tc.err == "") || err != nil && err.Error() != tc.err {
			t.Errorf("%+v: %q %v", tc.s, id, err)
		}
	}
}
