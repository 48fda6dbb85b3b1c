package admissiontest

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/monohull/monohull/internal/admission"
	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/pipeline"
	"github.com/monohull/monohull/internal/store"
)

// patience is how long Eventually waits for what does not come.
const patience = 20 * time.Second

// Cluster is a pipeline with admission.
type Cluster struct {
	Clock        *clocktesting.FakePassiveClock
	Client       *client.Client
	Reservations *admission.Reservations
	// Bare writes without admission.
	Bare *client.Client
	// Chain is what New was asked for. The pipeline has it.
	Chain []admission.Plugin

	t      testing.TB
	ctx    context.Context
	caches *cache.Set
}

// New makes a cluster with the namespaces ns and default and their accounts,
// that ends with the test. The pipeline's writers may do anything.
func New(t testing.TB, cfg admission.Config, authz authorizer.Authorizer) *Cluster {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	table, mem := Table(), store.NewMemory()
	c := &Cluster{
		Clock: clocktesting.NewFakePassiveClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)), Reservations: admission.NewReservations(), t: t,
	}
	c.caches = cache.NewSet(cache.Config{Store: mem, Table: table, Indexes: client.Indexes(table), Logger: log})
	reader := client.New(table, c.caches, nil, &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup}})
	var err error
	c.Chain, err = admission.New(cfg, admission.Deps{
		Client: reader, Writer: func() *client.Client { return c.Client }, Authorizer: authz, Clock: c.Clock, Logger: log, Reservations: c.Reservations,
	})
	if err != nil {
		t.Fatal(err)
	}
	through := func(chain []admission.Plugin) *client.Client {
		pipe := pipeline.New(pipeline.Config{
			Table: table, Store: mem, Caches: c.caches, Authorizer: allow{}, Admission: chain, Clock: c.Clock, Logger: log,
			Services: pipeline.NewAllocator(netip.MustParsePrefix("10.0.0.0/20"), pipeline.DefaultNodePorts),
		})
		return client.New(table, c.caches, pipe, reader.User()).AsUser("tester")
	}
	c.Client, c.Bare = through(c.Chain), through(nil)
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
	for _, ns := range []string{"ns", "default"} {
		Create(c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
		Create(c, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "default"}})
	}
	return c
}

type allow struct{}

func (allow) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionAllow, "", nil
}

// Context ends with the test.
func (c *Cluster) Context() context.Context { return c.ctx }

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

// Create stores an object, with its status where it has one.
func Create[T api.Object](c *Cluster, obj T) T {
	c.t.Helper()
	given := obj.DeepCopyObject().(T)
	got, err := client.Of[T](c.Client).Create(c.ctx, obj)
	if err != nil {
		c.t.Fatalf("creating %s: %v", given.GetName(), err)
	}
	k := api.For[T](c.Client.Table())
	if !k.HasStatus {
		return got
	}
	return Modify(c, got.GetNamespace(), got.GetName(), "status", func(o T) {
		if zero := k.New().(T); !sameStatus(k, zero, given) {
			k.CopyStatus(o, given)
		}
	})
}

func sameStatus(k *api.Kind, a, b api.Object) bool {
	x, y := k.New(), k.New()
	k.CopyStatus(x, a)
	k.CopyStatus(y, b)
	i, err := api.EncodeJSON(x)
	j, err2 := api.EncodeJSON(y)
	return err == nil && err2 == nil && string(i) == string(j)
}

// Modify changes an object, or a part of it.
func Modify[T api.Object](c *Cluster, namespace, name, sub string, change func(T)) T {
	c.t.Helper()
	got, err := client.Of[T](c.Client).Modify(c.ctx, namespace, name, sub, func(o T) error { change(o); return nil })
	if err != nil {
		c.t.Fatalf("changing %s: %v", name, err)
	}
	return got
}

// Get reads an object.
func Get[T api.Object](c *Cluster, namespace, name string) (T, bool) {
	return client.Of[T](c.Client).Get(namespace, name)
}

// Attributes describe a request about an object to a single plugin.
func Attributes[T api.Object](c *Cluster, op admission.Operation, sub string, obj, old api.Object) *admission.Attributes {
	o := obj
	if o == nil {
		o = old
	}
	return &admission.Attributes{
		User: &user.DefaultInfo{Name: "tester"}, Kind: api.For[T](c.Client.Table()), Namespace: o.GetNamespace(), Name: o.GetName(),
		Subresource: sub, Operation: op, Object: obj, Old: old,
	}
}

// Admit runs both passes of the chain.
func (c *Cluster) Admit(a *admission.Attributes) error {
	if err := admission.Mutate(c.ctx, c.Chain, a); err != nil {
		return err
	}
	return admission.Validate(c.ctx, c.Chain, a)
}
