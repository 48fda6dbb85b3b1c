package podstate

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestAvailable(t *testing.T) {
	p := &corev1.Pod{}
	if ok, _ := Available(p, 0, t0); ok {
		t.Error("a pod that is not ready is available")
	}
	SetCondition(&p.Status, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue}, metav1.NewTime(t0))
	for _, tc := range []struct {
		least int32
		after time.Duration
		ok    bool
		wait  time.Duration
	}{{0, 0, true, 0}, {10, 3 * time.Second, false, 7 * time.Second}, {10, 10 * time.Second, true, 0}} {
		if ok, wait := Available(p, tc.least, t0.Add(tc.after)); ok != tc.ok || wait != tc.wait {
			t.Errorf("ready for %v of %d s: %v, wait %v", tc.after, tc.least, ok, wait)
		}
	}
}

func TestSetConditionKeepsTheTimeOfTransition(t *testing.T) {
	s := &corev1.PodStatus{}
	set := func(status corev1.ConditionStatus, reason string, at time.Duration) bool {
		return SetCondition(s, corev1.PodCondition{Type: corev1.PodReady, Status: status, Reason: reason}, metav1.NewTime(t0.Add(at)))
	}
	if !set("True", "a", 0) || set("True", "a", time.Minute) || !set("True", "b", time.Minute) || !s.Conditions[0].LastTransitionTime.Time.Equal(t0) {
		t.Errorf("same status: %+v", s.Conditions)
	}
	if !set("False", "b", time.Hour) || !s.Conditions[0].LastTransitionTime.Time.Equal(t0.Add(time.Hour)) {
		t.Errorf("another status: %+v", s.Conditions)
	}
}

func TestFindPort(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	port := func(name string, n int32, proto corev1.Protocol) []corev1.ContainerPort {
		return []corev1.ContainerPort{{Name: name, ContainerPort: n, Protocol: proto}}
	}
	p := &corev1.Pod{Spec: corev1.PodSpec{
		Containers:     []corev1.Container{{Ports: port("dns", 53, corev1.ProtocolUDP)}, {Ports: port("http", 80, corev1.ProtocolTCP)}},
		InitContainers: []corev1.Container{{Ports: port("once", 1, corev1.ProtocolTCP)}, {Ports: port("side", 2, corev1.ProtocolTCP), RestartPolicy: &always}},
	}}
	for _, tc := range []struct {
		target intstr.IntOrString
		want   int32
	}{
		{intstr.FromInt32(9), 9}, {intstr.FromString("http"), 80}, {intstr.FromString("side"), 2},
		{intstr.FromString("dns"), 0}, {intstr.FromString("once"), 0}, {intstr.FromString("none"), 0},
	} {
		got, err := FindPort(p, &corev1.ServicePort{TargetPort: tc.target, Protocol: corev1.ProtocolTCP})
		if got != tc.want || (err == nil) != (tc.want != 0) {
			t.Errorf("%s: %d, %v", tc.target.String(), got, err)
		}
	}
}
