package service

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/controllers/controllertest"
)

// behind lists the addresses of slices of one manager that are ready.
func behind(c *controllertest.Cluster, manager string) map[string]bool {
	out := map[string]bool{}
	for _, s := range controllertest.List[*discoveryv1.EndpointSlice](c, "ns") {
		if s.Labels[discoveryv1.LabelManagedBy] != manager || s.Labels[discoveryv1.LabelServiceName] != "web" {
			continue
		}
		for _, e := range s.Endpoints {
			if *e.Conditions.Ready {
				out[e.Addresses[0]] = true
			}
		}
	}
	return out
}

func listed4(c *controllertest.Cluster) map[string]bool {
	out := map[string]bool{}
	if e, ok := controllertest.Get[*corev1.Endpoints](c, "ns", "web"); ok {
		for _, s := range e.Subsets {
			for _, a := range s.Addresses {
				out[a.IP] = true
			}
		}
	}
	return out
}

func TestPodsComeAndGoBehindAService(t *testing.T) {
	c := controllertest.New(t)
	c.Run(Controllers(c.Deps())...)
	controllertest.Create(c, service())
	controllertest.Create(c, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{corev1.LabelTopologyZone: "z1"}}})
	controllertest.Create(c, pod("a", ""))
	c.Eventually("an empty slice says that there is nobody", func() bool {
		return len(controllertest.List[*discoveryv1.EndpointSlice](c, "ns")) == 1
	})
	c.MakeReady("ns", "a", "1.1.1.1")
	c.Eventually("the ready pod is listed", func() bool { return behind(c, sliceManager)["1.1.1.1"] && listed4(c)["1.1.1.1"] })
	s := controllertest.List[*discoveryv1.EndpointSlice](c, "ns")[0]
	if s.Labels["tier"] != "front" || *s.Endpoints[0].Zone != "z1" || metav1.GetControllerOf(s).Kind != "Service" {
		t.Errorf("the slice: %+v", s)
	}
	e, _ := controllertest.Get[*corev1.Endpoints](c, "ns", "web")
	if e.Labels[endpointsManagedBy] != endpointsManager || e.Labels["tier"] != "front" {
		t.Errorf("the endpoints have labels %v", e.Labels)
	}
	controllertest.Delete[*corev1.Pod](c, "ns", "a", metav1.DeleteOptions{})
	c.Eventually("the pod that ends is not", func() bool { return len(behind(c, sliceManager)) == 0 && len(listed4(c)) == 0 })
	if p, ok := controllertest.Get[*corev1.Pod](c, "ns", "a"); !ok || p.DeletionTimestamp == nil {
		t.Error("the pod was to be still there")
	}
	controllertest.Delete[*corev1.Service](c, "ns", "web", metav1.DeleteOptions{})
	c.Eventually("the endpoints go with their service", func() bool {
		_, ok := controllertest.Get[*corev1.Endpoints](c, "ns", "web")
		return !ok
	})
}

func TestEndpointsMadeByHandAreMirrored(t *testing.T) {
	c := controllertest.New(t)
	c.Run(Controllers(c.Deps())...)
	controllertest.Create(c, &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", Annotations: map[string]string{"a": "b"}},
		Subsets:    []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "5.5.5.5"}}, Ports: []corev1.EndpointPort{{Port: 1, Protocol: corev1.ProtocolTCP}}}},
	})
	controllertest.Create(c, service(func(s *corev1.Service) { s.Spec.Selector = nil }))
	c.Eventually("the address is mirrored", func() bool { return behind(c, mirrorManager)["5.5.5.5"] })
	controllertest.Modify(c, "ns", "web", func(e *corev1.Endpoints) { e.Subsets[0].Addresses[0].IP = "6.6.6.6" })
	c.Eventually("a change as well", func() bool { b := behind(c, mirrorManager); return b["6.6.6.6"] && len(b) == 1 })
	controllertest.Modify(c, "ns", "web", func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": "web"} })
	c.Eventually("not when the service selects pods", func() bool { return len(behind(c, mirrorManager)) == 0 })
}

func TestTheServersOwnServiceIsLeftAlone(t *testing.T) {
	c := controllertest.New(t)
	s := service(func(s *corev1.Service) {
		s.Namespace, s.Name, s.Spec.Selector, s.Spec.ClusterIP = "default", "kubernetes", nil, "10.0.0.2"
	})
	controllertest.Create(c, s)
	controllertest.Create(c, &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes"},
		Subsets: []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "5.5.5.5"}}}}})
	c.Run(Controllers(c.Deps())...)
	controllertest.Create(c, service())
	c.Eventually("the other service was seen to", func() bool { _, ok := controllertest.Get[*corev1.Endpoints](c, "ns", "web"); return ok })
	if n := len(controllertest.List[*discoveryv1.EndpointSlice](c, "default")); n != 0 {
		t.Errorf("there are %d slices in default", n)
	}
}
