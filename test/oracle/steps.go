package oracle

import (
	"context"
	"fmt"
	"sort"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validate/content"
	genericvalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"

	"github.com/monohull/monohull/internal/api"
	apimeta "github.com/monohull/monohull/internal/api/meta"
)

const (
	testUID = types.UID("0b8b5ad4-3c2e-4b8e-9d6f-2f1a3f0e7c11")
	testRV  = "1"
)

// outcome is what a write comes to on one side.
type outcome struct {
	obj      runtime.Object // in the kind's own version, as it would be stored
	errs     field.ErrorList
	warnings []string
}

// internal converts to the type upstream works on.
func (r *Resource) internal(o runtime.Object) runtime.Object {
	out, err := r.Scheme.ConvertToVersion(o.DeepCopyObject(), schema.GroupVersion{Group: r.GVR.Group, Version: runtime.APIVersionInternal})
	if err != nil {
		panic(fmt.Sprintf("converting %T: %v", o, err))
	}
	return out
}

// external converts back, to version gvk.
func (r *Resource) external(o runtime.Object, gvk schema.GroupVersionKind) runtime.Object {
	out, err := r.Scheme.ConvertToVersion(o.DeepCopyObject(), gvk.GroupVersion())
	if err != nil {
		panic(fmt.Sprintf("converting %T: %v", o, err))
	}
	// what is stored is defaulted again whenever it is read
	r.Scheme.Default(out)
	out.GetObjectKind().SetGroupVersionKind(gvk)
	return out
}

func (r *Resource) context(o metav1.Object, verb, sub string) context.Context {
	ctx := request.WithRequestInfo(context.Background(), &request.RequestInfo{
		IsResourceRequest: true, Verb: verb, APIGroup: r.GVR.Group, APIVersion: r.GVR.Version, Resource: r.GVR.Resource,
		Subresource: sub, Namespace: o.GetNamespace(), Name: o.GetName(),
	})
	ctx = request.WithNamespace(ctx, o.GetNamespace())
	ctx = request.WithUser(ctx, caller)
	return warning.WithWarningRecorder(ctx, deaf{})
}

// caller is the user of every request.
var caller = &user.DefaultInfo{Name: "oracle", Groups: []string{"system:authenticated"}}

type deaf struct{}

func (deaf) AddWarning(string, string) {}

func pathSegment(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}

var metadata = field.NewPath("metadata")

// create takes a defaulted internal object through upstream's steps of a create.
// prepared, where not nil, is what the steps before validation come to.
func (r *Resource) create(in runtime.Object, gvk schema.GroupVersionKind, prepared runtime.Object) outcome {
	s := r.Store.CreateStrategy
	m := accessor(in)
	rest.WipeObjectMetaSystemFields(m)
	m.SetUID(testUID)
	ctx := r.context(m, "create", "")
	s.PrepareForCreate(ctx, in)
	if prepared != nil {
		in = r.internal(prepared)
		m = accessor(in)
	}
	var out outcome
	out.obj = r.external(in, gvk)
	if out.errs = s.Validate(ctx, in); len(out.errs) == 0 {
		out.errs = genericvalidation.ValidateObjectMetaAccessor(m, s.NamespaceScoped(), pathSegment, metadata)
	}
	if len(out.errs) == 0 {
		out.warnings = s.WarningsOnCreate(ctx, in)
		s.Canonicalize(in)
		out.obj = r.external(in, gvk)
	}
	return out
}

// update takes a change through upstream's steps, to the resource itself or to
// the subresource whose store is given.
func (r *Resource) update(store *registry.Store, sub string, in, old runtime.Object, gvk schema.GroupVersionKind, prepared runtime.Object) outcome {
	s := store.UpdateStrategy
	m, was := accessor(in), accessor(old)
	ctx := r.context(m, "update", sub)
	m.SetGeneration(was.GetGeneration())
	s.PrepareForUpdate(ctx, in, old)
	if m.GetUID() == "" {
		m.SetUID(was.GetUID())
	}
	keepSystemFields(m, was)
	if prepared != nil {
		in = r.internal(prepared)
		m = accessor(in)
	}
	var out outcome
	out.obj = r.external(in, gvk)
	out.errs = genericvalidation.ValidateObjectMetaAccessor(m, s.NamespaceScoped(), pathSegment, metadata)
	out.errs = append(out.errs, genericvalidation.ValidateObjectMetaAccessorUpdate(m, was, metadata)...)
	out.errs = append(out.errs, s.ValidateUpdate(ctx, in, old)...)
	if len(out.errs) == 0 {
		out.warnings = s.WarningsOnUpdate(ctx, in, old)
		s.Canonicalize(in)
		out.obj = r.external(in, gvk)
	}
	return out
}

// keepSystemFields puts back what the server alone writes. A client that sets a
// deletion of its own is not put right but refused, by the validation after.
func keepSystemFields(m, was metav1.Object) {
	if t := was.GetCreationTimestamp(); !t.IsZero() {
		m.SetCreationTimestamp(t)
	}
	if !was.GetDeletionTimestamp().IsZero() {
		m.SetDeletionTimestamp(was.GetDeletionTimestamp())
	}
	if was.GetDeletionGracePeriodSeconds() != nil && m.GetDeletionGracePeriodSeconds() == nil {
		m.SetDeletionGracePeriodSeconds(was.GetDeletionGracePeriodSeconds())
	}
}

// ourCreate takes a defaulted object through the pipeline's steps of a create.
func ourCreate(k *api.Kind, obj api.Object) outcome {
	obj.SetUID(testUID)
	obj.SetCreationTimestamp(metav1.Time{})
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetSelfLink("")
	if k.Stamp != nil {
		k.Stamp(obj, caller)
	}
	if k.ClearStatus != nil && !k.StatusOnCreate {
		k.ClearStatus(obj)
	}
	if k.PrepareCreate != nil {
		k.PrepareCreate(obj)
	}
	if k.Date != nil {
		k.Date(obj, nil, time.Now())
	}
	out := outcome{obj: obj}
	if k.Validate != nil {
		out.errs = k.Validate(obj)
	}
	if len(out.errs) == 0 {
		out.errs = apimeta.Common(obj, k.Namespaced)
	}
	if len(out.errs) == 0 && k.Warnings != nil {
		out.warnings = k.Warnings(obj)
	}
	return out
}

// ourUpdate takes a change of a defaulted object through the pipeline's steps.
// ok is false where the kind has no such subresource.
func ourUpdate(k *api.Kind, sub string, obj, old api.Object) (out outcome, ok bool) {
	obj.SetUID(old.GetUID())
	keepSystemFields(obj, old)
	obj.SetGeneration(old.GetGeneration())
	bump := func() {
		if k.Generation && !k.SpecEqual(obj, old) {
			obj.SetGeneration(old.GetGeneration() + 1)
		}
	}
	validate := k.ValidateUpdate
	switch part := k.Parts[sub]; {
	case sub == "":
		if k.CopyStatus != nil {
			k.CopyStatus(obj, old)
		}
		if k.PrepareUpdate != nil {
			k.PrepareUpdate(obj, old)
		}
		bump()
	case sub == "status":
		if !k.HasStatus {
			return outcome{}, false
		}
		k.CopySpec(obj, old)
		if k.PrepareStatus != nil {
			k.PrepareStatus(obj, old)
		}
		validate = k.ValidateStatus
	case part != nil:
		part.Settle(obj, old)
		bump()
		validate = part.Validate
	default:
		if validate, ok = settleByHand(k, sub, obj, old); !ok {
			return outcome{}, false
		}
		bump()
	}
	if k.Date != nil {
		k.Date(obj, old, time.Now())
	}
	out.obj = obj
	out.errs = apimeta.CommonUpdate(obj, old, k.Namespaced)
	if validate != nil {
		out.errs = append(out.errs, validate(obj, old)...)
	}
	if len(out.errs) > 0 {
		return out, true
	}
	switch {
	case sub == "status":
		if k.StatusWarnings != nil {
			out.warnings = k.StatusWarnings(obj)
		}
	case sub != "":
	case k.UpdateWarnings != nil:
		out.warnings = k.UpdateWarnings(obj, old)
	case k.Warnings != nil:
		out.warnings = k.Warnings(obj)
	}
	return out, true
}

func accessor(o runtime.Object) metav1.Object {
	m, err := meta.Accessor(o)
	if err != nil {
		panic(fmt.Sprintf("%T has no metadata", o))
	}
	return m
}

func sorted(s []string) []string {
	out := append([]string(nil), s...)
	sort.Strings(out)
	return out
}
