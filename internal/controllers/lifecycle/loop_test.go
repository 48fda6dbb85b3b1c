package lifecycle

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/controllers/controllertest"
)

func owned(by api.Object, apiVersion, kind string) []metav1.OwnerReference {
	yes := true
	return []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: by.GetName(), UID: by.GetUID(), Controller: &yes, BlockOwnerDeletion: &yes}}
}

// family makes a Deployment that owns a ReplicaSet that owns a pod.
func family(c *controllertest.Cluster) {
	l := map[string]string{"a": "b"}
	tpl := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: l}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	sel := &metav1.LabelSelector{MatchLabels: l}
	d := controllertest.Create(c, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "d"}, Spec: appsv1.DeploymentSpec{Selector: sel, Template: tpl}})
	rs := controllertest.Create(c, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "rs", OwnerReferences: owned(d, "apps/v1", "Deployment")},
		Spec:       appsv1.ReplicaSetSpec{Selector: sel, Template: tpl},
	})
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", Labels: l, OwnerReferences: owned(rs, "apps/v1", "ReplicaSet")}, Spec: tpl.Spec}
	p.Spec.NodeName = "n1" // it takes time to end
	controllertest.Create(c, p)
}

func there(c *controllertest.Cluster) string {
	var out []string
	if _, ok := controllertest.Get[*appsv1.Deployment](c, "ns", "d"); ok {
		out = append(out, "d")
	}
	if _, ok := controllertest.Get[*appsv1.ReplicaSet](c, "ns", "rs"); ok {
		out = append(out, "rs")
	}
	if p, ok := controllertest.Get[*corev1.Pod](c, "ns", "p"); ok {
		if p.DeletionTimestamp != nil {
			out = append(out, "dying")
		}
		out = append(out, "p")
	}
	return strings.Join(out, " ")
}

func end(c *controllertest.Cluster) {
	zero := int64(0)
	controllertest.Delete[*corev1.Pod](c, "ns", "p", metav1.DeleteOptions{GracePeriodSeconds: &zero})
}

func TestDependentsFollowTheirOwner(t *testing.T) {
	for policy, steps := range map[metav1.DeletionPropagation][]string{
		metav1.DeletePropagationBackground: {"dying p", ""},
		metav1.DeletePropagationForeground: {"d rs dying p", ""},
		metav1.DeletePropagationOrphan:     {"rs p", "rs"},
	} {
		t.Run(string(policy), func(t *testing.T) {
			c := controllertest.New(t)
			family(c)
			c.Run(garbageCollector(c.Deps()))
			controllertest.Delete[*appsv1.Deployment](c, "ns", "d", metav1.DeleteOptions{PropagationPolicy: &policy})
			c.Eventually("it is "+steps[0], func() bool { return there(c) == steps[0] })
			end(c)
			c.Eventually("it is "+steps[1], func() bool { return there(c) == steps[1] })
			if policy == metav1.DeletePropagationOrphan {
				if rs, _ := controllertest.Get[*appsv1.ReplicaSet](c, "ns", "rs"); len(rs.OwnerReferences) != 0 {
					t.Errorf("the orphan has owners %v", rs.OwnerReferences)
				}
			}
		})
	}
}

func TestOwnersThatWereNeverThere(t *testing.T) {
	c := controllertest.New(t)
	there := controllertest.Create(c, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "owner"}})
	elsewhere := controllertest.Create(c, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "owner"}})
	namesake := there.DeepCopy()
	namesake.UID = "before"
	make := func(name string, refs ...metav1.OwnerReference) {
		controllertest.Create(c, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, OwnerReferences: refs}})
	}
	make("good", owned(there, "v1", "ConfigMap")...)
	second := owned(namesake, "v1", "ConfigMap")
	second[0].Controller = nil
	make("mixed", append(owned(there, "v1", "ConfigMap"), second...)...)
	make("namesake", owned(namesake, "v1", "ConfigMap")...)
	make("misplaced", owned(elsewhere, "v1", "ConfigMap")...)
	make("unknown", owned(namesake, "example.com/v1", "Widget")...)
	c.Run(garbageCollector(c.Deps()))
	names := func() string {
		var out []string
		for _, s := range controllertest.List[*corev1.Secret](c, "ns") {
			out = append(out, s.Name)
			if s.Name == "mixed" && len(s.OwnerReferences) != 1 {
				out = append(out, "untrimmed")
			}
		}
		return strings.Join(out, " ")
	}
	c.Eventually("only those with an owner, or one of a kind nobody knows, stay", func() bool { return names() == "good mixed unknown" })
	if !slices.ContainsFunc(c.Events(), func(e string) bool {
		return strings.Contains(e, "misplaced: OwnerRefInvalidNamespace: ownerRef [v1/ConfigMap, namespace: ns, name: owner, uid: "+string(elsewhere.UID)+"] does not exist in namespace \"ns\"")
	}) {
		t.Errorf("events: %q", c.Events())
	}
}

func TestNamespaceEndsPodsFirst(t *testing.T) {
	c := controllertest.New(t)
	controllertest.Create(c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}})
	controllertest.Create(c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}})
	controllertest.Create(c, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "stays"}})
	controllertest.Create(c, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "held", Finalizers: []string{"example.com/hold"}}})
	family(c)
	c.Run(namespaceController(c.Deps()))
	condition := func(want corev1.NamespaceConditionType) string {
		ns, _ := controllertest.Get[*corev1.Namespace](c, "", "ns")
		for _, cond := range ns.Status.Conditions {
			if cond.Type == want && cond.Status == corev1.ConditionTrue {
				return cond.Message
			}
		}
		return ""
	}
	controllertest.Delete[*corev1.Namespace](c, "", "ns", metav1.DeleteOptions{})
	c.Eventually("the pod is told to end, and all else waits", func() bool {
		return there(c) == "d rs dying p" && condition(corev1.NamespaceContentRemaining) == "Some resources are remaining: pods. has 1 resource instances"
	})
	end(c)
	c.Eventually("the rest goes but for what is held", func() bool {
		return there(c) == "" && condition(corev1.NamespaceFinalizersRemaining) == "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
	})
	controllertest.Modify(c, "ns", "held", func(m *corev1.ConfigMap) { m.Finalizers = nil })
	c.Eventually("the namespace goes", func() bool {
		_, ok := controllertest.Get[*corev1.Namespace](c, "", "ns")
		return !ok
	})
	if _, ok := controllertest.Get[*corev1.ConfigMap](c, "other", "stays"); !ok {
		t.Error("another namespace lost its content")
	}
}

func TestEventsGoAfterAnHour(t *testing.T) {
	c := controllertest.New(t)
	r := eventExpiry(c.Deps())
	controllertest.Create(c, &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "e"}, InvolvedObject: corev1.ObjectReference{Namespace: "ns"}, LastTimestamp: metav1.NewTime(c.Clock.Now().Add(time.Minute))})
	turn := func() time.Duration {
		d, err := r.Reconcile(c.Context(), keyOf("ns", "e"))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if d := turn(); d != time.Hour+time.Minute {
		t.Errorf("looked at again after %v", d)
	}
	c.Clock.SetTime(c.Clock.Now().Add(time.Hour + time.Minute))
	turn()
	if _, ok := controllertest.Get[*corev1.Event](c, "ns", "e"); ok {
		t.Error("the event is still there")
	}
}
