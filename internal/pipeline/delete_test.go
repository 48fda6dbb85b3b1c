package pipeline

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
)

func del[T api.Object](r *rig, name string, o metav1.DeleteOptions) (api.Object, error) {
	k := api.For[T](r.table)
	ns := "ns"
	if !k.Namespaced {
		ns = ""
	}
	it, err := r.pipe.Delete(r.ctx, r.client.Request(k, ns, name, ""), o)
	if err != nil {
		return nil, err
	}
	return it.Obj, nil
}

func bind(r *rig, name, node string) error {
	return client.Bind(r.ctx, r.client, get[*corev1.Pod](r, name), node)
}

func running(r *rig, name string) {
	r.t.Helper()
	create(r, newPod(name))
	if err := bind(r, name, "n1"); err != nil {
		r.t.Fatal(err)
	}
	if _, err := kind[*corev1.Pod](r).Modify(r.ctx, "ns", name, "status", func(p *corev1.Pod) error {
		p.Status.Phase = corev1.PodRunning
		return nil
	}); err != nil {
		r.t.Fatal(err)
	}
}

func TestDeleteRemovesAtOnceWhereNothingHoldsTheObject(t *testing.T) {
	r := newRig(t)
	a := create(r, configMap("a"))
	last, err := del[*corev1.ConfigMap](r, "a", metav1.DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if exists[*corev1.ConfigMap](r, "a") || last.GetUID() != a.UID {
		t.Fatal("it is still there")
	}
	_, err = del[*corev1.ConfigMap](r, "a", metav1.DeleteOptions{})
	refused(t, err, 404, metav1.StatusReasonNotFound, `configmaps "a" not found`)
	if err := kind[*corev1.ConfigMap](r).Delete(r.ctx, "ns", "a", metav1.DeleteOptions{}); err != nil {
		t.Errorf("a component's deletion of what is gone: %v", err)
	}
}

func TestDeletePreconditions(t *testing.T) {
	r := newRig(t)
	a := create(r, configMap("a"))
	_, err := del[*corev1.ConfigMap](r, "a", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr(types.UID("other"))}})
	refused(t, err, 409, metav1.StatusReasonConflict, "the UID in the precondition (other) does not match the UID in record")
	_, err = del[*corev1.ConfigMap](r, "a", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: ptr("1")}})
	refused(t, err, 409, metav1.StatusReasonConflict, "the ResourceVersion in the precondition (1) does not match the ResourceVersion in record")
	_, err = del[*corev1.ConfigMap](r, "a", metav1.DeleteOptions{PropagationPolicy: ptr(metav1.DeletionPropagation("Sideways"))})
	refused(t, err, 422, metav1.StatusReasonInvalid)
	if _, err := del[*corev1.ConfigMap](r, "a", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &a.UID, ResourceVersion: &a.ResourceVersion}}); err != nil {
		t.Fatal(err)
	}
}

func TestFinalizersHoldAnObjectUntilTheLastIsGone(t *testing.T) {
	r := newRig(t)
	cm := configMap("a")
	cm.Finalizers = []string{"example.com/one", "example.com/two"}
	create(r, cm)
	got, err := del[*corev1.ConfigMap](r, "a", metav1.DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetDeletionTimestamp() == nil || *got.GetDeletionGracePeriodSeconds() != 0 || !got.GetDeletionTimestamp().Time.Equal(start) {
		t.Fatalf("marked %v, %v", got.GetDeletionTimestamp(), got.GetDeletionGracePeriodSeconds())
	}
	before := r.revision()
	if _, err := del[*corev1.ConfigMap](r, "a", metav1.DeleteOptions{}); err != nil || r.revision() != before {
		t.Fatalf("a second deletion wrote: %v", err)
	}
	cms := kind[*corev1.ConfigMap](r)
	_, err = cms.Modify(r.ctx, "ns", "a", "", func(c *corev1.ConfigMap) error {
		c.Finalizers = append(c.Finalizers, "example.com/three")
		return nil
	})
	refused(t, err, 422, metav1.StatusReasonInvalid, "no new finalizers can be added if the object is being deleted")
	if _, err := cms.Modify(r.ctx, "ns", "a", "", func(c *corev1.ConfigMap) error {
		c.Finalizers, c.DeletionTimestamp = c.Finalizers[1:], nil
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := get[*corev1.ConfigMap](r, "a"); got.DeletionTimestamp == nil {
		t.Fatal("a client took back a deletion")
	}
	if _, err := cms.Modify(r.ctx, "ns", "a", "", func(c *corev1.ConfigMap) error { c.Finalizers = nil; return nil }); err != nil {
		t.Fatal(err)
	}
	if exists[*corev1.ConfigMap](r, "a") {
		t.Fatal("it stays without finalizers")
	}
}

func TestPropagationPolicyBecomesAFinalizer(t *testing.T) {
	for policy, want := range map[metav1.DeletionPropagation]string{
		metav1.DeletePropagationForeground: metav1.FinalizerDeleteDependents,
		metav1.DeletePropagationOrphan:     metav1.FinalizerOrphanDependents,
		metav1.DeletePropagationBackground: "",
	} {
		t.Run(string(policy), func(t *testing.T) {
			r := newRig(t)
			create(r, deployment("d"))
			got, err := del[*corev1.ConfigMap](r, "none", metav1.DeleteOptions{PropagationPolicy: &policy})
			if got != nil || err == nil {
				t.Fatal("deleted what is not there")
			}
			k := r.client.Request(r.table.ByGVK(deploymentGVK), "ns", "d", "")
			it, err := r.pipe.Delete(r.ctx, k, metav1.DeleteOptions{PropagationPolicy: &policy})
			if err != nil {
				t.Fatal(err)
			}
			fin := it.Obj.GetFinalizers()
			if want == "" && len(fin) != 0 || want != "" && !slices.Equal(fin, []string{want}) {
				t.Errorf("the finalizers are %v", fin)
			}
			if still := r.caches.Of(k.Kind).Get("ns/d") != nil; still != (want != "") {
				t.Errorf("the object is there: %v", still)
			}
			if want != "" && it.Obj.GetGeneration() != 2 {
				t.Errorf("the generation of a deleted object is %d", it.Obj.GetGeneration())
			}
		})
	}
}

func TestPodWaitsForItsKubelet(t *testing.T) {
	r := newRig(t)
	running(r, "p")
	obj, err := del[*corev1.Pod](r, "p", metav1.DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if *obj.GetDeletionGracePeriodSeconds() != 30 || !obj.GetDeletionTimestamp().Time.Equal(start.Add(30*time.Second)) {
		t.Fatalf("the pod goes at %v, %d s", obj.GetDeletionTimestamp(), *obj.GetDeletionGracePeriodSeconds())
	}
	before := r.revision()
	for _, again := range []*int64{nil, ptr(int64(60)), ptr(int64(30))} {
		if _, err := del[*corev1.Pod](r, "p", metav1.DeleteOptions{GracePeriodSeconds: again}); err != nil {
			t.Fatal(err)
		}
	}
	if r.revision() != before {
		t.Error("a deletion under way was made longer")
	}
	r.clock.SetTime(start.Add(5 * time.Second))
	obj, err = del[*corev1.Pod](r, "p", metav1.DeleteOptions{GracePeriodSeconds: ptr(int64(10))})
	if err != nil {
		t.Fatal(err)
	}
	if *obj.GetDeletionGracePeriodSeconds() != 10 || !obj.GetDeletionTimestamp().Time.Equal(start.Add(10*time.Second)) {
		t.Fatalf("shortened, the pod goes at %v, %d s", obj.GetDeletionTimestamp(), *obj.GetDeletionGracePeriodSeconds())
	}
	if _, err = del[*corev1.Pod](r, "p", metav1.DeleteOptions{GracePeriodSeconds: ptr(int64(0))}); err != nil {
		t.Fatal(err)
	}
	if exists[*corev1.Pod](r, "p") {
		t.Fatal("a pod whose kubelet is done with it is still there")
	}
}

func TestPodWithoutANodeIsRemovedAtOnce(t *testing.T) {
	r := newRig(t)
	create(r, newPod("p"))
	if _, err := del[*corev1.Pod](r, "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if exists[*corev1.Pod](r, "p") {
		t.Fatal("it is still there")
	}
}

func TestPodThatEndedWhileItWasDeletedStaysForItsKubelet(t *testing.T) {
	r := newRig(t)
	running(r, "p")
	if _, err := del[*corev1.Pod](r, "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := kind[*corev1.Pod](r).Modify(r.ctx, "ns", "p", "status", func(p *corev1.Pod) error {
		p.Status.Phase = corev1.PodSucceeded
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := del[*corev1.Pod](r, "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if !exists[*corev1.Pod](r, "p") {
		t.Fatal("a second deletion without a wish removed a pod whose deletion is pending")
	}
}

func TestBindingIsForOnce(t *testing.T) {
	r := newRig(t)
	create(r, newPod("p"))
	if err := bind(r, "p", "n1"); err != nil {
		t.Fatal(err)
	}
	p := get[*corev1.Pod](r, "p")
	if p.Spec.NodeName != "n1" || len(p.Status.Conditions) == 0 || p.Status.Conditions[0].Type != corev1.PodScheduled || p.Status.Conditions[0].Status != corev1.ConditionTrue {
		t.Fatalf("bound to %q, %+v", p.Spec.NodeName, p.Status.Conditions)
	}
	s := refused(t, bind(r, "p", "n2"), 409, metav1.StatusReasonConflict, `pod p is already assigned to node "n1"`)
	if s.Details.Kind != "pods/binding" || s.Details.Name != "p" {
		t.Errorf("the details are %+v", s.Details)
	}
	create(r, newPod("q"))
	refused(t, bind(r, "q", ""), 422, metav1.StatusReasonInvalid)
	stale := get[*corev1.Pod](r, "q").DeepCopy()
	stale.UID = "another"
	refused(t, client.Bind(r.ctx, r.client, stale, "n1"), 409, metav1.StatusReasonConflict, "Precondition failed")
	gone := newPod("gone")
	refused(t, client.Bind(r.ctx, r.client, gone, "n1"), 404, metav1.StatusReasonNotFound)
	running(r, "going")
	gated := newPod("gated")
	gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/wait"}}
	create(r, gated)
	refused(t, bind(r, "gated", "n1"), 409, metav1.StatusReasonConflict, "non-empty .spec.schedulingGates")
}

func TestEvictionDeletesAsADeletionDoes(t *testing.T) {
	r := newRig(t)
	running(r, "p")
	req := r.client.Request(api.For[*corev1.Pod](r.table), "ns", "p", "eviction")
	_, err := r.pipe.Create(r.ctx, req, &policyv1.Eviction{ObjectMeta: meta("q")})
	refused(t, err, 400, metav1.StatusReasonBadRequest, "name in URL does not match name in Eviction object")
	dry := &policyv1.Eviction{ObjectMeta: meta("p"), DeleteOptions: &metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}}
	if _, err = r.pipe.Create(r.ctx, req, dry); err != nil || get[*corev1.Pod](r, "p").DeletionTimestamp != nil {
		t.Fatalf("a dry eviction: %v", err)
	}
	if _, err = r.pipe.Create(r.ctx, req, &policyv1.Eviction{ObjectMeta: meta("p")}); err != nil {
		t.Fatal(err)
	}
	if p := get[*corev1.Pod](r, "p"); p.DeletionTimestamp == nil || *p.DeletionGracePeriodSeconds != 30 {
		t.Fatal("an evicted pod is not on its way")
	}
	req.Name = "none"
	_, err = r.pipe.Create(r.ctx, req, &policyv1.Eviction{ObjectMeta: meta("none")})
	refused(t, err, 404, metav1.StatusReasonNotFound)
}
