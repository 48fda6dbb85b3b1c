package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/admission"
	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/store"
)

// Delete implements client.Writer. An object with finalizers, a pod with a
// kubelet to stop it and a namespace with content are marked and stay; what is
// returned then has a deletion timestamp and is still in the cache.
func (p *Pipeline) Delete(ctx context.Context, r client.Request, o metav1.DeleteOptions) (*cache.Item, error) {
	verb, named := "delete", r
	if r.Collection {
		verb, named.Name = "deletecollection", ""
	}
	if err := p.authorize(ctx, named, verb); err != nil {
		return nil, err
	}
	if errs := metavalidation.ValidateDeleteOptions(&o); len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: "meta.k8s.io", Kind: "DeleteOptions"}, "", errs)
	}
	if k := r.Kind.OrphanByDefault; k != nil && k.Warning != "" && r.Warn != nil && o.PropagationPolicy == nil && o.OrphanDependents == nil { //nolint:staticcheck // old clients send it
		r.Warn(k.Warning)
	}
	for range maxAttempts {
		cur := p.current(r)
		if cur == nil {
			return nil, notFound(r)
		}
		if err := preconditions(r, cur.Obj, o.Preconditions); err != nil {
			return nil, err
		}
		if !r.Admitted {
			a := p.attributes(r, admission.Delete, nil, cur.Obj)
			a.Options = &o
			if err := p.admitBoth(ctx, a); err != nil {
				return nil, err
			}
		}
		if r.DryRun {
			return cur, nil
		}
		it, err := p.deleteOnce(ctx, r, cur, o)
		var c *store.Conflict
		if !errors.As(err, &c) {
			return it, storeError(r, err)
		}
		if c.Current.Value == nil {
			return nil, notFound(r)
		}
		if err := p.Caches.WaitFor(ctx, c.Current.ModRev); err != nil {
			return nil, storeError(r, err)
		}
	}
	return nil, conflict(r)
}

func preconditions(r client.Request, obj api.Object, pre *metav1.Preconditions) error {
	if pre == nil {
		return nil
	}
	if pre.UID != nil && *pre.UID != obj.GetUID() {
		return apierrors.NewConflict(r.Kind.GroupResource(), r.Name, fmt.Errorf("the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", *pre.UID, obj.GetUID()))
	}
	if pre.ResourceVersion != nil && *pre.ResourceVersion != obj.GetResourceVersion() {
		return apierrors.NewConflict(r.Kind.GroupResource(), r.Name, fmt.Errorf("the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", *pre.ResourceVersion, obj.GetResourceVersion()))
	}
	return nil
}

func (p *Pipeline) deleteOnce(ctx context.Context, r client.Request, cur *cache.Item, o metav1.DeleteOptions) (*cache.Item, error) {
	obj := cur.Obj.DeepCopyObject().(api.Object)
	changed := markDeleted(r.Kind, obj, o, p.Clock.Now())
	if finished(r.Kind, obj) {
		return p.remove(ctx, r.Kind, cur)
	}
	if !changed {
		return cur, nil
	}
	value, err := r.Kind.EncodeStored(obj)
	if err != nil {
		return nil, err
	}
	return p.put(ctx, r.Kind, obj, value, func(key string) (int64, error) { return p.Store.Update(ctx, key, value, cur.Rev) })
}

// markDeleted writes into obj what a request to delete it means, and tells
// whether that changed anything.
func markDeleted(k *api.Kind, obj api.Object, o metav1.DeleteOptions, now time.Time) bool {
	changed := propagate(k, obj, o)
	grace := int64(0)
	if k.GracePeriod != nil {
		grace = k.GracePeriod(obj, o.GracePeriodSeconds)
	}
	first := obj.GetDeletionTimestamp() == nil
	if !first {
		// a deletion under way may only be shortened, and only on request, even
		// of a pod that has ended meanwhile: its kubelet says when it is done
		left := obj.GetDeletionGracePeriodSeconds()
		if k.GracePeriod == nil || left == nil || o.GracePeriodSeconds == nil || *o.GracePeriodSeconds >= *left {
			return changed
		}
		grace = *o.GracePeriodSeconds
		now = obj.GetDeletionTimestamp().Add(-time.Duration(*left) * time.Second)
	}
	at := metav1.NewTime(now.Add(time.Duration(grace) * time.Second).Truncate(time.Second))
	obj.SetDeletionTimestamp(&at)
	obj.SetDeletionGracePeriodSeconds(&grace)
	if first && obj.GetGeneration() > 0 {
		obj.SetGeneration(obj.GetGeneration() + 1)
	}
	if k.Terminating != nil {
		k.Terminating(obj, now)
	}
	return true
}

// propagate puts the finalizers for the garbage collector as the deletion's
// propagation policy has it.
func propagate(k *api.Kind, obj api.Object, o metav1.DeleteOptions) bool {
	have := obj.GetFinalizers()
	orphan := slices.Contains(have, metav1.FinalizerOrphanDependents)
	foreground := slices.Contains(have, metav1.FinalizerDeleteDependents)
	switch {
	case o.OrphanDependents != nil: //nolint:staticcheck // old clients send it
		orphan, foreground = *o.OrphanDependents, false //nolint:staticcheck
	case o.PropagationPolicy != nil:
		orphan = *o.PropagationPolicy == metav1.DeletePropagationOrphan
		foreground = *o.PropagationPolicy == metav1.DeletePropagationForeground
	case !orphan && !foreground && k.OrphanByDefault != nil:
		orphan = true
	}
	want := slices.DeleteFunc(slices.Clone(have), func(f string) bool {
		return f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents
	})
	if orphan {
		want = append(want, metav1.FinalizerOrphanDependents)
	}
	if foreground {
		want = append(want, metav1.FinalizerDeleteDependents)
	}
	slices.Sort(want)
	sorted := slices.Clone(have)
	slices.Sort(sorted)
	if slices.Equal(want, sorted) {
		return false
	}
	obj.SetFinalizers(want)
	return true
}

// finished tells whether nothing holds back the removal of a deleted object.
func finished(k *api.Kind, obj api.Object) bool {
	if obj.GetDeletionTimestamp() == nil || len(obj.GetFinalizers()) > 0 {
		return false
	}
	if ns, ok := obj.(*corev1.Namespace); ok {
		return len(ns.Spec.Finalizers) == 0
	}
	g := obj.GetDeletionGracePeriodSeconds()
	return k.GracePeriod == nil || g == nil || *g == 0
}

// remove takes the object out of the store and returns its last state.
func (p *Pipeline) remove(ctx context.Context, k *api.Kind, cur *cache.Item) (*cache.Item, error) {
	rev, err := p.Store.Delete(ctx, k.StoreKey(cur.Obj.GetNamespace(), cur.Obj.GetName()), cur.Rev)
	if err != nil {
		return nil, err
	}
	p.Services.released(k, cur.Obj)
	if err := p.Caches.WaitFor(ctx, rev); err != nil {
		return nil, err
	}
	last := cur.Obj.DeepCopyObject().(api.Object)
	last.SetResourceVersion(fmt.Sprint(rev))
	return &cache.Item{Kind: k, Key: cur.Key, Obj: last, Rev: rev}, nil
}

func unversioned() field.ErrorList {
	return field.ErrorList{field.Invalid(field.NewPath("metadata", "resourceVersion"), 0, "must be specified for an update")}
}
