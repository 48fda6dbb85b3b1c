package core

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func resizable(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns", UID: "u", ResourceVersion: "1"}}
	c := func(name string) corev1.Container {
		return corev1.Container{Name: name, Image: "i", Resources: corev1.ResourceRequirements{Requests: amounts("cpu", "100m", "memory", "100Mi"), Limits: amounts("cpu", "1")}}
	}
	p.Spec.Containers, p.Spec.InitContainers = []corev1.Container{c("a"), c("b")}, []corev1.Container{c("i")}
	if change != nil {
		change(p)
	}
	defaultPod(p)
	preparePodCreate(p)
	return p
}

func TestResize(t *testing.T) {
	request := func(c *corev1.Container, name, amount string) {
		c.Resources.Requests[corev1.ResourceName(name)] = resource.MustParse(amount)
	}
	for _, c := range []struct {
		name        string
		old, change func(*corev1.Pod)
		want        []string
	}{
		{"nothing", nil, func(*corev1.Pod) {}, nil},
		{"cpu", nil, func(p *corev1.Pod) { request(&p.Spec.Containers[0], "cpu", "200m") }, nil},
		{"cpu of an init container", nil, func(p *corev1.Pod) { request(&p.Spec.InitContainers[0], "cpu", "200m") }, nil},
		{"a limit more", nil, func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Limits["memory"] = resource.MustParse("1Gi") }, nil},
		{"a limit less", nil, func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Limits = nil }, []string{"spec.containers[0].resources.limits: resource limits cannot be removed"}},
		{"storage", nil, func(p *corev1.Pod) { request(&p.Spec.Containers[0], "ephemeral-storage", "1Gi") }, []string{"spec: only cpu and memory resources are mutable"}},
		{"policy", nil, func(p *corev1.Pod) {
			p.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: "cpu", RestartPolicy: corev1.RestartContainer}}
		}, []string{"spec: only cpu and memory resources are mutable"}},
		{"the class", nil, func(p *corev1.Pod) {
			for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
				for i := range list {
					list[i].Resources = corev1.ResourceRequirements{Requests: amounts("cpu", "1", "memory", "100Mi"), Limits: amounts("cpu", "1", "memory", "100Mi")}
				}
			}
		}, []string{"spec: Pod QOS Class may not change"}},
		{"another order", nil, func(p *corev1.Pod) {
			p.Spec.Containers[0], p.Spec.Containers[1] = p.Spec.Containers[1], p.Spec.Containers[0]
		}, []string{"spec.containers[0].name: renamed or reordered", "spec.containers[1].name: renamed or reordered"}},
		{"fewer", nil, func(p *corev1.Pod) { p.Spec.Containers = p.Spec.Containers[:1] }, []string{"spec.containers: added or removed"}},
		{"a static pod", func(p *corev1.Pod) {
			p.Annotations, p.Spec.NodeName = map[string]string{corev1.MirrorPodAnnotationKey: "x"}, "n"
		}, func(*corev1.Pod) {}, []string{"[]: static pods cannot be resized"}},
		{"windows", func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }, func(*corev1.Pod) {}, []string{"[]: windows pods cannot be resized"}},
		{"the pod as a whole", nil, func(p *corev1.Pod) {
			p.Spec.Resources = &corev1.ResourceRequirements{Requests: amounts("cpu", "500m", "memory", "1Gi")}
		}, nil},
		{"no longer as a whole", func(p *corev1.Pod) {
			p.Spec.Resources = &corev1.ResourceRequirements{Requests: amounts("cpu", "500m", "memory", "1Gi")}
		}, func(p *corev1.Pod) { p.Spec.Resources = nil }, []string{"spec.resources: pod-level resources cannot be removed"}},
	} {
		old := resizable(c.old)
		p := old.DeepCopy()
		c.change(p)
		defaultPod(p)
		before := old.DeepCopy()
		settleResize(p, old)
		wants(t, c.name, validatePodResize(p, old), c.want...)
		if !equality.Semantic.DeepEqual(old, before) {
			t.Errorf("%s: the old pod was written", c.name)
		}
	}
	old := resizable(nil)
	old.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "a", State: running}}
	wants(t, "an old kubelet", validatePodResize(old.DeepCopy(), old), "spec: Pod running on node without support")
}

func TestPartsKeepTheRest(t *testing.T) {
	old := resizable(nil)
	p := old.DeepCopy()
	p.Labels, p.Spec.NodeName, p.Status.Phase = map[string]string{"a": "b"}, "n", corev1.PodRunning
	p.Spec.Containers[0].Image = "j"
	p.Spec.Containers[0].Resources.Requests["cpu"] = resource.MustParse("300m")
	p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "e", Image: "i"}}}
	p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](5)

	r := p.DeepCopy()
	settleResize(r, old)
	want := old.DeepCopy()
	want.Spec.Containers[0].Resources.Requests["cpu"] = resource.MustParse("300m")
	if !equality.Semantic.DeepEqual(r, want) {
		t.Errorf("resize wrote %+v", r)
	}
	podParts()["ephemeralcontainers"].Settle(p, old)
	want = old.DeepCopy()
	want.Spec.EphemeralContainers = p.Spec.EphemeralContainers
	if len(p.Spec.EphemeralContainers) != 1 || !equality.Semantic.DeepEqual(p, want) {
		t.Errorf("ephemeralcontainers wrote %+v", p)
	}
}
