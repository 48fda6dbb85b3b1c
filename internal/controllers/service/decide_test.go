package service

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

type podOption func(*corev1.Pod)

func pod(name, ip string, opts ...podOption) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: types.UID(name), Labels: map[string]string{"app": "web"}}}
	p.Spec.NodeName, p.Status.Phase = "n1", corev1.PodRunning
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "i", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}}}}
	if ip != "" {
		p.Status.PodIP, p.Status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(t0)}}
	for _, o := range opts {
		o(p)
	}
	return p
}

func unready(p *corev1.Pod)     { p.Status.Conditions = nil }
func terminating(p *corev1.Pod) { now := metav1.NewTime(t0); p.DeletionTimestamp = &now }
func ended(p *corev1.Pod)       { p.Status.Phase = corev1.PodFailed }
func named(p *corev1.Pod)       { p.Spec.Hostname, p.Spec.Subdomain = "h-"+p.Name, "web" }

func service(opts ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "ns", UID: "svc", Labels: map[string]string{"tier": "front"}},
		Spec: corev1.ServiceSpec{
			Type:       corev1.ServiceTypeClusterIP,
			Selector:   map[string]string{"app": "web"},
			ClusterIP:  "10.0.0.1",
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports:      []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("http")}},
		},
	}
	for _, o := range opts {
		o(s)
	}
	return s
}

func show(subsets []corev1.EndpointSubset) string {
	var out []string
	for _, s := range subsets {
		var a, n, p []string
		for _, x := range s.Addresses {
			a = append(a, x.IP)
		}
		for _, x := range s.NotReadyAddresses {
			n = append(n, x.IP)
		}
		for _, x := range s.Ports {
			p = append(p, fmt.Sprint(x.Name, x.Port))
		}
		out = append(out, fmt.Sprint(a, "!", n, ":", p))
	}
	return strings.Join(out, " ")
}

func TestSubsets(t *testing.T) {
	publish := func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }
	noPorts := func(s *corev1.Service) { s.Spec.Ports, s.Spec.ClusterIP = nil, corev1.ClusterIPNone }
	twoPorts := func(s *corev1.Service) {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "admin", Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(9)})
	}
	otherPort := func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].ContainerPort = 81 }
	for _, tc := range []struct {
		why  string
		svc  *corev1.Service
		pods []*corev1.Pod
		want string
	}{
		{"ready, not ready, terminating, ended, without address", service(),
			[]*corev1.Pod{pod("b", "1.1.1.2"), pod("a", "1.1.1.1"), pod("c", "1.1.1.3", unready), pod("d", "1.1.1.4", terminating), pod("e", "1.1.1.5", ended), pod("f", "")},
			"[1.1.1.1 1.1.1.2]![1.1.1.3]:[http8080]"},
		{"published though not ready", service(publish), []*corev1.Pod{pod("c", "1.1.1.3", unready), pod("d", "1.1.1.4", terminating)}, "[1.1.1.3 1.1.1.4]![]:[http8080]"},
		{"headless without ports", service(noPorts), []*corev1.Pod{pod("a", "1.1.1.1")}, "[1.1.1.1]![]:[]"},
		{"ports of equal addresses are joined", service(twoPorts), []*corev1.Pod{pod("a", "1.1.1.1")}, "[1.1.1.1]![]:[admin9 http8080]"},
		{"a named port differs from pod to pod", service(), []*corev1.Pod{pod("a", "1.1.1.1"), pod("b", "1.1.1.2", otherPort)}, "[1.1.1.1]![]:[http8080] [1.1.1.2]![]:[http81]"},
		{"nobody", service(), nil, ""},
	} {
		got := pack(entries(tc.svc, tc.pods))
		if show(got) != tc.want {
			t.Errorf("%s: %s, want %s", tc.why, show(got), tc.want)
		}
		if again := pack(entriesOf(got)); !equal(again, got) {
			t.Errorf("%s: packed again it is %s", tc.why, show(again))
		}
	}
}

func TestTooManyAddressesAreCutNotReadyOnesFirst(t *testing.T) {
	var pods []*corev1.Pod
	for i := range 1200 {
		p := pod(fmt.Sprintf("p%04d", i), fmt.Sprintf("1.2.%d.%d", i/250, i%250))
		if i >= 900 {
			unready(p)
		}
		pods = append(pods, p)
	}
	got := pack(entries(service(), pods))
	if !truncate(got) || len(got[0].Addresses) != 900 || len(got[0].NotReadyAddresses) != 100 {
		t.Errorf("%d ready and %d not ready are left", len(got[0].Addresses), len(got[0].NotReadyAddresses))
	}
}

func TestEndpointConditions(t *testing.T) {
	for _, tc := range []struct {
		why  string
		opts []podOption
		want string
	}{
		{"ready", nil, "true true false"},
		{"not ready", []podOption{unready}, "false false false"},
		{"ends, and still serves", []podOption{terminating}, "false true true"},
	} {
		e := endpointOf(service(), pod("a", "1.1.1.1", append(tc.opts, named)...), discoveryv1.AddressTypeIPv4, "z1")
		if got := fmt.Sprint(*e.Conditions.Ready, *e.Conditions.Serving, *e.Conditions.Terminating); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.why, got, tc.want)
		}
		if *e.Hostname != "h-a" || *e.Zone != "z1" || *e.NodeName != "n1" || e.TargetRef.UID != "a" {
			t.Errorf("%s: %+v", tc.why, e)
		}
	}
}

func TestHints(t *testing.T) {
	zone, node := "z", "n"
	for d, want := range map[string]string{"": "", "PreferClose": "z", "PreferSameZone": "z", "PreferSameNode": "z n", "Unknown": ""} {
		h := hintsFor(&d, &zone, &node)
		var got []string
		if h != nil {
			for _, z := range h.ForZones {
				got = append(got, z.Name)
			}
			for _, n := range h.ForNodes {
				got = append(got, n.Name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: hints %v, want %s", d, got, want)
		}
	}
}

// planned runs planFamily for a Service with pods, and applies it.
func planned(s *corev1.Service, existing []*discoveryv1.EndpointSlice, pods []*corev1.Pod) (plan, []*discoveryv1.EndpointSlice) {
	labels := sliceLabels(s)
	p := planFamily(existing, groupsOf(s, pods, discoveryv1.AddressTypeIPv4, func(string) (string, bool) { return "", true }), maxEndpointsPerSlice,
		func(e *discoveryv1.EndpointSlice) bool { return ownedBy(e, s) },
		func(ports []discoveryv1.EndpointPort) *discoveryv1.EndpointSlice {
			return emptySlice(s, discoveryv1.AddressTypeIPv4, ports)
		},
		func(e *discoveryv1.EndpointSlice) bool { return !equal(e.Labels, labels) },
		func(e *discoveryv1.EndpointSlice) { e.Labels = labels })
	var after []*discoveryv1.EndpointSlice
	for _, e := range existing {
		gone := slices.ContainsFunc(append(slices.Clone(p.remove), p.update...), func(o *discoveryv1.EndpointSlice) bool { return o.Name == e.Name })
		if !gone {
			after = append(after, e)
		}
	}
	after = append(after, p.update...)
	for i, e := range p.create {
		e.Name = fmt.Sprint("new", len(existing), i)
		after = append(after, e)
	}
	return p, after
}

func count(n int) []*corev1.Pod {
	var pods []*corev1.Pod
	for i := range n {
		pods = append(pods, pod(fmt.Sprintf("p%03d", i), fmt.Sprintf("1.2.%d.%d", i/250, i%250)))
	}
	return pods
}

func sizes(list []*discoveryv1.EndpointSlice) []int {
	var out []int
	for _, s := range list {
		out = append(out, len(s.Endpoints))
	}
	slices.Sort(out)
	return out
}

func TestSlicePlans(t *testing.T) {
	s := service()
	check := func(why string, p plan, after []*discoveryv1.EndpointSlice, create, update, remove int, want ...int) {
		t.Helper()
		if len(p.create) != create || len(p.update) != update || len(p.remove) != remove {
			t.Errorf("%s: %d created, %d updated, %d removed, want %d, %d, %d", why, len(p.create), len(p.update), len(p.remove), create, update, remove)
		}
		if got := sizes(after); !slices.Equal(got, want) {
			t.Errorf("%s: sizes %v, want %v", why, got, want)
		}
	}
	p, after := planned(s, nil, nil)
	check("nobody: an empty slice", p, after, 1, 0, 0, 0)
	p, after = planned(s, after, nil)
	check("which stays", p, after, 0, 0, 0, 0)
	p, after = planned(s, after, count(1))
	check("and takes the first pod", p, after, 0, 1, 0, 1)
	p, after = planned(s, after, count(250))
	check("many pods", p, after, 2, 1, 0, 50, 100, 100)
	p, after = planned(s, after, count(250))
	check("nothing changes", p, after, 0, 0, 0, 50, 100, 100)
}

func TestSliceThatGetsEmptyGoes(t *testing.T) {
	s := service()
	_, after := planned(s, nil, count(150))
	first := after[0]
	var rest []*corev1.Pod
	for _, p := range count(150) {
		if !slices.ContainsFunc(first.Endpoints, func(e discoveryv1.Endpoint) bool { return e.TargetRef.Name == p.Name }) {
			rest = append(rest, p)
		}
	}
	p, after := planned(s, after, rest)
	if len(p.remove) != 1 || len(after) != 1 {
		t.Errorf("%d removed, %d left", len(p.remove), len(after))
	}
	p, after = planned(s, after, nil)
	if len(p.update) != 1 || len(after) != 1 || len(after[0].Endpoints) != 0 {
		t.Errorf("the last becomes the empty one: %d updated, %v", len(p.update), sizes(after))
	}
}

func TestSlicesOfANamesakeAreNotReused(t *testing.T) {
	old := service(func(s *corev1.Service) { s.UID = "before" })
	_, theirs := planned(old, nil, count(1))
	p, _ := planned(service(), theirs, count(1))
	if len(p.create) != 1 || len(p.remove) != 1 || len(p.update) != 0 {
		t.Errorf("%d created, %d removed, %d updated", len(p.create), len(p.remove), len(p.update))
	}
}

func TestTriggerIsTheEarliestChange(t *testing.T) {
	tr := newTriggers()
	s := service(func(s *corev1.Service) { s.CreationTimestamp = metav1.NewTime(t0) })
	a := pod("a", "1.1.1.1")
	if got := tr.at(s, []*corev1.Pod{a}); !got.Equal(t0) {
		t.Errorf("a new service: %v", got)
	}
	if got := tr.at(s, []*corev1.Pod{a}); !got.IsZero() {
		t.Errorf("no change: %v", got)
	}
	b := pod("b", "1.1.1.2")
	b.Status.Conditions[0].LastTransitionTime = metav1.NewTime(t0.Add(time.Minute))
	if got := tr.at(s, []*corev1.Pod{a, b}); !got.Equal(t0.Add(time.Minute)) {
		t.Errorf("a pod became ready: %v", got)
	}
}

func TestMirrorGroups(t *testing.T) {
	e := &corev1.Endpoints{Subsets: []corev1.EndpointSubset{{
		Addresses:         []corev1.EndpointAddress{{IP: "1.1.1.1", Hostname: "a"}, {IP: "fd00::1"}, {IP: "nonsense"}},
		NotReadyAddresses: []corev1.EndpointAddress{{IP: "1.1.1.2"}},
		Ports:             []corev1.EndpointPort{{Name: "x", Port: 1, Protocol: corev1.ProtocolTCP}},
	}}}
	groups, invalid, over := mirrorGroups(e)
	if invalid != 1 || over != 0 {
		t.Errorf("%d invalid, %d over", invalid, over)
	}
	for _, g := range groups[discoveryv1.AddressTypeIPv4] {
		if len(g.endpoints) != 2 || *g.endpoints[0].Hostname != "a" || !*g.endpoints[0].Conditions.Ready || *g.endpoints[1].Conditions.Ready {
			t.Errorf("IPv4: %+v", g.endpoints)
		}
	}
	if len(groups[discoveryv1.AddressTypeIPv6]) != 1 {
		t.Error("IPv6 is missing")
	}
}
