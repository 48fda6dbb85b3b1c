package core

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

// ComponentNames are the components that have a status, in the order lists
// show them. The objects are made when read and never stored.
var ComponentNames = []string{"controller-manager", "etcd-0", "scheduler"}

func componentStatusRow() *api.Kind {
	return api.Define(api.Spec[*corev1.ComponentStatus]{
		GVK: gvk("ComponentStatus"), Plural: "componentstatuses", Singular: "componentstatus", ShortNames: []string{"cs"},
		Verbs:      []string{"get", "list"},
		Deprecated: "v1 ComponentStatus is deprecated in v1.19+",
		List:       &corev1.ComponentStatusList{},
		Validate: func(c *corev1.ComponentStatus) field.ErrorList {
			return meta.ValidateObjectMeta(&c.ObjectMeta, false, meta.PathSegment)
		},
		ValidateUpdate: func(c, old *corev1.ComponentStatus) field.ErrorList {
			return meta.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta)
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Status", "Status of the component conditions"),
			meta.Text("Message", "Message of the component conditions"),
			meta.Text("Error", "Error of the component conditions"),
		},
		Row: func(c *corev1.ComponentStatus, _ time.Time) []any {
			for _, cond := range c.Conditions {
				if cond.Type != corev1.ComponentHealthy {
					continue
				}
				status := "Unhealthy"
				if cond.Status == corev1.ConditionTrue {
					status = "Healthy"
				}
				return []any{c.Name, status, cond.Message, cond.Error}
			}
			return []any{c.Name, "Unknown", "", ""}
		},
	})
}

// ComponentStatus is what a check of a component found: err is nil where it is
// well.
func ComponentStatus(name string, err error) *corev1.ComponentStatus {
	c := corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: "ok"}
	if err != nil {
		c = corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionFalse, Error: err.Error()}
	}
	return &corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: name}, Conditions: []corev1.ComponentCondition{c}}
}
