package node

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func node(name string, ready corev1.ConditionStatus, more ...corev1.NodeConditionType) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(t0)}}
	if ready != "" {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, LastHeartbeatTime: metav1.NewTime(t0)}}
	}
	for _, t := range more {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: t, Status: corev1.ConditionTrue})
	}
	return n
}

func lease(at time.Time) *coordinationv1.Lease {
	m := metav1.NewMicroTime(at)
	return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{RenewTime: &m}}
}

func TestSilenceIsMeasuredByOurClock(t *testing.T) {
	n := node("n", corev1.ConditionTrue)
	now := t0.Add(time.Hour)
	o := observe(nil, n, lease(t0), now)
	if o.left(now) != gracePeriod {
		t.Errorf("a node seen for the first time has %v left", o.left(now))
	}
	o = observe(&o, n, lease(t0), now.Add(30*time.Second))
	if got := o.left(now.Add(30 * time.Second)); got != 20*time.Second {
		t.Errorf("after 30 s of silence %v are left", got)
	}
	renewed := observe(&o, n, lease(t0.Add(time.Second)), now.Add(40*time.Second))
	if !renewed.heard.Equal(now.Add(40 * time.Second)) {
		t.Errorf("a renewed lease was heard at %v", renewed.heard)
	}
	posted := n.DeepCopy()
	posted.Status.Conditions[0].LastHeartbeatTime = metav1.NewTime(t0.Add(time.Second))
	if o = observe(&o, posted, lease(t0), now.Add(45*time.Second)); !o.heard.Equal(now.Add(45 * time.Second)) {
		t.Errorf("a posted status was heard at %v", o.heard)
	}
	if o := observe(nil, node("new", ""), nil, t0.Add(10*time.Second)); o.left(t0.Add(10*time.Second)) != 50*time.Second {
		t.Errorf("a node that never spoke has %v left", o.left(t0.Add(10*time.Second)))
	}
}

func TestSilentNodesAreUnknown(t *testing.T) {
	n := node("n", corev1.ConditionTrue)
	markUnknown(n, t0)
	var got []string
	for _, c := range n.Status.Conditions {
		got = append(got, fmt.Sprintf("%s=%s %s %s", c.Type, c.Status, c.Reason, c.Message))
	}
	want := []string{
		"Ready=Unknown NodeStatusUnknown Kubelet stopped posting node status.",
		"MemoryPressure=Unknown NodeStatusNeverUpdated Kubelet never posted node status.",
		"DiskPressure=Unknown NodeStatusNeverUpdated Kubelet never posted node status.",
		"PIDPressure=Unknown NodeStatusNeverUpdated Kubelet never posted node status.",
	}
	if !slices.Equal(got, want) {
		t.Errorf("conditions %q, want %q", got, want)
	}
}

func TestTaintsFollowConditions(t *testing.T) {
	unschedulable := node("n", corev1.ConditionTrue)
	unschedulable.Spec.Unschedulable = true
	recovered := node("n", corev1.ConditionTrue)
	recovered.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}, {Key: "mine", Effect: corev1.TaintEffectNoSchedule}}
	silent := node("n", "")
	silent.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}}
	for _, tc := range []struct {
		why     string
		node    *corev1.Node
		want    string
		changed bool
	}{
		{"well", node("n", corev1.ConditionTrue), "", false},
		{"not ready", node("n", corev1.ConditionFalse), "not-ready", true},
		{"unreachable", node("n", corev1.ConditionUnknown), "unreachable", true},
		{"pressed", node("n", corev1.ConditionTrue, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure), "disk-pressure memory-pressure pid-pressure", true},
		{"without network", node("n", corev1.ConditionTrue, corev1.NodeNetworkUnavailable), "network-unavailable", true},
		{"cordoned", unschedulable, "unschedulable", true},
		{"well again, with a taint of the user's", recovered, "mine", true},
		{"registered, not yet heard of", silent, "not-ready", false},
	} {
		taints, changed := scheduleTaints(tc.node, metav1.NewTime(t0))
		var got []string
		for _, x := range taints {
			got = append(got, strings.TrimPrefix(x.Key, "node.kubernetes.io/"))
		}
		if strings.Join(got, " ") != tc.want || changed != tc.changed {
			t.Errorf("%s: %v changed=%v, want %s %v", tc.why, got, changed, tc.want, tc.changed)
		}
	}
}

func TestTolerance(t *testing.T) {
	secs := func(n int64) *int64 { return &n }
	unreachable := corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute}
	custom := corev1.Taint{Key: "k", Value: "v", Effect: corev1.TaintEffectNoExecute}
	bear := func(key string, n *int64) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: n}
	}
	for _, tc := range []struct {
		why         string
		taints      []corev1.Taint
		tolerations []corev1.Toleration
		want        time.Duration
		forever     bool
	}{
		{"no taint", nil, nil, 0, true},
		{"not tolerated", []corev1.Taint{unreachable}, nil, 0, false},
		{"for five minutes", []corev1.Taint{unreachable}, []corev1.Toleration{bear(unreachable.Key, secs(300))}, 5 * time.Minute, false},
		{"everything, forever", []corev1.Taint{unreachable, custom}, []corev1.Toleration{{Operator: corev1.TolerationOpExists}}, 0, true},
		{"the shortest of two", []corev1.Taint{unreachable, custom}, []corev1.Toleration{bear(unreachable.Key, secs(300)), bear("k", secs(10))}, 10 * time.Second, false},
		{"one not tolerated", []corev1.Taint{unreachable, custom}, []corev1.Toleration{bear(unreachable.Key, nil)}, 0, false},
		{"another value", []corev1.Taint{custom}, []corev1.Toleration{{Key: "k", Value: "w"}}, 0, false},
		{"the first that fits", []corev1.Taint{custom}, []corev1.Toleration{{Key: "k", Value: "v", TolerationSeconds: secs(7)}, bear("k", nil)}, 7 * time.Second, false},
		{"negative is at once", []corev1.Taint{custom}, []corev1.Toleration{bear("k", secs(-1))}, 0, false},
	} {
		if got, forever := tolerance(tc.taints, tc.tolerations); got != tc.want || forever != tc.forever {
			t.Errorf("%s: %v %v, want %v %v", tc.why, got, forever, tc.want, tc.forever)
		}
	}
}

func TestZones(t *testing.T) {
	for _, tc := range []struct {
		c     zoneCount
		state zoneState
		rate  float64
	}{
		{zoneCount{5, 1}, zoneNormal, 0.1}, {zoneCount{0, 1}, zoneFull, 0.1}, {zoneCount{1, 2}, zoneNormal, 0.1},
		{zoneCount{2, 3}, zonePartial, 0}, {zoneCount{40, 60}, zonePartial, 0.01},
	} {
		if tc.c.state() != tc.state || tc.c.rate() != tc.rate {
			t.Errorf("%+v: state %v at %v", tc.c, tc.c.state(), tc.c.rate())
		}
	}
	if !allDown(countZones([]*corev1.Node{node("a", corev1.ConditionUnknown)})) || allDown(nil) || allDown(countZones([]*corev1.Node{node("a", "True"), node("b", "False")})) {
		t.Error("all are down where none is ready")
	}
}

func TestLimiterLetsOneBeginAndThenSoManyPerSecond(t *testing.T) {
	l := &limiter{}
	if ok, _ := l.take(0.1, t0); !ok {
		t.Error("the first was held")
	}
	if ok, wait := l.take(0.1, t0.Add(4*time.Second)); ok || wait.Round(time.Millisecond) != 6*time.Second {
		t.Errorf("the second: %v after %v", ok, wait)
	}
	if ok, _ := l.take(0.1, t0.Add(10*time.Second)); !ok {
		t.Error("after ten seconds it was still held")
	}
}

func TestRangesOfNodes(t *testing.T) {
	b := blocksOf(netip.MustParsePrefix("10.244.0.0/22"))
	used := []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24"), netip.MustParsePrefix("10.244.2.0/25")}
	var got []string
	next := 0
	for range 3 {
		p, n, ok := b.free(used, next)
		if !ok {
			break
		}
		next, used = n, append(used, p)
		got = append(got, p.String())
	}
	if fmt.Sprint(got) != "[10.244.1.0/24 10.244.3.0/24]" {
		t.Errorf("ranges: %v", got)
	}
	six := blocksOf(netip.MustParsePrefix("fd00:1::/48"))
	if six.at(1).String() != "fd00:1:0:1::/64" || six.count() != 65536 {
		t.Errorf("IPv6: %v of %d", six.at(1), six.count())
	}
}
