package scheduling

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/api/meta"
)

const (
	// HighestUserPriority is the greatest value a class of users may have.
	HighestUserPriority = int32(1000000000)
	systemPrefix        = "system-"
	nodeCritical        = "system-node-critical"
	clusterCritical     = "system-cluster-critical"
	criticalPriority    = 2 * HighestUserPriority
)

// SystemPriorityClasses are the classes every cluster has.
func SystemPriorityClasses() []*schedulingv1.PriorityClass {
	class := func(name string, value int32, text string) *schedulingv1.PriorityClass {
		return &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, Description: text}
	}
	return []*schedulingv1.PriorityClass{
		class(nodeCritical, criticalPriority+1000, "Used for system critical pods that must not be moved from their current node."),
		class(clusterCritical, criticalPriority, "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
	}
}

func priorityClassRow() *api.Kind {
	return api.Define(api.Spec[*schedulingv1.PriorityClass]{
		GVK: gvk("PriorityClass"), Plural: "priorityclasses", Singular: "priorityclass", ShortNames: []string{"pc"}, UnconditionalUpdate: true,
		List: &schedulingv1.PriorityClassList{},
		Default: func(c *schedulingv1.PriorityClass) {
			if c.PreemptionPolicy == nil {
				p := corev1.PreemptLowerPriority
				c.PreemptionPolicy = &p
			}
		},
		// A class does not count its changes: it keeps the generation it began with.
		PrepareCreate: func(c *schedulingv1.PriorityClass) { c.Generation = 1 },
		Validate:      validatePriorityClass,
		ValidateUpdate: func(c, old *schedulingv1.PriorityClass) field.ErrorList {
			r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta)}
			r.ForbiddenIf(c.Value != old.Value, field.NewPath("value"), "may not be changed in an update.")
			r.Add(meta.Immutable(c.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy")))
			return r.Errs
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Number("Value", "The priority of pods of this class."),
			{Name: "Global-Default", Type: "boolean", Description: "Whether pods without a class get this one."},
			meta.AgeColumn,
			{Name: "PreemptionPolicy", Type: "string", Description: "Whether pods of this class preempt others."},
		},
		Row: func(c *schedulingv1.PriorityClass, now time.Time) []any {
			policy := ""
			if c.PreemptionPolicy != nil {
				policy = string(*c.PreemptionPolicy)
			}
			return []any{c.Name, int64(c.Value), c.GlobalDefault, meta.Age(c.CreationTimestamp, now), policy}
		},
	})
}

func validatePriorityClass(c *schedulingv1.PriorityClass) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMeta(&c.ObjectMeta, false, meta.DNSSubdomain)}
	if strings.HasPrefix(c.Name, systemPrefix) {
		if why := notSystem(c); why != "" {
			r.Forbidden(field.NewPath("metadata", "name"), "priority class names with '"+systemPrefix+"' prefix are reserved for system use only. error: "+why)
		}
	} else if c.Value > HighestUserPriority {
		r.Forbidden(field.NewPath("value"), fmt.Sprintf("maximum allowed value of a user defined priority is %v", HighestUserPriority))
	}
	if c.PreemptionPolicy != nil {
		r.Add(core.ValidatePreemptionPolicy(*c.PreemptionPolicy, field.NewPath("preemptionPolicy")))
	}
	return r.Errs
}

// notSystem says why a class is not one of the system's, "" if it is.
func notSystem(c *schedulingv1.PriorityClass) string {
	for _, s := range SystemPriorityClasses() {
		if s.Name != c.Name {
			continue
		}
		if s.Value != c.Value {
			return fmt.Sprintf("value of %v PriorityClass must be %v", s.Name, s.Value)
		}
		if s.GlobalDefault != c.GlobalDefault {
			return fmt.Sprintf("globalDefault of %v PriorityClass must be %v", s.Name, s.GlobalDefault)
		}
		return ""
	}
	return c.Name + " is not a known system priority class"
}
