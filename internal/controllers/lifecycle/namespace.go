package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

const (
	namespaceWorkers = 10
	// deletesAtOnce bounds the objects of a namespace deleted in parallel.
	deletesAtOnce = 16
)

// terminator empties namespaces that are being deleted.
type terminator struct {
	deps       controllers.Deps
	c          *client.Client
	namespaces client.Kind[*corev1.Namespace]
	pods       *api.Kind
	others     []*api.Kind // every other kind that lives in namespaces
}

func namespaceController(deps controllers.Deps) *controllers.Controller {
	c := deps.Client("namespace-controller")
	r := &terminator{deps: deps, c: c, namespaces: client.Of[*corev1.Namespace](c), pods: api.For[*corev1.Pod](c.Table())}
	inputs := []controllers.Input{controllers.On(func(_, cur *corev1.Namespace) []controllers.Key {
		if cur.DeletionTimestamp == nil {
			return nil
		}
		return []controllers.Key{controllers.KeyOf(cur)}
	})}
	for _, k := range c.Table().Kinds() {
		if !k.Namespaced || (k.Verbs != nil && !slices.Contains(k.Verbs, "delete")) {
			continue
		}
		inputs = append(inputs, controllers.OnKind(k, r.contentKeys))
		if k != r.pods {
			r.others = append(r.others, k)
		}
	}
	return &controllers.Controller{
		Name: "namespace-controller", Client: c, Workers: namespaceWorkers, Inputs: inputs, Reconcile: r.reconcile,
		Outputs: []controllers.Output{
			{Kind: api.For[*corev1.Namespace], Field: "status.conditions", Exclusive: true},
			{Kind: api.For[*corev1.Namespace], Field: "spec.finalizers", Exclusive: true},
		},
	}
}

// contentKeys: an object that goes, or comes into a namespace that goes, wakes
// that namespace.
func (r *terminator) contentKeys(e cache.Event) []controllers.Key {
	if !e.Deleted && e.Prev != nil {
		return nil
	}
	ns := e.Item.Obj.GetNamespace()
	if n, ok := r.namespaces.Get("", ns); !ok || n.DeletionTimestamp == nil {
		return nil
	}
	return []controllers.Key{{Name: ns}}
}

func (r *terminator) reconcile(ctx context.Context, key controllers.Key) (time.Duration, error) {
	ns, ok := r.namespaces.Get("", key.Name)
	if !ok || ns.DeletionTimestamp == nil || !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return 0, nil
	}
	left := &remains{}
	// pods first, and nothing else while there is one: what they lean on, such
	// as secrets and network policies, outlives them
	r.empty(ctx, key.Name, r.pods, left)
	if len(left.objects) == 0 && len(left.failures) == 0 {
		for _, k := range r.others {
			r.empty(ctx, key.Name, k, left)
		}
	}
	if err := r.report(ctx, ns, left); err != nil {
		return 0, err
	}
	if err := left.err(); err != nil {
		return 0, fmt.Errorf("deleting the content: %w", err)
	}
	if len(left.objects) > 0 {
		return 0, nil // the last deletion wakes us
	}
	return 0, r.finalize(ctx, ns)
}

// empty deletes the objects of one kind and counts those that are still there.
func (r *terminator) empty(ctx context.Context, namespace string, k *api.Kind, left *remains) {
	c := r.c.Caches().Of(k)
	var doomed []api.Object
	c.Snapshot().Ascend(namespace, "", func(it *cache.Item) bool {
		if it.Obj.GetDeletionTimestamp() == nil {
			doomed = append(doomed, it.Obj)
		}
		return true
	})
	background := metav1.DeletePropagationBackground
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, deletesAtOnce)
	for _, o := range doomed {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			uid := o.GetUID()
			_, err := r.c.Writer().Delete(ctx, r.c.Request(k, namespace, o.GetName(), ""),
				metav1.DeleteOptions{PropagationPolicy: &background, Preconditions: &metav1.Preconditions{UID: &uid}})
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				mu.Lock()
				defer mu.Unlock()
				left.failures = append(left.failures, fmt.Errorf("deleting %s %s: %w", k.Plural, o.GetName(), err))
			}
		})
	}
	wg.Wait()
	c.Snapshot().Ascend(namespace, "", func(it *cache.Item) bool {
		left.count(k.GroupResource(), it.Obj.GetFinalizers())
		return true
	})
}

func (r *terminator) report(ctx context.Context, ns *corev1.Namespace, left *remains) error {
	now := r.deps.Clock.Now()
	_, err := r.namespaces.Modify(ctx, "", ns.Name, "status", func(n *corev1.Namespace) error {
		n.Status.Phase = corev1.NamespaceTerminating
		namespaceConditions(&n.Status, left, now)
		return nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("writing the conditions: %w", err)
	}
	return nil
}

// finalize gives the namespace up. The pipeline removes it with its last
// finalizer.
func (r *terminator) finalize(ctx context.Context, ns *corev1.Namespace) error {
	cur, ok := r.namespaces.Get("", ns.Name)
	if !ok || cur.UID != ns.UID {
		return nil
	}
	n := cur.DeepCopy()
	n.Spec.Finalizers = slices.DeleteFunc(n.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	req := r.c.Request(api.For[*corev1.Namespace](r.c.Table()), "", n.Name, "finalize")
	if _, err := r.c.Writer().Update(ctx, req, n); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("removing the finalizer: %w", err)
	}
	return nil
}
