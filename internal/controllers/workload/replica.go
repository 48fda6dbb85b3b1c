package workload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
	"github.com/monohull/monohull/internal/controllers/podstate"
)

const (
	// writesAtOnce bounds the pods one turn creates or deletes in parallel.
	writesAtOnce = 32
	// replicaWorkers is how many owners are reconciled at once.
	replicaWorkers = 5
)

// replicaKind tells a ReplicaSet from a ReplicationController.
type replicaKind[T api.Object] struct {
	name      string // of the controller
	gvk       schema.GroupVersionKind
	spec      func(T) replicaSpec
	selector  func(T) (labels.Selector, error)
	status    func(T) replicaStatus
	setStatus func(T, replicaStatus)
	// related lists the pods of everything that has the owner's controller;
	// nil where an owner has none.
	related func(*client.Client, T) []*corev1.Pod
}

// replicator keeps the pods of one kind of owner.
type replicator[T api.Object] struct {
	replicaKind[T]
	deps     controllers.Deps
	owners   client.Kind[T]
	pods     client.Kind[*corev1.Pod]
	c        *client.Client
	strays   *strays[*corev1.Pod]
	recorder controllers.Recorder
}

func newReplicator[T api.Object](deps controllers.Deps, k replicaKind[T]) *controllers.Controller {
	c := deps.Client(k.name)
	pods := client.Of[*corev1.Pod](c)
	r := &replicator[T]{
		replicaKind: k, deps: deps, c: c, owners: client.Of[T](c), pods: pods,
		strays: newStrays(pods), recorder: deps.Recorder(k.name, c),
	}
	return &controllers.Controller{
		Name: k.name, Client: c, Workers: replicaWorkers, Reconcile: r.reconcile,
		Inputs: []controllers.Input{
			controllers.On[T](nil),
			controllers.OnKind(api.For[*corev1.Pod](c.Table()), r.podKeys),
			r.strays.endOfNamespaces(c),
		},
		Outputs: []controllers.Output{
			{Kind: api.For[T], Field: "status", Exclusive: true},
			{Kind: api.For[*corev1.Pod]},
			{Kind: api.For[*corev1.Pod], Field: "metadata.ownerReferences"},
		},
	}
}

// podKeys names the owners a changed pod is of interest to.
func (r *replicator[T]) podKeys(e cache.Event) []controllers.Key {
	pod := e.Item.Obj.(*corev1.Pod)
	var old *corev1.Pod
	if e.Prev != nil {
		old = e.Prev.Obj.(*corev1.Pod)
	}
	r.strays.note(pod, e.Deleted)
	if old != nil && !e.Deleted && !countsDifferently(old, pod) {
		return nil
	}
	var keys []controllers.Key
	if k, ok := r.ownerKey(pod); ok {
		keys = append(keys, k)
	}
	if old != nil {
		if k, ok := r.ownerKey(old); ok && (len(keys) == 0 || keys[0] != k) {
			keys = append(keys, k)
		}
	}
	if metav1.GetControllerOfNoCopy(pod) == nil && !e.Deleted && pod.DeletionTimestamp == nil {
		for _, o := range r.owners.List(pod.Namespace, nil) {
			if sel, err := r.selector(o); err == nil && !sel.Empty() && sel.Matches(labels.Set(pod.Labels)) {
				keys = append(keys, controllers.KeyOf(o))
			}
		}
	}
	return keys
}

func (r *replicator[T]) ownerKey(p *corev1.Pod) (controllers.Key, bool) {
	ref := metav1.GetControllerOfNoCopy(p)
	if ref == nil || ref.Kind != r.gvk.Kind {
		return controllers.Key{}, false
	}
	if gv, err := schema.ParseGroupVersion(ref.APIVersion); err != nil || gv.Group != r.gvk.Group {
		return controllers.Key{}, false
	}
	return controllers.Key{Namespace: p.Namespace, Name: ref.Name}, true
}

// countsDifferently tells whether a change of a pod can matter to its owner.
// Most changes (an address, a container's state) cannot.
func countsDifferently(a, b *corev1.Pod) bool {
	return a.UID != b.UID || a.Status.Phase != b.Status.Phase ||
		(a.DeletionTimestamp == nil) != (b.DeletionTimestamp == nil) ||
		!podstate.ReadySince(a).Equal(podstate.ReadySince(b)) || podstate.Ready(a) != podstate.Ready(b) ||
		!labels.Equals(a.Labels, b.Labels) || !sameController(a, b)
}

func sameController(a, b api.Object) bool {
	ra, rb := metav1.GetControllerOfNoCopy(a), metav1.GetControllerOfNoCopy(b)
	return (ra == nil) == (rb == nil) && (ra == nil || ra.UID == rb.UID)
}

func (r *replicator[T]) reconcile(ctx context.Context, key controllers.Key) (time.Duration, error) {
	owner, ok := r.owners.Get(key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	sel, err := r.selector(owner)
	if err != nil || sel.Empty() {
		return 0, nil // refused by validation; nothing to be done about an old one
	}
	spec := r.spec(owner)
	var candidates []*corev1.Pod
	terminating := 0
	for _, p := range r.strays.candidates(owner) {
		if podstate.Active(p) {
			candidates = append(candidates, p)
		} else if podstate.Terminating(p) && metav1.IsControlledBy(p, owner) && sel.Matches(labels.Set(p.Labels)) {
			terminating++
		}
	}
	active, err := r.strays.settle(ctx, owner, r.gvk, sel, candidates)
	if err != nil {
		return 0, err
	}
	var failure error
	if owner.GetDeletionTimestamp() == nil {
		active, terminating, failure = r.scale(ctx, owner, spec, sel, active, terminating)
	}
	old := r.status(owner)
	now := r.deps.Clock.Now()
	status, recheck := countReplicas(spec, owner.GetGeneration(), old.conditions, active, terminating, failure, now)
	if !status.same(old) {
		_, err := r.owners.Modify(ctx, key.Namespace, key.Name, "status", func(o T) error {
			if o.GetUID() != owner.GetUID() {
				return errGone
			}
			r.setStatus(o, status)
			return nil
		})
		if err != nil && !errors.Is(err, errGone) && !apierrors.IsNotFound(err) {
			return 0, fmt.Errorf("writing the status: %w", err)
		}
	}
	return recheck, failure
}

var errGone = errors.New("workload: the object was replaced by another of its name")

// scale creates or deletes pods, and returns those there are afterwards.
func (r *replicator[T]) scale(ctx context.Context, owner T, spec replicaSpec, sel labels.Selector, active []*corev1.Pod, terminating int) ([]*corev1.Pod, int, error) {
	diff := len(active) - int(spec.replicas)
	switch {
	case diff < 0:
		made, err := r.createPods(ctx, owner, spec, min(-diff, burstReplicas))
		for _, p := range made {
			if sel.Matches(labels.Set(p.Labels)) && podstate.Active(p) {
				active = append(active, p)
			}
		}
		return active, terminating, err
	case diff > 0:
		related := active
		if r.related != nil {
			related = r.related(r.c, owner)
		}
		n := min(diff, burstReplicas)
		doomed := victims(active, related, n, r.deps.Clock.Now())
		err := r.deletePods(ctx, owner, doomed)
		// the caches have the deletions: count again what is left
		var left []*corev1.Pod
		for _, p := range active {
			cur, ok := r.pods.Get(p.Namespace, p.Name)
			switch {
			case !ok || cur.UID != p.UID:
			case podstate.Active(cur):
				left = append(left, cur)
			case podstate.Terminating(cur):
				terminating++
			}
		}
		return left, terminating, err
	}
	return active, terminating, nil
}

// createPods creates in batches that double, and stops after the first batch
// with a failure, so that what cannot succeed is not tried hundreds of times.
func (r *replicator[T]) createPods(ctx context.Context, owner T, spec replicaSpec, n int) ([]*corev1.Pod, error) {
	if spec.template == nil || len(spec.template.Labels) == 0 {
		return nil, errors.New("unable to create pods, no labels")
	}
	ref := *metav1.NewControllerRef(owner, r.gvk)
	var (
		mu   sync.Mutex
		made []*corev1.Pod
		bad  error
	)
	for _, size := range batches(n) {
		atOnce(size, func(int) {
			pod := podFromTemplate(spec.template, owner.GetNamespace(), owner.GetName(), ref)
			got, err := r.pods.Create(ctx, pod)
			if err == nil {
				r.recorder.Event(ctx, owner, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: "+got.Name)
			} else if !controllers.NamespaceEnds(err) {
				r.recorder.Event(ctx, owner, corev1.EventTypeWarning, "FailedCreate", "Error creating: "+err.Error())
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made = append(made, got)
			case !controllers.NamespaceEnds(err) && bad == nil:
				bad = err
			}
		})
		if bad != nil {
			break
		}
	}
	return made, bad
}

func (r *replicator[T]) deletePods(ctx context.Context, owner T, pods []*corev1.Pod) error {
	var mu sync.Mutex
	var bad error
	atOnce(len(pods), func(i int) {
		p := pods[i]
		err := r.pods.Delete(ctx, p.Namespace, p.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}})
		switch {
		case err == nil:
			r.recorder.Event(ctx, owner, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: "+p.Name)
		case apierrors.IsConflict(err): // another pod has its name by now
		default:
			r.recorder.Event(ctx, owner, corev1.EventTypeWarning, "FailedDelete", "Error deleting: "+err.Error())
			mu.Lock()
			defer mu.Unlock()
			if bad == nil {
				bad = fmt.Errorf("unable to delete pods: %w", err)
			}
		}
	})
	return bad
}

// atOnce calls do n times, some in parallel, and returns after all.
func atOnce(n int, do func(int)) {
	if n == 1 {
		do(0)
		return
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, writesAtOnce)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			do(i)
		})
	}
	wg.Wait()
}

// replicaSets is the controller of ReplicaSets.
func replicaSets(deps controllers.Deps) *controllers.Controller {
	return newReplicator(deps, replicaKind[*appsv1.ReplicaSet]{
		name: "replicaset-controller", gvk: appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
		spec: func(o *appsv1.ReplicaSet) replicaSpec {
			return replicaSpec{replicas: value(o.Spec.Replicas, 1), minReadySeconds: o.Spec.MinReadySeconds, template: &o.Spec.Template}
		},
		selector: func(o *appsv1.ReplicaSet) (labels.Selector, error) {
			return metav1.LabelSelectorAsSelector(o.Spec.Selector)
		},
		status: func(o *appsv1.ReplicaSet) replicaStatus {
			s := &o.Status
			return replicaStatus{
				s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas,
				value(s.TerminatingReplicas, -1), s.ObservedGeneration, s.Conditions,
			}
		},
		setStatus: func(o *appsv1.ReplicaSet, s replicaStatus) {
			o.Status = appsv1.ReplicaSetStatus{
				Replicas: s.replicas, FullyLabeledReplicas: s.fullyLabeled, ReadyReplicas: s.ready, AvailableReplicas: s.available,
				TerminatingReplicas: &s.terminating, ObservedGeneration: s.observedGeneration, Conditions: s.conditions,
			}
		},
		related: siblingPods,
	})
}

// siblingPods lists the pods of all ReplicaSets of a ReplicaSet's Deployment.
func siblingPods(c *client.Client, rs *appsv1.ReplicaSet) []*corev1.Pod {
	pods := client.Of[*corev1.Pod](c)
	ref := metav1.GetControllerOfNoCopy(rs)
	if ref == nil {
		return pods.ByIndex(client.ByOwner, string(rs.UID))
	}
	var out []*corev1.Pod
	for _, sibling := range client.Of[*appsv1.ReplicaSet](c).ByIndex(client.ByOwner, string(ref.UID)) {
		out = append(out, pods.ByIndex(client.ByOwner, string(sibling.UID))...)
	}
	return out
}

// replicationControllers is the controller of ReplicationControllers, which
// know nothing of terminating replicas.
func replicationControllers(deps controllers.Deps) *controllers.Controller {
	return newReplicator(deps, replicaKind[*corev1.ReplicationController]{
		name: "replication-controller", gvk: corev1.SchemeGroupVersion.WithKind("ReplicationController"),
		spec: func(o *corev1.ReplicationController) replicaSpec {
			return replicaSpec{replicas: value(o.Spec.Replicas, 1), minReadySeconds: o.Spec.MinReadySeconds, template: o.Spec.Template}
		},
		selector: func(o *corev1.ReplicationController) (labels.Selector, error) {
			return labels.ValidatedSelectorFromSet(o.Spec.Selector)
		},
		status: func(o *corev1.ReplicationController) replicaStatus {
			s := &o.Status
			out := replicaStatus{
				replicas: s.Replicas, fullyLabeled: s.FullyLabeledReplicas, ready: s.ReadyReplicas, available: s.AvailableReplicas,
				terminating: notCounted, observedGeneration: s.ObservedGeneration,
			}
			for _, c := range s.Conditions {
				out.conditions = append(out.conditions, appsv1.ReplicaSetCondition{
					Type: appsv1.ReplicaSetConditionType(c.Type), Status: c.Status,
					LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
				})
			}
			return out
		},
		setStatus: func(o *corev1.ReplicationController, s replicaStatus) {
			o.Status = corev1.ReplicationControllerStatus{
				Replicas: s.replicas, FullyLabeledReplicas: s.fullyLabeled, ReadyReplicas: s.ready, AvailableReplicas: s.available,
				ObservedGeneration: s.observedGeneration,
			}
			for _, c := range s.conditions {
				o.Status.Conditions = append(o.Status.Conditions, corev1.ReplicationControllerCondition{
					Type: corev1.ReplicationControllerConditionType(c.Type), Status: c.Status,
					LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
				})
			}
		},
	})
}

func value[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
