package quota

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"

	"github.com/monohull/monohull/internal/admission"
	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/quota"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

const (
	// resync is how often a quota is counted that nothing asked to be counted.
	resync  = 5 * time.Minute
	workers = 5
	// conflictPause lies between attempts at a quota that admission writes all
	// the while.
	conflictPause = 50 * time.Millisecond
)

// Controllers are the control loops of this area. pending is what admission
// has reserved for objects that are not stored yet; it may be nil.
func Controllers(deps controllers.Deps, pending *admission.Reservations) []*controllers.Controller {
	c := deps.Client("resourcequota-controller")
	r := &counter{c: c, quotas: client.Of[*corev1.ResourceQuota](c), clock: deps.Clock, pending: pending}
	inputs := []controllers.Input{controllers.On(func(old, cur *corev1.ResourceQuota) []controllers.Key {
		// its status is written by admission with every object: that is no news
		if old != nil && quota.Equal(old.Spec.Hard, cur.Spec.Hard) {
			return nil
		}
		return []controllers.Key{controllers.KeyOf(cur)}
	})}
	look := admission.QuotaLookup(c)
	for _, k := range c.Table().Kinds() {
		if e := quota.EvaluatorOf(k.GroupResource(), look); e != nil && countable(k) {
			r.counted = append(r.counted, counted{e, c.Caches().Of(k)})
			inputs = append(inputs, controllers.OnKind(k, func(ev cache.Event) []controllers.Key { return r.freed(e, ev) }))
		}
	}
	return []*controllers.Controller{{
		Name: "resourcequota-controller", Client: c, Workers: workers, Inputs: inputs, Reconcile: r.reconcile,
		Outputs: []controllers.Output{{Kind: api.For[*corev1.ResourceQuota], Field: "status"}},
		Background: func(ctx context.Context, add func(controllers.Key)) error {
			return pending.Follow(ctx, func(namespace, name string) { add(controllers.Key{Namespace: namespace, Name: name}) })
		},
	}}
}

// countable tells whether objects of a kind can be counted at all.
func countable(k *api.Kind) bool {
	if !k.Namespaced {
		return false
	}
	for _, verb := range []string{"create", "list", "watch", "delete"} {
		if k.Verbs != nil && !slices.Contains(k.Verbs, verb) {
			return false
		}
	}
	return true
}

type counted struct {
	quota.Evaluator
	objects *cache.Cache
}

type counter struct {
	c       *client.Client
	quotas  client.Kind[*corev1.ResourceQuota]
	counted []counted
	clock   clock.PassiveClock
	pending *admission.Reservations
}

// freed names the quotas that may have more room after an event.
func (r *counter) freed(e quota.Evaluator, ev cache.Event) []controllers.Key {
	list := r.quotas.List(ev.Item.Obj.GetNamespace(), nil)
	if len(list) == 0 || !ev.Deleted && (ev.Prev == nil || !e.Frees(ev.Prev.Obj, ev.Item.Obj, r.clock.Now())) {
		return nil
	}
	var keys []controllers.Key
	for _, q := range list {
		if len(e.Matching(quota.Names(q.Status.Hard))) > 0 {
			keys = append(keys, controllers.KeyOf(q))
		}
	}
	return keys
}

func (r *counter) reconcile(ctx context.Context, key controllers.Key) (time.Duration, error) {
	q, ok := r.quotas.Get(key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	// the order matters: see admission.Reservations
	pending := r.pending.Pending(q.Namespace, q.Name)
	evaluators := make([]quota.Evaluator, len(r.counted))
	for i := range r.counted {
		evaluators[i] = r.counted[i]
	}
	used := quota.Used(q, evaluators, func(e quota.Evaluator) []api.Object {
		var out []api.Object
		e.(counted).objects.Snapshot().Ascend(q.Namespace, "", func(it *cache.Item) bool {
			out = append(out, it.Obj)
			return true
		})
		return out
	}, r.clock.Now())
	status := quota.Status(q, quota.Mask(quota.Add(used, pending), quota.Names(used)))
	if q.Status.Hard != nil && q.Status.Used != nil && equality.Semantic.DeepEqual(q.Spec.Hard, q.Status.Hard) && quota.Equal(status.Used, q.Status.Used) {
		return resync, nil
	}
	next := q.DeepCopy()
	next.Status = status
	_, err := r.quotas.UpdateStatus(ctx, next)
	switch {
	case apierrors.IsConflict(err):
		return conflictPause, nil
	case err != nil && !apierrors.IsNotFound(err):
		return 0, fmt.Errorf("writing the use of quota %s: %w", q.Name, err)
	}
	return resync, nil
}
