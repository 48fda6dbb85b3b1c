package scheduler

import (
	"fmt"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

const (
	noVictims  = " no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
	notHelpful = " no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
)

// One node, one pod: what it is told.
func TestMessages(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	node := func(change ...func(*corev1.Node)) *corev1.Node { return makeNode("n", "2", "4Gi", change...) }
	for name, c := range map[string]struct {
		node   *corev1.Node
		placed []*corev1.Pod
		pod    *corev1.Pod
		want   string // "" fits
	}{
		"fits":     {node: node(), pod: makePod("p", "2", "4Gi")},
		"no nodes": {pod: makePod("p", "", ""), want: "no nodes available to schedule pods"},
		"cpu is taken": {node: node(), placed: []*corev1.Pod{makePod("a", "1", "")}, pod: makePod("p", "1500m", ""),
			want: "0/1 nodes are available: 1 Insufficient cpu." + noVictims},
		"more than the node has": {node: node(), pod: makePod("p", "3", "5Gi"),
			want: "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory." + notHelpful},
		"extended resource": {node: node(), pod: makePod("p", "", "", func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"example.com/gpu": resource.MustParse("1")}
		}), want: "0/1 nodes are available: 1 Insufficient example.com/gpu." + notHelpful},
		"ephemeral storage": {node: node(), pod: makePod("p", "", "", func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("11Gi")}
		}), want: "0/1 nodes are available: 1 Insufficient ephemeral-storage." + notHelpful},
		"too many pods": {node: node(func(n *corev1.Node) { n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("1") }),
			placed: []*corev1.Pod{makePod("a", "", "")}, pod: makePod("p", "", ""), want: "0/1 nodes are available: 1 Too many pods." + noVictims},
		"a large init container": {node: node(), pod: makePod("p", "1", "", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: quantities("3", "")}}}
		}), want: "0/1 nodes are available: 1 Insufficient cpu." + notHelpful},
		"init containers run one by one": {node: node(), pod: makePod("p", "1", "", func(p *corev1.Pod) {
			c := corev1.Container{Resources: corev1.ResourceRequirements{Requests: quantities("2", "")}}
			p.Spec.InitContainers = []corev1.Container{c, c}
		})},
		"a sidecar adds": {node: node(), pod: makePod("p", "1500m", "", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{RestartPolicy: &always, Resources: corev1.ResourceRequirements{Requests: quantities("1", "")}}}
		}), want: "0/1 nodes are available: 1 Insufficient cpu." + notHelpful},
		"overhead adds": {node: node(), pod: makePod("p", "2", "", func(p *corev1.Pod) { p.Spec.Overhead = quantities("1m", "") }),
			want: "0/1 nodes are available: 1 Insufficient cpu." + notHelpful},
		"pod level requests count": {node: node(), pod: makePod("p", "1", "", func(p *corev1.Pod) {
			p.Spec.Resources = &corev1.ResourceRequirements{Requests: quantities("3", "")}
		}), want: "0/1 nodes are available: 1 Insufficient cpu." + notHelpful},
		"unschedulable": {node: node(func(n *corev1.Node) { n.Spec.Unschedulable = true }), pod: makePod("p", "", ""),
			want: "0/1 nodes are available: 1 node(s) were unschedulable." + notHelpful},
		"unschedulable is tolerated": {node: node(func(n *corev1.Node) { n.Spec.Unschedulable = true }),
			pod: makePod("p", "", "", withTolerations(corev1.Toleration{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists}))},
		"taint": {node: node(withTaint("k", corev1.TaintEffectNoSchedule)), pod: makePod("p", "", ""),
			want: "0/1 nodes are available: 1 node(s) had untolerated taint(s)." + notHelpful},
		"taint to leave": {node: node(withTaint("k", corev1.TaintEffectNoExecute)), pod: makePod("p", "", "", withTolerations(corev1.Toleration{Key: "k", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})),
			want: "0/1 nodes are available: 1 node(s) had untolerated taint(s)." + notHelpful},
		"taint tolerated": {node: node(withTaint("k", corev1.TaintEffectNoSchedule)), pod: makePod("p", "", "", withTolerations(corev1.Toleration{Key: "k", Operator: corev1.TolerationOpExists}))},
		"soft taint":      {node: node(withTaint("k", corev1.TaintEffectPreferNoSchedule)), pod: makePod("p", "", "")},
		"node selector": {node: node(), pod: makePod("p", "", "", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }),
			want: "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector." + notHelpful},
		"node affinity": {node: node(withNodeLabels("disk", "hdd")), pod: makePod("p", "", "", withRequiredNode(corev1.NodeSelectorTerm{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "disk", Operator: corev1.NodeSelectorOpIn, Values: []string{"ssd"}}}})),
			want: "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector." + notHelpful},
		"another node by name": {node: node(), pod: makePod("p", "", "", withRequiredNode(corev1.NodeSelectorTerm{
			MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"m"}}}})),
			want: "0/1 nodes are available: 1 node(s) didn't satisfy plugin(s) [NodeAffinity]." + notHelpful},
		"this node by name": {node: node(), pod: makePod("p", "", "", withRequiredNode(corev1.NodeSelectorTerm{
			MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"n"}}}}))},
		"host port": {node: node(), placed: []*corev1.Pod{makePod("a", "", "", withHostPort("", 80, corev1.ProtocolTCP))}, pod: makePod("p", "", "", withHostPort("10.0.0.1", 80, "")),
			want: "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports." + noVictims},
		"host port of another address":  {node: node(), placed: []*corev1.Pod{makePod("a", "", "", withHostPort("10.0.0.2", 80, ""))}, pod: makePod("p", "", "", withHostPort("10.0.0.1", 80, ""))},
		"host port of another protocol": {node: node(), placed: []*corev1.Pod{makePod("a", "", "", withHostPort("", 80, corev1.ProtocolUDP))}, pod: makePod("p", "", "", withHostPort("", 80, ""))},
		"anti-affinity": {node: node(), placed: []*corev1.Pod{makePod("a", "", "", withLabels("app", "db"))}, pod: makePod("p", "", "", withAnti(podTerm(corev1.LabelHostname, "app", "db"))),
			want: "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules." + noVictims},
		"another's anti-affinity": {node: node(), placed: []*corev1.Pod{makePod("a", "", "", withAnti(podTerm(corev1.LabelHostname, "app", "web")))}, pod: makePod("p", "", "", withLabels("app", "web")),
			want: "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules." + noVictims},
		"affinity to none there": {node: node(), pod: makePod("p", "", "", withTogether(podTerm(corev1.LabelHostname, "app", "db"))),
			want: "0/1 nodes are available: 1 node(s) didn't match pod affinity rules." + notHelpful},
		"affinity to its like": {node: node(), pod: makePod("p", "", "", withLabels("app", "db"), withTogether(podTerm(corev1.LabelHostname, "app", "db")))},
		"spread over a key the node lacks": {node: node(), pod: makePod("p", "", "", withLabels("a", "b"), withSpread("rack", 1, corev1.DoNotSchedule, "a", "b")),
			want: "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label)." + notHelpful},
		"claim": {node: node(), pod: makePod("p", "", "", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
		}), want: `0/1 nodes are available: persistentvolumeclaim "data" not found.` + notHelpful},
		"never preempts": {node: node(), placed: []*corev1.Pod{makePod("a", "2", "")}, pod: makePod("p", "1", "", withPriority(5), func(p *corev1.Pod) {
			never := corev1.PreemptNever
			p.Spec.PreemptionPolicy = &never
		}), want: "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never."},
	} {
		t.Run(name, func(t *testing.T) {
			placed := map[*corev1.Pod]string{}
			for _, p := range c.placed {
				placed[p] = "n"
			}
			var nodes []*corev1.Node
			if c.node != nil {
				nodes = append(nodes, c.node)
			}
			s := cluster(nodes, placed)
			for range 2 { // the second time from what the shape keeps
				d := decide(s, newPodInfo(c.pod), newRand())
				switch {
				case d.fail == nil && c.want != "":
					t.Fatalf("fits on %s; want %q", d.node, c.want)
				case d.fail != nil && d.fail.message != c.want:
					t.Fatalf("got  %q\nwant %q", d.fail.message, c.want)
				}
			}
		})
	}
}

func TestMessageCountsReasonsOverNodes(t *testing.T) {
	s := cluster([]*corev1.Node{
		makeNode("a", "1", "1Gi"), makeNode("b", "1", "1Gi", withTaint("x", corev1.TaintEffectNoSchedule)), makeNode("c", "4", "1Gi"),
	}, map[*corev1.Pod]string{makePod("z", "3", ""): "c"})
	got := decide(s, newPodInfo(makePod("p", "2", "")), newRand()).fail.message
	want := "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. no new claims to deallocate, preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
	if got != want {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
}

// Two nodes; the pod goes to "good".
func TestScoresPrefer(t *testing.T) {
	for name, c := range map[string]struct {
		good, other []func(*corev1.Node)
		placed      map[*corev1.Pod]string
		pod         *corev1.Pod
		selector    labels.Selector
	}{
		"the emptier node": {placed: map[*corev1.Pod]string{makePod("a", "2", "4Gi"): "other"}, pod: makePod("p", "1", "2Gi")},
		"the node it balances": {placed: map[*corev1.Pod]string{makePod("a", "3", "1Gi"): "other", makePod("b", "1", "5Gi"): "good"},
			pod: makePod("p", "2", "100Mi"), good: nil},
		"no soft taint": {other: []func(*corev1.Node){withTaint("k", corev1.TaintEffectPreferNoSchedule)}, pod: makePod("p", "1", "1Gi")},
		"the preferred node": {good: []func(*corev1.Node){withNodeLabels("disk", "ssd")}, pod: makePod("p", "", "", func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{
				Weight: 1, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "disk", Operator: corev1.NodeSelectorOpExists}}}}}}}
		})},
		"the node with its friend": {placed: map[*corev1.Pod]string{makePod("a", "", "", withLabels("app", "db")): "good"}, pod: makePod("p", "", "", func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{
				Weight: 10, PodAffinityTerm: podTerm(corev1.LabelHostname, "app", "db")}}}}
		})},
		"the node without its rival": {placed: map[*corev1.Pod]string{makePod("a", "", "", withLabels("app", "db")): "other"}, pod: makePod("p", "", "", func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{
				Weight: 10, PodAffinityTerm: podTerm(corev1.LabelHostname, "app", "db")}}}}
		})},
		"where a pod asks for it": {placed: map[*corev1.Pod]string{makePod("a", "", "", withTogether(podTerm(corev1.LabelHostname, "app", "web"))): "good"}, pod: makePod("p", "", "", withLabels("app", "web"))},
		"the node with its image": {good: []func(*corev1.Node){func(n *corev1.Node) {
			n.Status.Images = []corev1.ContainerImage{{Names: []string{"app:1"}, SizeBytes: 900 << 20}}
		}}, pod: makePod("p", "1", "1Gi")},
		"the node without its siblings": {placed: map[*corev1.Pod]string{makePod("a", "", "", withLabels("app", "web")): "other", makePod("b", "", "", withLabels("app", "x")): "good"},
			pod: makePod("p", "", "", withLabels("app", "web")), selector: labels.SelectorFromSet(labels.Set{"app": "web"})},
		"the zone with fewer": {good: []func(*corev1.Node){withNodeLabels("zone", "z1")}, other: []func(*corev1.Node){withNodeLabels("zone", "z2")},
			placed: map[*corev1.Pod]string{makePod("a", "", "", withLabels("app", "web")): "other"},
			pod:    makePod("p", "", "", withLabels("app", "web"), withSpread("zone", 1, corev1.ScheduleAnyway, "app", "web"))},
	} {
		t.Run(name, func(t *testing.T) {
			s := cluster([]*corev1.Node{makeNode("other", "4", "8Gi", c.other...), makeNode("good", "4", "8Gi", c.good...)}, c.placed)
			s.selectors = func(*corev1.Pod) labels.Selector { return c.selector }
			for i := range 4 {
				if d := decide(s, newPodInfo(c.pod), rand.New(rand.NewPCG(uint64(i), 0))); d.node != "good" {
					t.Fatalf("went to %q", d.node)
				}
			}
		})
	}
}

func TestScoreValues(t *testing.T) {
	n := newNode("n")
	n.set(makeNode("n", "4", "10000Mi"))
	p := newPodInfo(makePod("p", "1", "5000Mi"))
	if got := leastAllocated(p, n); got != (75+50)/2 {
		t.Errorf("leastAllocated = %d", got)
	}
	// alone the fractions are 0.25 and 0.5: 87; before 100
	if got := balancedAllocation(p, n); got != 50+(50+87-100)/2 {
		t.Errorf("balancedAllocation = %d", got)
	}
	none := newPodInfo(makePod("q", "", ""))
	if none.scoredCPU != 100 || none.scoredMem != 200<<20 {
		t.Errorf("a pod that asks for nothing counts as %d and %d", none.scoredCPU, none.scoredMem)
	}
	if got := balancedAllocation(none, n); got != 0 {
		t.Errorf("balancedAllocation of nothing = %d", got)
	}
	for n, want := range map[int]int{5: 5, 99: 99, 100: 100, 1000: 420, 5000: 500, 10000: 500} {
		if got := enough(n); got != want {
			t.Errorf("enough(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestHardSpreadKeepsSkew(t *testing.T) {
	s := cluster(zoned(6, "a", "b", "c"), nil)
	rng := newRand()
	zones := map[string]int{}
	for i := range 30 {
		p := newPodInfo(makePod(fmt.Sprint("p", i), "100m", "", withLabels("app", "web"), withSpread(corev1.LabelTopologyZone, 1, corev1.DoNotSchedule, "app", "web")))
		d := decide(s, p, rng)
		if d.fail != nil {
			t.Fatal(d.fail.message)
		}
		s.addPod(p, d.node)
		zones[s.nodes[d.node].obj.Labels[corev1.LabelTopologyZone]]++
		low, high := 1000, 0
		for _, z := range []string{"a", "b", "c"} {
			low, high = min(low, zones[z]), max(high, zones[z])
		}
		if high-low > 1 {
			t.Fatalf("after %d pods: %v", i+1, zones)
		}
	}
}

func TestSpreadRefusalNamesTheConstraint(t *testing.T) {
	nodes := []*corev1.Node{makeNode("a", "4", "8Gi"), makeNode("b", "100m", "8Gi")}
	s := cluster(nodes, map[*corev1.Pod]string{makePod("x", "", "", withLabels("app", "web")): "a"})
	d := decide(s, newPodInfo(makePod("p", "1", "", withLabels("app", "web"), withSpread(corev1.LabelHostname, 1, corev1.DoNotSchedule, "app", "web"))), newRand())
	want := "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match pod topology spread constraints. no new claims to deallocate, preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
	if d.fail == nil || d.fail.message != want {
		t.Fatalf("got %+v", d.fail)
	}
}

func TestAntiAffinityPlacesOnePerZone(t *testing.T) {
	s := cluster(zoned(6, "a", "b", "c"), nil)
	rng := newRand()
	for i := range 4 {
		p := newPodInfo(makePod(fmt.Sprint("p", i), "", "", withLabels("app", "db"), withAnti(podTerm(corev1.LabelTopologyZone, "app", "db"))))
		d := decide(s, p, rng)
		if (d.fail == nil) != (i < 3) {
			t.Fatalf("pod %d: %+v", i, d)
		}
		if d.fail == nil {
			s.addPod(p, d.node)
		}
	}
	s.removePod("p0")
	if d := decide(s, newPodInfo(makePod("p9", "", "", withLabels("app", "db"), withAnti(podTerm(corev1.LabelTopologyZone, "app", "db")))), rng); d.fail != nil {
		t.Fatal("a zone is free again: ", d.fail.message)
	}
}

func TestAffinityAcrossNamespacesBySelector(t *testing.T) {
	term := podTerm(corev1.LabelHostname, "app", "db")
	term.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}
	other := makePod("x", "", "", withLabels("app", "db"))
	other.Namespace = "prod"
	s := cluster([]*corev1.Node{makeNode("n", "4", "8Gi")}, map[*corev1.Pod]string{other: "n"})
	p := newPodInfo(makePod("p", "", "", withAnti(term)))
	if d := decide(s, p, newRand()); d.fail != nil {
		t.Fatal("prod is not of team a: ", d.fail.message)
	}
	s.setNamespace("prod", labels.Set{"team": "a"})
	if d := decide(s, p, newRand()); d.fail == nil {
		t.Fatal("prod is of team a now")
	}
}

// What a shape keeps must equal what is computed from nothing.
func TestKeptWorkEqualsFreshWork(t *testing.T) {
	rng := newRand()
	s := cluster(zoned(12, "a", "b", "c"), nil)
	kinds := []func(string) *corev1.Pod{
		func(n string) *corev1.Pod { return makePod(n, "500m", "512Mi", withLabels("app", "a")) },
		func(n string) *corev1.Pod {
			return makePod(n, "250m", "", withLabels("app", "b"), withAnti(podTerm(corev1.LabelHostname, "app", "b")))
		},
		func(n string) *corev1.Pod {
			return makePod(n, "100m", "1Gi", withLabels("app", "c"), withSpread(corev1.LabelTopologyZone, 1, corev1.DoNotSchedule, "app", "c"), withSpread(corev1.LabelHostname, 1, corev1.ScheduleAnyway, "app", "c"))
		},
		func(n string) *corev1.Pod {
			return makePod(n, "", "", withLabels("app", "d"), withTogether(podTerm(corev1.LabelTopologyZone, "app", "a")))
		},
	}
	var placed []string
	for i := range 400 {
		switch r := rng.IntN(10); {
		case r == 0 && len(placed) > 0:
			k := rng.IntN(len(placed))
			s.removePod(newPodInfo(makePod(placed[k], "", "")).pod.UID)
			placed = append(placed[:k], placed[k+1:]...)
		case r == 1:
			name := fmt.Sprint("n", rng.IntN(12))
			if n := s.nodes[name]; n != nil && n.obj != nil && rng.IntN(2) == 0 {
				s.removeNode(name)
			} else {
				s.setNode(makeNode(name, "4", "8Gi", withNodeLabels(corev1.LabelTopologyZone, string(rune('a'+rng.IntN(4))))))
			}
		}
		p := newPodInfo(kinds[rng.IntN(len(kinds))](fmt.Sprint("p", i)))
		seed := rng.Uint64()
		start := s.start
		kept := decide(s, p, rand.New(rand.NewPCG(seed, 0)))
		keep := s.shapes
		s.shapes, s.start = newShapeCache(), start
		fresh := decide(s, p, rand.New(rand.NewPCG(seed, 0)))
		s.shapes = keep
		if kept.node != fresh.node || (kept.fail == nil) != (fresh.fail == nil) || kept.fail != nil && kept.fail.message != fresh.fail.message {
			t.Fatalf("step %d: kept %+v, fresh %+v", i, kept, fresh)
		}
		if kept.fail == nil {
			s.addPod(p, kept.node)
			placed = append(placed, p.pod.Name)
		}
	}
}

func TestNeverOvercommits(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 7))
		s := newSnapshot(nil)
		for i := range 1 + rng.IntN(150) {
			s.setNode(makeNode(fmt.Sprint("n", i), fmt.Sprint(1+rng.IntN(4)), fmt.Sprintf("%dGi", 1+rng.IntN(8)), func(n *corev1.Node) {
				n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse(fmt.Sprint(1 + rng.IntN(6)))
			}))
		}
		for i := range 400 {
			p := newPodInfo(makePod(fmt.Sprint("p", i), fmt.Sprintf("%dm", 100*rng.IntN(20)), fmt.Sprintf("%dMi", 256*rng.IntN(10)), withPriority(int32(rng.IntN(2)))))
			if rng.IntN(4) == 0 {
				p = newPodInfo(makePod(fmt.Sprint("p", i), "100m", "64Mi", withHostPort("", int32(8000+rng.IntN(2)), "")))
			}
			if d := decide(s, p, rng); d.fail == nil {
				s.addPod(p, d.node)
			} else if d.fail.nominated != "" {
				for _, v := range d.fail.victims {
					s.removePod(v.pod.UID)
				}
				s.nominate(p, d.fail.nominated)
			}
		}
		for _, n := range s.nodes {
			if n.requested.milliCPU > n.allocatable.milliCPU || n.requested.memory > n.allocatable.memory || int64(len(n.pods)) > n.maxPods {
				t.Fatalf("seed %d: %s holds %+v of %+v, %d pods of %d", seed, n.name, n.requested, n.allocatable, len(n.pods), n.maxPods)
			}
			ports := map[hostPort]bool{}
			var sum resources
			for _, p := range n.pods {
				sum.add(&p.requests, 1)
				for _, hp := range p.ports {
					if ports[hp] {
						t.Fatalf("seed %d: port %d twice on %s", seed, hp.port, n.name)
					}
					ports[hp] = true
				}
			}
			if !sum.equal(&n.requested) {
				t.Fatalf("seed %d: %s counts %+v, its pods have %+v", seed, n.name, n.requested, sum)
			}
		}
	}
}

func TestOneSeedOneResult(t *testing.T) {
	run := func() (out []string) {
		s := cluster(zoned(150, "a", "b"), nil)
		rng := newRand()
		for i := range 100 {
			p := newPodInfo(makePod(fmt.Sprint("p", i), "100m", ""))
			d := decide(s, p, rng)
			s.addPod(p, d.node)
			out = append(out, d.node)
		}
		return out
	}
	if a, b := fmt.Sprint(run()), fmt.Sprint(run()); a != b {
		t.Fatalf("%s\n%s", a, b)
	}
}

func BenchmarkDecide(b *testing.B) {
	plain := func(i int) *corev1.Pod { return makePod(fmt.Sprint("p", i), "1m", "1Mi", withLabels("app", "web")) }
	for name, make := range map[string]func(int) *corev1.Pod{
		"plain": plain,
		"anti-affinity": func(i int) *corev1.Pod {
			p := plain(i)
			withAnti(podTerm("none", "app", "web"))(p)
			return p
		},
		"spread": func(i int) *corev1.Pod {
			p := plain(i)
			withSpread(corev1.LabelTopologyZone, 1, corev1.DoNotSchedule, "app", "web")(p)
			return p
		},
	} {
		b.Run(name, func(b *testing.B) {
			s := cluster(zoned(1000, "a", "b", "c"), nil)
			s.selectors = func(*corev1.Pod) labels.Selector { return labels.SelectorFromSet(labels.Set{"app": "web"}) }
			rng := newRand()
			for i := 0; b.Loop(); i++ {
				p := newPodInfo(make(i))
				d := decide(s, p, rng)
				if d.fail != nil {
					b.Fatal(d.fail.message)
				}
				s.addPod(p, d.node)
				if i >= 3000 {
					s.removePod(newPodInfo(make(i - 3000)).pod.UID)
				}
			}
		})
	}
}
