package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/monohull/monohull/internal/store"
)

// watch collects events until stop says enough, and returns them as one line
// each. It also holds the store to the promise of Batch.Rev.
func (h *harness) watch(prefix string, from int64, enough func([]store.Event) bool) []store.Event {
	h.Helper()
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	var got []store.Event
	complete := from - 1
	err := h.Watch(ctx, prefix, from, func(b store.Batch) {
		for _, e := range b.Events {
			if e.Rev <= complete {
				h.Errorf("event %s@%d came after a batch that was complete up to %d", e.Key, e.Rev, complete)
			}
			got = append(got, e)
		}
		if n := len(b.Events); n > 0 && b.Rev < b.Events[n-1].Rev {
			h.Errorf("a batch up to %d holds an event at %d", b.Rev, b.Events[n-1].Rev)
		}
		complete = max(complete, b.Rev)
		if enough(got) {
			cancel()
		}
	})
	if h.ctx.Err() != nil {
		h.Fatalf("the watch of %s came no further than %s", prefix, lines(got))
	}
	if !errors.Is(err, context.Canceled) {
		h.Fatalf("the watch of %s ended with %v", prefix, err)
	}
	return got
}

func until(rev int64) func([]store.Event) bool {
	return func(got []store.Event) bool { return len(got) > 0 && got[len(got)-1].Rev >= rev }
}

func lines(events []store.Event) string {
	var b strings.Builder
	for _, e := range events {
		if e.Deleted {
			fmt.Fprintf(&b, "-%s@%d ", e.Key, e.Rev)
		} else {
			fmt.Fprintf(&b, "%s=%s@%d ", e.Key, e.Value, e.Rev)
		}
		if e.Deleted && e.Value != nil {
			b.WriteString("(a deletion with a value) ")
		}
	}
	return strings.TrimSpace(b.String())
}

func watchPast(h *harness) {
	a1 := h.create("/registry/a", "1")
	b1 := h.create("/registry/b", "1")
	a2 := h.update("/registry/a", "2", a1)
	gone := h.delete("/registry/b", b1)
	b2 := h.create("/registry/b", "2")
	all := []string{
		fmt.Sprintf("/registry/a=1@%d", a1), fmt.Sprintf("/registry/b=1@%d", b1), fmt.Sprintf("/registry/a=2@%d", a2),
		fmt.Sprintf("-/registry/b@%d", gone), fmt.Sprintf("/registry/b=2@%d", b2),
	}
	for skip := range all {
		want := strings.Join(all[skip:], " ")
		if got := lines(h.watch("/registry/", a1+int64(skip), until(b2))); got != want {
			h.Errorf("from %d: got %s, want %s", a1+int64(skip), got, want)
		}
	}
}

func watchFollows(h *harness) {
	from := h.revision() + 1
	const n = 30
	var wg sync.WaitGroup
	wg.Go(func() {
		last := int64(0)
		for i := range n {
			var err error
			if i == 0 {
				last, err = h.Create(h.ctx, "/registry/a", []byte("0"))
			} else {
				last, err = h.Update(h.ctx, "/registry/a", fmt.Append(nil, i), last)
			}
			if err != nil {
				h.Errorf("write %d: %v", i, err)
				return
			}
		}
	})
	got := h.watch("/registry/", from, func(e []store.Event) bool { return len(e) >= n })
	wg.Wait()
	for i, e := range got {
		if string(e.Value) != fmt.Sprint(i) || e.Rev != from+int64(i) {
			h.Fatalf("event %d is %s", i, lines([]store.Event{e}))
		}
	}
}

func watchPrefix(h *harness) {
	from := h.create("/registry/a/1", "x") + 1
	h.create("/registry/b/1", "x")
	h.create("/registry/a0", "x")
	last := h.create("/registry/a/2", "x")
	if got, want := lines(h.watch("/registry/a/", from, until(last))), fmt.Sprintf("/registry/a/2=x@%d", last); got != want {
		h.Fatalf("got %s, want %s", got, want)
	}
}

func watchCompacted(h *harness) {
	first, last := h.history("/registry/a", 5)
	if err := h.Compact(h.ctx, last-1); err != nil {
		h.Fatal(err)
	}
	err := h.Watch(h.ctx, "/registry/", first, func(b store.Batch) {
		if len(b.Events) > 0 {
			h.Errorf("a compacted watch gives %s", lines(b.Events))
		}
	})
	h.wantErr("watching what was compacted", err, store.ErrCompacted)
	if got := h.watch("/registry/", last, until(last)); len(got) != 1 {
		h.Fatalf("after the compaction the watch gives %s", lines(got))
	}
}

func watchEnds(h *harness) {
	ctx, cancel := context.WithCancel(h.ctx)
	cancel()
	err := h.Watch(ctx, "/registry/", h.revision()+1, func(store.Batch) {})
	h.wantErr("a watch whose context ended", err, context.Canceled)
}

func watchMany(h *harness) {
	const writers, each, watchers = 4, 15, 3
	from := h.revision() + 1
	seen := make([]string, watchers)
	var wg sync.WaitGroup
	for i := range watchers {
		wg.Go(func() {
			seen[i] = lines(h.watch("/registry/", from, func(e []store.Event) bool { return len(e) >= writers*each }))
		})
	}
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := h.Create(h.ctx, fmt.Sprintf("/registry/%d/%d", w, i), []byte("v")); err != nil {
					h.Errorf("writer %d: %v", w, err)
				}
			}
		})
	}
	wg.Wait()
	for _, s := range seen[1:] {
		if s != seen[0] {
			h.Fatalf("two watches differ:\n%s\n%s", seen[0], s)
		}
	}
	if n := strings.Count(seen[0], "=v@"); n != writers*each {
		h.Fatalf("the watches saw %d events of %d", n, writers*each)
	}
}
