package pipeline

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/admission"
	"github.com/monohull/monohull/internal/api"
	apimeta "github.com/monohull/monohull/internal/api/meta"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/store"
)

var noKind schema.GroupVersionKind

// Update implements client.Writer.
func (p *Pipeline) Update(ctx context.Context, r client.Request, obj api.Object) (*cache.Item, error) {
	if err := p.authorize(ctx, r, "update"); err != nil {
		return nil, err
	}
	if r.Subresource == "scale" {
		return p.updateScale(ctx, r, obj)
	}
	if err := place(r, obj); err != nil {
		return nil, err
	}
	if obj.GetName() == "" {
		return nil, apierrors.NewBadRequest("name must be provided")
	}
	rev, err := parseRevision(r, obj.GetResourceVersion())
	if err != nil {
		return nil, err
	}
	if rev == 0 && !r.Kind.UnconditionalUpdate && r.Subresource == "" && p.current(r) != nil {
		return nil, apierrors.NewInvalid(r.Kind.GVK.GroupKind(), r.Name, unversioned())
	}
	if p.current(r) == nil && r.Subresource == "" && r.Kind.CreateOnUpdate && rev == 0 {
		if err := p.authorize(ctx, r, "create"); err != nil {
			return nil, err
		}
		obj.SetResourceVersion("")
		return p.create(ctx, r, obj, true)
	}
	return p.overwrite(ctx, r, rev, true, func(*cache.Item) (api.Object, error) {
		return obj.DeepCopyObject().(api.Object), nil
	})
}

// Modify implements client.Writer.
func (p *Pipeline) Modify(ctx context.Context, r client.Request, change func(api.Object) error) (*cache.Item, error) {
	if err := p.authorize(ctx, r, "update"); err != nil {
		return nil, err
	}
	return p.overwrite(ctx, r, 0, true, func(cur *cache.Item) (api.Object, error) {
		obj := cur.Obj.DeepCopyObject().(api.Object)
		if err := change(obj); err != nil {
			return nil, err
		}
		obj.SetResourceVersion(cur.Obj.GetResourceVersion())
		return obj, nil
	})
}

// write is overwrite that tracks no fields: next has done so, or the write is
// one whose fields nobody owns.
func (p *Pipeline) write(ctx context.Context, r client.Request, rev int64, next func(*cache.Item) (api.Object, error)) (*cache.Item, error) {
	return p.overwrite(ctx, r, rev, false, next)
}

// overwrite replaces an object by what next makes of the current one. rev, if
// not zero, is the only version that may be replaced. track says that the
// fields next changes become those of the request's manager.
func (p *Pipeline) overwrite(ctx context.Context, r client.Request, rev int64, track bool, next func(*cache.Item) (api.Object, error)) (*cache.Item, error) {
	for range maxAttempts {
		cur := p.current(r)
		if cur == nil {
			return nil, notFound(r)
		}
		obj, err := next(cur)
		if err != nil {
			return nil, err
		}
		if rev == 0 && obj.GetResourceVersion() != "" && obj.GetResourceVersion() != cur.Obj.GetResourceVersion() {
			if rev, err = parseRevision(r, obj.GetResourceVersion()); err != nil {
				return nil, err
			}
		}
		if rev != 0 && rev != cur.Rev {
			if rev < cur.Rev || p.Caches.Rev() >= rev {
				return nil, conflict(r)
			}
			if err := p.Caches.WaitFor(ctx, rev); err != nil {
				return nil, storeError(r, err)
			}
			continue
		}
		it, err := p.replace(ctx, r, cur, obj, track)
		var c *store.Conflict
		if !errors.As(err, &c) {
			return it, storeError(r, err)
		}
		if c.Current.Value == nil {
			// deleted meanwhile: wait until the cache knows
			now, err := p.Store.Revision(ctx)
			if err == nil {
				err = p.Caches.WaitFor(ctx, now)
			}
			if err != nil {
				return nil, storeError(r, err)
			}
			if rev != 0 {
				return nil, conflict(r)
			}
			continue
		}
		if rev != 0 {
			return nil, conflict(r)
		}
		if err := p.Caches.WaitFor(ctx, c.Current.ModRev); err != nil {
			return nil, storeError(r, err)
		}
	}
	return nil, conflict(r)
}

// replace takes one changed object through the steps and stores it over cur.
func (p *Pipeline) replace(ctx context.Context, r client.Request, cur *cache.Item, obj api.Object, track bool) (*cache.Item, error) {
	k, old := r.Kind, cur.Obj
	if uid := obj.GetUID(); uid != "" && uid != old.GetUID() {
		return nil, apierrors.NewConflict(k.GroupResource(), r.Name, fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", uid, old.GetUID()))
	}
	obj.GetObjectKind().SetGroupVersionKind(noKind)
	if k.Default != nil {
		k.Default(obj)
	}
	if track {
		p.Fields.Update(p.tracking(r), old, obj)
	}
	entries := obj.GetManagedFields()
	if err := p.settle(r, obj, old); err != nil {
		return nil, err
	}
	obj.SetManagedFields(entries)
	if k.Date != nil {
		k.Date(obj, old, p.Clock.Now())
	}
	a := p.attributes(r, admission.Update, obj, old)
	kept := false
	defer func() { a.Outcome.Tell(kept) }()
	judged := !r.Admitted // what was admitted in another form is not again
	if judged {
		if err := p.admit(ctx, a, false); err != nil {
			return nil, err
		}
		if k.Generation && r.Subresource == "" && obj.GetGeneration() == old.GetGeneration() && !k.SpecEqual(obj, old) {
			obj.SetGeneration(old.GetGeneration() + 1)
		}
	}
	keepValid(r, obj, entries)
	grant, err := p.Services.allocate(k, obj, old)
	if err != nil {
		return nil, err
	}
	stored, unknown := false, false
	defer func() {
		switch {
		case stored:
			grant.done()
		case !unknown:
			grant.undo()
		}
	}()
	if err := p.validateUpdate(r, obj, old); err != nil {
		return nil, err
	}
	p.warn(r, obj, old)
	if judged {
		if err := p.admit(ctx, a, true); err != nil {
			return nil, err
		}
	}
	if p.Roles != nil && r.Subresource == "" {
		if err := p.Roles.Check(ctx, r.User, obj, old); err != nil {
			return nil, err
		}
	}
	value, err := k.EncodeStored(obj)
	if err != nil {
		return nil, err
	}
	same, err := unchanged(k, cur, obj, value)
	if err != nil {
		return nil, err
	}
	if same && !p.Caches.Stale(cur) { // sealed with an old key it is written anew
		return cur, nil // nothing changed: no new revision
	}
	if r.DryRun {
		obj.SetResourceVersion(old.GetResourceVersion())
		return &cache.Item{Kind: k, Obj: obj}, nil
	}
	var it *cache.Item
	if finished(k, obj) {
		it, err = p.remove(ctx, k, cur)
	} else {
		it, err = p.putTracked(ctx, r, obj, value, track, func(key string, value []byte) (int64, error) { return p.Store.Update(ctx, key, value, cur.Rev) })
	}
	stored, unknown = err == nil, uncertain(err)
	kept = stored
	return it, err
}

// settle puts back what this kind of write may not change.
func (p *Pipeline) settle(r client.Request, obj, old api.Object) error {
	k := r.Kind
	obj.SetUID(old.GetUID())
	if t := old.GetCreationTimestamp(); !t.IsZero() {
		obj.SetCreationTimestamp(t)
	}
	if t := old.GetDeletionTimestamp(); t != nil {
		obj.SetDeletionTimestamp(t)
	}
	if g := old.GetDeletionGracePeriodSeconds(); g != nil && obj.GetDeletionGracePeriodSeconds() == nil {
		obj.SetDeletionGracePeriodSeconds(g)
	}
	obj.SetSelfLink("")
	obj.SetGeneration(old.GetGeneration())
	switch r.Subresource {
	case "":
		if k.CopyStatus != nil {
			k.CopyStatus(obj, old)
		}
		if k.PrepareUpdate != nil {
			k.PrepareUpdate(obj, old)
		}
		if k.Generation && !k.SpecEqual(obj, old) {
			obj.SetGeneration(old.GetGeneration() + 1)
		}
	case "status":
		if !k.HasStatus {
			return notFound(r)
		}
		k.CopySpec(obj, old)
		if k.PrepareStatus != nil {
			k.PrepareStatus(obj, old)
		}
	default:
		return p.settleSubresource(r, obj, old)
	}
	return nil
}

func (p *Pipeline) validateUpdate(r client.Request, obj, old api.Object) error {
	var validate func(newObj, old api.Object) field.ErrorList
	switch r.Subresource {
	case "":
		if validate = r.Kind.ValidateUpdate; versionOf(r).ValidateUpdate != nil {
			validate = versionOf(r).ValidateUpdate
		}
	case "status":
		validate = r.Kind.ValidateStatus
	default: // a binding has been judged by itself
		if part := r.Kind.Parts[r.Subresource]; part != nil {
			validate = part.Validate
		}
	}
	obj.SetResourceVersion(old.GetResourceVersion())
	errs := apimeta.CommonUpdate(obj, old, r.Kind.Namespaced)
	if validate != nil {
		errs = append(errs, validate(obj, old)...)
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(r.Kind.GVK.GroupKind(), obj.GetName(), errs)
	}
	return nil
}
