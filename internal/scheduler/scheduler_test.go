package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/clock"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/all"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/pipeline"
	"github.com/monohull/monohull/internal/store"
)

// world is a store in memory, its caches, the pipeline, and a scheduler.
type world struct {
	testing.TB
	ctx    context.Context
	client *client.Client
	pods   client.Kind[*corev1.Pod]
	nodes  client.Kind[*corev1.Node]
	sched  *Scheduler
	writer *faultyWriter

	mu     sync.Mutex
	events []string
}

type allowAll struct{}

func (allowAll) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionAllow, "", nil
}

// faultyWriter fails the bindings that it is told to.
type faultyWriter struct {
	client.Writer
	mu   sync.Mutex
	fail func(pod string) error
}

func (w *faultyWriter) Create(ctx context.Context, r client.Request, obj api.Object) (*cache.Item, error) {
	w.mu.Lock()
	fail := w.fail
	w.mu.Unlock()
	if r.Subresource == "binding" && fail != nil {
		if err := fail(r.Name); err != nil {
			return nil, err
		}
	}
	return w.Writer.Create(ctx, r, obj)
}

func (w *world) Event(_ context.Context, obj api.Object, eventType, reason, message string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, fmt.Sprintf("%s %s %s: %s", obj.GetName(), eventType, reason, message))
}

func (w *world) said(what string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.events, func(e string) bool { return strings.HasPrefix(e, what) })
}

// lenientTable is all kinds without the validation of changes: what may change
// is the API's business and tested there, and tests here change much.
func lenientTable() *api.Table {
	var rows []*api.Kind
	for _, k := range all.Table().Kinds() {
		row := *k
		row.ValidateUpdate = nil
		rows = append(rows, &row)
	}
	return api.NewTable(rows...)
}

// inWorld runs a test where time is made up. before fills the store before
// the scheduler starts.
func inWorld(t *testing.T, before, test func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		table, mem, log := lenientTable(), store.NewMemory(), slog.New(slog.DiscardHandler)
		caches := cache.NewSet(cache.Config{Store: mem, Table: table, Indexes: client.Indexes(table), Logger: log})
		w := &world{TB: t, ctx: ctx}
		w.writer = &faultyWriter{Writer: pipeline.New(pipeline.Config{
			Table: table, Store: mem, Caches: caches, Authorizer: allowAll{}, Clock: clock.RealClock{}, Logger: log,
		})}
		w.client = client.New(table, caches, w.writer, nil).AsUser("system:kube-scheduler")
		w.pods, w.nodes = client.Of[*corev1.Pod](w.client), client.Of[*corev1.Node](w.client)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := caches.Run(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("the caches ended: %v", err)
			}
		})
		<-caches.Loaded()
		if before != nil {
			before(w)
		}
		w.sched = New(Config{Clock: clock.RealClock{}, Logger: log}, Deps{Client: w.client, Recorder: w})
		wg.Go(func() {
			if err := w.sched.Run(ctx); err != nil {
				t.Errorf("the scheduler ended: %v", err)
			}
		})
		synctest.Wait()
		test(w)
		cancel()
		wg.Wait()
	})
}

func (w *world) node(n *corev1.Node) {
	w.Helper()
	status := *n.Status.DeepCopy()
	if _, err := w.nodes.Create(w.ctx, n); err != nil {
		w.Fatalf("creating a node: %v", err)
	}
	w.nodeStatus(n.Name, func(s *corev1.NodeStatus) { *s = status })
}

func (w *world) nodeStatus(name string, change func(*corev1.NodeStatus)) {
	w.Helper()
	if _, err := w.nodes.Modify(w.ctx, "", name, "status", func(n *corev1.Node) error { change(&n.Status); return nil }); err != nil {
		w.Fatalf("changing a node: %v", err)
	}
}

func (w *world) pod(p *corev1.Pod) {
	w.Helper()
	p.UID = ""
	if _, err := w.pods.Create(w.ctx, p); err != nil {
		w.Fatalf("creating a pod: %v", err)
	}
}

func (w *world) modify(name, sub string, change func(*corev1.Pod)) {
	w.Helper()
	if _, err := w.pods.Modify(w.ctx, "default", name, sub, func(p *corev1.Pod) error { change(p); return nil }); err != nil {
		w.Fatalf("changing a pod: %v", err)
	}
}

func (w *world) delete(name string) {
	w.Helper()
	now := int64(0)
	if err := w.pods.Delete(w.ctx, "default", name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		w.Fatalf("deleting a pod: %v", err)
	}
}

// on says where a pod is once all is quiet.
func (w *world) on(name, node string) {
	w.Helper()
	synctest.Wait()
	p, ok := w.pods.Get("default", name)
	if !ok {
		w.Fatalf("there is no pod %s", name)
	}
	if p.Spec.NodeName != node {
		w.Fatalf("%s is on %q, want %q (%+v; %q)", name, p.Spec.NodeName, node, p.Status.Conditions, w.events)
	}
}

func (w *world) condition(name string) corev1.PodCondition {
	w.Helper()
	p, _ := w.pods.Get("default", name)
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			return c
		}
	}
	return corev1.PodCondition{}
}

func TestPodIsBoundAndSaidSo(t *testing.T) {
	inWorld(t, func(w *world) { w.node(makeNode("n", "2", "4Gi")) }, func(w *world) {
		w.pod(makePod("p", "1", "1Gi"))
		w.on("p", "n")
		if !w.said("p Normal Scheduled: Successfully assigned default/p to n") {
			t.Fatalf("%q", w.events)
		}
		if c := w.condition("p"); c.Status != corev1.ConditionTrue {
			t.Fatalf("%+v", c)
		}
		w.pod(makePod("other", "1", "1Gi", func(p *corev1.Pod) { p.Spec.SchedulerName = "another" }))
		w.on("other", "")
	})
}

func TestPodWithoutNodesWaitsForOne(t *testing.T) {
	inWorld(t, func(w *world) { w.pod(makePod("p", "1", "1Gi")) }, func(w *world) {
		w.on("p", "")
		if c := w.condition("p"); c.Reason != corev1.PodReasonUnschedulable || c.Message != messageNoNodes || !w.said("p Warning FailedScheduling: no nodes available to schedule pods") {
			t.Fatalf("%+v %q", c, w.events)
		}
		w.node(makeNode("n", "2", "4Gi"))
		w.on("p", "n")
	})
}

func TestUnschedulablePodIsTriedWhenRoomIsMade(t *testing.T) {
	inWorld(t, func(w *world) { w.node(makeNode("n", "2", "4Gi")) }, func(w *world) {
		w.pod(makePod("a", "2", ""))
		w.on("a", "n")
		w.pod(makePod("b", "2", ""))
		w.on("b", "")
		message := "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
		if c := w.condition("b"); c.Message != message || c.Status != corev1.ConditionFalse {
			t.Fatalf("%+v", c)
		}
		// what does not help does not have it tried
		time.Sleep(time.Minute)
		said := len(w.events)
		w.modify("a", "status", func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning })
		w.nodeStatus("n", func(s *corev1.NodeStatus) {
			s.Conditions = append(s.Conditions, corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue})
		})
		synctest.Wait()
		if len(w.events) != said {
			t.Fatalf("tried again for nothing: %q", w.events)
		}
		w.modify("a", "status", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
		w.on("b", "n")
		w.pod(makePod("c", "1", ""))
		w.on("c", "")
		w.nodeStatus("n", func(s *corev1.NodeStatus) {
			s.Allocatable[corev1.ResourceCPU] = quantities("3", "")[corev1.ResourceCPU]
		})
		w.on("c", "n")
		w.pod(makePod("d", "1", ""))
		w.on("d", "")
		w.delete("c")
		w.on("d", "n")
	})
}

// A cordoned node refuses twice: by its own word and by the taint that follows
// it, and these end one after the other.
func TestUncordonedNodeIsTriedOnceItsTaintIsGoneToo(t *testing.T) {
	spec := func(w *world, change func(*corev1.NodeSpec)) {
		if _, err := w.nodes.Modify(w.ctx, "", "n", "", func(n *corev1.Node) error { change(&n.Spec); return nil }); err != nil {
			w.Fatalf("changing a node: %v", err)
		}
	}
	inWorld(t, func(w *world) { w.node(makeNode("n", "2", "4Gi")) }, func(w *world) {
		spec(w, func(s *corev1.NodeSpec) { s.Unschedulable = true })
		spec(w, func(s *corev1.NodeSpec) {
			s.Taints = []corev1.Taint{{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}}
		})
		w.pod(makePod("p", "1", ""))
		w.on("p", "")
		spec(w, func(s *corev1.NodeSpec) { s.Unschedulable = false })
		w.on("p", "")
		spec(w, func(s *corev1.NodeSpec) { s.Taints = nil })
		w.on("p", "n")
	})
}

func TestGatedPodWaitsForItsGates(t *testing.T) {
	inWorld(t, func(w *world) { w.node(makeNode("n", "2", "4Gi")) }, func(w *world) {
		w.pod(makePod("p", "1", "", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/g"}} }))
		w.on("p", "")
		if c := w.condition("p"); c.Reason != corev1.PodReasonSchedulingGated || len(w.events) != 0 {
			t.Fatalf("%+v %q", c, w.events)
		}
		w.modify("p", "", func(p *corev1.Pod) { p.Spec.SchedulingGates = nil })
		w.on("p", "n")
	})
}

func TestFailedBindingIsTakenBackAndTriedAgain(t *testing.T) {
	inWorld(t, func(w *world) { w.node(makeNode("n", "2", "4Gi")) }, func(w *world) {
		w.writer.fail = func(pod string) error {
			if pod == "p" {
				return errors.New("no")
			}
			return nil
		}
		w.pod(makePod("p", "2", ""))
		w.on("p", "")
		if c := w.condition("p"); c.Reason != corev1.PodReasonSchedulerError || c.Message != `binding rejected: running Bind plugin "DefaultBinder": no` {
			t.Fatalf("%+v", c)
		}
		w.pod(makePod("q", "2", "")) // the room is free again
		w.on("q", "n")
		w.delete("q")
		w.writer.mu.Lock()
		w.writer.fail = nil
		w.writer.mu.Unlock()
		w.on("p", "")
		time.Sleep(initialBackoff)
		w.on("p", "n")
	})
}

func TestPreemptionMakesRoom(t *testing.T) {
	inWorld(t, func(w *world) { w.node(makeNode("n", "2", "4Gi")) }, func(w *world) {
		w.pod(makePod("low", "2", "", withPriority(1)))
		w.on("low", "n")
		w.modify("low", "", func(p *corev1.Pod) { p.Finalizers = []string{"example.com/held"} })
		w.pod(makePod("high", "2", "", withPriority(10)))
		w.on("high", "")
		high, _ := w.pods.Get("default", "high")
		if high.Status.NominatedNodeName != "n" || w.condition("high").Message != "0/1 nodes are available: 1 Insufficient cpu." {
			t.Fatalf("%+v", high.Status)
		}
		low, _ := w.pods.Get("default", "low")
		i := slices.IndexFunc(low.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.DisruptionTarget })
		if low.DeletionTimestamp == nil || i < 0 || low.Status.Conditions[i].Reason != corev1.PodReasonPreemptionByScheduler ||
			low.Status.Conditions[i].Message != "default-scheduler: preempting to accommodate a higher priority pod" {
			t.Fatalf("%+v", low)
		}
		if !w.said("low Normal Preempted: Preempted by pod " + string(high.UID) + " on node n") {
			t.Fatalf("%q", w.events)
		}
		w.delete("low")
		w.modify("low", "", func(p *corev1.Pod) { p.Finalizers = nil })
		w.on("high", "n")
	})
}

func TestRestartedSchedulerCountsWhatRuns(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node(makeNode("n", "2", "4Gi"))
		w.pod(makePod("a", "2", "", func(p *corev1.Pod) { p.Spec.NodeName = "n" }))
		w.pod(makePod("b", "1", ""))
	}, func(w *world) { w.on("b", "") })
}

func TestManyPodsAreAllBoundOnce(t *testing.T) {
	const pods, nodes = 600, 120
	inWorld(t, func(w *world) {
		for i := range nodes {
			w.node(makeNode(fmt.Sprint("n", i), "5", "8Gi"))
		}
	}, func(w *world) {
		var wg sync.WaitGroup
		for i := range pods {
			wg.Go(func() { w.pod(makePod(fmt.Sprint("p", i), "1", "1Gi")) })
		}
		wg.Wait()
		synctest.Wait()
		per := map[string]int{}
		for _, p := range w.pods.List("", nil) {
			per[p.Spec.NodeName]++
		}
		if per[""] != 0 || len(per) != nodes {
			t.Fatalf("%d unbound, %d nodes used", per[""], len(per))
		}
		for n, count := range per {
			if count != pods/nodes {
				t.Fatalf("%d pods on %s", count, n)
			}
		}
		s := w.sched
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.assumed) != 0 || len(s.queue.items) != 0 || len(s.snap.where) != pods {
			t.Fatalf("%d assumed, %d queued, %d counted", len(s.assumed), len(s.queue.items), len(s.snap.where))
		}
	})
}
