package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/monohull/monohull/internal/store"
	"github.com/monohull/monohull/internal/store/storetest"
)

func TestMemoryKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return store.NewMemory() })
}

func TestEtcdInsideKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return openEtcd(t, t.TempDir()) })
}

func TestEtcdOverTheNetworkKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return dial(t, storetest.ServeEtcd(t)) })
}

func openEtcd(t *testing.T, dir string) store.Store {
	t.Helper()
	s, err := store.OpenEtcd(t.Context(), store.EtcdOptions{Dir: dir, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func dial(t *testing.T, address string) store.Store {
	t.Helper()
	s, err := store.DialEtcd(t.Context(), store.RemoteOptions{Endpoints: []string{address}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestEtcdKeepsItsDataWhenReopened(t *testing.T) {
	dir := t.TempDir()
	s, err := store.OpenEtcd(t.Context(), store.EtcdOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	revs := make([]int64, 50)
	for i := range revs {
		if revs[i], err = s.Create(t.Context(), fmt.Sprintf("/registry/%02d", i), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := openEtcd(t, dir)
	p, err := again.Range(t.Context(), "/registry/", "", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.KVs) != len(revs) || p.Rev < revs[len(revs)-1] {
		t.Fatalf("of %d keys %d are left, at %d", len(revs), len(p.KVs), p.Rev)
	}
	for i, kv := range p.KVs {
		if kv.ModRev != revs[i] || string(kv.Value) != fmt.Sprint(i) {
			t.Fatalf("key %d came back as %s=%s@%d", i, kv.Key, kv.Value, kv.ModRev)
		}
	}
	// history is kept as well, and writes go on where they were
	if p, err = again.Range(t.Context(), "/registry/", "", revs[3], 0); err != nil || len(p.KVs) != 4 {
		t.Fatalf("at revision %d there are %d keys: %v", revs[3], len(p.KVs), err)
	}
	if rev, err := again.Update(t.Context(), "/registry/00", []byte("x"), revs[0]); err != nil || rev != revs[49]+1 {
		t.Fatalf("the first write after reopening is at %d: %v", rev, err)
	}
}

func TestTwoClientsOfOneEtcdSeeEachOther(t *testing.T) {
	address := storetest.ServeEtcd(t)
	a, b := dial(t, address), dial(t, address)
	from, err := a.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rev, err := a.Create(t.Context(), "/registry/a", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	if now, err := b.Revision(t.Context()); err != nil || now != rev {
		t.Fatalf("the other client is at %d, not %d: %v", now, rev, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err = b.Watch(ctx, "/registry/", from+1, func(batch store.Batch) {
		for _, e := range batch.Events {
			if e.Rev == rev {
				cancel()
			}
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the watch of the other client: %v", err)
	}
}

func TestWatchEndsWithTheEtcdInside(t *testing.T) {
	s, err := store.OpenEtcd(t.Context(), store.EtcdOptions{Dir: t.TempDir(), NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), "/registry/a", nil); err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	var once sync.Once
	ended := make(chan error, 1)
	go func() {
		ended <- s.Watch(t.Context(), "/registry/", 1, func(store.Batch) { once.Do(func() { close(started) }) })
	}()
	<-started
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || errors.Is(err, context.Canceled) {
		t.Fatalf("the watch of a closed store ended with %v", err)
	}
}

func TestDialSaysWhichEtcdDoesNotAnswer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := store.DialEtcd(ctx, store.RemoteOptions{Endpoints: []string{"http://127.0.0.1:1"}})
	if err == nil {
		t.Fatal("an etcd that is not there was dialed")
	}
}

func TestOpenSaysWhichDirectoryIsNoStore(t *testing.T) {
	if _, err := store.OpenEtcd(t.Context(), store.EtcdOptions{Dir: "/proc/monohull"}); err == nil {
		t.Fatal("a directory that cannot be written was opened")
	}
}

func TestProgressOfARemoteWatchCanBeAskedFor(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := store.DialEtcd(ctx, store.RemoteOptions{Endpoints: []string{storetest.ServeEtcd(t)}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	seen := make(chan int64, 100)
	go func() {
		_ = s.Watch(ctx, "/registry/", 1, func(b store.Batch) { seen <- b.Rev })
	}()
	if _, err := s.Create(ctx, "/registry/a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	<-seen // the watch is there
	rev, err := s.Create(ctx, "/elsewhere", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	for {
		if err := s.RequestProgress(ctx); err != nil {
			t.Fatal(err)
		}
		select {
		case r := <-seen:
			if r >= rev {
				return
			}
		case <-ctx.Done():
			t.Fatalf("the watch never told of revision %d, which moved outside of it", rev)
		}
	}
}
