package fairness

import (
	"testing"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/monohull/monohull/internal/api/flowcontrol"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers/controllertest"
)

func server(c *controllertest.Cluster) *client.Client {
	return c.Client.AsUser(user.APIServerUser, user.SystemPrivilegedGroup)
}

func TestReviseAsTheAnnotationSays(t *testing.T) {
	shares := func(n int32, note string, generation int64) *flowcontrolv1.PriorityLevelConfiguration {
		l := &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "x", Generation: generation}}
		if note != "" {
			l.Annotations = map[string]string{flowcontrolv1.AutoUpdateAnnotationKey: note}
		}
		l.Spec.Limited = &flowcontrolv1.LimitedPriorityLevelConfiguration{NominalConcurrencyShares: &n}
		return l
	}
	for _, c := range []struct {
		name       string
		note       string
		generation int64
		mandatory  bool
		cur        int32
		changed    bool
		after      int32
		noteAfter  string
	}{
		{"as it should be", "true", 5, false, 30, false, 30, "true"},
		{"changed, ours", "true", 5, false, 7, true, 30, "true"},
		{"changed, the user's", "false", 5, false, 7, false, 7, "false"},
		{"never changed, says nothing", "", 1, false, 7, true, 30, "true"},
		{"changed, says nothing", "", 2, false, 7, true, 7, "false"},
		{"says nonsense", "perhaps", 2, false, 7, true, 7, "false"},
		{"mandatory", "false", 9, true, 7, true, 30, "true"},
	} {
		cur := shares(c.cur, c.note, c.generation)
		if got := revise(cur, shares(30, "true", 0), c.mandatory); got != c.changed {
			t.Errorf("%s: changed %t", c.name, got)
		}
		if n := *cur.Spec.Limited.NominalConcurrencyShares; n != c.after || cur.Annotations[flowcontrolv1.AutoUpdateAnnotationKey] != c.noteAfter {
			t.Errorf("%s: %d shares, annotations %v", c.name, n, cur.Annotations)
		}
	}
}

func TestTheBootstrapObjectsAreKept(t *testing.T) {
	cl := controllertest.New(t)
	c := server(cl)
	ctx := cl.Context()
	if err := Ensure(ctx, c); err != nil {
		t.Fatal(err)
	}
	levels, schemas := client.Of[*flowcontrolv1.PriorityLevelConfiguration](c), client.Of[*flowcontrolv1.FlowSchema](c)
	if n := len(levels.List("", nil)) + len(schemas.List("", nil)); n != len(flowcontrol.Bootstrap()) {
		t.Fatalf("%d objects, want %d", n, len(flowcontrol.Bootstrap()))
	}
	rev := c.Caches().Rev()
	if err := Ensure(ctx, c); err != nil || c.Caches().Rev() != rev {
		t.Errorf("a second time: %v, revision %d to %d", err, rev, c.Caches().Rev())
	}
	// an object that once was one, and a user's
	for name, note := range map[string]string{"former": "true", "users": "false"} {
		s := &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{flowcontrolv1.AutoUpdateAnnotationKey: note}}}
		s.Spec.PriorityLevelConfiguration.Name = "nowhere"
		if _, err := schemas.Create(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := levels.Modify(ctx, "", "workload-low", "", func(l *flowcontrolv1.PriorityLevelConfiguration) error {
		n := int32(1)
		l.Spec.Limited.NominalConcurrencyShares = &n
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := schemas.Delete(ctx, "", "probes", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := Ensure(ctx, c); err != nil {
		t.Fatal(err)
	}
	if _, ok := schemas.Get("", "former"); ok {
		t.Error("the former object is still there")
	}
	if _, ok := schemas.Get("", "users"); !ok {
		t.Error("the user's object is gone")
	}
	if _, ok := schemas.Get("", "probes"); !ok {
		t.Error("the deleted object was not made again")
	}
	if l, _ := levels.Get("", "workload-low"); *l.Spec.Limited.NominalConcurrencyShares != 100 {
		t.Errorf("the changed level has %d shares", *l.Spec.Limited.NominalConcurrencyShares)
	}
}

func TestSchemasSayWhetherTheirLevelExists(t *testing.T) {
	cl := controllertest.New(t)
	c := server(cl)
	cl.Run(statuses(cl.Deps(), c))
	levels, schemas := client.Of[*flowcontrolv1.PriorityLevelConfiguration](c), client.Of[*flowcontrolv1.FlowSchema](c)
	s := &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	s.Spec.PriorityLevelConfiguration.Name = "later"
	if _, err := schemas.Create(cl.Context(), s); err != nil {
		t.Fatal(err)
	}
	condition := func(status flowcontrolv1.ConditionStatus, reason string) func() bool {
		return func() bool {
			s, _ := schemas.Get("", "a")
			return len(s.Status.Conditions) == 1 && s.Status.Conditions[0].Status == status && s.Status.Conditions[0].Reason == reason
		}
	}
	cl.Eventually("the schema is dangling", condition(flowcontrolv1.ConditionTrue, "NotFound"))
	n := int32(1)
	if _, err := levels.Create(cl.Context(), &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "later"}, Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
		Type: flowcontrolv1.PriorityLevelEnablementLimited, Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{NominalConcurrencyShares: &n, LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject}},
	}}); err != nil {
		t.Fatal(err)
	}
	cl.Eventually("the schema is not dangling", condition(flowcontrolv1.ConditionFalse, "Found"))
	if err := levels.Delete(cl.Context(), "", "later", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	cl.Eventually("the schema is dangling again", condition(flowcontrolv1.ConditionTrue, "NotFound"))
}
