package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/store"
)

func (r *rig) expectUpdate(p *corev1.Pod, expect int64) (*Item, error) {
	key, value := r.pods.Kind.StoreKey(p.Namespace, p.Name), encode(r.t, r.pods.Kind, p)
	e := r.set.Expect(key, value, p)
	var rev int64
	var err error
	if expect == 0 {
		rev, err = r.store.Create(r.ctx, key, value)
	} else {
		rev, err = r.store.Update(r.ctx, key, value, expect)
	}
	if err != nil {
		e.Cancel()
		return nil, err
	}
	return e.Wait(r.ctx, r.pods, rev)
}

func TestWriterReadsItsOwnWriteAndTheCacheTakesItsObject(t *testing.T) {
	r := newRig(t, store.NewMemory()).start()
	p := pod("a", "n1")
	it, err := r.expectUpdate(p, 0)
	if err != nil {
		t.Fatal(err)
	}
	if it.Obj != p || r.pods.Get("ns/a") != it {
		t.Fatal("the announced object is not the one in the cache")
	}
	if p.ResourceVersion != fmt.Sprint(it.Rev) {
		t.Fatalf("the object says resourceVersion %s at %d", p.ResourceVersion, it.Rev)
	}
	if len(r.set.expected) != 0 {
		t.Fatal("an expectation is left behind")
	}
}

func TestCancelledExpectationLeavesNothing(t *testing.T) {
	r := newRig(t, store.NewMemory()).start()
	if _, err := r.expectUpdate(pod("a", "n1"), 7); err == nil {
		t.Fatal("an update of nothing succeeded")
	}
	if len(r.set.expected) != 0 {
		t.Fatal("an expectation is left behind")
	}
	p := pod("a", "n1")
	rev := r.write(p, 0)
	r.wait(rev)
	if r.pods.Get("ns/a").Obj == p {
		t.Fatal("the cache holds an object nobody announced")
	}
}

func TestOthersWriteOfTheSameKeyIsNotTakenForTheExpectedOne(t *testing.T) {
	r := newRig(t, store.NewMemory()).start()
	a := r.write(pod("a", "n1"), 0)
	r.wait(a)
	mine := pod("a", "mine")
	e := r.set.Expect(r.pods.Kind.StoreKey("ns", "a"), encode(t, r.pods.Kind, mine), mine)
	r.wait(r.write(pod("a", "theirs"), a))
	if got := r.pods.Get("ns/a").Obj; got == mine || got.(*corev1.Pod).Spec.NodeName != "theirs" {
		t.Fatal("the cache took the announced object for another write")
	}
	e.Cancel()
}

// Two writers that mean the same bytes announce them both; one wins. The feed
// cannot tell whose announcement the event belongs to, and need not.
func TestTwinWritersEachReadTheRightRevision(t *testing.T) {
	r := newRig(t, store.NewMemory()).start()
	rev := r.write(pod("a", "0"), 0)
	r.wait(rev)
	for round := range 50 {
		next := pod("a", fmt.Sprint(round%2+1))
		var mu sync.Mutex
		var won []*Item
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				it, err := r.expectUpdate(next.DeepCopy(), rev)
				var c *store.Conflict
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won = append(won, it)
				case !errors.As(err, &c):
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("round %d: %d writers won", round, len(won))
		}
		it := won[0]
		if it.Obj.GetResourceVersion() != fmt.Sprint(it.Rev) || it.Obj.(*corev1.Pod).Spec.NodeName != next.Spec.NodeName {
			t.Fatalf("round %d: the winner at %d reads resourceVersion %s", round, it.Rev, it.Obj.GetResourceVersion())
		}
		if cur := r.pods.Get("ns/a"); cur.Rev != it.Rev {
			t.Fatalf("round %d: the cache is at %d, the winner at %d", round, cur.Rev, it.Rev)
		}
		rev = it.Rev
	}
	if len(r.set.expected) != 0 {
		t.Fatal("expectations are left behind")
	}
}

// The same bytes may also be stored twice in a row, with a deletion between.
func TestAnnouncementTakenByAnEarlierTwinStillEndsTheWait(t *testing.T) {
	r := newRig(t, store.NewMemory()).start()
	p := pod("a", "n1")
	key, value := r.pods.Kind.StoreKey("ns", "a"), encode(t, r.pods.Kind, p)
	e := r.set.Expect(key, value, p)
	first := r.write(pod("a", "n1"), 0) // takes e's object
	r.wait(first)
	r.remove("a", first)
	rev, err := r.store.Create(t.Context(), key, value)
	if err != nil {
		t.Fatal(err)
	}
	it, err := e.Wait(t.Context(), r.pods, rev)
	if err != nil {
		t.Fatal(err)
	}
	if it.Rev != rev || it.Obj.GetResourceVersion() != fmt.Sprint(rev) {
		t.Fatalf("the writer at %d reads %d, resourceVersion %s", rev, it.Rev, it.Obj.GetResourceVersion())
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	r := newRig(t, store.NewMemory()).start()
	p := pod("a", "n1")
	e := r.set.Expect(r.pods.Kind.StoreKey("ns", "a"), encode(t, r.pods.Kind, p), p)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Wait(ctx, r.pods, r.set.Rev()+10); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

// breaking is a store whose watch breaks on demand.
type breaking struct {
	*store.Memory
	mu      sync.Mutex
	cut     context.CancelCauseFunc
	loads   int
	watches chan int64 // where each watch began
	gate    chan struct{}
}

func newBreaking() *breaking {
	return &breaking{Memory: store.NewMemory(), watches: make(chan int64, 16), gate: make(chan struct{}, 16)}
}

func (b *breaking) Range(ctx context.Context, prefix, start string, at int64, limit int) (store.Page, error) {
	b.mu.Lock()
	b.loads++
	b.mu.Unlock()
	return b.Memory.Range(ctx, prefix, start, at, limit)
}

func (b *breaking) Watch(ctx context.Context, prefix string, from int64, handle func(store.Batch)) error {
	b.watches <- from
	<-b.gate
	ctx, cut := context.WithCancelCause(ctx)
	b.mu.Lock()
	b.cut = cut
	b.mu.Unlock()
	err := b.Memory.Watch(ctx, prefix, from, handle)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func (b *breaking) breakWatch(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cut(err)
}

func TestBrokenWatchIsResumedWhereItWas(t *testing.T) {
	b := newBreaking()
	r := newRig(t, b)
	b.gate <- struct{}{}
	r.start()
	<-b.watches
	a := r.write(pod("a", "n1"), 0)
	r.wait(a)
	w, err := r.pods.Watch(a)
	if err != nil {
		t.Fatal(err)
	}
	b.breakWatch(errors.New("the network blinked"))
	if from := <-b.watches; from != a+1 {
		t.Fatalf("the watch goes on from %d, want %d", from, a+1)
	}
	a2 := r.write(pod("a", "n2"), a)
	gone := r.remove("a", a2)
	b.gate <- struct{}{}
	r.wait(gone)
	events, err := w.Next(t.Context())
	if err != nil {
		t.Fatalf("a watcher does not survive a break of the store's watch: %v", err)
	}
	want(t, "the events over the break", show(events), fmt.Sprintf("~ns/a@%d -ns/a@%d", a2, gone))
	if b.loads != 1 {
		t.Errorf("the store was loaded %d times", b.loads)
	}
}

func TestLostHistoryIsLoadedAndNoFollowerMissesTheOutcome(t *testing.T) {
	b := newBreaking()
	r := newRig(t, b)
	b.gate <- struct{}{}
	r.start()
	<-b.watches
	a := r.write(pod("a", "n1"), 0)
	d1 := r.write(pod("d1", "n1"), 0)
	d2 := r.write(pod("d2", "n1"), 0)
	r.wait(d2)
	w, err := r.pods.Watch(d2)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	known := map[string]string{}
	var wg sync.WaitGroup
	started := make(chan struct{})
	wg.Go(func() {
		first := true
		_ = r.pods.Follow(ctx, func(events []Event) {
			for _, e := range events {
				if e.Deleted {
					delete(known, e.Item.Key)
				} else {
					known[e.Item.Key] = e.Item.Obj.(*corev1.Pod).Spec.NodeName
				}
			}
			if first {
				first = false
				close(started)
			}
			if known["ns/end"] != "" {
				cancel()
			}
		})
	})
	<-started
	b.breakWatch(errors.New("the network blinked"))
	<-b.watches
	// nobody watches now: things change, and their history is compacted away
	r.write(pod("z", "n1"), 0)
	r.write(pod("a", "n2"), a)
	r.remove("d1", d1)
	r.remove("d2", d2)
	r.write(pod("c", "n3"), 0)
	now, _ := b.Revision(t.Context())
	if err := b.Compact(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	b.gate <- struct{}{} // this watch fails: compacted
	<-b.watches          // and another begins, after a load
	b.gate <- struct{}{}
	r.wait(now)
	want(t, "the pods after the load", names(r.pods.Snapshot(), "", ""), "ns/a ns/c ns/z")
	want(t, "their index", filed(r.pods.Snapshot(), byNode, "n1"), "ns/z")
	if _, err := w.Next(t.Context()); !errors.Is(err, ErrExpired) {
		t.Errorf("a watcher from before the lost history is told %v", err)
	}
	r.wait(r.write(pod("end", "n9"), 0))
	wg.Wait()
	want(t, "what the follower knows", fmt.Sprint(known), "map[ns/a:n2 ns/c:n3 ns/end:n9 ns/z:n1]")
}

func TestWriterWhoseEventWasLostWithTheHistoryStillReturns(t *testing.T) {
	b := newBreaking()
	r := newRig(t, b)
	b.gate <- struct{}{}
	r.start()
	<-b.watches
	r.wait(r.write(pod("x", ""), 0))
	b.breakWatch(errors.New("the network blinked"))
	<-b.watches
	done := make(chan *Item, 1)
	p := pod("a", "n1")
	key, value := r.pods.Kind.StoreKey("ns", "a"), encode(t, r.pods.Kind, p)
	e := r.set.Expect(key, value, p)
	rev, err := b.Create(t.Context(), key, value)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		it, err := e.Wait(t.Context(), r.pods, rev)
		if err != nil {
			t.Errorf("the writer is told %v", err)
		}
		done <- it
	}()
	if err := b.Compact(t.Context(), rev); err != nil {
		t.Fatal(err)
	}
	b.gate <- struct{}{}
	<-b.watches
	b.gate <- struct{}{}
	if it := <-done; it == nil || it.Rev != rev || r.pods.Get("ns/a").Rev != rev {
		t.Fatal("the writer does not read its write")
	}
}

func TestEncodingsAreTheObject(t *testing.T) {
	r := newRig(t, store.NewMemory()).start()
	p := pod("a", "n1")
	p.Annotations = map[string]string{"big": strings.Repeat("x", 70000)} // the length takes three bytes
	p.CreationTimestamp = metav1.Unix(1700000000, 0)
	for name, mk := range map[string]func() *Item{
		"announced": func() *Item {
			it, err := r.expectUpdate(p.DeepCopy(), 0)
			if err != nil {
				t.Fatal(err)
			}
			return it
		},
		"fed": func() *Item {
			q := p.DeepCopy()
			q.Name = "b"
			r.wait(r.write(q, 0))
			return r.pods.Get("ns/b")
		},
	} {
		it := mk()
		msg, rev := it.Proto()
		var viaProto corev1.Pod
		if err := viaProto.Unmarshal(append(append([]byte(nil), msg...), rev...)); err != nil {
			t.Fatal(err)
		}
		sameObject(t, name+", protobuf", &viaProto, it.Obj)
		body, err := it.JSON()
		if err != nil {
			t.Fatal(err)
		}
		var viaJSON corev1.Pod
		decodeJSON(t, body, &viaJSON)
		sameObject(t, name+", JSON", &viaJSON, it.Obj)
		if again, _ := it.JSON(); &again[0] != &body[0] {
			t.Errorf("%s: the JSON is made anew for each reader", name)
		}
	}
}

func TestKeptEncodingsAreAccountedForUntilNobodyCanAskForThem(t *testing.T) {
	before := hotJSON.Load()
	r := newRig(t, store.NewMemory()).start()
	rev := r.write(pod("a", "n1"), 0)
	var items []*Item
	for i := range 5 {
		r.wait(rev)
		items = append(items, r.pods.Get("ns/a"))
		rev = r.write(pod("a", fmt.Sprint("n", i)), rev)
	}
	gone := r.remove("a", rev)
	r.wait(gone)
	w, err := r.pods.Watch(items[0].Rev - 1)
	if err != nil {
		t.Fatal(err)
	}
	events, _, err := w.Poll()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events { // slow watchers encode what is no longer current
		if _, err := e.Item.JSON(); err != nil {
			t.Fatal(err)
		}
	}
	for _, it := range items {
		if a, _ := it.JSON(); a == nil {
			t.Fatal("no JSON")
		} else if b, _ := it.JSON(); &a[0] != &b[0] {
			t.Error("an event in the window is encoded anew for each watcher")
		}
	}
	r.wait(r.write(pod("b", ""), 0)) // the window keeps its newest event
	r.pods.trim(r.pods.window[len(r.pods.window)-1].at.Add(windowAge))
	for _, it := range items { // a reader that still holds one
		if _, err := it.JSON(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := NewItem(r.pods.Kind, pod("x", ""), 1, nil).JSON(); err != nil {
		t.Fatal(err)
	}
	if left := hotJSON.Load() - before; left != 0 {
		t.Fatalf("%d bytes are accounted for encodings that are gone", left)
	}
}
