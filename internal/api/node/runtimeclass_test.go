package node

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRuntimeClass(t *testing.T) {
	k := runtimeClassRow()
	twice := []corev1.Toleration{{Key: "a", Operator: corev1.TolerationOpExists}, {Key: "a", Operator: corev1.TolerationOpExists, TolerationSeconds: new(int64(1)), Effect: ""}}
	amount := func(n corev1.ResourceName, q string) *nodev1.Overhead {
		return &nodev1.Overhead{PodFixed: corev1.ResourceList{n: resource.MustParse(q)}}
	}
	for _, c := range []struct {
		what  string
		class nodev1.RuntimeClass
		paths []string
	}{
		{"a handler", nodev1.RuntimeClass{Handler: "runc"}, nil},
		{"none", nodev1.RuntimeClass{}, []string{"handler"}},
		{"a bad one", nodev1.RuntimeClass{Handler: "a.b"}, []string{"handler"}},
		{"overhead", nodev1.RuntimeClass{Handler: "a", Overhead: amount("cpu", "1")}, nil},
		{"pages alone", nodev1.RuntimeClass{Handler: "a", Overhead: amount("hugepages-2Mi", "3Mi")}, []string{"overhead", "overhead.limits[hugepages-2Mi]"}},
		{"pods", nodev1.RuntimeClass{Handler: "a", Overhead: amount("pods", "1")}, []string{"overhead.limits[pods]"}},
		{"half a device", nodev1.RuntimeClass{Handler: "a", Overhead: amount("example.com/gpu", "500m")}, []string{"overhead.limits[example.com/gpu]"}},
		{"a toleration twice", nodev1.RuntimeClass{Handler: "a", Scheduling: &nodev1.Scheduling{Tolerations: twice}},
			[]string{"scheduling.tolerations[1]", "scheduling.tolerations[1].effect"}},
	} {
		c.class.Name, c.class.ResourceVersion = "c", "1"
		var got []string
		for _, e := range k.Validate(&c.class) {
			got = append(got, e.Field)
		}
		slices.Sort(got)
		if !slices.Equal(got, c.paths) {
			t.Errorf("%s: errors at %q, want them at %q", c.what, got, c.paths)
		}
	}
	old := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "c", ResourceVersion: "1"}, Handler: "a"}
	c := old.DeepCopy()
	c.Handler = "b"
	if errs := k.ValidateUpdate(c, old); len(errs) != 1 || errs[0].Field != "handler" {
		t.Errorf("a new handler: %v", errs)
	}
	c.Scheduling = &nodev1.Scheduling{NodeSelector: map[string]string{"beta.kubernetes.io/os": "linux"}}
	if w := k.Warnings(c); len(w) != 1 || w[0] != `scheduling.nodeSelector: deprecated since v1.14; use "kubernetes.io/os" instead` {
		t.Errorf("a deprecated label earns the warnings %q", w)
	}
}
