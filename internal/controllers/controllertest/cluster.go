package controllertest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/all"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
	"github.com/monohull/monohull/internal/pipeline"
	"github.com/monohull/monohull/internal/store"
)

// patience is how long Eventually waits for what does not come.
const patience = 10 * time.Second

// Cluster is a store, its caches and the pipeline.
type Cluster struct {
	Clock  *clocktesting.FakePassiveClock
	Client *client.Client
	table  *api.Table
	store  *store.Memory
	caches *cache.Set
	t      testing.TB
	ctx    context.Context
	events events
}

// New makes an empty cluster that ends with the test.
func New(t testing.TB) *Cluster {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	c := &Cluster{
		Clock: clocktesting.NewFakePassiveClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
		table: all.Table(), store: store.NewMemory(), t: t,
	}
	c.caches = cache.NewSet(cache.Config{Store: c.store, Table: c.table, Indexes: client.Indexes(c.table), Logger: log})
	c.Client = client.New(c.table, c.caches, pipeline.New(pipeline.Config{
		Table: c.table, Store: c.store, Caches: c.caches, Authorizer: defaultRoles(t), Clock: c.Clock, Logger: log,
		Services: pipeline.NewAllocator(netip.MustParsePrefix("10.0.0.0/24"), pipeline.DefaultNodePorts),
	}), nil).AsUser("test")
	ctx, cancel := context.WithCancel(context.Background())
	c.ctx = ctx
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.caches.Run(ctx); err != nil {
			t.Errorf("the caches ended: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	<-c.caches.Loaded()
	return c
}

// Context ends with the test.
func (c *Cluster) Context() context.Context { return c.ctx }

// Deps is what the areas' constructors take.
func (c *Cluster) Deps() controllers.Deps {
	return controllers.Deps{
		Client: func(name string) *client.Client { return c.Client.AsUser(accountPrefix + name) },
		Clock:  c.Clock, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Recorder: func(component string, _ *client.Client) controllers.Recorder {
			return recorder{component, &c.events}
		},
		RootCA: []byte("-----BEGIN CERTIFICATE-----\n"),
	}
}

// Run starts controllers; they stop with the test.
func (c *Cluster) Run(list ...*controllers.Controller) {
	ctx, cancel := context.WithCancel(c.ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = controllers.Run(ctx, slog.New(slog.NewTextHandler(io.Discard, nil)), list) })
	c.t.Cleanup(func() { cancel(); wg.Wait() })
}

// Eventually waits until a condition holds, which it looks at after each change
// of the caches.
func (c *Cluster) Eventually(what string, holds func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	for {
		rev := c.caches.Rev()
		if holds() {
			return
		}
		if err := c.caches.WaitFor(ctx, rev+1); err != nil {
			c.t.Fatalf("it never came that %s", what)
		}
	}
}

// Events lists what was recorded, as "component: object: reason: message".
func (c *Cluster) Events() []string {
	c.events.mu.Lock()
	defer c.events.mu.Unlock()
	return slices.Clone(c.events.list)
}

type events struct {
	mu   sync.Mutex
	list []string
}

type recorder struct {
	component string
	events    *events
}

func (r recorder) Event(_ context.Context, obj api.Object, _, reason, message string) {
	r.events.mu.Lock()
	defer r.events.mu.Unlock()
	r.events.list = append(r.events.list, fmt.Sprintf("%s: %s: %s: %s", r.component, obj.GetName(), reason, message))
}

// Create stores an object, with its status where it has one.
func Create[T api.Object](c *Cluster, obj T) T {
	c.t.Helper()
	given := obj.DeepCopyObject().(T)
	got, err := client.Of[T](c.Client).Create(c.ctx, obj)
	if err != nil {
		c.t.Fatalf("creating %s: %v", given.GetName(), err)
	}
	k := api.For[T](c.table)
	if !k.HasStatus {
		return got
	}
	return ModifyStatus(c, got.GetNamespace(), got.GetName(), func(o T) {
		empty := k.New()
		probe := k.New()
		k.CopyStatus(probe, given)
		if !equality.Semantic.DeepEqual(empty, probe) {
			k.CopyStatus(o, given)
		}
	})
}

// Modify changes an object.
func Modify[T api.Object](c *Cluster, namespace, name string, change func(T)) T {
	c.t.Helper()
	return modify(c, namespace, name, "", change)
}

// ModifyStatus changes an object's status.
func ModifyStatus[T api.Object](c *Cluster, namespace, name string, change func(T)) T {
	c.t.Helper()
	return modify(c, namespace, name, "status", change)
}

func modify[T api.Object](c *Cluster, namespace, name, sub string, change func(T)) T {
	c.t.Helper()
	got, err := client.Of[T](c.Client).Modify(c.ctx, namespace, name, sub, func(o T) error { change(o); return nil })
	if err != nil {
		c.t.Fatalf("changing %s/%s: %v", namespace, name, err)
	}
	return got
}

// Get reads an object, nil where there is none.
func Get[T api.Object](c *Cluster, namespace, name string) (T, bool) {
	return client.Of[T](c.Client).Get(namespace, name)
}

// List reads all objects of a namespace.
func List[T api.Object](c *Cluster, namespace string) []T {
	return client.Of[T](c.Client).List(namespace, nil)
}

// Delete deletes an object.
func Delete[T api.Object](c *Cluster, namespace, name string, o metav1.DeleteOptions) {
	c.t.Helper()
	if err := client.Of[T](c.Client).Delete(c.ctx, namespace, name, o); err != nil {
		c.t.Fatalf("deleting %s/%s: %v", namespace, name, err)
	}
}

// MakeReady lets a pod run as a kubelet would: Running, and Ready with an
// address.
func (c *Cluster) MakeReady(namespace, name, ip string) {
	c.t.Helper()
	ModifyStatus(c, namespace, name, func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodRunning
		p.Status.PodIP, p.Status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(c.Clock.Now())}}
	})
}

// Revision is how many writes there were, about.
func (c *Cluster) Revision() int64 { return c.caches.Rev() }
