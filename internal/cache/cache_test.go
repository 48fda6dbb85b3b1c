package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/store"
)

// table has two kinds: one in namespaces, and one whose prefix has a slash.
func table() *api.Table {
	return api.NewTable(
		api.Define(api.Spec[*corev1.Pod]{
			GVK: corev1.SchemeGroupVersion.WithKind("Pod"), Plural: "pods", Singular: "pod", Namespaced: true, List: &corev1.PodList{},
		}),
		api.Define(api.Spec[*corev1.Service]{
			GVK: corev1.SchemeGroupVersion.WithKind("Service"), Plural: "services", Singular: "service", Namespaced: true,
			Prefix: "services/specs", List: &corev1.ServiceList{},
		}),
		api.Define(api.Spec[*corev1.Node]{
			GVK: corev1.SchemeGroupVersion.WithKind("Node"), Plural: "nodes", Singular: "node", Prefix: "minions", List: &corev1.NodeList{},
		}),
	)
}

// rig is caches over a store.
type rig struct {
	t     *testing.T
	ctx   context.Context
	store store.Store
	set   *Set
	pods  *Cache
	nodes *Cache
}

const byNode = "node"

func newRig(t *testing.T, s store.Store) *rig {
	tab := table()
	r := &rig{t: t, store: s}
	podKind := api.For[*corev1.Pod](tab)
	r.set = NewSet(Config{
		Store: s, Table: tab, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Indexes: map[*api.Kind][]Index{podKind: {
			{Name: byNode, Values: func(o api.Object) []string { return []string{o.(*corev1.Pod).Spec.NodeName} }},
			{Name: "image", Values: func(o api.Object) []string {
				var out []string
				for _, c := range o.(*corev1.Pod).Spec.Containers {
					out = append(out, c.Image)
				}
				return out
			}},
		}},
	})
	r.pods, r.nodes = r.set.Of(podKind), r.set.Of(api.For[*corev1.Node](tab))
	return r
}

// start runs the caches until the test ends.
func (r *rig) start() *rig {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.set.Run(ctx); err != nil {
			r.t.Errorf("the caches ended: %v", err)
		}
	})
	r.ctx = ctx
	r.t.Cleanup(func() { cancel(); wg.Wait() })
	<-r.set.Loaded()
	return r
}

func pod(name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: "u-1", Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "img-" + name}}},
	}
}

func encode(t *testing.T, k *api.Kind, o api.Object) []byte {
	t.Helper()
	b, err := k.EncodeStored(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// write puts a pod into the store, as another process would, and returns its
// revision.
func (r *rig) write(p *corev1.Pod, expect int64) int64 {
	r.t.Helper()
	key := r.pods.Kind.StoreKey(p.Namespace, p.Name)
	value := encode(r.t, r.pods.Kind, p)
	var rev int64
	var err error
	if expect == 0 {
		rev, err = r.store.Create(context.Background(), key, value)
	} else {
		rev, err = r.store.Update(context.Background(), key, value, expect)
	}
	if err != nil {
		r.t.Fatalf("writing %s: %v", key, err)
	}
	return rev
}

func (r *rig) remove(name string, expect int64) int64 {
	r.t.Helper()
	rev, err := r.store.Delete(context.Background(), r.pods.Kind.StoreKey("ns", name), expect)
	if err != nil {
		r.t.Fatal(err)
	}
	return rev
}

func (r *rig) wait(rev int64) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.set.WaitFor(ctx, rev); err != nil {
		r.t.Fatal(err)
	}
}

func names(s Snapshot, namespace, after string) string {
	var out []string
	s.Ascend(namespace, after, func(it *Item) bool { out = append(out, it.Key); return true })
	return strings.Join(out, " ")
}

func filed(s Snapshot, index, value string) string {
	var out []string
	s.ByIndex(index, value, func(it *Item) bool { out = append(out, it.Key); return true })
	return strings.Join(out, " ")
}

func show(events []Event) string {
	var out []string
	for _, e := range events {
		verb := "+"
		if e.Deleted {
			verb = "-"
		} else if e.Prev != nil {
			verb = "~"
		}
		out = append(out, fmt.Sprintf("%s%s@%d", verb, e.Item.Key, e.Rev))
	}
	return strings.Join(out, " ")
}

func want(t *testing.T, what, got, wanted string) {
	t.Helper()
	if got != wanted {
		t.Errorf("%s: got %q, want %q", what, got, wanted)
	}
}

func TestSetLoadsWhatTheStoreHeldAndFollowsIt(t *testing.T) {
	r := newRig(t, store.NewMemory())
	a := r.write(pod("a", "n1"), 0)
	r.start()
	if r.set.Rev() != a {
		t.Fatalf("loaded up to %d, want %d", r.set.Rev(), a)
	}
	b := r.write(pod("b", "n1"), 0)
	r.wait(b)
	want(t, "the pods", names(r.pods.Snapshot(), "", ""), "ns/a ns/b")
	it := r.pods.Get("ns/b")
	if it.Rev != b || it.Obj.GetResourceVersion() != fmt.Sprint(b) {
		t.Fatalf("ns/b is at %d, resourceVersion %s, want %d", it.Rev, it.Obj.GetResourceVersion(), b)
	}
	if !it.Obj.GetObjectKind().GroupVersionKind().Empty() {
		t.Fatal("an object in the cache carries its kind")
	}
	r.wait(r.remove("a", a))
	want(t, "the pods", names(r.pods.Snapshot(), "", ""), "ns/b")
	if r.pods.Get("ns/a") != nil || r.pods.Len() != 1 {
		t.Fatal("a deleted pod is still there")
	}
}

func TestSetKeepsKindsApartWhosePrefixesBeginAlike(t *testing.T) {
	r := newRig(t, store.NewMemory()).start()
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s"}}
	c := r.set.byPrefix["services/specs"]
	rev, err := r.store.Create(t.Context(), "/registry/services/specs/ns/s", encode(t, c.Kind, svc))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"/registry/services/endpoints/ns/s", "/registry/unknown/x", "/registry/podsx/ns/a", "/registry/ranges"} {
		if rev, err = r.store.Create(t.Context(), key, []byte("not ours")); err != nil {
			t.Fatal(err)
		}
	}
	r.wait(rev)
	if c.Len() != 1 || r.pods.Len() != 0 {
		t.Fatalf("there are %d services and %d pods", c.Len(), r.pods.Len())
	}
}

func TestSetLeavesOutWhatItCannotReadAndGoesOn(t *testing.T) {
	r := newRig(t, store.NewMemory()).start()
	if _, err := r.store.Create(t.Context(), "/registry/pods/ns/bad", []byte("k8s\x00\xff\xff")); err != nil {
		t.Fatal(err)
	}
	r.wait(r.write(pod("good", ""), 0))
	want(t, "the pods", names(r.pods.Snapshot(), "", ""), "ns/good")
}

func TestSnapshotNeverChanges(t *testing.T) {
	r := newRig(t, store.NewMemory()).start()
	a := r.write(pod("a", "n1"), 0)
	b := r.write(pod("b", "n1"), 0)
	r.wait(b)
	old := r.pods.Snapshot()
	sum := checksum(t, old)
	r.write(pod("a", "n2"), a)
	r.remove("b", b)
	r.wait(r.write(pod("c", "n1"), 0))
	want(t, "the old snapshot", names(old, "", ""), "ns/a ns/b")
	want(t, "its index", filed(old, byNode, "n1"), "ns/a ns/b")
	if old.Rev != b || old.Len() != 2 || old.Get("ns/c") != nil {
		t.Errorf("the old snapshot is at %d with %d pods", old.Rev, old.Len())
	}
	if got := checksum(t, old); got != sum {
		t.Error("an object of an old snapshot was written to")
	}
	want(t, "the new snapshot", names(r.pods.Snapshot(), "", ""), "ns/a ns/c")
}

// checksum sums every object of a snapshot, so that a test can tell whether
// anyone wrote to one.
func checksum(t *testing.T, s Snapshot) uint64 {
	t.Helper()
	h := fnv.New64a()
	s.Ascend("", "", func(it *Item) bool {
		b, err := json.Marshal(it.Obj)
		if err != nil {
			t.Fatal(err)
		}
		h.Write(b)
		return true
	})
	return h.Sum64()
}

func TestChecksumTellsOfAWrittenObject(t *testing.T) {
	r := newRig(t, store.NewMemory()).start()
	r.wait(r.write(pod("a", "n1"), 0))
	s := r.pods.Snapshot()
	before := checksum(t, s)
	s.Get("ns/a").Obj.(*corev1.Pod).Spec.NodeName = "mutated"
	if checksum(t, s) == before {
		t.Fatal("the checksum does not see a mutation")
	}
}

func TestAscendKeepsToTheNamespaceAndBeginsAfterAKey(t *testing.T) {
	r := newRig(t, store.NewMemory()).start()
	var last int64
	for _, k := range []string{"a/1", "a/2", "a-b/1", "b/1", "aa/1"} {
		ns, name, _ := strings.Cut(k, "/")
		p := pod(name, "")
		p.Namespace = ns
		last = r.write(p, 0)
	}
	r.wait(last)
	s := r.pods.Snapshot()
	want(t, "all", names(s, "", ""), "a-b/1 a/1 a/2 aa/1 b/1")
	want(t, "namespace a", names(s, "a", ""), "a/1 a/2")
	want(t, "after a/1", names(s, "", "a/1"), "a/2 aa/1 b/1")
	want(t, "of a after a/1", names(s, "a", "a/1"), "a/2")
	want(t, "after a key that is gone", names(s, "", "a/15"), "a/2 aa/1 b/1")
	want(t, "of b after a key of a", names(s, "b", "a/1"), "b/1")
	want(t, "of a after its last", names(s, "a", "a/2"), "")
}

func TestIndexFollowsItsValues(t *testing.T) {
	r := newRig(t, store.NewMemory()).start()
	a := r.write(pod("a", ""), 0)
	r.write(pod("b", "n1"), 0)
	two := pod("c", "n1")
	two.Spec.Containers = append(two.Spec.Containers, corev1.Container{Name: "d", Image: "img-a"})
	c := r.write(two, 0)
	r.wait(c)
	s := r.pods.Snapshot()
	want(t, "unbound", filed(s, byNode, ""), "ns/a")
	want(t, "on n1", filed(s, byNode, "n1"), "ns/b ns/c")
	want(t, "by a value of several", filed(s, "image", "img-a"), "ns/a ns/c")
	r.write(pod("a", "n1"), a)
	r.wait(r.remove("c", c))
	s = r.pods.Snapshot()
	want(t, "unbound", filed(s, byNode, ""), "")
	want(t, "on n1", filed(s, byNode, "n1"), "ns/a ns/b")
	want(t, "by a value that left", filed(s, "image", "img-a"), "ns/a")
}

func TestWatchReplaysTheWindowAndFollows(t *testing.T) {
	r := newRig(t, store.NewMemory()).start()
	start := r.set.Rev()
	a := r.write(pod("a", "n1"), 0)
	a2 := r.write(pod("a", "n2"), a)
	gone := r.remove("a", a2)
	r.wait(gone)
	w, err := r.pods.Watch(start)
	if err != nil {
		t.Fatal(err)
	}
	events, err := w.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want(t, "the window", show(events), fmt.Sprintf("+ns/a@%d ~ns/a@%d -ns/a@%d", a, a2, gone))
	if got := events[2].Item.Obj.GetResourceVersion(); got != fmt.Sprint(gone) {
		t.Errorf("a deletion at %d shows resourceVersion %s", gone, got)
	}
	if events[1].Prev != events[0].Item || events[2].Prev != events[1].Item {
		t.Error("an event's Prev is not the state before it")
	}
	if w, err = r.pods.Watch(a); err != nil {
		t.Fatal(err)
	}
	if events, err = w.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(t, "from the middle", show(events), fmt.Sprintf("~ns/a@%d -ns/a@%d", a2, gone))
	if events, changed, err := w.Poll(); err != nil || len(events) != 0 || changed == nil {
		t.Fatalf("a watcher that has seen all polls %s, %v", show(events), err)
	}
	b := r.write(pod("b", ""), 0)
	if events, err = w.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(t, "what came", show(events), fmt.Sprintf("+ns/b@%d", b))
	if w.Rev() < b {
		t.Errorf("the watcher says it has seen up to %d, want %d", w.Rev(), b)
	}
}

func TestWatcherOfAQuietKindKeepsUpWithTheStore(t *testing.T) {
	r := newRig(t, store.NewMemory()).start()
	_, w := r.nodes.SnapshotAndWatch()
	rev := r.write(pod("a", ""), 0)
	r.wait(rev)
	if w.Rev() != rev {
		t.Fatalf("a watcher of nodes may bookmark %d, want %d", w.Rev(), rev)
	}
}

func TestWatchFromBeforeTheLoadIsExpired(t *testing.T) {
	r := newRig(t, store.NewMemory())
	a := r.write(pod("a", ""), 0)
	r.remove("a", a)
	r.start()
	for _, c := range []*Cache{r.pods, r.nodes} {
		if _, err := c.Watch(a); !errors.Is(err, ErrExpired) {
			t.Errorf("watching %s from %d, before the caches began: %v", c.Kind.Plural, a, err)
		}
	}
	if _, err := r.pods.Watch(r.set.Rev()); err != nil {
		t.Errorf("watching from the load on: %v", err)
	}
}

func TestEventsOverAgeLeaveTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, store.NewMemory())
		ctx, cancel := context.WithCancel(t.Context())
		defer func() { cancel(); synctest.Wait() }()
		go func() { _ = r.set.Run(ctx) }()
		<-r.set.Loaded()
		start := r.set.Rev()
		a := r.write(pod("a", ""), 0)
		synctest.Wait()
		time.Sleep(windowAge - time.Second)
		b := r.write(pod("b", ""), 0)
		synctest.Wait()
		if _, err := r.pods.Watch(start); err != nil {
			t.Fatalf("the window lost an event before its age: %v", err)
		}
		time.Sleep(2 * time.Second)
		c := r.write(pod("c", ""), 0)
		synctest.Wait()
		if _, err := r.pods.Watch(start); !errors.Is(err, ErrExpired) {
			t.Fatalf("an event over age is still in the window: %v", err)
		}
		w, err := r.pods.Watch(a)
		if err != nil {
			t.Fatal(err)
		}
		events, _, _ := w.Poll()
		want(t, "the rest of the window", show(events), fmt.Sprintf("+ns/b@%d +ns/c@%d", b, c))
		// with no further event, the ticker trims
		time.Sleep(windowAge + 2*trimInterval)
		synctest.Wait()
		if _, err := r.pods.Watch(b - 1); !errors.Is(err, ErrExpired) {
			t.Fatalf("a quiet cache keeps its events for ever: %v", err)
		}
		if _, err := r.pods.Watch(c); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWindowIsBoundedInEvents(t *testing.T) {
	r := newRig(t, store.NewMemory())
	c := r.pods
	now := time.Now()
	for i := range maxWindowEvents + 10 {
		p := pod("a", "")
		setRevision(p, int64(i+1))
		c.apply(change{item: newItem(c.Kind, p, int64(i+1), nil), rev: int64(i + 1)}, now)
	}
	if len(c.window) != maxWindowEvents || c.floor != 10 {
		t.Fatalf("the window holds %d events after %d", len(c.window), c.floor)
	}
	if _, err := c.Watch(9); !errors.Is(err, ErrExpired) {
		t.Fatal("a watcher from before the window is not told so")
	}
}

func TestWatcherThatFallsBehindIsCutAndFollowIsBroughtUpToDate(t *testing.T) {
	r := newRig(t, store.NewMemory()).start()
	a := r.write(pod("a", "n1"), 0)
	r.wait(r.write(pod("b", "n1"), 0))
	_, w := r.pods.SnapshotAndWatch()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	blocked, release := make(chan struct{}), make(chan struct{})
	got := map[string]string{}
	var gone []string
	var wg sync.WaitGroup
	wg.Go(func() {
		first := true
		_ = r.pods.Follow(ctx, func(events []Event) {
			for _, e := range events {
				if e.Deleted {
					gone = append(gone, e.Item.Key)
					delete(got, e.Item.Key)
				} else {
					got[e.Item.Key] = e.Item.Obj.(*corev1.Pod).Spec.NodeName
				}
			}
			if first {
				first = false
				close(blocked)
				<-release
			}
			if got["ns/end"] != "" {
				cancel()
			}
		})
	})
	<-blocked
	// while it is busy the window moves past it
	r.write(pod("a", "n2"), a)
	r.remove("b", r.pods.Get("ns/b").Rev)
	r.wait(r.write(pod("c", "n3"), 0))
	r.pods.trim(time.Now().Add(windowAge))
	r.wait(r.write(pod("end", "n9"), 0))
	r.pods.trim(time.Now().Add(windowAge))
	if _, err := w.Next(t.Context()); !errors.Is(err, ErrExpired) {
		t.Errorf("a watcher that fell behind is told %v", err)
	}
	close(release)
	wg.Wait()
	want(t, "what the follower knows", fmt.Sprint(got), "map[ns/a:n2 ns/c:n3 ns/end:n9]")
	want(t, "what it was told is gone", fmt.Sprint(gone), "[ns/b]")
}

func TestFollowTellsOfWhatThereIsThenOfEachChange(t *testing.T) {
	r := newRig(t, store.NewMemory()).start()
	a := r.write(pod("a", "n1"), 0)
	r.wait(a)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	batches := make(chan string)
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = r.pods.Follow(ctx, func(e []Event) { batches <- show(e) })
	})
	want(t, "first", <-batches, fmt.Sprintf("+ns/a@%d", a))
	a2 := r.write(pod("a", "n2"), a)
	want(t, "then", <-batches, fmt.Sprintf("~ns/a@%d", a2))
	gone := r.remove("a", a2)
	want(t, "last", <-batches, fmt.Sprintf("-ns/a@%d", gone))
	cancel()
	wg.Wait()
}

func TestWaitForReturnsWhenTheCachesHaveTheRevision(t *testing.T) {
	r := newRig(t, store.NewMemory()).start()
	rev := r.set.Rev() + 1
	done := make(chan error, 1)
	go func() { done <- r.set.WaitFor(t.Context(), rev) }()
	select {
	case err := <-done:
		t.Fatalf("it returned before the revision came: %v", err)
	default:
	}
	r.write(pod("a", ""), 0)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if r.pods.Get("ns/a") == nil {
		t.Fatal("it returned before the object could be read")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.set.WaitFor(ctx, rev+100); !errors.Is(err, context.Canceled) {
		t.Fatalf("an ended wait says %v", err)
	}
	if n := len(r.set.waiters); n != 0 {
		t.Fatalf("%d waiters are left behind", n)
	}
}
