package workload

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/monohull/monohull/internal/controllers/controllertest"
	"github.com/monohull/monohull/internal/controllers/podstate"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

type podOption func(*corev1.Pod)

func pod(name string, opts ...podOption) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: types.UID(name), CreationTimestamp: metav1.NewTime(t0)}}
	p.Spec.NodeName, p.Status.Phase = "n1", corev1.PodRunning
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
	ready(t0)(p)
	for _, o := range opts {
		o(p)
	}
	return p
}

func ready(since time.Time) podOption {
	return func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(since)}}
	}
}

func unready(p *corev1.Pod)              { p.Status.Conditions = nil }
func on(node string) podOption           { return func(p *corev1.Pod) { p.Spec.NodeName = node } }
func phase(ph corev1.PodPhase) podOption { return func(p *corev1.Pod) { p.Status.Phase = ph } }
func cost(v string) podOption {
	return func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: v} }
}
func created(at time.Time) podOption {
	return func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(at) }
}
func labelled(m map[string]string) podOption { return func(p *corev1.Pod) { p.Labels = m } }
func restarts(n int32) podOption {
	return func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: n}} }
}

func TestVictimsGoInTheOrderOfWhatTheirEndCosts(t *testing.T) {
	now := t0.Add(100 * time.Hour)
	for _, tc := range []struct {
		why           string
		first, second *corev1.Pod
		related       []*corev1.Pod
	}{
		{"unassigned before assigned", pod("b", on(""), unready), pod("a", unready), nil},
		{"pending before unknown", pod("b", phase(corev1.PodPending)), pod("a", phase(corev1.PodUnknown)), nil},
		{"unknown before running", pod("b", phase(corev1.PodUnknown)), pod("a"), nil},
		{"not ready before ready", pod("b", unready), pod("a"), nil},
		{"cheap before dear", pod("b", cost("-5")), pod("a", cost("3")), nil},
		{"a wrong cost is none", pod("b", cost("-5")), pod("a", cost("007")), nil},
		{"readiness outweighs cost", pod("b", unready, cost("100")), pod("a", cost("-100")), nil},
		{"doubled up before alone", pod("b", on("n2")), pod("a", on("n1")), []*corev1.Pod{pod("x", on("n2")), pod("y", on("n2")), pod("z", on("n1"))}},
		{"ready for less time first", pod("b", ready(now.Add(-time.Minute))), pod("a", ready(now.Add(-time.Hour))), nil},
		{"times of one power of two are alike, the uid decides", pod("a", ready(now.Add(-70*time.Hour))), pod("b", ready(now.Add(-69*time.Hour))), nil},
		{"more restarts first", pod("b", restarts(3)), pod("a", restarts(1)), nil},
		{"newer first", pod("b", created(now.Add(-time.Minute))), pod("a", created(now.Add(-9*time.Hour))), nil},
	} {
		for _, order := range [][]*corev1.Pod{{tc.first, tc.second}, {tc.second, tc.first}} {
			if got := victims(order, tc.related, 1, now); got[0] != tc.first {
				t.Errorf("%s: %s goes, want %s", tc.why, got[0].Name, tc.first.Name)
			}
		}
	}
}

func TestBatchesDouble(t *testing.T) {
	for n, want := range map[int][]int{0: nil, 1: {1}, 2: {1, 1}, 10: {1, 2, 4, 3}} {
		if got := batches(n); !slices.Equal(got, want) {
			t.Errorf("%d in batches: %v, want %v", n, got, want)
		}
	}
}

func TestClaimKeepsAdoptsAndReleases(t *testing.T) {
	yes := true
	owner := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{UID: "me"}}
	owned := func(uid types.UID) podOption {
		return func(p *corev1.Pod) { p.OwnerReferences = []metav1.OwnerReference{{UID: uid, Controller: &yes}} }
	}
	match := labelled(map[string]string{"a": "b"})
	dying := func(p *corev1.Pod) { now := metav1.Now(); p.DeletionTimestamp = &now }
	pods := []*corev1.Pod{
		pod("kept", match, owned("me")), pod("released", owned("me")), pod("adopted", match), pod("other's", match, owned("you")),
		pod("stranger"), pod("dying", match, dying),
	}
	sel := labels.SelectorFromSet(labels.Set{"a": "b"})
	c := claim(owner, sel, pods)
	if got := fmt.Sprint(names(c.kept), names(c.adopt), names(c.release)); got != "[kept] [adopted] [released]" {
		t.Errorf("kept, adopted, released: %s", got)
	}
	now := metav1.Now()
	owner.DeletionTimestamp = &now
	c = claim(owner, sel, pods)
	if got := fmt.Sprint(names(c.kept), names(c.adopt), names(c.release)); got != "[kept] [] []" {
		t.Errorf("an owner that is being deleted: %s", got)
	}
}

func names(pods []*corev1.Pod) []string {
	out := []string{}
	for _, p := range pods {
		out = append(out, p.Name)
	}
	return out
}

func TestCountReplicas(t *testing.T) {
	spec := replicaSpec{replicas: 4, minReadySeconds: 10, template: &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"v": "1"}}}}
	v1 := labelled(map[string]string{"v": "1"})
	pods := []*corev1.Pod{pod("a", v1), pod("b", v1, ready(t0.Add(97*time.Second))), pod("c", unready)}
	s, again := countReplicas(spec, 7, nil, pods, 2, errors.New("quota"), t0.Add(100*time.Second))
	if s.replicas != 3 || s.fullyLabeled != 2 || s.ready != 2 || s.available != 1 || s.terminating != 2 || s.observedGeneration != 7 {
		t.Errorf("status: %+v", s)
	}
	if again != 7*time.Second {
		t.Errorf("looked at again after %v, want when b becomes available", again)
	}
	if len(s.conditions) != 1 || s.conditions[0].Reason != "FailedCreate" || s.conditions[0].Message != "quota" {
		t.Errorf("conditions: %+v", s.conditions)
	}
	if s, _ = countReplicas(spec, 7, s.conditions, pods, 0, nil, t0); len(s.conditions) != 0 {
		t.Errorf("the failure is over: %+v", s.conditions)
	}
}

func replicaSet(n int32) *appsv1.ReplicaSet {
	l := map[string]string{"app": "web"}
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"},
		Spec:       appsv1.ReplicaSetSpec{Replicas: &n, Selector: &metav1.LabelSelector{MatchLabels: l}, Template: template(l, "1")},
	}
}

func template(l map[string]string, image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: l}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}}}
}

func TestReplicaSetKeepsItsPods(t *testing.T) {
	c := controllertest.New(t)
	controllertest.Create(c, pod("stray", labelled(map[string]string{"app": "web"})))
	controllertest.Create(c, replicaSet(20))
	c.Run(replicaSets(c.Deps()))
	owned := func() []*corev1.Pod {
		var out []*corev1.Pod
		for _, p := range controllertest.List[*corev1.Pod](c, "ns") {
			if podstate.Active(p) && metav1.GetControllerOf(p) != nil {
				out = append(out, p)
			}
		}
		return out
	}
	status := func(want int32) func() bool {
		return func() bool {
			rs, _ := controllertest.Get[*appsv1.ReplicaSet](c, "ns", "web")
			return rs.Status.Replicas == want && rs.Status.ObservedGeneration == rs.Generation && len(owned()) == int(want)
		}
	}
	c.Eventually("there are twenty pods, one of them adopted", status(20))
	if p, _ := controllertest.Get[*corev1.Pod](c, "ns", "stray"); metav1.GetControllerOf(p) == nil {
		t.Error("the stray pod was not adopted")
	}
	controllertest.Modify(c, "ns", "stray", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "debug"} })
	c.Eventually("the relabelled pod is released and replaced", func() bool {
		p, _ := controllertest.Get[*corev1.Pod](c, "ns", "stray")
		return metav1.GetControllerOf(p) == nil && status(20)()
	})
	controllertest.Modify(c, "ns", "web", func(rs *appsv1.ReplicaSet) { n := int32(3); rs.Spec.Replicas = &n })
	c.Eventually("it is scaled down to three", status(3))
	controllertest.Delete[*corev1.Pod](c, "ns", owned()[0].Name, metav1.DeleteOptions{})
	c.Eventually("a deleted pod is replaced", status(3))
}

func TestReplicationControllerIsTheSame(t *testing.T) {
	c := controllertest.New(t)
	n := int32(2)
	l := map[string]string{"app": "rc"}
	tpl := template(l, "1")
	controllertest.Create(c, &corev1.ReplicationController{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "rc"},
		Spec:       corev1.ReplicationControllerSpec{Replicas: &n, Selector: l, Template: &tpl},
	})
	c.Run(replicationControllers(c.Deps()))
	c.Eventually("there are two pods", func() bool {
		rc, _ := controllertest.Get[*corev1.ReplicationController](c, "ns", "rc")
		return rc.Status.Replicas == 2 && len(controllertest.List[*corev1.Pod](c, "ns")) == 2
	})
	if got := c.Events(); len(got) != 2 {
		t.Errorf("events: %q", got)
	}
}
