package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
)

// maxPatchOperations bounds a JSON patch, as upstream does.
const maxPatchOperations = 10000

// Patch implements client.Writer.
func (p *Pipeline) Patch(ctx context.Context, r client.Request, pt types.PatchType, patch []byte) (*cache.Item, error) {
	if err := p.authorize(ctx, r, "patch"); err != nil {
		return nil, err
	}
	if err := KnownPatch(pt); err != nil {
		return nil, err
	}
	if pt == types.ApplyYAMLPatchType {
		return p.apply(ctx, r, patch)
	}
	if r.Subresource == "scale" {
		return p.patchScale(ctx, r, pt, patch)
	}
	judge := r.Strict
	return p.overwrite(ctx, r, 0, true, func(cur *cache.Item) (api.Object, error) {
		obj, err := patched(versionOf(r), cur, pt, patch, judge)
		if err != nil {
			return nil, err
		}
		judge = nil // once is enough: another attempt says the same
		obj.GetObjectKind().SetGroupVersionKind(noKind)
		if obj.GetName() != cur.Obj.GetName() {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", obj.GetName(), r.Name))
		}
		if obj.GetNamespace() != cur.Obj.GetNamespace() {
			return nil, apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
		}
		return obj, nil
	})
}

// patched is the object as a patch makes it, which speaks of the object as the
// given version shows it.
func patched(v *api.Version, cur *cache.Item, pt types.PatchType, patch []byte, strict func([]error) error) (api.Object, error) {
	var doc []byte
	var err error
	if v.IsOwn() {
		doc, err = cur.JSON()
	} else {
		var shown api.Object
		if shown, err = v.Show(cur.Obj); err == nil {
			doc, err = api.EncodeJSON(shown)
		}
	}
	if err != nil {
		return nil, err
	}
	obj := v.New()
	if err := patchInto(pt, doc, patch, obj, strict); err != nil {
		return nil, err
	}
	if obj, err = v.Convert(obj); err != nil {
		return nil, unprocessable(err)
	}
	return obj, nil
}

// patchInto patches doc, the JSON of an object of into's type, and decodes the
// result into into. strict, where set, judges its unknown fields.
func patchInto(pt types.PatchType, doc, patch []byte, into any, strict func([]error) error) error {
	out, err := patchJSON(pt, doc, patch, into)
	if err != nil {
		return err
	}
	if strict == nil {
		err = api.DecodeJSON(out, into)
	} else {
		var unknown []error
		if unknown, err = api.DecodeJSONStrict(out, into); err == nil && len(unknown) > 0 {
			return strict(unknown)
		}
	}
	if err != nil {
		return unprocessable(err)
	}
	return nil
}

// patchJSON patches doc, the JSON of an object of the type of like.
func patchJSON(pt types.PatchType, doc, patch []byte, like any) ([]byte, error) {
	switch pt {
	case types.JSONPatchType:
		ops, err := jsonpatch.DecodePatch(patch)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
		if len(ops) > maxPatchOperations {
			return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("The allowed maximum operations in a JSON patch is %d, got %d", maxPatchOperations, len(ops)))
		}
		out, err := applyOperations(ops, doc)
		if err != nil {
			return nil, unprocessable(err)
		}
		return out, nil
	case types.MergePatchType:
		if !json.Valid(patch) {
			var v any
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", json.Unmarshal(patch, &v)))
		}
		out, err := jsonpatch.MergePatch(doc, patch)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return out, nil
	case types.StrategicMergePatchType:
		out, err := strategicpatch.StrategicMergePatch(doc, patch, like)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return out, nil
	}
	return nil, unknownPatch()
}

// applyOperations applies a JSON patch. The library counts on operations that
// have all that they need.
func applyOperations(ops jsonpatch.Patch, doc []byte) (out []byte, err error) {
	defer func() {
		if recover() != nil {
			out, err = nil, errors.New("an operation of the patch lacks its value")
		}
	}()
	return ops.Apply(doc)
}

// KnownPatch refuses the kinds of patch that are not served.
func KnownPatch(pt types.PatchType) error {
	switch pt {
	case types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType, types.ApplyYAMLPatchType:
		return nil
	}
	return unknownPatch()
}

func unknownPatch() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: fmt.Sprintf("the body of the request was in an unknown format - accepted media types include: %s, %s, %s, %s", types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType, types.ApplyYAMLPatchType),
	}}
}

func unprocessable(err error) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
		Message: fmt.Sprintf("the server rejected our request due to an error in our request: %v", err),
		Details: &metav1.StatusDetails{},
	}}
}
