package fairness

import (
	"fmt"
	"maps"
	"strconv"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
)

// specEqual compares what users may change.
func specEqual(a, b api.Object) bool {
	switch a := a.(type) {
	case *flowcontrolv1.FlowSchema:
		return apiequality.Semantic.DeepEqual(a.Spec, b.(*flowcontrolv1.FlowSchema).Spec)
	case *flowcontrolv1.PriorityLevelConfiguration:
		return apiequality.Semantic.DeepEqual(a.Spec, b.(*flowcontrolv1.PriorityLevelConfiguration).Spec)
	}
	return true
}

func copySpec(into, from api.Object) {
	switch into := into.(type) {
	case *flowcontrolv1.FlowSchema:
		from.(*flowcontrolv1.FlowSchema).Spec.DeepCopyInto(&into.Spec)
	case *flowcontrolv1.PriorityLevelConfiguration:
		from.(*flowcontrolv1.PriorityLevelConfiguration).Spec.DeepCopyInto(&into.Spec)
	}
}

// revise makes an object what it should be, and tells whether it was not. Of a
// suggested one the annotation says whether it is ours to change; one that was
// never changed and says nothing is.
func revise(cur, want api.Object, mandatory bool) bool {
	note, noted := cur.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey]
	says, err := strconv.ParseBool(note)
	ours := mandatory || err == nil && says || err != nil && cur.GetGeneration() == 1
	changed := false
	if !noted || err != nil || says != ours {
		m := maps.Clone(cur.GetAnnotations())
		if m == nil {
			m = map[string]string{}
		}
		m[flowcontrolv1.AutoUpdateAnnotationKey] = strconv.FormatBool(ours)
		cur.SetAnnotations(m)
		changed = true
	}
	if ours && !specEqual(cur, want) {
		copySpec(cur, want)
		changed = true
	}
	return changed
}

// leftOver tells whether an object that no cluster begins with any more was one.
func leftOver(o api.Object) bool {
	v, err := strconv.ParseBool(o.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey])
	return err == nil && v
}

// dangling is the condition that a schema should have, and whether it has it.
func dangling(s *flowcontrolv1.FlowSchema, found bool, now metav1.Time) (flowcontrolv1.FlowSchemaCondition, bool) {
	level := s.Spec.PriorityLevelConfiguration.Name
	want := flowcontrolv1.FlowSchemaCondition{
		Type: flowcontrolv1.FlowSchemaConditionDangling, Status: flowcontrolv1.ConditionFalse, LastTransitionTime: now, Reason: "Found",
		Message: fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q and it exists", level),
	}
	if !found {
		want.Status, want.Reason = flowcontrolv1.ConditionTrue, "NotFound"
		want.Message = fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q but there is no such object", level)
	}
	for _, c := range s.Status.Conditions {
		if c.Type == want.Type {
			return want, c.Status == want.Status && c.Reason == want.Reason && c.Message == want.Message
		}
	}
	return want, false
}

// setCondition puts a condition in the place of the one of its type.
func setCondition(s *flowcontrolv1.FlowSchema, c flowcontrolv1.FlowSchemaCondition) {
	for i := range s.Status.Conditions {
		if s.Status.Conditions[i].Type == c.Type {
			s.Status.Conditions[i] = c
			return
		}
	}
	s.Status.Conditions = append(s.Status.Conditions, c)
}
