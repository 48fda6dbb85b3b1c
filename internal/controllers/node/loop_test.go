package node

import (
	"net/netip"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/controllers"
	"github.com/monohull/monohull/internal/controllers/controllertest"
	"github.com/monohull/monohull/internal/controllers/podstate"
)

func TestSilentNodeIsFoundAndItsPodsAreMarkedAndDrivenAway(t *testing.T) {
	c := controllertest.New(t)
	deps := c.Deps()
	h := newHealth(deps)
	watch, drive, evict := h.controller(), zones(deps, h), taintEviction(deps)
	for _, name := range []string{"n1", "n2"} {
		controllertest.Create(c, node(name, corev1.ConditionTrue))
		l := lease(c.Clock.Now())
		l.Namespace, l.Name = corev1.NamespaceNodeLease, name
		controllertest.Create(c, l)
	}
	secs := int64(300)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}}
	p.Spec = corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "i"}}, Tolerations: []corev1.Toleration{
		{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &secs}}}
	controllertest.Create(c, p)
	c.MakeReady("ns", "p", "1.1.1.1")
	turn := func(r *controllers.Controller, key controllers.Key) time.Duration {
		t.Helper()
		d, err := r.Reconcile(c.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	both := func() {
		turn(watch, controllers.Key{Name: "n1"})
		turn(watch, controllers.Key{Name: "n2"})
	}
	both()
	c.Clock.SetTime(c.Clock.Now().Add(gracePeriod + time.Second))
	controllertest.Modify(c, corev1.NamespaceNodeLease, "n2", func(l *coordinationv1.Lease) { l.Spec.RenewTime = lease(c.Clock.Now()).Spec.RenewTime })
	both()
	n1, _ := controllertest.Get[*corev1.Node](c, "", "n1")
	n2, _ := controllertest.Get[*corev1.Node](c, "", "n2")
	if readiness(n1) != corev1.ConditionUnknown || readiness(n2) != corev1.ConditionTrue {
		t.Errorf("n1 is %s, n2 is %s", readiness(n1), readiness(n2))
	}
	if !hasTaint(n1.Spec.Taints, corev1.TaintNodeUnreachable, corev1.TaintEffectNoSchedule) || len(n2.Spec.Taints) != 0 {
		// the turn that found it may have tainted the state before
		turn(watch, controllers.Key{Name: "n1"})
		if n1, _ = controllertest.Get[*corev1.Node](c, "", "n1"); !hasTaint(n1.Spec.Taints, corev1.TaintNodeUnreachable, corev1.TaintEffectNoSchedule) {
			t.Errorf("taints: %v and %v", n1.Spec.Taints, n2.Spec.Taints)
		}
	}
	if p, _ := controllertest.Get[*corev1.Pod](c, "ns", "p"); podstate.Ready(p) {
		t.Error("the pod is said to be ready")
	}
	turn(drive, controllers.Key{Name: "zones"})
	if n1, _ = controllertest.Get[*corev1.Node](c, "", "n1"); !hasTaint(n1.Spec.Taints, corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute) {
		t.Errorf("no eviction: %v", n1.Spec.Taints)
	}
	if d := turn(evict, controllers.Key{Namespace: "ns", Name: "p"}); d != 5*time.Minute {
		t.Errorf("the pod is looked at again after %v", d)
	}
	c.Clock.SetTime(c.Clock.Now().Add(5 * time.Minute))
	turn(evict, controllers.Key{Namespace: "ns", Name: "p"})
	q, ok := controllertest.Get[*corev1.Pod](c, "ns", "p")
	if cond := podstate.Condition(&q.Status, corev1.DisruptionTarget); !ok || q.DeletionTimestamp == nil || cond == nil || cond.Reason != "DeletionByTaintManager" {
		t.Errorf("the pod: %+v", q)
	}
}

func TestNobodyIsDrivenAwayWhenAllSeemDown(t *testing.T) {
	c := controllertest.New(t)
	deps := c.Deps()
	n := node("n1", corev1.ConditionUnknown)
	n.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute}}
	controllertest.Create(c, n)
	if _, err := zones(deps, newHealth(deps)).Reconcile(c.Context(), controllers.Key{Name: "zones"}); err != nil {
		t.Fatal(err)
	}
	if n, _ := controllertest.Get[*corev1.Node](c, "", "n1"); len(n.Spec.Taints) != 0 {
		t.Errorf("taints: %v", n.Spec.Taints)
	}
}

func TestNodesGetRanges(t *testing.T) {
	c := controllertest.New(t)
	deps := c.Deps()
	deps.ClusterCIDRs = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:1::/48")}
	c.Run(Controllers(deps)...)
	for _, name := range []string{"a", "b", "c"} {
		controllertest.Create(c, node(name, corev1.ConditionTrue))
	}
	c.Eventually("each has its own", func() bool {
		seen := map[string]bool{}
		for _, n := range controllertest.List[*corev1.Node](c, "") {
			for _, r := range n.Spec.PodCIDRs {
				seen[r] = true
			}
			if len(n.Spec.PodCIDRs) == 2 && n.Spec.PodCIDR != n.Spec.PodCIDRs[0] {
				t.Fatalf("%s has %s and %v", n.Name, n.Spec.PodCIDR, n.Spec.PodCIDRs)
			}
		}
		return len(seen) == 6
	})
}
