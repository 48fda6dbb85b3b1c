package workload

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/monohull/monohull/internal/controllers/controllertest"
	"github.com/monohull/monohull/internal/controllers/podstate"
)

func deployment(n int32, surge, unavailable string) *appsv1.Deployment {
	s, u := intstr.Parse(surge), intstr.Parse(unavailable)
	deadline := int32(600)
	l := map[string]string{"app": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "d"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &n, Selector: &metav1.LabelSelector{MatchLabels: l}, Template: template(l, "1"),
			ProgressDeadlineSeconds: &deadline,
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &s, MaxUnavailable: &u},
			},
		},
	}
}

// set has a size and as many available pods; age orders sets.
func set(name string, n, avail int32, age int) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(t0.Add(-time.Duration(age) * time.Hour))},
		Spec:       appsv1.ReplicaSetSpec{Replicas: &n},
		Status:     appsv1.ReplicaSetStatus{Replicas: n, AvailableReplicas: avail},
	}
}

func TestBoundsRoundSurgeUpAndUnavailabilityDown(t *testing.T) {
	for _, tc := range []struct {
		n                   int32
		surge, unavailable  string
		wantSurge, wantDown int32
	}{
		{4, "25%", "25%", 1, 1}, {10, "25%", "25%", 3, 2}, {1, "25%", "25%", 1, 0},
		{3, "0", "0%", 0, 1}, {2, "0", "10%", 0, 1}, {2, "1", "5", 1, 2}, {0, "25%", "25%", 0, 0},
	} {
		s, u := bounds(deployment(tc.n, tc.surge, tc.unavailable))
		if s != tc.wantSurge || u != tc.wantDown {
			t.Errorf("%d pods, surge %s, unavailable %s: %d and %d, want %d and %d", tc.n, tc.surge, tc.unavailable, s, u, tc.wantSurge, tc.wantDown)
		}
	}
}

func steps(list []resize) string {
	out := []string{}
	for _, s := range list {
		out = append(out, fmt.Sprintf("%s=%d", s.set.Name, s.to))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestRollingUpdateSteps(t *testing.T) {
	for _, tc := range []struct {
		why                string
		n                  int32
		surge, unavailable string
		newSet             *appsv1.ReplicaSet
		old                []*appsv1.ReplicaSet
		grow, shrink       string
	}{
		{"the new set takes the surge", 10, "3", "2", set("new", 0, 0, 0), []*appsv1.ReplicaSet{set("old", 10, 10, 1)}, "new=3", "old=8"},
		{"no room to grow", 10, "0", "2", set("new", 0, 0, 0), []*appsv1.ReplicaSet{set("old", 10, 10, 1)}, "", "old=8"},
		{"new pods that do not serve hold the old back", 10, "3", "2", set("new", 5, 0, 0), []*appsv1.ReplicaSet{set("old", 8, 8, 1)}, "", ""},
		{"sick old pods go first", 10, "0", "2", set("new", 2, 0, 0), []*appsv1.ReplicaSet{set("a", 4, 2, 2), set("b", 6, 6, 1)}, "", "a=2"},
		{"sick old pods go although nothing may be missing", 10, "3", "0", set("new", 3, 3, 0), []*appsv1.ReplicaSet{set("a", 4, 1, 2), set("b", 6, 6, 1)}, "", "a=1"},
		{"the oldest set shrinks first", 10, "0", "5", set("new", 5, 5, 0), []*appsv1.ReplicaSet{set("a", 3, 3, 2), set("b", 2, 2, 1)}, "", "a=0 b=0"},
		{"an old set whose pods are still to be deleted has no more than it wants", 6, "2", "0", set("new", 4, 3, 0), []*appsv1.ReplicaSet{set("old", 4, 6, 1)}, "", "old=3"},
		{"the new set is cut to the wanted number", 2, "1", "0", set("new", 5, 5, 0), nil, "new=2", ""},
		{"done", 3, "1", "0", set("new", 3, 3, 0), []*appsv1.ReplicaSet{set("old", 0, 0, 1)}, "", ""},
	} {
		d := deployment(tc.n, tc.surge, tc.unavailable)
		if got := steps(growStep(d, tc.newSet, tc.old)); got != tc.grow {
			t.Errorf("%s: grow %q, want %q", tc.why, got, tc.grow)
		}
		if got := steps(shrinkStep(d, tc.newSet, tc.old)); got != tc.shrink {
			t.Errorf("%s: shrink %q, want %q", tc.why, got, tc.shrink)
		}
	}
}

func TestScalingSharesOutInProportion(t *testing.T) {
	with := func(rs *appsv1.ReplicaSet, most string) *appsv1.ReplicaSet {
		rs.Annotations = map[string]string{maxAnnotation: most, desiredAnnotation: "10"}
		return rs
	}
	for _, tc := range []struct {
		why    string
		to     int32
		newSet *appsv1.ReplicaSet
		old    []*appsv1.ReplicaSet
		want   string
	}{
		{"only one set", 20, set("new", 10, 10, 0), []*appsv1.ReplicaSet{set("old", 0, 0, 1)}, "new=20"},
		{"none: the newest", 5, nil, []*appsv1.ReplicaSet{set("a", 0, 0, 2), set("b", 0, 0, 1)}, "b=5"},
		{"up", 20, with(set("new", 5, 5, 0), "10"), []*appsv1.ReplicaSet{with(set("old", 5, 5, 1), "10")}, "new=10 old=10"},
		{"what is left goes to the largest", 12, with(set("new", 3, 3, 0), "10"), []*appsv1.ReplicaSet{with(set("old", 7, 7, 1), "10")}, "new=4 old=8"},
		{"down", 5, with(set("new", 2, 2, 0), "10"), []*appsv1.ReplicaSet{with(set("old", 8, 8, 1), "10")}, "new=1 old=4"},
		{"to nothing", 0, with(set("new", 3, 3, 0), "10"), []*appsv1.ReplicaSet{with(set("old", 7, 7, 1), "10")}, "new=0 old=0"},
	} {
		if got := steps(scaleStep(deployment(tc.to, "0", "1"), tc.newSet, tc.old)); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.why, got, tc.want)
		}
	}
}

func TestProgressIsJudged(t *testing.T) {
	d := deployment(3, "1", "0")
	at := func(reason string, since time.Duration) {
		d.Status.Conditions = []appsv1.DeploymentCondition{{
			Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: reason, LastUpdateTime: metav1.NewTime(t0.Add(-since)),
		}}
	}
	for _, tc := range []struct {
		why    string
		from   string
		since  time.Duration
		newSet *appsv1.ReplicaSet
		was    appsv1.DeploymentStatus
		want   string
	}{
		{"done", reasonSetUpdated, time.Minute, set("new", 3, 3, 0), appsv1.DeploymentStatus{Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 2}, reasonSetAvailable},
		{"moves", reasonNewSet, time.Hour, set("new", 3, 2, 0), appsv1.DeploymentStatus{Replicas: 3, UpdatedReplicas: 2}, reasonSetUpdated},
		{"stands", reasonNewSet, time.Minute, set("new", 3, 2, 0), appsv1.DeploymentStatus{Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 2}, reasonNewSet},
		{"stands for too long", reasonNewSet, time.Hour, set("new", 3, 2, 0), appsv1.DeploymentStatus{Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 2}, reasonTimedOut},
		{"was done and lost a pod", reasonSetAvailable, time.Hour, set("new", 3, 2, 0), appsv1.DeploymentStatus{Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3}, reasonSetAvailable},
	} {
		d.Status = tc.was
		at(tc.from, tc.since)
		s := countSets(d, tc.newSet, nil, t0)
		judgeProgress(d, &s, tc.newSet, nil, t0)
		if got := conditionOf(&s, appsv1.DeploymentProgressing).Reason; got != tc.want {
			t.Errorf("%s: %s, want %s", tc.why, got, tc.want)
		}
	}
}

func TestRevisionHistory(t *testing.T) {
	d := deployment(1, "1", "0")
	d.Annotations = map[string]string{"kubernetes.io/change-cause": "because", corev1.LastAppliedConfigAnnotation: "{}", revisionAnnotation: "9"}
	rs := set("a", 1, 1, 0)
	rs.Annotations = map[string]string{revisionAnnotation: "1", revisionHistoryAnnotation: "0"}
	if !annotateNew(rs, d, 3) || annotateNew(rs, d, 3) {
		t.Error("the annotations are news once")
	}
	want := map[string]string{"kubernetes.io/change-cause": "because", revisionAnnotation: "3", revisionHistoryAnnotation: "0,1"}
	if fmt.Sprint(rs.Annotations) != fmt.Sprint(want) {
		t.Errorf("annotations %v, want %v", rs.Annotations, want)
	}
	if h, ok := appendHistory(strings.Repeat("1234567,", 249)+"1234567", "250"); !ok || len(h) > maxHistoryChars || !strings.HasSuffix(h, ",250") {
		t.Errorf("a long history has %d characters", len(h))
	}
}

func TestTemplateHashIsSafeAndStable(t *testing.T) {
	tpl := template(map[string]string{"a": "b", "c": "d"}, "1")
	one, err := templateHash(&tpl, nil)
	if err != nil {
		t.Fatal(err)
	}
	two, _ := templateHash(tpl.DeepCopy(), nil)
	n := int32(1)
	other, _ := templateHash(&tpl, &n)
	if one != two || one == other {
		t.Errorf("hashes %s, %s, after a collision %s", one, two, other)
	}
	if len(one) > 10 || strings.Trim(one, "bcdfghjklmnpqrstvwxz2456789") != "" {
		t.Errorf("%q is not of the safe alphabet", one)
	}
}

func TestExpendableSetsAreTheOldestWithoutPods(t *testing.T) {
	d := deployment(1, "1", "0")
	limit := int32(1)
	d.Spec.RevisionHistoryLimit = &limit
	var old []*appsv1.ReplicaSet
	for i, n := range []int32{0, 1, 0, 0} {
		rs := set(fmt.Sprint("r", i+1), n, n, 10-i)
		rs.Annotations = map[string]string{revisionAnnotation: fmt.Sprint(i + 1)}
		old = append(old, rs)
	}
	var got []string
	for _, rs := range expendable(d, old) {
		got = append(got, rs.Name)
	}
	if !slices.Equal(got, []string{"r1", "r3"}) {
		t.Errorf("expendable: %v", got)
	}
}

func TestDeploymentRollsOutWithoutAGap(t *testing.T) {
	c := controllertest.New(t)
	d := deployment(6, "25%", "0")
	d.UID = ""
	controllertest.Create(c, d)
	c.Run(deployments(c.Deps()), replicaSets(c.Deps()))
	c.RunKubelet("n1", nil)
	done := func() bool {
		d, ok := controllertest.Get[*appsv1.Deployment](c, "ns", "web")
		p := conditionOf(&d.Status, appsv1.DeploymentProgressing)
		return ok && p != nil && p.Reason == reasonSetAvailable && complete(d, &d.Status)
	}
	c.Eventually("the first rollout is done", done)
	d, _ = controllertest.Get[*appsv1.Deployment](c, "ns", "web")
	if d.Annotations[revisionAnnotation] != "1" || *d.Status.TerminatingReplicas != 0 {
		t.Errorf("annotations %v, status %+v", d.Annotations, d.Status)
	}
	first := controllertest.List[*appsv1.ReplicaSet](c, "ns")[0]
	if hash := first.Labels[appsv1.DefaultDeploymentUniqueLabelKey]; first.Name != "web-"+hash || first.Spec.Selector.MatchLabels[appsv1.DefaultDeploymentUniqueLabelKey] != hash {
		t.Errorf("the set %s has labels %v", first.Name, first.Labels)
	}
	controllertest.Modify(c, "ns", "web", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "2" })
	least, most := 99, 0
	c.Eventually("the update is done", func() bool {
		ready, asked := 0, 0
		for _, p := range controllertest.List[*corev1.Pod](c, "ns") {
			if podstate.Active(p) && podstate.Ready(p) {
				ready++
			}
		}
		for _, rs := range controllertest.List[*appsv1.ReplicaSet](c, "ns") {
			asked += int(size(rs))
		}
		least, most = min(least, ready), max(most, asked)
		d, _ := controllertest.Get[*appsv1.Deployment](c, "ns", "web")
		return d.Annotations[revisionAnnotation] == "2" && done() && d.Status.ObservedGeneration == d.Generation
	})
	if least < 6 || most > 8 {
		t.Errorf("at least %d were ready and at most %d asked for, want 6 and 8", least, most)
	}
	if !sets.New(c.Events()...).Has("deployment-controller: web: ScalingReplicaSet: Scaled up replica set " + first.Name + " from 0 to 6") {
		t.Errorf("events: %q", c.Events())
	}
	controllertest.Modify(c, "ns", "web", func(d *appsv1.Deployment) { n := int32(2); d.Spec.Replicas = &n })
	c.Eventually("it is scaled down", func() bool { return done() && len(controllertest.List[*corev1.Pod](c, "ns")) == 2 })
	controllertest.Modify(c, "ns", "web", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "1" })
	c.Eventually("it is rolled back", func() bool {
		rs, _ := controllertest.Get[*appsv1.ReplicaSet](c, "ns", first.Name)
		return rs.Annotations[revisionAnnotation] == "3" && rs.Annotations[revisionHistoryAnnotation] == "1" && size(rs) == 2 && done()
	})
}

func TestDeploymentRecreates(t *testing.T) {
	c := controllertest.New(t)
	d := deployment(3, "1", "0")
	d.UID, d.Spec.Strategy = "", appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	controllertest.Create(c, d)
	c.Run(deployments(c.Deps()), replicaSets(c.Deps()))
	c.RunKubelet("n1", nil)
	image := func(image string) func() bool {
		return func() bool {
			d, _ := controllertest.Get[*appsv1.Deployment](c, "ns", "web")
			images := sets.New[string]()
			for _, p := range controllertest.List[*corev1.Pod](c, "ns") {
				images.Insert(p.Spec.Containers[0].Image)
			}
			if len(images) > 1 {
				t.Fatalf("pods of %v at once", images)
			}
			return images.Has(image) && complete(d, &d.Status)
		}
	}
	c.Eventually("it runs", image("1"))
	controllertest.Modify(c, "ns", "web", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "2" })
	c.Eventually("it runs anew", image("2"))
}

func TestPausedDeploymentScalesAndDoesNotRollOut(t *testing.T) {
	c := controllertest.New(t)
	d := deployment(2, "1", "0")
	d.UID = ""
	controllertest.Create(c, d)
	c.Run(deployments(c.Deps()), replicaSets(c.Deps()))
	c.RunKubelet("n1", nil)
	reason := func() string {
		d, _ := controllertest.Get[*appsv1.Deployment](c, "ns", "web")
		if p := conditionOf(&d.Status, appsv1.DeploymentProgressing); p != nil {
			return p.Reason
		}
		return ""
	}
	c.Eventually("it runs", func() bool { return reason() == reasonSetAvailable })
	controllertest.Modify(c, "ns", "web", func(d *appsv1.Deployment) {
		n := int32(4)
		d.Spec.Paused, d.Spec.Replicas, d.Spec.Template.Spec.Containers[0].Image = true, &n, "2"
	})
	c.Eventually("it is scaled while paused", func() bool {
		d, _ := controllertest.Get[*appsv1.Deployment](c, "ns", "web")
		return reason() == reasonPaused && d.Status.AvailableReplicas == 4 && d.Status.UpdatedReplicas == 0
	})
	controllertest.Modify(c, "ns", "web", func(d *appsv1.Deployment) { d.Spec.Paused = false })
	c.Eventually("it goes on", func() bool {
		d, _ := controllertest.Get[*appsv1.Deployment](c, "ns", "web")
		return reason() == reasonSetAvailable && d.Status.UpdatedReplicas == 4
	})
}
