package controllertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/store"
)

// writer stands in for the pipeline.
type writer struct {
	c   *Cluster
	seq atomic.Int64
}

func equal(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }

func (w *writer) Create(ctx context.Context, r client.Request, obj api.Object) (*cache.Item, error) {
	k := r.Kind
	obj = obj.DeepCopyObject().(api.Object)
	if k.Namespaced {
		obj.SetNamespace(r.Namespace)
		if ns, ok := Get[*corev1.Namespace](w.c, "", r.Namespace); ok && ns.DeletionTimestamp != nil {
			err := apierrors.NewForbidden(k.GroupResource(), obj.GetName(), fmt.Errorf("unable to create new content in namespace %s because it is being terminated", r.Namespace))
			err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: corev1.NamespaceTerminatingCause})
			return nil, err
		}
	}
	n := strconv.FormatInt(w.seq.Add(1), 10)
	if obj.GetName() == "" {
		obj.SetName(obj.GetGenerateName() + "x" + n)
	}
	obj.SetUID(types.UID("uid-" + n))
	obj.SetCreationTimestamp(metav1.NewTime(w.c.Clock.Now()))
	if k.Generation {
		obj.SetGeneration(1)
	}
	if k.HasStatus {
		k.ClearStatus(obj)
	}
	if ns, ok := obj.(*corev1.Namespace); ok && len(ns.Spec.Finalizers) == 0 {
		ns.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
	}
	if k.Default != nil {
		k.Default(obj)
	}
	if k.PrepareCreate != nil {
		k.PrepareCreate(obj)
	}
	key := k.StoreKey(obj.GetNamespace(), obj.GetName())
	it, err := w.put(ctx, k, key, obj, func(b []byte) (int64, error) { return w.c.store.Create(ctx, key, b) })
	if errors.Is(err, store.ErrExists) {
		return nil, apierrors.NewAlreadyExists(k.GroupResource(), obj.GetName())
	}
	return it, err
}

func (w *writer) put(ctx context.Context, k *api.Kind, key string, obj api.Object, write func([]byte) (int64, error)) (*cache.Item, error) {
	b, err := k.EncodeStored(obj)
	if err != nil {
		return nil, err
	}
	e := w.c.caches.Expect(key, b, obj)
	rev, err := write(b)
	if err != nil {
		e.Cancel()
		return nil, err
	}
	return e.Wait(ctx, w.c.caches.Of(k), rev)
}

func (w *writer) current(r client.Request) (*cache.Item, error) {
	it := w.c.caches.Of(r.Kind).Get(r.Kind.Key(r.Namespace, r.Name))
	if it == nil {
		return nil, apierrors.NewNotFound(r.Kind.GroupResource(), r.Name)
	}
	return it, nil
}

func (w *writer) Modify(ctx context.Context, r client.Request, change func(api.Object) error) (*cache.Item, error) {
	for {
		cur, err := w.current(r)
		if err != nil {
			return nil, err
		}
		obj := cur.Obj.DeepCopyObject().(api.Object)
		if err := change(obj); err != nil {
			return nil, err
		}
		it, err := w.replace(ctx, r, cur, obj)
		var conflict *store.Conflict
		if !errors.As(err, &conflict) {
			return it, err
		}
		if err := w.c.caches.Fresh(ctx); err != nil {
			return nil, err
		}
		if err := w.c.caches.WaitFor(ctx, conflict.Current.ModRev); err != nil {
			return nil, err
		}
		if conflict.Current.Value == nil {
			return nil, apierrors.NewNotFound(r.Kind.GroupResource(), r.Name)
		}
	}
}

func (w *writer) Update(ctx context.Context, r client.Request, obj api.Object) (*cache.Item, error) {
	cur, err := w.current(r)
	if err != nil {
		return nil, err
	}
	if rv := obj.GetResourceVersion(); rv != "" && rv != cur.Obj.GetResourceVersion() {
		return nil, apierrors.NewConflict(r.Kind.GroupResource(), r.Name, errors.New("the object has been modified"))
	}
	it, err := w.replace(ctx, r, cur, obj.DeepCopyObject().(api.Object))
	var conflict *store.Conflict
	if errors.As(err, &conflict) {
		return nil, apierrors.NewConflict(r.Kind.GroupResource(), r.Name, err)
	}
	return it, err
}

func (w *writer) Patch(ctx context.Context, r client.Request, pt types.PatchType, patch []byte) (*cache.Item, error) {
	var meta struct {
		Metadata struct {
			UID types.UID `json:"uid"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(patch, &meta); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return w.Modify(ctx, r, func(o api.Object) error {
		if uid := meta.Metadata.UID; uid != "" && uid != o.GetUID() {
			return apierrors.NewConflict(r.Kind.GroupResource(), r.Name, errors.New("uid mismatch"))
		}
		doc, err := json.Marshal(o)
		if err != nil {
			return err
		}
		if pt != types.StrategicMergePatchType && pt != types.MergePatchType {
			return apierrors.NewBadRequest("patch type " + string(pt))
		}
		out, err := strategicpatch.StrategicMergePatch(doc, patch, r.Kind.New())
		if err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
		n := r.Kind.New()
		if err := json.Unmarshal(out, n); err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
		r.Kind.CopySpec(o, n)
		if r.Kind.HasStatus {
			r.Kind.CopyStatus(o, n)
		}
		o.SetLabels(n.GetLabels())
		o.SetAnnotations(n.GetAnnotations())
		o.SetOwnerReferences(n.GetOwnerReferences())
		o.SetFinalizers(n.GetFinalizers())
		return nil
	})
}

// replace writes obj over cur as the request's subresource may.
func (w *writer) replace(ctx context.Context, r client.Request, cur *cache.Item, obj api.Object) (*cache.Item, error) {
	k := r.Kind
	next := obj
	switch r.Subresource {
	case "status":
		k.CopySpec(next, cur.Obj)
		next.SetLabels(cur.Obj.GetLabels())
		next.SetFinalizers(cur.Obj.GetFinalizers())
		next.SetOwnerReferences(cur.Obj.GetOwnerReferences())
		w.keep(next, cur.Obj)
	case "finalize":
		next = cur.Obj.DeepCopyObject().(api.Object)
		next.(*corev1.Namespace).Spec.Finalizers = obj.(*corev1.Namespace).Spec.Finalizers
	default:
		if k.HasStatus {
			k.CopyStatus(next, cur.Obj)
		}
		w.keep(next, cur.Obj)
		if k.Default != nil {
			k.Default(next)
		}
		if k.Generation && !k.SpecEqual(next, cur.Obj) {
			next.SetGeneration(cur.Obj.GetGeneration() + 1)
		}
	}
	next.SetResourceVersion(cur.Obj.GetResourceVersion())
	if equal(next, cur.Obj) {
		return cur, nil
	}
	if next.GetDeletionTimestamp() != nil && w.free(next) {
		return w.remove(ctx, k, cur)
	}
	key := k.StoreKey(r.Namespace, r.Name)
	return w.put(ctx, k, key, next, func(b []byte) (int64, error) { return w.c.store.Update(ctx, key, b, cur.Rev) })
}

// keep puts back what no client may change.
func (w *writer) keep(o, old api.Object) {
	o.SetUID(old.GetUID())
	o.SetCreationTimestamp(old.GetCreationTimestamp())
	o.SetGeneration(old.GetGeneration())
	o.SetDeletionTimestamp(old.GetDeletionTimestamp())
	o.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
}

// free tells whether an object that is being deleted may go.
func (w *writer) free(o api.Object) bool {
	if len(o.GetFinalizers()) > 0 {
		return false
	}
	if ns, ok := o.(*corev1.Namespace); ok {
		return len(ns.Spec.Finalizers) == 0
	}
	g := o.GetDeletionGracePeriodSeconds()
	return g == nil || *g == 0
}

func (w *writer) remove(ctx context.Context, k *api.Kind, cur *cache.Item) (*cache.Item, error) {
	rev, err := w.c.store.Delete(ctx, k.StoreKey(cur.Obj.GetNamespace(), cur.Obj.GetName()), cur.Rev)
	if err != nil {
		return nil, err
	}
	return cur, w.c.caches.WaitFor(ctx, rev)
}

func (w *writer) Delete(ctx context.Context, r client.Request, o metav1.DeleteOptions) (*cache.Item, error) {
	for {
		it, err := w.deleteOnce(ctx, r, o)
		var conflict *store.Conflict
		if !errors.As(err, &conflict) {
			return it, err
		}
		if err := w.c.caches.WaitFor(ctx, conflict.Current.ModRev); err != nil {
			return nil, err
		}
	}
}

func (w *writer) deleteOnce(ctx context.Context, r client.Request, o metav1.DeleteOptions) (*cache.Item, error) {
	cur, err := w.current(r)
	if err != nil {
		return nil, err
	}
	if p := o.Preconditions; p != nil {
		if p.UID != nil && *p.UID != cur.Obj.GetUID() || p.ResourceVersion != nil && *p.ResourceVersion != cur.Obj.GetResourceVersion() {
			return nil, apierrors.NewConflict(r.Kind.GroupResource(), r.Name, errors.New("precondition failed"))
		}
	}
	obj := cur.Obj.DeepCopyObject().(api.Object)
	finalizers := slices.Clone(obj.GetFinalizers())
	if p := o.PropagationPolicy; p != nil && obj.GetDeletionTimestamp() == nil {
		switch *p {
		case metav1.DeletePropagationForeground:
			finalizers = append(finalizers, metav1.FinalizerDeleteDependents)
		case metav1.DeletePropagationOrphan:
			finalizers = append(finalizers, metav1.FinalizerOrphanDependents)
		}
	}
	obj.SetFinalizers(finalizers)
	now := metav1.NewTime(w.c.Clock.Now())
	if obj.GetDeletionTimestamp() == nil {
		obj.SetDeletionTimestamp(&now)
	}
	zero := int64(0)
	switch t := obj.(type) {
	case *corev1.Namespace:
		t.Status.Phase = corev1.NamespaceTerminating
	case *corev1.Pod:
		grace := int64(30)
		if t.DeletionGracePeriodSeconds != nil {
			grace = *t.DeletionGracePeriodSeconds
		}
		if o.GracePeriodSeconds != nil {
			grace = *o.GracePeriodSeconds
		}
		if t.Spec.NodeName == "" || t.Status.Phase == corev1.PodSucceeded || t.Status.Phase == corev1.PodFailed {
			grace = zero
		}
		t.DeletionGracePeriodSeconds = &grace
	}
	if w.free(obj) {
		return w.remove(ctx, r.Kind, cur)
	}
	obj.SetResourceVersion(cur.Obj.GetResourceVersion())
	if equal(obj, cur.Obj) {
		return cur, nil
	}
	key := r.Kind.StoreKey(r.Namespace, r.Name)
	return w.put(ctx, r.Kind, key, obj, func(b []byte) (int64, error) { return w.c.store.Update(ctx, key, b, cur.Rev) })
}
