package admission_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/admission"
	"github.com/monohull/monohull/internal/admission/admissiontest"
	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
)

// limit makes a quota whose use is known to be none.
func limit(c *admissiontest.Cluster, name string, hard corev1.ResourceList, scopes ...corev1.ResourceQuotaScope) {
	used := corev1.ResourceList{}
	for n := range hard {
		used[n] = list("x", "0")["x"]
	}
	admissiontest.Create(c, &corev1.ResourceQuota{
		ObjectMeta: meta(name), Spec: corev1.ResourceQuotaSpec{Hard: hard, Scopes: scopes}, Status: corev1.ResourceQuotaStatus{Hard: hard, Used: used},
	})
}

func used(c *admissiontest.Cluster, name string, resource corev1.ResourceName) string {
	q, _ := admissiontest.Get[*corev1.ResourceQuota](c, "ns", name)
	amount := q.Status.Used[resource]
	return amount.String()
}

func tryCreate[T api.Object](c *admissiontest.Cluster, o T) error {
	_, err := client.Of[T](c.Client).Create(c.Context(), o)
	return err
}

func TestQuotaIsReservedAndExceeded(t *testing.T) {
	c := admissiontest.New(t, only("ResourceQuota"), nil)
	limit(c, "compute", list("cpu", "2", "pods", "3"))
	limit(c, "counts", list("count/configmaps", "1", "secrets", "0", "count/deployments.apps", "1"))
	limit(c, "best", list("pods", "1"), corev1.ResourceQuotaScopeBestEffort)
	says(t, "one", tryCreate(c, sized("a", list("cpu", "1500m"), nil)), "")
	if got := used(c, "compute", "cpu") + " " + used(c, "compute", "pods") + " " + used(c, "best", "pods"); got != "1500m 1 0" {
		t.Errorf("used are %s", got)
	}
	says(t, "too much", tryCreate(c, sized("b", list("cpu", "1"), nil)), `pods "b" is forbidden: exceeded quota: compute, requested: cpu=1, used: cpu=1500m, limited: cpu=2`)
	says(t, "nothing said", tryCreate(c, newPod("b")), `pods "b" is forbidden: failed quota: compute: must specify cpu for: c`)
	says(t, "a map", tryCreate(c, &corev1.ConfigMap{ObjectMeta: meta("m")}), "")
	says(t, "two maps", tryCreate(c, &corev1.ConfigMap{ObjectMeta: meta("n")}), `configmaps "n" is forbidden: exceeded quota: counts, requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=1`)
	says(t, "elsewhere", tryCreate(c, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "n"}}), "")
	says(t, "a secret", tryCreate(c, &corev1.Secret{ObjectMeta: meta("s")}), `secrets "s" is forbidden: exceeded quota: counts, requested: secrets=1, used: secrets=0, limited: secrets=0`)
	says(t, "an event", tryCreate(c, &corev1.Event{ObjectMeta: meta("e"), InvolvedObject: corev1.ObjectReference{Namespace: "ns"}}), "")
	// what is only tried takes nothing
	dry := admissiontest.Attributes[*corev1.Pod](c, admission.Create, "", sized("dry", list("cpu", "500m"), nil), nil)
	dry.DryRun = true
	says(t, "a dry run", c.Admit(dry), "")
	if got := used(c, "compute", "cpu"); got != "1500m" {
		t.Errorf("a dry run took up to %s", got)
	}
	// a quota nobody has counted yet lets nothing in
	admissiontest.Create(c, &corev1.ResourceQuota{ObjectMeta: meta("fresh"), Spec: corev1.ResourceQuotaSpec{Hard: list("pods", "9")}, Status: corev1.ResourceQuotaStatus{Hard: list("pods", "9")}})
	says(t, "not counted", tryCreate(c, sized("b", list("cpu", "100m"), nil)), `pods "b" is forbidden: status unknown for quota: fresh, resources: pods`)
}

func TestQuotaOfLimitedResources(t *testing.T) {
	c := admissiontest.New(t, configured("ResourceQuota", `
apiVersion: apiserver.config.k8s.io/v1
kind: ResourceQuotaConfiguration
limitedResources:
- {resource: pods, matchContains: [requests.cpu]}
`), nil)
	says(t, "without a quota", tryCreate(c, sized("a", list("cpu", "1"), nil)), `pods "a" is forbidden: insufficient quota to consume: requests.cpu`)
	limit(c, "cpu", list("requests.cpu", "1"))
	limit(c, "pods", list("pods", "1"))
	says(t, "with one", tryCreate(c, sized("a", list("cpu", "1"), nil)), "")
	if got := used(c, "cpu", "requests.cpu") + used(c, "pods", "pods"); got != "11" {
		t.Errorf("used are %s", got)
	}
}

func TestManyAtOnceNeverExceedAQuota(t *testing.T) {
	const writers, each, room = 40, 5, 60
	c := admissiontest.New(t, only("ResourceQuota"), nil)
	limit(c, "a", list("pods", fmt.Sprint(room), "requests.cpu", "100"))
	limit(c, "b", list("count/pods", fmt.Sprint(room+20)))
	var wg sync.WaitGroup
	var stored atomic.Int64
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				err := tryCreate(c, sized(fmt.Sprintf("p-%d-%d", w, i), list("cpu", "1"), nil))
				switch {
				case err == nil:
					stored.Add(1)
				case !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota: a, requested: pods=1, used: pods=60, limited: pods=60"):
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(client.Of[*corev1.Pod](c.Client).List("ns", nil)); n != room || stored.Load() != room {
		t.Errorf("%d pods are there, %d were let in, of %d", n, stored.Load(), room)
	}
	if got := used(c, "a", "pods") + " " + used(c, "a", "requests.cpu") + " " + used(c, "b", "count/pods"); got != "60 60 60" {
		t.Errorf("used are %s", got)
	}
}

func TestReservationsAreKnownUntilTheObjectIsThere(t *testing.T) {
	c := admissiontest.New(t, only("ResourceQuota"), nil)
	limit(c, "q", list("pods", "3"))
	again := make(chan string, 9)
	go func() { _ = c.Reservations.Follow(t.Context(), func(ns, name string) { again <- ns + "/" + name }) }()
	ask := func(name string) *admission.Attributes {
		a := admissiontest.Attributes[*corev1.Pod](c, admission.Create, "", newPod(name), nil)
		a.Outcome = &admission.Outcome{}
		says(t, name, c.Admit(a), "")
		return a
	}
	pending := func() string {
		l := c.Reservations.Pending("ns", "q")
		return l.Pods().String()
	}
	a := ask("a")
	a.Outcome.Tell(true)
	if got := pending(); got != "0" {
		t.Errorf("after it is stored %s are pending", got)
	}
	a = ask("b")
	if got := pending(); got != "1" {
		t.Errorf("%s are pending", got)
	}
	a.Outcome.Tell(true)
	if got := <-again; got != "ns/q" {
		t.Errorf("%s is counted again", got)
	}
	a = ask("c")
	a.Outcome.Tell(false)
	if got := <-again; got != "ns/q" {
		t.Errorf("%s is counted again", got)
	}
	if got := pending(); got != "0" {
		t.Errorf("at the end %s are pending", got)
	}
}
