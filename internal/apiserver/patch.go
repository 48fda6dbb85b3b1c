package apiserver

import (
	"mime"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

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
	if f.mode != metav1.FieldValidationIgnore {
		r.Strict = func(unknown []error) error { return f.judge(c.ver.GVK, c.ver.New(), unknown) }
	}
	it, err := c.s.Writer.Patch(c.req.Context(), r, types.PatchType(media), patch)
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, it)
}

var scaleOf = pipeline.ScaleOf
