package apply

import (
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/all"
)

// benchPod is a pod as a ReplicaSet makes it.
func benchPod() *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "web-0", GenerateName: "web-", Labels: map[string]string{"app": "web", "pod-template-hash": "5d4f"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "5d1b6a3e-0a5c-4b4f-9d27-1b8f2ac1de11"}},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "web", Image: "nginx", Ports: []corev1.ContainerPort{{ContainerPort: 80}},
			Env: []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
			}},
		}}},
	}
	api.For[*corev1.Pod](all.Table()).Default(pod)
	return pod
}

// running is a pod's status as the kubelet writes it.
func running(pod *corev1.Pod, at time.Time) {
	s := &pod.Status
	s.Phase, s.HostIP, s.PodIP = corev1.PodRunning, "10.0.0.1", "10.1.0.7"
	s.HostIPs, s.PodIPs = []corev1.HostIP{{IP: "10.0.0.1"}}, []corev1.PodIP{{IP: "10.1.0.7"}}
	s.StartTime = &metav1.Time{Time: at}
	s.Conditions = nil
	for _, c := range []corev1.PodConditionType{"PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"} {
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: c, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(at)})
	}
	yes := true
	s.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "web", Image: "nginx", ImageID: "sha256:1", ContainerID: "monohull://1", Ready: true, Started: &yes,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(at)}},
	}}
}

type benchWrite struct {
	name, sub, manager string
	live, next         *corev1.Pod
}

func benchWrites() []benchWrite {
	m := New(all.Table(), nil)
	k := api.For[*corev1.Pod](all.Table())
	created := benchPod()
	m.Update(Write{Kind: k, Manager: "kube-controller-manager", Now: now}, nil, created)
	created.UID = "u"
	first := created.DeepCopy()
	running(first, now)
	m.Update(Write{Kind: k, Subresource: "status", Manager: "kubelet", Now: now}, created, first)
	later := first.DeepCopy()
	running(later, now.Add(time.Minute))
	later.Status.Conditions[2].Status = corev1.ConditionFalse
	labelled := first.DeepCopy()
	labelled.Labels["x"] = "y"
	return []benchWrite{
		{"create", "", "kubectl", nil, benchPod()},
		{"status", "status", "kubelet", first, later},
		{"firststatus", "status", "kubelet", created, first},
		{"label", "", "kubectl", first, labelled},
		{"same", "", "kubectl", first, first.DeepCopy()},
	}
}

func BenchmarkUpdate(b *testing.B) {
	m := New(all.Table(), nil)
	k := api.For[*corev1.Pod](all.Table())
	for _, w := range benchWrites() {
		b.Run(w.name, func(b *testing.B) {
			b.ReportAllocs()
			defer cpu(b)()
			given := w.next.ManagedFields
			if w.live != nil {
				given = w.live.ManagedFields
			}
			for b.Loop() {
				w.next.ManagedFields = given
				var live api.Object
				if w.live != nil {
					live = w.live
				}
				m.Update(Write{Kind: k, Subresource: w.sub, Manager: w.manager, Now: now.Add(time.Hour)}, live, w.next)
			}
		})
	}
}

func BenchmarkLibrary(b *testing.B) {
	k := api.For[*corev1.Pod](all.Table())
	for _, w := range benchWrites() {
		f := libraryFor(b, k, w.sub)
		b.Run(w.name, func(b *testing.B) {
			b.ReportAllocs()
			defer cpu(b)()
			benchLibrary(b, k, f, w)
		})
	}
}

func benchLibrary(b *testing.B, k *api.Kind, f *managedfields.FieldManager, w benchWrite) {
	var live api.Object = k.New()
	if w.live != nil {
		live = w.live.DeepCopy()
	}
	live.GetObjectKind().SetGroupVersionKind(k.GVK)
	next := w.next.DeepCopy()
	next.GetObjectKind().SetGroupVersionKind(k.GVK)
	given := live.GetManagedFields()
	for b.Loop() {
		next.ManagedFields = given
		if _, err := f.Update(live, next, w.manager); err != nil {
			b.Fatal(err)
		}
	}
}

// cpu reports the processor time of an operation, which other work on the
// machine disturbs less than its length.
func cpu(b *testing.B) func() {
	b.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	from := used()
	return func() { b.ReportMetric(float64(used()-from)/float64(b.N), "cpu-ns/op") }
}
