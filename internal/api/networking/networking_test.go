package networking

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
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

func ingress(host, path string, typ networkingv1.PathType) *networkingv1.Ingress {
	return &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "i", Namespace: "n", ResourceVersion: "1"}, Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
		Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
			Path: path, PathType: &typ, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "s", Port: networkingv1.ServiceBackendPort{Number: 80}}}}}}},
	}}}}
}

func TestIngressHostsAndPaths(t *testing.T) {
	const host, path = "spec.rules[0].host", "spec.rules[0].http.paths[0].path"
	for _, c := range []struct {
		host, path string
		typ        networkingv1.PathType
		paths      []string
	}{
		{"a.example.com", "/", networkingv1.PathTypePrefix, nil},
		{"*.example.com", "/a", networkingv1.PathTypeExact, nil},
		{"*", "/a", networkingv1.PathTypeExact, []string{host}},
		{"10.0.0.1", "/a", networkingv1.PathTypeExact, []string{host}},
		{"", "", networkingv1.PathTypeImplementationSpecific, nil},
		{"", "", networkingv1.PathTypeExact, []string{path}},
		{"", "/a//b", networkingv1.PathTypePrefix, []string{path}},
		{"", "/a//b", networkingv1.PathTypeImplementationSpecific, nil},
		{"", "/a/..", networkingv1.PathTypeExact, []string{path}},
		{"", "/a%2Fb", networkingv1.PathTypePrefix, []string{path}},
		{"", "/a", "Regex", []string{path + "Type"}},
	} {
		says(t, c.host+c.path, ingressRow().Validate(ingress(c.host, c.path, c.typ)), c.paths...)
	}
}

func TestIngressClassAnnotation(t *testing.T) {
	k, in := ingressRow(), ingress("", "/", networkingv1.PathTypePrefix)
	in.Annotations = map[string]string{classAnnotation: "a"}
	if w := k.Warnings(in); len(w) != 1 {
		t.Errorf("the annotation alone earns the warnings %q", w)
	}
	in.Spec.IngressClassName = new("b")
	if w := k.Warnings(in); len(w) != 0 {
		t.Errorf("the annotation beside the field earns the warnings %q", w)
	}
	says(t, "two classes", k.Validate(in), "annotations.kubernetes.io/ingress.class")
	says(t, "two classes of an old ingress", k.ValidateUpdate(in, in))
}

func TestIngressKeepsWhatWasOnceAllowed(t *testing.T) {
	k, old := ingressRow(), ingress("*.a.b", "relative", networkingv1.PathTypeExact)
	old.Spec.TLS = []networkingv1.IngressTLS{{SecretName: "Bad_Name"}}
	says(t, "new", k.Validate(old), "spec.rules[0].http.paths[0].path", "spec.tls[0].secretName")
	says(t, "old", k.ValidateUpdate(old, old))
}

func TestIngressHostsColumn(t *testing.T) {
	rules := func(hosts ...string) (list []networkingv1.IngressRule) {
		for _, h := range hosts {
			list = append(list, networkingv1.IngressRule{Host: h})
		}
		return list
	}
	for want, list := range map[string][]networkingv1.IngressRule{
		"*": rules(""), "a": rules("a", ""), "a,b,c": rules("a", "b", "c"), "a,b,c + 2 more...": rules("a", "b", "c", "d", "e"),
	} {
		if got := printHosts(list); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestIngressStatusAddresses(t *testing.T) {
	old := ingress("", "/", networkingv1.PathTypePrefix)
	old.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: "010.0.0.1"}}
	in := old.DeepCopy()
	in.Status.LoadBalancer.Ingress = append(in.Status.LoadBalancer.Ingress, networkingv1.IngressLoadBalancerIngress{Hostname: "10.0.0.1"})
	says(t, "an address that was there, and one for a name", ingressRow().ValidateStatus(in, old), "status.loadBalancer.ingress[1].hostname")
}

func TestClassParametersScope(t *testing.T) {
	k := ingressClassRow()
	for _, c := range []struct {
		scope, namespace *string
		path             []string
	}{
		{nil, nil, nil},
		{nil, new("n"), []string{"spec.parameters.namespace"}},
		{new("Namespace"), nil, []string{"spec.parameters.namespace"}},
		{new("Namespace"), new("n"), nil},
		{new("Planet"), nil, []string{"spec.parameters.scope"}},
	} {
		o := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: networkingv1.IngressClassSpec{Controller: "a.b/c",
			Parameters: &networkingv1.IngressClassParametersReference{Kind: "K", Name: "n", Scope: c.scope, Namespace: c.namespace}}}
		k.Default(o)
		says(t, "parameters", k.Validate(o), c.path...)
	}
}

func policy(peers ...networkingv1.NetworkPolicyPeer) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", ResourceVersion: "1"},
		Spec: networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{From: peers}}}}
}

func block(cidr string, except ...string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: cidr, Except: except}}
}

func TestPolicyDefaults(t *testing.T) {
	k := networkPolicyRow()
	in := policy()
	in.Spec.Ingress[0].Ports = []networkingv1.NetworkPolicyPort{{}}
	k.Default(in)
	if !slices.Equal(in.Spec.PolicyTypes, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}) || *in.Spec.Ingress[0].Ports[0].Protocol != corev1.ProtocolTCP {
		t.Errorf("defaulted to %+v", in.Spec)
	}
	out := policy()
	out.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{}}
	if k.Default(out); len(out.Spec.PolicyTypes) != 2 {
		t.Errorf("a policy with egress rules is of the types %v", out.Spec.PolicyTypes)
	}
}

func TestPolicyPeers(t *testing.T) {
	both := block("10.0.0.0/8")
	both.PodSelector = &metav1.LabelSelector{}
	const from = "spec.ingress[0].from[0]"
	for _, c := range []struct {
		what  string
		peer  networkingv1.NetworkPolicyPeer
		paths []string
	}{
		{"nothing", networkingv1.NetworkPolicyPeer{}, []string{from}},
		{"pods of namespaces", networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}, NamespaceSelector: &metav1.LabelSelector{}}, nil},
		{"a block and pods", both, []string{from}},
		{"a block but a part", block("10.0.0.0/8", "10.1.0.0/16"), nil},
		{"a block but itself", block("10.0.0.0/8", "10.0.0.0/8"), []string{from + ".ipBlock.except[0]"}},
		{"a block but another", block("10.0.0.0/8", "11.0.0.0/16"), []string{from + ".ipBlock.except[0]"}},
		{"no block", block(""), []string{from + ".ipBlock.cidr"}},
		{"no network", block("10.0.0.0"), []string{from + ".ipBlock.cidr"}},
	} {
		says(t, c.what, networkPolicyRow().Validate(policy(c.peer)), c.paths...)
	}
	if w := networkPolicyRow().Warnings(policy(block("10.1.2.3/8"))); len(w) != 1 {
		t.Errorf("a network with host bits earns the warnings %q", w)
	}
}

func TestPolicyPorts(t *testing.T) {
	number, name := intstr.FromInt32(80), intstr.FromString("http")
	const port = "spec.ingress[0].ports[0]"
	for _, c := range []struct {
		what  string
		port  networkingv1.NetworkPolicyPort
		paths []string
	}{
		{"a range", networkingv1.NetworkPolicyPort{Port: &number, EndPort: new(int32(90))}, nil},
		{"a range backwards", networkingv1.NetworkPolicyPort{Port: &number, EndPort: new(int32(70))}, []string{port + ".endPort"}},
		{"a range from a name", networkingv1.NetworkPolicyPort{Port: &name, EndPort: new(int32(90))}, []string{port + ".endPort"}},
		{"a range from nowhere", networkingv1.NetworkPolicyPort{EndPort: new(int32(90))}, []string{port + ".endPort"}},
		{"all", networkingv1.NetworkPolicyPort{}, nil},
	} {
		p := policy()
		p.Spec.Ingress[0].Ports = []networkingv1.NetworkPolicyPort{c.port}
		says(t, c.what, networkPolicyRow().Validate(p), c.paths...)
	}
}

func TestAddressesAreNamedInCanonicalForm(t *testing.T) {
	for name, ok := range map[string]bool{"10.0.0.1": true, "2001:db8::1": true, "2001:DB8::1": false, "010.0.0.1": false, "a": false} {
		errs := ipAddressRow().Validate(&networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Name: "s"}}})
		if (len(errs) == 0) != ok {
			t.Errorf("%s: %v", name, errs)
		}
	}
	a := &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: "10.0.0.1"}, Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Group: "Example.com", Resource: "Things", Namespace: "n", Name: "x"}}}
	if cells := ipAddressRow().Row(a, time.Time{}); cells[1] != "things.example.com/n/x" {
		t.Errorf("the parent is printed as %q", cells[1])
	}
}

func TestServiceRangeGrowsToASecondFamily(t *testing.T) {
	k := serviceCIDRRow()
	make := func(cidrs string) *networkingv1.ServiceCIDR {
		return &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "c", ResourceVersion: "1"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: strings.Fields(cidrs)}}
	}
	for _, c := range []struct {
		old, new string
		paths    []string
	}{
		{"", "10.0.0.0/8", nil},
		{"", "", []string{"spec.cidrs"}},
		{"", "10.0.0.0/8 11.0.0.0/8", []string{"spec.cidrs"}},
		{"", "10.0.0.1/8", []string{"spec.cidrs[0]"}},
		{"10.0.0.0/8", "10.0.0.0/8", nil},
		{"10.0.0.0/8", "11.0.0.0/8", []string{"spec.cidrs[0]"}},
		{"10.0.0.0/8", "10.0.0.0/8 2001:db8::/64", nil},
		{"10.0.0.0/8", "2001:db8::/64 10.0.0.0/8", []string{"spec.cidrs[0]"}},
		{"10.0.0.0/8 2001:db8::/64", "10.0.0.0/8", []string{"spec.cidrs"}},
	} {
		if c.old == "" {
			says(t, c.new, k.Validate(make(c.new)), c.paths...)
		} else {
			says(t, c.old+" to "+c.new, k.ValidateUpdate(make(c.new), make(c.old)), c.paths...)
		}
	}
}
