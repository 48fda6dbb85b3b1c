package pipeline

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/monohull/monohull/internal/admission"
	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/all"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/store"
)

// rig is a pipeline with everything real but the store, the authorizer, which
// allows all, and the clock.
type rig struct {
	t      testing.TB
	ctx    context.Context
	clock  *clocktesting.FakePassiveClock
	table  *api.Table
	store  *store.Memory
	caches *cache.Set
	pipe   *Pipeline
	client *client.Client
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// newRig makes a pipeline without admission; namespaces need not exist.
func newRig(t testing.TB) *rig {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	r := &rig{t: t, clock: clocktesting.NewFakePassiveClock(start), table: all.Table(), store: store.NewMemory()}
	r.caches = cache.NewSet(cache.Config{Store: r.store, Table: r.table, Indexes: client.Indexes(r.table), Logger: log})
	r.pipe = New(Config{
		Table: r.table, Store: r.store, Caches: r.caches, Authorizer: allowAll{}, Clock: r.clock, Logger: log,
		Services: NewAllocator(netip.MustParsePrefix("10.0.0.0/24"), DefaultNodePorts),
	})
	r.client = client.New(r.table, r.caches, r.pipe, &user.DefaultInfo{Name: "tester"})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	r.ctx = ctx
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.caches.Run(ctx); err != nil {
			t.Errorf("the caches ended: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	<-r.caches.Loaded()
	return r
}

// withAdmission adds the default chain, and the namespace ns with its account.
func (r *rig) withAdmission() *rig {
	r.t.Helper()
	create(r, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}})
	create(r, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "default"}})
	r.pipe.Admission = admission.Chain(r.client)
	return r
}

func kind[T api.Object](r *rig) client.Kind[T] { return client.Of[T](r.client) }

func create[T api.Object](r *rig, obj T) T {
	r.t.Helper()
	got, err := kind[T](r).Create(r.ctx, obj)
	if err != nil {
		r.t.Fatalf("creating %s: %v", obj.GetName(), err)
	}
	return got
}

func get[T api.Object](r *rig, name string) T {
	r.t.Helper()
	ns := "ns"
	if !api.For[T](r.table).Namespaced {
		ns = ""
	}
	obj, ok := kind[T](r).Get(ns, name)
	if !ok {
		r.t.Fatalf("%s is not there", name)
	}
	return obj
}

func exists[T api.Object](r *rig, name string) bool {
	_, ok := kind[T](r).Get("ns", name)
	return ok
}

func (r *rig) revision() int64 {
	rev, _ := r.store.Revision(r.ctx)
	return rev
}

// refused checks an error as a client would see it.
func refused(t testing.TB, err error, code int32, reason metav1.StatusReason, parts ...string) metav1.Status {
	t.Helper()
	var st apierrors.APIStatus
	if !errors.As(err, &st) {
		t.Fatalf("want a %d %s, got %v", code, reason, err)
	}
	s := st.Status()
	if s.Code != code || s.Reason != reason || s.Status != metav1.StatusFailure {
		t.Fatalf("want %d %s, got %d %s: %s", code, reason, s.Code, s.Reason, s.Message)
	}
	for _, p := range parts {
		if !strings.Contains(s.Message, p) {
			t.Errorf("the message %q does not say %q", s.Message, p)
		}
	}
	return s
}

func causes(s metav1.Status) string {
	var out []string
	if s.Details != nil {
		for _, c := range s.Details.Causes {
			out = append(out, string(c.Type)+" "+c.Field)
		}
	}
	return strings.Join(out, ", ")
}

func meta(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "ns", Name: name} }

func configMap(name string, kv ...string) *corev1.ConfigMap {
	cm := &corev1.ConfigMap{ObjectMeta: meta(name), Data: map[string]string{}}
	for i := 0; i+1 < len(kv); i += 2 {
		cm.Data[kv[i]] = kv[i+1]
	}
	return cm
}

func newPod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: meta(name), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "img"}}}}
}

func deployment(name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{ObjectMeta: meta(name), Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: newPod("").Spec},
	}}
}

func ptr[T any](v T) *T { return &v }
