package scheduler

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func started(minutesAgo int) func(*corev1.Pod) {
	at := metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(-time.Duration(minutesAgo) * time.Minute))
	return func(p *corev1.Pod) { p.Status.StartTime = &at }
}

func TestPreemptionPicksLeastImportantVictims(t *testing.T) {
	type on struct {
		node string
		pod  *corev1.Pod
	}
	for name, c := range map[string]struct {
		placed  []on
		pod     *corev1.Pod
		node    string
		victims []string
		message string
	}{
		"the fewest of a node": {
			placed:  []on{{"a", makePod("a1", "1", "", withPriority(1))}, {"a", makePod("a2", "1", "", withPriority(2))}, {"a", makePod("a3", "2", "", withPriority(50))}},
			pod:     makePod("p", "1", "", withPriority(10)),
			node:    "a",
			victims: []string{"a1"},
			message: "0/1 nodes are available: 1 Insufficient cpu.",
		},
		"the lower of two nodes": {
			placed: []on{{"a", makePod("a1", "4", "", withPriority(5))}, {"b", makePod("b1", "4", "", withPriority(3))}},
			pod:    makePod("p", "4", "", withPriority(10)), node: "b", victims: []string{"b1"},
			message: "0/2 nodes are available: 2 Insufficient cpu.",
		},
		"the fewer of two nodes": {
			placed: []on{{"a", makePod("a1", "2", "", withPriority(3))}, {"a", makePod("a2", "2", "", withPriority(3))}, {"b", makePod("b1", "4", "", withPriority(3))}},
			pod:    makePod("p", "4", "", withPriority(10)), node: "b", victims: []string{"b1"},
		},
		"the younger of two": {
			placed: []on{{"a", makePod("a1", "4", "", withPriority(3), started(10))}, {"b", makePod("b1", "4", "", withPriority(3), started(1))}},
			pod:    makePod("p", "4", "", withPriority(10)), node: "b", victims: []string{"b1"},
		},
		"the younger on a node": {
			placed: []on{{"a", makePod("a1", "2", "", withPriority(3), started(1))}, {"a", makePod("a2", "2", "", withPriority(3), started(10))}},
			pod:    makePod("p", "2", "", withPriority(10)), node: "a", victims: []string{"a1"},
		},
		"who holds the port": {
			placed: []on{{"a", makePod("a1", "", "", withPriority(0))}, {"a", makePod("a2", "", "", withPriority(1), withHostPort("", 80, ""))}},
			pod:    makePod("p", "", "", withPriority(10), withHostPort("", 80, "")), node: "a", victims: []string{"a2"},
		},
		"who is in the way of anti-affinity": {
			placed: []on{{"a", makePod("a1", "", "", withPriority(0))}, {"a", makePod("a2", "", "", withPriority(1), withLabels("app", "db"))}},
			pod:    makePod("p", "", "", withPriority(10), withAnti(podTerm(corev1.LabelHostname, "app", "db"))), node: "a", victims: []string{"a2"},
		},
		"none of equal priority": {
			placed:  []on{{"a", makePod("a1", "4", "", withPriority(10))}},
			pod:     makePod("p", "4", "", withPriority(10)),
			message: "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
		},
		"none where it would not be enough": {
			placed:  []on{{"a", makePod("a1", "3", "", withPriority(10))}, {"a", makePod("a2", "1", "", withPriority(1))}},
			pod:     makePod("p", "2", "", withPriority(10)),
			message: "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Insufficient cpu.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := map[string]*corev1.Node{}
			placed := map[*corev1.Pod]string{}
			for _, x := range c.placed {
				nodes[x.node] = makeNode(x.node, "4", "8Gi")
				placed[x.pod] = x.node
			}
			var list []*corev1.Node
			for _, n := range nodes {
				list = append(list, n)
			}
			s := cluster(list, placed)
			f := decide(s, newPodInfo(c.pod), newRand()).fail
			if f == nil {
				t.Fatal("it fits")
			}
			var victims []string
			for _, v := range f.victims {
				victims = append(victims, v.pod.Name)
			}
			if f.nominated != c.node || !slices.Equal(victims, c.victims) {
				t.Fatalf("%v leave %q; want %v of %q", victims, f.nominated, c.victims, c.node)
			}
			if c.message != "" && f.message != c.message {
				t.Fatalf("got  %q\nwant %q", f.message, c.message)
			}
			for _, n := range s.nodes {
				for _, p := range n.pods {
					if _, ok := placed[p.pod]; !ok {
						t.Fatalf("trying left %s on %s", p.pod.Name, n.name)
					}
				}
			}
		})
	}
}

func TestNominatedPodsHoldTheirRoom(t *testing.T) {
	s := cluster([]*corev1.Node{makeNode("n", "4", "8Gi")}, nil)
	high := newPodInfo(makePod("high", "3", "", withPriority(10)))
	s.nominate(high, "n")
	if d := decide(s, newPodInfo(makePod("low", "2", "", withPriority(1))), newRand()); d.fail == nil {
		t.Fatal("the room of a nominated pod was given to a lesser one")
	}
	if d := decide(s, newPodInfo(makePod("higher", "2", "", withPriority(20))), newRand()); d.fail != nil {
		t.Fatalf("a greater pod does not wait for it: %s", d.fail.message)
	}
	if d := decide(s, high, newRand()); d.node != "n" {
		t.Fatalf("the nominated pod itself: %+v", d)
	}
	s.nominate(high, "")
	if d := decide(s, newPodInfo(makePod("low", "2", "", withPriority(1))), newRand()); d.fail != nil {
		t.Fatal(d.fail.message)
	}
}

func TestNominatedPodWaitsForItsVictims(t *testing.T) {
	victim := makePod("v", "4", "", withPriority(0))
	s := cluster([]*corev1.Node{makeNode("n", "4", "8Gi"), makeNode("m", "4", "8Gi")}, map[*corev1.Pod]string{victim: "n", makePod("w", "4", "", withPriority(1)): "m"})
	p := newPodInfo(makePod("p", "4", "", withPriority(10)))
	f := decide(s, p, newRand()).fail
	if f.nominated != "n" {
		t.Fatalf("%+v", f)
	}
	s.nominate(p, "n")
	s.leaving["v"] = true // chosen, and not told yet
	if f = decide(s, p, newRand()).fail; f.nominated != "" || !f.keepNomination {
		t.Fatalf("others are chosen meanwhile: %+v", f)
	}
	delete(s.leaving, "v")
	going := victim.DeepCopy()
	now := metav1.Now()
	going.DeletionTimestamp = &now
	going.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler}}
	s.addPod(newPodInfo(going), "n")
	f = decide(s, p, newRand()).fail
	want := "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: not eligible due to a terminating pod on the nominated node."
	if f.nominated != "" || !f.keepNomination || f.message != want {
		t.Fatalf("%+v", f)
	}
	s.removePod("v")
	if d := decide(s, p, newRand()); d.node != "n" {
		t.Fatal(fmt.Sprint(d))
	}
}
