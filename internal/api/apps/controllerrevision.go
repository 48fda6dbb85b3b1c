package apps

import (
	"encoding/json"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

func controllerRevisionRow() *api.Kind {
	return api.Define(api.Spec[*appsv1.ControllerRevision]{
		GVK: gvk("ControllerRevision"), Plural: "controllerrevisions", Singular: "controllerrevision", Namespaced: true, UnconditionalUpdate: true,
		List: &appsv1.ControllerRevisionList{},
		Validate: func(c *appsv1.ControllerRevision) field.ErrorList {
			r := meta.Report{Errs: validateRevision(c)}
			revisionData(&r, c.Data.Raw, field.NewPath("data"))
			return r.Errs
		},
		ValidateUpdate: func(c, old *appsv1.ControllerRevision) field.ErrorList {
			r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta)}
			r.Add(validateRevision(c))
			r.Add(meta.Immutable(c.Data, old.Data, field.NewPath("data")))
			return r.Errs
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Controller", "Controller of the object"),
			meta.Text("Revision", "The revision of the state represented by data."),
			meta.AgeColumn,
		},
		Row: func(c *appsv1.ControllerRevision, now time.Time) []any {
			return []any{c.Name, controllerName(c), c.Revision, meta.Age(c.CreationTimestamp, now)}
		},
	})
}

func controllerName(c *appsv1.ControllerRevision) string {
	ref := metav1.GetControllerOf(c)
	if ref == nil {
		return "<none>"
	}
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return ref.Name
	}
	kind := gv.WithKind(ref.Kind).GroupKind()
	if kind.Empty() {
		return ref.Name
	}
	return strings.ToLower(kind.String()) + "/" + ref.Name
}

func validateRevision(c *appsv1.ControllerRevision) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMeta(&c.ObjectMeta, true, meta.DNSSubdomain)}
	r.NonNegative(field.NewPath("revision"), c.Revision)
	return r.Errs
}

// revisionData wants an object of JSON.
func revisionData(r *meta.Report, raw []byte, p *field.Path) {
	if raw == nil {
		r.Required(p, "data is mandatory")
		return
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		r.Invalid(p, "<value omitted>", "error parsing data: "+err.Error())
	} else if v == nil {
		r.Required(p, "data is mandatory")
	} else if _, ok := v.(map[string]any); !ok {
		r.Required(p, "data must be a valid JSON object")
	}
}
