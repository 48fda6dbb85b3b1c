package lifecycle

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestClassify(t *testing.T) {
	for _, tc := range []struct {
		why        string
		states     []ownerState
		dependents bool
		want       fate
		drop       string
	}{
		{"no owner named", nil, false, keep, "[]"},
		{"owner there", []ownerState{ownerThere}, false, keep, "[]"},
		{"owner gone", []ownerState{ownerAbsent}, true, collect, "[]"},
		{"one of two gone", []ownerState{ownerThere, ownerAbsent}, false, trim, "[u1]"},
		{"one waits, one there", []ownerState{ownerWaits, ownerThere}, true, trim, "[u0]"},
		{"owner waits", []ownerState{ownerWaits}, false, collect, "[]"},
		{"owner waits, and it owns others", []ownerState{ownerWaits, ownerAbsent}, true, collectForeground, "[]"},
		{"an owner nobody can look up", []ownerState{ownerAbsent, ownerUnknown}, false, keep, "[]"},
	} {
		var refs []metav1.OwnerReference
		for i := range tc.states {
			refs = append(refs, metav1.OwnerReference{UID: types.UID(fmt.Sprint("u", i))})
		}
		got, drop := classify(refs, tc.states, tc.dependents)
		if got != tc.want || fmt.Sprint(drop) != tc.drop {
			t.Errorf("%s: %v %v, want %v %v", tc.why, got, drop, tc.want, tc.drop)
		}
	}
}

func TestNamespaceConditionsTellWhatIsLeft(t *testing.T) {
	s := &corev1.NamespaceStatus{}
	r := &remains{failures: []error{errors.New("b"), errors.New("a")}}
	r.count(schema.GroupResource{Resource: "pods"}, []string{"x/y"})
	r.count(schema.GroupResource{Group: "apps", Resource: "deployments"}, nil)
	if !namespaceConditions(s, r, t0) || namespaceConditions(s, r, t0) {
		t.Error("the conditions are news once")
	}
	var got []string
	for _, c := range s.Conditions {
		got = append(got, fmt.Sprintf("%s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message))
	}
	want := `NamespaceDeletionDiscoveryFailure=False ResourcesDiscovered: All resources successfully discovered
NamespaceDeletionGroupVersionParsingFailure=False ParsedGroupVersions: All legacy kube types successfully parsed
NamespaceDeletionContentFailure=True ContentDeletionFailed: Failed to delete all resource types, 2 remaining: a, b
NamespaceContentRemaining=True SomeResourcesRemain: Some resources are remaining: deployments.apps has 1 resource instances, pods. has 1 resource instances
NamespaceFinalizersRemaining=True SomeFinalizersRemain: Some content in the namespace has finalizers remaining: x/y in 1 resource instances`
	if strings.Join(got, "\n") != want {
		t.Errorf("conditions:\n%s\nwant:\n%s", strings.Join(got, "\n"), want)
	}
}

func TestDoomedPods(t *testing.T) {
	nodes := map[string]*corev1.Node{
		"up":  {},
		"out": {Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: corev1.TaintNodeOutOfService}}}},
	}
	now := metav1.NewTime(t0)
	pod := func(name, node string, phase corev1.PodPhase, dying bool, age int) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(t0.Add(-time.Duration(age) * time.Hour))}}
		p.Spec.NodeName, p.Status.Phase = node, phase
		if dying {
			p.DeletionTimestamp = &now
		}
		return p
	}
	pods := []*corev1.Pod{
		pod("runs", "up", corev1.PodRunning, false, 1), pod("lost", "gone", corev1.PodRunning, false, 1),
		pod("never-bound", "", corev1.PodPending, true, 1), pod("waits", "", corev1.PodPending, false, 1),
		pod("stuck", "out", corev1.PodRunning, true, 1), pod("stays", "up", corev1.PodRunning, true, 1),
		pod("old", "up", corev1.PodSucceeded, false, 9), pod("new", "up", corev1.PodFailed, false, 2),
	}
	missing := map[string]time.Time{"back": t0}
	look := func(at time.Time) string {
		var out []string
		for _, d := range doomedPods(pods, func(n string) *corev1.Node { return nodes[n] }, missing, 1, at) {
			out = append(out, fmt.Sprint(d.pod.Name, d.orphaned))
		}
		return strings.Join(out, " ")
	}
	if got := look(t0); got != "never-boundfalse stuckfalse oldfalse" {
		t.Errorf("at first: %s", got)
	}
	if _, ok := missing["back"]; ok || len(missing) != 1 {
		t.Errorf("missing nodes: %v", missing)
	}
	if got := look(t0.Add(quarantine)); got != "losttrue never-boundfalse stuckfalse oldfalse" {
		t.Errorf("after the quarantine: %s", got)
	}
}
