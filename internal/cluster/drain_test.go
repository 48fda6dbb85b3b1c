package cluster

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/all"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/store"
)

// A container must not be told to stop while the rules may still lead to it.
func TestDrainWaitsForTheEndpointAndThenForTheRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		table, st := all.Table(), store.NewMemory()
		set := cache.NewSet(cache.Config{Store: st, Table: table, Indexes: client.Indexes(table), Logger: slog.New(slog.DiscardHandler)})
		go func() { _ = set.Run(ctx) }()
		<-set.Loaded()
		kind := api.For[*discoveryv1.EndpointSlice](table)
		slices := set.Of(kind)
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}, Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.244.0.2"}}}}
		slice := func(terminating bool) []byte {
			b, err := kind.EncodeStored(&discoveryv1.EndpointSlice{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"},
				Endpoints: []discoveryv1.Endpoint{{
					Addresses: []string{"10.244.0.2"}, Conditions: discoveryv1.EndpointConditions{Terminating: &terminating},
					TargetRef: &corev1.ObjectReference{UID: "u"},
				}},
			})
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		rev, err := st.Create(ctx, kind.StoreKey("default", "s"), slice(false))
		if err != nil {
			t.Fatal(err)
		}
		if err := set.WaitFor(ctx, rev); err != nil {
			t.Fatal(err)
		}
		asked, rules, done := make(chan int64, 1), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			drain(ctx, slices, pod, func(_ context.Context, r int64) error { asked <- r; <-rules; return nil })
		}()
		synctest.Wait()
		if len(asked) > 0 {
			t.Fatal("the rules were asked for while the endpoint still takes connections")
		}
		if rev, err = st.Update(ctx, kind.StoreKey("default", "s"), slice(true), rev); err != nil {
			t.Fatal(err)
		}
		if got := <-asked; got != rev {
			t.Errorf("the rules were asked for at revision %d, not at the slice's %d", got, rev)
		}
		synctest.Wait()
		select {
		case <-done:
			t.Error("it did not wait for the rules")
		default:
		}
		close(rules)
		<-done

		// a pod that no service selects waits for nothing, nor does one forever
		drain(ctx, slices, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "other"}}, func(context.Context, int64) error { return nil })
		if rev, err = st.Update(ctx, kind.StoreKey("default", "s"), slice(false), rev); err != nil {
			t.Fatal(err)
		}
		if err := set.WaitFor(ctx, rev); err != nil {
			t.Fatal(err)
		}
		short, stop := context.WithTimeout(ctx, time.Second)
		defer stop()
		drain(short, slices, pod, func(context.Context, int64) error { t.Error("the endpoint never went"); return nil })
	})
}
