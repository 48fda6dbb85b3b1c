package identity

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/controllers/controllertest"
)

func TestNamespacesGetAnAccountAndTheCertificate(t *testing.T) {
	c := controllertest.New(t)
	c.Run(Controllers(c.Deps())...)
	controllertest.Create(c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}})
	whole := func() bool {
		_, account := controllertest.Get[*corev1.ServiceAccount](c, "ns", "default")
		m, ok := controllertest.Get[*corev1.ConfigMap](c, "ns", "kube-root-ca.crt")
		return account && ok && m.Data["ca.crt"] == string(c.Deps().RootCA) && len(m.Data) == 1 && m.Annotations[descriptionAnnotation] != ""
	}
	c.Eventually("both are there", whole)
	controllertest.Delete[*corev1.ServiceAccount](c, "ns", "default", metav1.DeleteOptions{})
	controllertest.Modify(c, "ns", "kube-root-ca.crt", func(m *corev1.ConfigMap) { m.Data = map[string]string{"ca.crt": "forged", "x": "y"} })
	c.Eventually("both come back", whole)
	controllertest.Delete[*corev1.Namespace](c, "", "ns", metav1.DeleteOptions{})
	controllertest.Delete[*corev1.ServiceAccount](c, "ns", "default", metav1.DeleteOptions{})
	controllertest.Create(c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "later"}})
	c.Eventually("a later namespace was seen to", func() bool {
		_, ok := controllertest.Get[*corev1.ServiceAccount](c, "later", "default")
		return ok
	})
	if _, ok := controllertest.Get[*corev1.ServiceAccount](c, "ns", "default"); ok {
		t.Error("a namespace that ends got a new account")
	}
}

func TestAggregatedRolesFollowTheirParts(t *testing.T) {
	c := controllertest.New(t)
	c.Run(Controllers(c.Deps())...)
	rule := func(verb string) []rbacv1.PolicyRule {
		return []rbacv1.PolicyRule{{Verbs: []string{verb}, APIGroups: []string{""}, Resources: []string{"pods"}}}
	}
	controllertest.Create(c, &rbacv1.ClusterRole{
		ObjectMeta:      metav1.ObjectMeta{Name: "all"},
		AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"to": "all"}}}},
	})
	controllertest.Create(c, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "part", Labels: map[string]string{"to": "all"}}, Rules: rule("get")})
	has := func(verb string) func() bool {
		return func() bool {
			r, _ := controllertest.Get[*rbacv1.ClusterRole](c, "", "all")
			return len(r.Rules) == 1 && r.Rules[0].Verbs[0] == verb
		}
	}
	c.Eventually("the part's rule is in the whole", has("get"))
	controllertest.Modify(c, "", "part", func(r *rbacv1.ClusterRole) { r.Rules = rule("list") })
	c.Eventually("a change follows", has("list"))
}
