package pipeline

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/admission"
	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/schema/apply"
)

// nextScale makes a Scale of the current one and says that its fields are
// tracked by f.
type nextScale func(f *apply.Scale, cur *autoscalingv1.Scale) (*autoscalingv1.Scale, error)

func (p *Pipeline) updateScale(ctx context.Context, r client.Request, obj api.Object) (*cache.Item, error) {
	s, ok := obj.(*autoscalingv1.Scale)
	if !ok || r.Kind.Scale == nil {
		return nil, methodNotAllowed(r, "update")
	}
	return p.writeScale(ctx, r, func(f *apply.Scale, cur *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		next := s.DeepCopy()
		f.Update(cur, next)
		return next, nil
	})
}

func (p *Pipeline) patchScale(ctx context.Context, r client.Request, pt types.PatchType, patch []byte) (*cache.Item, error) {
	if r.Kind.Scale == nil {
		return nil, methodNotAllowed(r, "patch")
	}
	return p.writeScale(ctx, r, func(f *apply.Scale, cur *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		doc, err := api.EncodeJSON(cur)
		if err != nil {
			return nil, err
		}
		next := &autoscalingv1.Scale{}
		if err := patchInto(pt, doc, patch, next, r.Strict); err != nil {
			return nil, err
		}
		f.Update(cur, next)
		return next, nil
	})
}

func (p *Pipeline) applyScale(ctx context.Context, r client.Request, document []byte) (*cache.Item, error) {
	if r.Kind.Scale == nil {
		return nil, methodNotAllowed(r, "patch")
	}
	patch := applied(r, document)
	return p.writeScale(ctx, r, func(f *apply.Scale, cur *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		next, err := f.Apply(cur, patch)
		patch.Strict = nil
		return next, err
	})
}

func (p *Pipeline) writeScale(ctx context.Context, r client.Request, next nextScale) (*cache.Item, error) {
	inner := r
	inner.Subresource, inner.Admitted = "", true
	it, err := p.write(ctx, inner, 0, func(cur *cache.Item) (api.Object, error) {
		f, entries, err := p.Fields.Scale(p.tracking(r), cur.Obj.GetManagedFields())
		if err != nil {
			return nil, err
		}
		was := ScaleOf(r.Kind, cur.Obj)
		was.ManagedFields = entries
		s, err := next(f, was)
		if err != nil {
			return nil, err
		}
		if s.Spec.Replicas < 0 {
			return nil, apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), r.Name, field.ErrorList{
				field.Invalid(field.NewPath("spec", "replicas"), s.Spec.Replicas, "must be greater than or equal to 0"),
			})
		}
		if s.UID != "" && s.UID != cur.Obj.GetUID() {
			resource := r.Kind.GroupResource()
			resource.Resource += "/scale"
			return nil, apierrors.NewConflict(resource, r.Name, fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", s.UID, cur.Obj.GetUID()))
		}
		if err := p.admitBoth(ctx, p.attributes(r, admission.Update, s, was)); err != nil {
			return nil, err
		}
		obj := cur.Obj.DeepCopyObject().(api.Object)
		r.Kind.Scale.Set(obj, s.Spec.Replicas)
		if s.ResourceVersion != "" {
			obj.SetResourceVersion(s.ResourceVersion)
		}
		if entries, err = f.Entries(s); err != nil {
			return nil, err
		}
		obj.SetManagedFields(entries)
		return obj, nil
	})
	if err != nil {
		return nil, err
	}
	return answer(ScaleOf(r.Kind, it.Obj)), nil
}
