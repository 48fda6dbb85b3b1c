package apiserver

import (
	"cmp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/schema/apply"
)

// optionsKind names the options of the verbs that write.
var optionsKind = map[string]string{
	"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions", "delete": "DeleteOptions", "deletecollection": "DeleteOptions",
}

// patchType is the kind of patch a request's body is.
func (c *call) patchType() types.PatchType {
	media, _, _ := strings.Cut(c.req.Header.Get("Content-Type"), ";")
	return types.PatchType(media)
}

// options reads what the query says of a write into r, and judges it.
func (c *call) options(r *client.Request) error {
	manager, dryRun, validation := c.query.Get("fieldManager"), c.query["dryRun"], c.query.Get("fieldValidation")
	var force *bool
	if v, ok := c.query["force"]; ok && len(v) > 0 {
		yes := !strings.EqualFold(v[0], "false") && v[0] != "0"
		force = &yes
	}
	var errs field.ErrorList
	switch c.verb {
	case "create":
		errs = metavalidation.ValidateCreateOptions(&metav1.CreateOptions{DryRun: dryRun, FieldManager: manager, FieldValidation: validation})
	case "update":
		errs = metavalidation.ValidateUpdateOptions(&metav1.UpdateOptions{DryRun: dryRun, FieldManager: manager, FieldValidation: validation})
	case "patch":
		errs = metavalidation.ValidatePatchOptions(&metav1.PatchOptions{DryRun: dryRun, FieldManager: manager, FieldValidation: validation, Force: force}, c.patchType())
	default:
		errs = metavalidation.ValidateDryRun(field.NewPath("dryRun"), dryRun)
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: optionsKind[c.verb]}, "", errs)
	}
	r.DryRun = len(dryRun) > 0
	r.Force = force != nil && *force
	r.Manager = cmp.Or(manager, apply.DefaultManager(c.req.Header.Get("User-Agent")), "unknown")
	return nil
}
