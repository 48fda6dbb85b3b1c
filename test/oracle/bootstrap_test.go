package oracle

import (
	"fmt"
	"sort"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/diff"
	flowbootstrap "k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"github.com/monohull/monohull/internal/api/flowcontrol"
	"github.com/monohull/monohull/internal/auth"
)

// TestBootstrapPolicy compares every role and binding that a new cluster has.
func TestBootstrapPolicy(t *testing.T) {
	var theirs []runtime.Object
	for _, r := range append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...) {
		theirs = append(theirs, r.DeepCopy())
	}
	for _, b := range append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...) {
		theirs = append(theirs, b.DeepCopy())
	}
	for ns, list := range bootstrappolicy.NamespaceRoles() {
		for _, r := range list {
			r.Namespace = ns
			theirs = append(theirs, r.DeepCopy())
		}
	}
	for ns, list := range bootstrappolicy.NamespaceRoleBindings() {
		for _, b := range list {
			b.Namespace = ns
			theirs = append(theirs, b.DeepCopy())
		}
	}
	compareSets(t, theirs, auth.BootstrapObjects())
}

// TestBootstrapFlows compares the priority levels and flow schemas.
func TestBootstrapFlows(t *testing.T) {
	var theirs, ours []runtime.Object
	for _, o := range append(flowbootstrap.MandatoryPriorityLevelConfigurations, flowbootstrap.SuggestedPriorityLevelConfigurations...) {
		theirs = append(theirs, o)
	}
	for _, o := range append(flowbootstrap.MandatoryFlowSchemas, flowbootstrap.SuggestedFlowSchemas...) {
		theirs = append(theirs, o)
	}
	for _, o := range flowcontrol.Bootstrap() {
		ours = append(ours, o)
	}
	compareSets(t, theirs, ours)
}

func compareSets(t *testing.T, theirs, ours []runtime.Object) {
	t.Helper()
	a, b := byName(t, theirs), byName(t, ours)
	var names []string
	for n := range a {
		names = append(names, n)
	}
	for n := range b {
		if a[n] == nil {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	for _, n := range names {
		switch {
		case b[n] == nil:
			t.Errorf("upstream has %s", n)
		case a[n] == nil:
			t.Errorf("only we have %s", n)
		case !equality.Semantic.DeepEqual(a[n], b[n]):
			t.Errorf("%s differs (- upstream, + ours):\n%s", n, diff.Diff(a[n], b[n]))
		}
	}
	if len(theirs) != len(ours) {
		t.Errorf("upstream has %d objects, we have %d", len(theirs), len(ours))
	}
}

func byName(t *testing.T, list []runtime.Object) map[string]runtime.Object {
	out := map[string]runtime.Object{}
	for _, o := range list {
		gvks, _, err := legacyscheme.Scheme.ObjectKinds(o)
		if err != nil {
			t.Fatal(err)
		}
		o = o.DeepCopyObject()
		legacyscheme.Scheme.Default(o)
		o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		m := accessor(o)
		out[fmt.Sprintf("%s %s/%s", gvks[0].Kind, m.GetNamespace(), m.GetName())] = o
	}
	return out
}
