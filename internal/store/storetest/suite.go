package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/monohull/monohull/internal/store"
)

// patience bounds what a broken store could make a test wait for.
const patience = 20 * time.Second

// Run runs the suite. open makes an empty store that ends with the test.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, c := range []struct {
		name string
		test func(*harness)
	}{
		{"create puts a value at a new revision", createPuts},
		{"create of a key that has a value fails and changes nothing", createExists},
		{"create works again after a deletion", createAgain},
		{"update replaces the value at the expected revision", updateReplaces},
		{"update with another expectation names what is there", updateConflict},
		{"update of nothing is a conflict with no current value", updateNothing},
		{"delete removes at the expected revision only", deleteExpects},
		{"a range gives a prefix in key order and nothing beside it", rangePrefix},
		{"a range in pages gives every key once", rangePages},
		{"a range at a revision sees that revision", rangeAt},
		{"a range at a revision that has not come fails", rangeFuture},
		{"a range before a compaction fails", rangeCompacted},
		{"a second compaction to the same revision fails", compactTwice},
		{"a compaction of the future fails", compactFuture},
		{"a value at the bound is taken, one byte more is not", tooLarge},
		{"an empty value is a value", emptyValue},
		{"a watch from the past replays every event in order", watchPast},
		{"a watch follows what comes", watchFollows},
		{"a watch sees its prefix alone", watchPrefix},
		{"a watch from before a compaction fails", watchCompacted},
		{"a watch ends with its context", watchEnds},
		{"many watches all see all writes of many writers", watchMany},
		{"counters that race lose no increment", counters},
		{"one of many racing creations wins", createRace},
		{"one of many racing deletions wins", deleteRace},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			c.test(&harness{T: t, Store: open(t), ctx: ctx})
		})
	}
}

type harness struct {
	*testing.T
	store.Store
	ctx context.Context
}

func (h *harness) create(key, value string) int64 {
	h.Helper()
	rev, err := h.Create(h.ctx, key, []byte(value))
	if err != nil {
		h.Fatalf("creating %s: %v", key, err)
	}
	return rev
}

func (h *harness) update(key, value string, expect int64) int64 {
	h.Helper()
	rev, err := h.Update(h.ctx, key, []byte(value), expect)
	if err != nil {
		h.Fatalf("updating %s: %v", key, err)
	}
	return rev
}

func (h *harness) delete(key string, expect int64) int64 {
	h.Helper()
	rev, err := h.Delete(h.ctx, key, expect)
	if err != nil {
		h.Fatalf("deleting %s: %v", key, err)
	}
	return rev
}

func (h *harness) revision() int64 {
	h.Helper()
	rev, err := h.Revision(h.ctx)
	if err != nil {
		h.Fatalf("reading the revision: %v", err)
	}
	return rev
}

func (h *harness) read(prefix string, at int64) store.Page {
	h.Helper()
	p, err := h.Range(h.ctx, prefix, "", at, 0)
	if err != nil {
		h.Fatalf("reading %s at %d: %v", prefix, at, err)
	}
	return p
}

// value reads one key, "" and 0 where it has none.
func (h *harness) value(key string) (string, int64) {
	h.Helper()
	for _, kv := range h.read(key, 0).KVs {
		if kv.Key == key {
			return string(kv.Value), kv.ModRev
		}
	}
	return "", 0
}

func (h *harness) wantErr(what string, err, want error) {
	h.Helper()
	if !errors.Is(err, want) {
		h.Fatalf("%s: want %v, got %v", what, want, err)
	}
}

func (h *harness) conflict(what string, err error) store.KV {
	h.Helper()
	var c *store.Conflict
	if !errors.As(err, &c) {
		h.Fatalf("%s: want a conflict, got %v", what, err)
	}
	return c.Current
}

func show(kvs []store.KV) string {
	var b strings.Builder
	for _, kv := range kvs {
		fmt.Fprintf(&b, "%s=%s@%d ", kv.Key, kv.Value, kv.ModRev)
	}
	return strings.TrimSpace(b.String())
}

func createPuts(h *harness) {
	before := h.revision()
	rev := h.create("/registry/a", "1")
	if rev != before+1 {
		h.Fatalf("the creation is at %d, want the revision after %d", rev, before)
	}
	if now := h.revision(); now != rev {
		h.Fatalf("the store is at %d after a write at %d", now, rev)
	}
	if v, at := h.value("/registry/a"); v != "1" || at != rev {
		h.Fatalf("read %q at %d, want \"1\" at %d", v, at, rev)
	}
}

func createExists(h *harness) {
	rev := h.create("/registry/a", "1")
	_, err := h.Create(h.ctx, "/registry/a", []byte("2"))
	h.wantErr("creating over a value", err, store.ErrExists)
	if v, at := h.value("/registry/a"); v != "1" || at != rev {
		h.Fatalf("the refused creation left %q at %d", v, at)
	}
	if h.revision() != rev {
		h.Fatal("the refused creation took a revision")
	}
}

func createAgain(h *harness) {
	gone := h.delete("/registry/a", h.create("/registry/a", "1"))
	if rev := h.create("/registry/a", "2"); rev != gone+1 {
		h.Fatalf("created again at %d, want %d", rev, gone+1)
	}
}

func updateReplaces(h *harness) {
	first := h.create("/registry/a", "1")
	second := h.update("/registry/a", "2", first)
	if second != first+1 {
		h.Fatalf("the update is at %d, want %d", second, first+1)
	}
	if v, at := h.value("/registry/a"); v != "2" || at != second {
		h.Fatalf("read %q at %d", v, at)
	}
	// other keys move the store, not the key
	h.create("/registry/b", "x")
	h.update("/registry/a", "3", second)
}

func updateConflict(h *harness) {
	first := h.create("/registry/a", "1")
	second := h.update("/registry/a", "2", first)
	for _, expect := range []int64{first, second + 1} {
		_, err := h.Update(h.ctx, "/registry/a", []byte("3"), expect)
		cur := h.conflict("updating with a wrong expectation", err)
		if cur.Key != "/registry/a" || string(cur.Value) != "2" || cur.ModRev != second {
			h.Fatalf("the conflict names %s, want what is there", show([]store.KV{cur}))
		}
	}
	if h.revision() != second {
		h.Fatal("a refused update took a revision")
	}
}

func updateNothing(h *harness) {
	_, err := h.Update(h.ctx, "/registry/a", []byte("1"), 7)
	if cur := h.conflict("updating nothing", err); cur.Value != nil || cur.ModRev != 0 {
		h.Fatalf("the conflict names %s, want nothing", show([]store.KV{cur}))
	}
	_, err = h.Delete(h.ctx, "/registry/a", 7)
	if cur := h.conflict("deleting nothing", err); cur.Value != nil || cur.ModRev != 0 {
		h.Fatalf("the conflict names %s, want nothing", show([]store.KV{cur}))
	}
}

func deleteExpects(h *harness) {
	first := h.create("/registry/a", "1")
	second := h.update("/registry/a", "2", first)
	_, err := h.Delete(h.ctx, "/registry/a", first)
	if cur := h.conflict("deleting at an old revision", err); cur.ModRev != second || string(cur.Value) != "2" {
		h.Fatalf("the conflict names %s", show([]store.KV{cur}))
	}
	if gone := h.delete("/registry/a", second); gone != second+1 {
		h.Fatalf("deleted at %d, want %d", gone, second+1)
	}
	if v, at := h.value("/registry/a"); at != 0 {
		h.Fatalf("after the deletion there is %q at %d", v, at)
	}
}

func rangePrefix(h *harness) {
	for _, k := range []string{"/registry/b/2", "/registry/b/1", "/registry/a", "/registry/b", "/registry/b0", "/registry/b/1/x", "/registry/c"} {
		h.create(k, "v")
	}
	p := h.read("/registry/b/", 0)
	var got []string
	for _, kv := range p.KVs {
		got = append(got, kv.Key)
	}
	if want := []string{"/registry/b/1", "/registry/b/1/x", "/registry/b/2"}; !slices.Equal(got, want) {
		h.Fatalf("got %v, want %v", got, want)
	}
	if p.More || p.Rev != h.revision() {
		h.Fatalf("the page says more=%v at %d", p.More, p.Rev)
	}
	if p := h.read("/registry/nothing/", 0); len(p.KVs) != 0 || p.Rev == 0 {
		h.Fatalf("an empty range gives %s at %d", show(p.KVs), p.Rev)
	}
}

func rangePages(h *harness) {
	const n = 25
	for i := range n {
		h.create(fmt.Sprintf("/registry/p/%02d", i), strconv.Itoa(i))
	}
	h.create("/registry/q/00", "beyond")
	for _, limit := range []int{1, 7, n, n + 1} {
		start, at, got := "", int64(0), 0
		for {
			p, err := h.Range(h.ctx, "/registry/p/", start, at, limit)
			if err != nil {
				h.Fatal(err)
			}
			if at == 0 {
				at = p.Rev
				h.create(fmt.Sprintf("/registry/p/zz%d", limit), "written while paging")
			}
			for _, kv := range p.KVs {
				if kv.Key == "/registry/p/zz1" || kv.Key == "/registry/p/zz7" || kv.Key == fmt.Sprintf("/registry/p/zz%d", n) {
					continue // of an earlier limit
				}
				if kv.Key != fmt.Sprintf("/registry/p/%02d", got) {
					h.Fatalf("limit %d: key %d is %s", limit, got, kv.Key)
				}
				got++
			}
			if !p.More {
				break
			}
			if len(p.KVs) != limit {
				h.Fatalf("a page of %d has %d keys and says there is more", limit, len(p.KVs))
			}
			start = p.KVs[len(p.KVs)-1].Key + "\x00"
		}
		if got != n {
			h.Fatalf("limit %d: got %d keys of %d", limit, got, n)
		}
	}
}

func rangeAt(h *harness) {
	a1 := h.create("/registry/a", "1")
	b1 := h.create("/registry/b", "1")
	a2 := h.update("/registry/a", "2", a1)
	gone := h.delete("/registry/b", b1)
	for at, want := range map[int64]string{
		a1:   fmt.Sprintf("/registry/a=1@%d", a1),
		b1:   fmt.Sprintf("/registry/a=1@%d /registry/b=1@%d", a1, b1),
		a2:   fmt.Sprintf("/registry/a=2@%d /registry/b=1@%d", a2, b1),
		gone: fmt.Sprintf("/registry/a=2@%d", a2),
	} {
		if got := show(h.read("/registry/", at).KVs); got != want {
			h.Errorf("at %d there is %q, want %q", at, got, want)
		}
	}
}

func rangeFuture(h *harness) {
	rev := h.create("/registry/a", "1")
	_, err := h.Range(h.ctx, "/registry/", "", rev+1, 0)
	h.wantErr("reading the future", err, store.ErrFuture)
}

// history makes revisions first..last of one key.
func (h *harness) history(key string, n int) (first, last int64) {
	h.Helper()
	first = h.create(key, "0")
	last = first
	for i := 1; i < n; i++ {
		last = h.update(key, strconv.Itoa(i), last)
	}
	return first, last
}

func rangeCompacted(h *harness) {
	first, last := h.history("/registry/a", 5)
	if err := h.Compact(h.ctx, last-1); err != nil {
		h.Fatal(err)
	}
	_, err := h.Range(h.ctx, "/registry/", "", first, 0)
	h.wantErr("reading what was compacted", err, store.ErrCompacted)
	for _, at := range []int64{last - 1, last, 0} {
		if p := h.read("/registry/", at); len(p.KVs) != 1 {
			h.Fatalf("at %d there is %s", at, show(p.KVs))
		}
	}
}

func compactTwice(h *harness) {
	_, last := h.history("/registry/a", 3)
	if err := h.Compact(h.ctx, last); err != nil {
		h.Fatal(err)
	}
	h.wantErr("compacting again", h.Compact(h.ctx, last), store.ErrCompacted)
}

func compactFuture(h *harness) {
	h.wantErr("compacting the future", h.Compact(h.ctx, h.revision()+1), store.ErrFuture)
}

func tooLarge(h *harness) {
	whole := bytes.Repeat([]byte("x"), store.MaxValueBytes)
	rev, err := h.Create(h.ctx, "/registry/a", whole)
	if err != nil {
		h.Fatalf("a value of the bound is refused: %v", err)
	}
	if v, _ := h.value("/registry/a"); len(v) != len(whole) {
		h.Fatalf("read %d bytes of %d", len(v), len(whole))
	}
	over := append(whole, 'x')
	_, err = h.Create(h.ctx, "/registry/b", over)
	h.wantErr("creating over the bound", err, store.ErrTooLarge)
	_, err = h.Update(h.ctx, "/registry/a", over, rev)
	h.wantErr("updating over the bound", err, store.ErrTooLarge)
	if h.revision() != rev {
		h.Fatal("a refused value took a revision")
	}
}

func emptyValue(h *harness) {
	rev := h.create("/registry/a", "")
	if _, at := h.value("/registry/a"); at != rev {
		h.Fatal("a key with an empty value is not there")
	}
	_, err := h.Create(h.ctx, "/registry/a", nil)
	h.wantErr("creating over an empty value", err, store.ErrExists)
	h.delete("/registry/a", rev)
}

func counters(h *harness) {
	const writers, each = 8, 20
	h.create("/registry/n", "0")
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			v, at := h.value("/registry/n")
			for done := 0; done < each; {
				n, _ := strconv.Atoi(v)
				next := strconv.Itoa(n + 1)
				rev, err := h.Update(h.ctx, "/registry/n", []byte(next), at)
				var c *store.Conflict
				switch {
				case err == nil:
					done++
					v, at = next, rev
				case errors.As(err, &c):
					// the conflict itself says what to try next
					v, at = string(c.Current.Value), c.Current.ModRev
				default:
					h.Errorf("incrementing: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	if v, _ := h.value("/registry/n"); v != strconv.Itoa(writers*each) {
		h.Fatalf("the counter is at %s after %d increments", v, writers*each)
	}
}

// race runs n calls at once and counts those that succeed.
func race(n int, call func(i int) error) (won int, errs []error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			err := call(i)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else {
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	return won, errs
}

func createRace(h *harness) {
	won, errs := race(8, func(i int) error {
		_, err := h.Create(h.ctx, "/registry/a", []byte(strconv.Itoa(i)))
		return err
	})
	if won != 1 {
		h.Fatalf("%d creations of one key succeeded", won)
	}
	for _, err := range errs {
		h.wantErr("losing a race", err, store.ErrExists)
	}
}

func deleteRace(h *harness) {
	rev := h.create("/registry/a", "1")
	won, errs := race(8, func(int) error {
		_, err := h.Delete(h.ctx, "/registry/a", rev)
		return err
	})
	if won != 1 {
		h.Fatalf("%d deletions of one key succeeded", won)
	}
	for _, err := range errs {
		if cur := h.conflict("losing a race", err); cur.Value != nil {
			h.Fatalf("the loser is told of %s", show([]store.KV{cur}))
		}
	}
}
