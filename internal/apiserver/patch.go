package apiserver

import (
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/monohull/monohull/internal/pipeline"
)

// patch applies the body to an object.
func (c *call) patch(sub string) error {
	pt := c.patchType()
	if err := pipeline.KnownPatch(pt); err != nil {
		return err
	}
	r, err := c.request(sub)
	if err != nil {
		return err
	}
	patch, err := readBody(c.req)
	if err != nil {
		return err
	}
	f, err := fieldValidationOf(c.query.Get, func(m string) { warn(c.w, m) })
	if err != nil {
		return err
	}
	existed := true
	switch {
	case pt == types.ApplyYAMLPatchType:
		existed = c.current() != nil
		if f.mode != metav1.FieldValidationIgnore {
			r.Strict = f.judgeDocument
		}
	case f.mode != metav1.FieldValidationIgnore:
		r.Strict = func(unknown []error) error { return f.judge(c.ver.GVK, c.ver.New(), unknown) }
	}
	it, err := c.s.Writer.Patch(c.req.Context(), r, pt, patch)
	if err != nil {
		return err
	}
	if !existed {
		return c.reply(http.StatusCreated, it)
	}
	return c.reply(http.StatusOK, it)
}

// judgeDocument acts on what a strict reader finds wrong with an applied
// document.
func (f fieldValidation) judgeDocument(strict []error) error {
	for _, e := range strict {
		if f.mode == metav1.FieldValidationStrict {
			return apierrors.NewBadRequest(fmt.Sprintf("error strict decoding YAML: %v", e))
		}
		f.warn(e.Error())
	}
	return nil
}

var scaleOf = pipeline.ScaleOf
