package flowcontrol

import (
	"slices"
	"testing"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
)

// says tells whether errs are at these paths and no others, in any order.
func says(t *testing.T, what string, errs field.ErrorList, paths ...string) {
	t.Helper()
	var got []string
	for _, e := range errs {
		got = append(got, e.Field)
	}
	slices.Sort(got)
	slices.Sort(paths)
	if !slices.Equal(slices.Compact(got), paths) {
		t.Errorf("%s: errors at %q, want them at %q: %v", what, got, paths, errs)
	}
}

func kindOf(o api.Object) *api.Kind {
	if _, ok := o.(*flowcontrolv1.FlowSchema); ok {
		return flowSchemaRow()
	}
	return priorityLevelRow()
}

func TestBootstrapObjectsAreValidAndWhole(t *testing.T) {
	names := map[string]bool{}
	for _, o := range Bootstrap() {
		k := kindOf(o)
		says(t, o.GetName(), k.Validate(o))
		before := o.DeepCopyObject().(api.Object)
		if k.Default(o); !k.SpecEqual(o, before) {
			t.Errorf("%s: defaulting changed %s", k.GVK.Kind, o.GetName())
		}
		switch o := o.(type) {
		case *flowcontrolv1.PriorityLevelConfiguration:
			names[o.Name] = true
		case *flowcontrolv1.FlowSchema:
			if level := o.Spec.PriorityLevelConfiguration.Name; !names[level] && level != flowcontrolv1.PriorityLevelConfigurationNameExempt {
				t.Errorf("the schema %s comes before its level %s", o.Name, level)
			}
		}
	}
	if len(Bootstrap()) != 19 {
		t.Errorf("%d objects", len(Bootstrap()))
	}
}

func TestMandatoryObjectsHaveFixedValues(t *testing.T) {
	for _, o := range Bootstrap() {
		k := kindOf(o)
		switch o := o.(type) {
		case *flowcontrolv1.FlowSchema:
			o.Spec.Rules = o.Spec.Rules[:0]
		case *flowcontrolv1.PriorityLevelConfiguration:
			if o.Spec.Limited != nil {
				o.Spec.Limited.NominalConcurrencyShares = new(int32(7))
			} else {
				o.Spec.Exempt.NominalConcurrencyShares = new(int32(7))
			}
		}
		errs := k.Validate(o)
		_, level := o.(*flowcontrolv1.PriorityLevelConfiguration)
		want := Mandatory(o) && !(level && o.GetName() == flowcontrolv1.PriorityLevelConfigurationNameExempt)
		if (len(errs) > 0) != want {
			t.Errorf("%s %s changed: %v", k.GVK.Kind, o.GetName(), errs)
		}
	}
}

func TestFlowSchemaRules(t *testing.T) {
	const rule = "spec.rules[0]"
	user := flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: "a"}}
	both := user
	both.Group = &flowcontrolv1.GroupSubject{Name: "g"}
	pods := flowcontrolv1.ResourcePolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}, Namespaces: []string{"n"}}
	with := func(change func(*flowcontrolv1.ResourcePolicyRule)) []flowcontrolv1.ResourcePolicyRule {
		r := pods
		change(&r)
		return []flowcontrolv1.ResourcePolicyRule{r}
	}
	urls := func(list ...string) []flowcontrolv1.NonResourcePolicyRule {
		return []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{"get"}, NonResourceURLs: list}}
	}
	for _, c := range []struct {
		what      string
		subject   flowcontrolv1.Subject
		resources []flowcontrolv1.ResourcePolicyRule
		urls      []flowcontrolv1.NonResourcePolicyRule
		paths     []string
	}{
		{"a rule", user, []flowcontrolv1.ResourcePolicyRule{pods}, nil, nil},
		{"a rule for nothing", user, nil, nil, []string{rule}},
		{"a user who is a group", both, nil, urls("/"), []string{rule + ".subjects[0].group"}},
		{"an unknown verb", user, with(func(r *flowcontrolv1.ResourcePolicyRule) { r.Verbs = []string{"look"} }), nil, []string{rule + ".resourceRules[0].verbs"}},
		{"all and more", user, with(func(r *flowcontrolv1.ResourcePolicyRule) { r.Namespaces = []string{"*", "n"} }), nil, []string{rule + ".resourceRules[0].namespaces"}},
		{"no namespace", user, with(func(r *flowcontrolv1.ResourcePolicyRule) { r.Namespaces = nil }), nil, []string{rule + ".resourceRules[0].namespaces"}},
		{"the cluster", user, with(func(r *flowcontrolv1.ResourcePolicyRule) { r.Namespaces, r.ClusterScope = nil, true }), nil, nil},
		{"paths", user, nil, urls("/", "/a", "/a/*"), nil},
		{"bad paths", user, nil, urls("a", "/a*", "/*/*", "//", "/ "), []string{
			rule + ".nonResourceRules[0].nonResourceURLs[0]", rule + ".nonResourceRules[0].nonResourceURLs[1]", rule + ".nonResourceRules[0].nonResourceURLs[2]",
			rule + ".nonResourceRules[0].nonResourceURLs[3]", rule + ".nonResourceRules[0].nonResourceURLs[4]"}},
	} {
		f := flowSchema("f", "l", 0, "", flowcontrolv1.PolicyRulesWithSubjects{Subjects: []flowcontrolv1.Subject{c.subject}, ResourceRules: c.resources, NonResourceRules: c.urls})
		flowSchemaRow().Default(f)
		says(t, c.what, flowSchemaRow().Validate(f), c.paths...)
	}
	first := flowSchema("f", "l", 1, "", anything(users("a")))
	says(t, "another first schema", flowSchemaRow().Validate(first), "spec.matchingPrecedence")
}

func TestPriorityLevels(t *testing.T) {
	k := priorityLevelRow()
	level := func(name string, change func(*flowcontrolv1.PriorityLevelConfigurationSpec)) *flowcontrolv1.PriorityLevelConfiguration {
		l := &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
			Type: flowcontrolv1.PriorityLevelEnablementLimited, Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
				LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeQueue, Queuing: &flowcontrolv1.QueuingConfiguration{}}}}}
		k.Default(l)
		if change != nil {
			change(&l.Spec)
		}
		return l
	}
	plain := level("l", nil)
	if lim := plain.Spec.Limited; *lim.NominalConcurrencyShares != 30 || *lim.LendablePercent != 0 || *lim.LimitResponse.Queuing != (flowcontrolv1.QueuingConfiguration{Queues: 64, HandSize: 8, QueueLengthLimit: 50}) {
		t.Errorf("the defaults are %+v", lim)
	}
	const queuing = "spec.limited.limitResponse.queuing"
	for what, c := range map[string]struct {
		name   string
		change func(*flowcontrolv1.PriorityLevelConfigurationSpec)
		paths  []string
	}{
		"a hand that one hash cannot deal": {"l", func(s *flowcontrolv1.PriorityLevelConfigurationSpec) { s.Limited.LimitResponse.Queuing.Queues = 512 }, []string{queuing + ".handSize"}},
		"a hand of more than there are":    {"l", func(s *flowcontrolv1.PriorityLevelConfigurationSpec) { s.Limited.LimitResponse.Queuing.Queues = 7 }, []string{queuing + ".handSize"}},
		"no shares":                        {"l", func(s *flowcontrolv1.PriorityLevelConfigurationSpec) { *s.Limited.NominalConcurrencyShares = 0 }, nil},
		"queues of a level that rejects": {"l", func(s *flowcontrolv1.PriorityLevelConfigurationSpec) {
			s.Limited.LimitResponse.Type = flowcontrolv1.LimitResponseTypeReject
		}, []string{queuing}},
		"another exempt level": {"l", func(s *flowcontrolv1.PriorityLevelConfigurationSpec) {
			s.Type, s.Limited = flowcontrolv1.PriorityLevelEnablementExempt, nil
		}, []string{"spec.type"}},
		"the exempt level limited": {"exempt", nil, []string{"spec", "spec.type"}},
	} {
		says(t, what, k.Validate(level(c.name, c.change)), c.paths...)
	}
}

func TestStatusWritesTouchNothingElse(t *testing.T) {
	k := priorityLevelRow()
	old := &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "l", ResourceVersion: "1", Labels: map[string]string{"a": "b"}}}
	l := old.DeepCopy()
	l.ResourceVersion, l.Labels, l.Annotations = "2", nil, map[string]string{"c": "d"}
	l.Status.Conditions = []flowcontrolv1.PriorityLevelConfigurationCondition{{Type: "A"}, {Type: "A"}, {}}
	k.PrepareStatus(l, old)
	if l.Labels["a"] != "b" || l.Annotations != nil || l.ResourceVersion != "2" {
		t.Errorf("the metadata became %+v", l.ObjectMeta)
	}
	l.Labels["a"] = "c"
	if old.Labels["a"] != "b" {
		t.Error("the old object shares its labels")
	}
	says(t, "conditions", k.ValidateStatus(l, old), "status.conditions[1].type", "status.conditions[2].type")
}
