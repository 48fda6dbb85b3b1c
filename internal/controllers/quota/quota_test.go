package quota

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/admission"
	"github.com/monohull/monohull/internal/admission/admissiontest"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

func run(t *testing.T) *admissiontest.Cluster {
	t.Helper()
	c := admissiontest.New(t, admission.Config{}, nil)
	log := slog.New(slog.DiscardHandler)
	list := Controllers(controllers.Deps{
		Client: func(name string) *client.Client { return c.Client.AsUser("system:serviceaccount:kube-system:" + name) }, Clock: c.Clock, Log: log,
	}, c.Reservations)
	var wg sync.WaitGroup
	wg.Go(func() { _ = controllers.Run(t.Context(), log, list) })
	t.Cleanup(wg.Wait)
	return c
}

func amounts(kv ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(kv); i += 2 {
		l[corev1.ResourceName(kv[i])] = resource.MustParse(kv[i+1])
	}
	return l
}

func pod(name, cpu string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "c", Image: "i", Resources: corev1.ResourceRequirements{Requests: amounts("cpu", cpu)},
	}}}}
}

func quotaOf(hard corev1.ResourceList) *corev1.ResourceQuota {
	return &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: hard}}
}

// says tells what the quota's status says of some resources.
func says(c *admissiontest.Cluster, names ...corev1.ResourceName) string {
	q, ok := admissiontest.Get[*corev1.ResourceQuota](c, "ns", "q")
	if !ok {
		return "nothing"
	}
	var out string
	for _, n := range names {
		u, h := q.Status.Used[n], q.Status.Hard[n]
		out += fmt.Sprintf("%s %s/%s ", n, u.String(), h.String())
	}
	return out
}

func TestUseIsCountedAndGivenBack(t *testing.T) {
	c := run(t)
	admissiontest.Create(c, pod("a", "1"))
	admissiontest.Create(c, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "m"}})
	admissiontest.Create(c, quotaOf(amounts("cpu", "3", "pods", "5", "count/configmaps", "2")))
	eventually := func(want string) {
		t.Helper()
		c.Eventually("the quota says "+want, func() bool { return says(c, "cpu", "pods", "count/configmaps") == want })
	}
	eventually("cpu 1/3 pods 1/5 count/configmaps 1/2 ")
	admissiontest.Create(c, pod("b", "1500m"))
	eventually("cpu 2500m/3 pods 2/5 count/configmaps 1/2 ")
	// one that ends uses nothing but its place among the objects
	admissiontest.Modify(c, "ns", "a", "status", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })
	eventually("cpu 1500m/3 pods 1/5 count/configmaps 1/2 ")
	zero := int64(0)
	if err := client.Of[*corev1.Pod](c.Client).Delete(t.Context(), "ns", "b", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	if err := client.Of[*corev1.ConfigMap](c.Client).Delete(t.Context(), "ns", "m", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually("cpu 0/3 pods 0/5 count/configmaps 0/2 ")
	admissiontest.Modify(c, "ns", "q", "", func(q *corev1.ResourceQuota) { q.Spec.Hard = amounts("pods", "1") })
	c.Eventually("what is no longer limited is no longer said", func() bool {
		q, _ := admissiontest.Get[*corev1.ResourceQuota](c, "ns", "q")
		return len(q.Status.Used) == 1 && len(q.Status.Hard) == 1
	})
}

// Creations, deletions and the controller's counting at once: at no time are
// there more objects than the quota allows.
func TestCountingGivesNothingAwayTwice(t *testing.T) {
	const writers, rounds, room = 24, 20, 10
	c := run(t)
	admissiontest.Create(c, quotaOf(amounts("count/configmaps", fmt.Sprint(room))))
	c.Eventually("it is counted", func() bool { return says(c, "count/configmaps") == fmt.Sprintf("count/configmaps 0/%d ", room) })
	maps := client.Of[*corev1.ConfigMap](c.Bare)
	var stored atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range rounds {
				o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: fmt.Sprintf("m-%d-%d", w, i)}}
				a := admissiontest.Attributes[*corev1.ConfigMap](c, admission.Create, "", o, nil)
				a.Outcome = &admission.Outcome{}
				if err := c.Admit(a); err != nil {
					if !apierrors.IsForbidden(err) {
						t.Error(err)
					}
					continue
				}
				if i%5 == 4 {
					a.Outcome.Tell(false) // the write fails
					continue
				}
				_, err := maps.Create(t.Context(), o)
				a.Outcome.Tell(err == nil)
				if err != nil {
					t.Error(err)
					continue
				}
				stored.Add(1)
				if n := len(maps.List("ns", nil)); n > room {
					t.Errorf("%d objects are there, of %d", n, room)
				}
				if err := maps.Delete(t.Context(), "ns", o.Name, metav1.DeleteOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if stored.Load() == 0 {
		t.Error("nothing was let in")
	}
	// what went before the controller saw the kind at all is counted with the
	// next that goes
	nudge := func() {
		o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", GenerateName: "nudge-"}}
		o, err := maps.Create(t.Context(), o)
		if err == nil {
			err = maps.Delete(t.Context(), "ns", o.Name, metav1.DeleteOptions{})
		}
		if err != nil {
			t.Error(err)
		}
	}
	c.Eventually("all is given back", func() bool {
		if says(c, "count/configmaps") == fmt.Sprintf("count/configmaps 0/%d ", room) {
			return true
		}
		nudge()
		return false
	})
}
