package apiserver

import (
	"mime"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	autoscalingv1 "k8s.io/api/autoscaling/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/pipeline"
)

// patch applies the body to an object.
func (c *call) patch(sub string) error {
	r, err := c.request(sub)
	if err != nil {
		return err
	}
	patch, err := readBody(c.req)
	if err != nil {
		return err
	}
	media, _, err := mime.ParseMediaType(c.req.Header.Get("Content-Type"))
	if err != nil {
		return apierrors.NewBadRequest("the Content-Type of a patch says which kind of patch it is: " + err.Error())
	}
	f, err := fieldValidationOf(c.query.Get, func(m string) { warn(c.w, m) })
	if err != nil {
		return err
	}
	if err := c.strictPatch(sub, types.PatchType(media), patch, f); err != nil {
		return err
	}
	it, err := c.s.Writer.Patch(c.req.Context(), r, types.PatchType(media), patch)
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, it)
}

// strictPatch looks for unknown fields in what the patch makes of the object.
func (c *call) strictPatch(sub string, pt types.PatchType, patch []byte, f fieldValidation) error {
	if f.mode == "Ignore" {
		return nil
	}
	it := c.current()
	if it == nil {
		return nil // the pipeline will say so
	}
	var like any = c.kind.New()
	doc, err := it.JSON()
	if err != nil {
		return err
	}
	if sub == "scale" {
		like = &autoscalingv1.Scale{}
		if doc, err = api.EncodeJSON(scaleOf(c.kind, it.Obj)); err != nil {
			return err
		}
	}
	out, err := pipeline.PatchJSON(pt, doc, patch, like)
	if err != nil {
		return nil // the pipeline will say so
	}
	strict, err := api.DecodeJSONStrict(out, like)
	if err != nil {
		return nil
	}
	return f.judge(c.kind.GVK, strict)
}

var scaleOf = pipeline.ScaleOf
