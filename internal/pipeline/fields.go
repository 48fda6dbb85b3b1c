package pipeline

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/schema/apply"
	"github.com/monohull/monohull/internal/store"
)

// tracking describes a write to the room that keeps managed fields.
func (p *Pipeline) tracking(r client.Request) apply.Write {
	return apply.Write{Kind: r.Kind, Version: r.Version, Subresource: r.Subresource, Manager: managerOf(r), Now: p.Clock.Now()}
}

// managerOf names the field manager of a request. A component of ours that
// names none is known as the upstream component whose work it does.
func managerOf(r client.Request) string {
	user := r.User.GetName()
	if r.Manager != "" && r.Manager != user {
		return r.Manager
	}
	switch {
	case strings.HasPrefix(user, "system:serviceaccount:kube-system:"):
		return "kube-controller-manager"
	case strings.HasPrefix(user, "system:node:"):
		return "kubelet"
	case user == "system:apiserver":
		return "kube-apiserver"
	}
	return strings.TrimPrefix(user, "system:")
}

// keepValid puts the managed fields back where admission has left some that
// cannot be read.
func keepValid(r client.Request, obj api.Object, before []metav1.ManagedFieldsEntry) {
	after := obj.GetManagedFields()
	if len(after) == len(before) && (len(after) == 0 || &after[0] == &before[0]) {
		return
	}
	if err := managedfields.ValidateManagedFields(after); err != nil {
		obj.SetManagedFields(before)
		if r.Warn != nil {
			r.Warn(fmt.Sprintf(".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: %v", err))
		}
	}
}

// unchanged tells whether value, the encoding of obj, says the same as what is
// stored. Times of managed fields do not count: where nothing else differs the
// write did not happen.
func unchanged(k *api.Kind, cur *cache.Item, obj api.Object, value []byte) (bool, error) {
	raw, _ := cur.Proto()
	if raw == nil {
		return false, nil
	}
	now := api.Raw(value)
	if bytes.Equal(raw, now) {
		return true, nil
	}
	was, is := cur.Obj.GetManagedFields(), obj.GetManagedFields()
	if len(was) != len(is) || !bytes.Equal(afterMetadata(raw), afterMetadata(now)) {
		return false, nil
	}
	old := slices.Clone(is)
	for i := range is {
		if !apply.SameEntry(&was[i], &is[i]) {
			return false, nil
		}
		old[i].Time = was[i].Time
	}
	obj.SetManagedFields(old)
	again, err := k.EncodeStored(obj)
	if err != nil {
		return false, err
	}
	if bytes.Equal(raw, api.Raw(again)) {
		return true, nil
	}
	obj.SetManagedFields(is)
	return false, nil
}

// afterMetadata is what follows the metadata in an object's protobuf message.
func afterMetadata(raw []byte) []byte {
	if len(raw) < 2 || raw[0] != 0x0a {
		return raw
	}
	n, w := binary.Uvarint(raw[1:])
	if w <= 0 || uint64(len(raw)-1-w) < n {
		return raw
	}
	return raw[1+w+int(n):]
}

// putTracked is put that does without managed fields where the object is too
// large with them, unless the write is an apply, which would lose its meaning.
func (p *Pipeline) putTracked(ctx context.Context, r client.Request, obj api.Object, value []byte, tracked bool, write func(key string, value []byte) (int64, error)) (*cache.Item, error) {
	it, err := p.put(ctx, r.Kind, obj, value, func(key string) (int64, error) { return write(key, value) })
	if !tracked || !errors.Is(err, store.ErrTooLarge) || len(obj.GetManagedFields()) == 0 {
		return it, err
	}
	obj.SetManagedFields(nil)
	if value, err = r.Kind.EncodeStored(obj); err != nil {
		return nil, err
	}
	return p.put(ctx, r.Kind, obj, value, func(key string) (int64, error) { return write(key, value) })
}

// apply merges a document of the caller's into the object, or creates it.
func (p *Pipeline) apply(ctx context.Context, r client.Request, document []byte) (*cache.Item, error) {
	if r.Subresource == "scale" {
		return p.applyScale(ctx, r, document)
	}
	patch := applied(r, document)
	for range maxAttempts {
		if p.current(r) == nil {
			if r.Subresource != "" {
				return nil, notFound(r)
			}
			it, err := p.applyNew(ctx, r, patch)
			if err = storeError(r, err); !apierrors.IsAlreadyExists(err) {
				return it, err
			}
			// made meanwhile: wait until the cache knows
			now, err := p.Store.Revision(ctx)
			if err == nil {
				err = p.Caches.WaitFor(ctx, now)
			}
			if err != nil {
				return nil, storeError(r, err)
			}
			patch.Strict = nil // said once
			continue
		}
		it, err := p.write(ctx, r, 0, func(cur *cache.Item) (api.Object, error) {
			obj, err := p.Fields.Apply(p.tracking(r), cur.Obj, patch)
			if err != nil {
				return nil, err
			}
			patch.Strict = nil
			return obj, placeApplied(r, obj)
		})
		if apierrors.IsNotFound(err) && p.current(r) == nil && r.Subresource == "" {
			continue // deleted meanwhile
		}
		return it, err
	}
	return nil, conflict(r)
}

func applied(r client.Request, document []byte) apply.Patch {
	patch := apply.Patch{Document: document, Force: r.Force}
	if r.Strict != nil {
		patch.Strict = func(err error) error { return r.Strict([]error{err}) }
	}
	return patch
}

// applyNew creates an object of what is applied.
func (p *Pipeline) applyNew(ctx context.Context, r client.Request, patch apply.Patch) (*cache.Item, error) {
	obj, err := p.Fields.Apply(p.tracking(r), nil, patch)
	if err != nil {
		return nil, err
	}
	if uid := obj.GetUID(); uid != "" {
		return nil, apierrors.NewConflict(r.Kind.GroupResource(), r.Name, fmt.Errorf("uid mismatch: the provided object specified uid %s, and no existing object was found", uid))
	}
	if err := placeApplied(r, obj); err != nil {
		return nil, err
	}
	if err := p.authorize(ctx, r, "create"); err != nil {
		return nil, err
	}
	return p.create(ctx, r, obj, false)
}

// placeApplied checks that what was applied is the object in the path.
func placeApplied(r client.Request, obj api.Object) error {
	switch {
	case !r.Kind.Namespaced:
	case obj.GetNamespace() == "":
		obj.SetNamespace(r.Namespace)
	case obj.GetNamespace() != r.Namespace:
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	switch obj.GetName() {
	case r.Name:
		return nil
	case "":
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", r.Name))
	}
	return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", obj.GetName(), r.Name))
}
