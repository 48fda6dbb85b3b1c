package hint

import (
	"reflect"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

func TestUnknown(t *testing.T) {
	pod, svc := reflect.TypeFor[*corev1.Pod](), reflect.TypeFor[corev1.Service]()
	deploy, sts := reflect.TypeFor[appsv1.Deployment](), reflect.TypeFor[appsv1.StatefulSet]()
	for _, c := range []struct {
		typ        reflect.Type
		path, want string
	}{
		{svc, "spec.ports[0].nodeport", `did you mean "nodePort"?`},
		{svc, "spec.clusterip", `did you mean "clusterIP"?`},
		{svc, "spec.port", `did you mean "ports"?`},
		{svc, "spec.targetPort", `did you mean "spec.ports[].targetPort"?`},
		{pod, "spec.volumes[0].emptydir", `did you mean "emptyDir"?`},
		{pod, "spec.container", `did you mean "containers"?`},
		{pod, "spec.containers[0].volumeMount", `did you mean "volumeMounts"?`},
		{pod, "spec.containers[0].enviroment", ""},
		{pod, "spec.containers[0].comand", `did you mean "command"?`},
		{pod, "spec.containers[0].readynessProbe", `did you mean "readinessProbe"?`},
		{pod, "spec.containers[0].limits", `did you mean "spec.containers[].resources.limits"?`},
		{pod, "metadat", `did you mean "metadata"?`},
		{pod, "spec.labels", `did you mean "metadata.labels"?`},
		{pod, "spec.replicas", ""},
		{deploy, "spec.containers", `did you mean "spec.template.spec.containers"?`},
		{deploy, "replicas", `did you mean "spec.replicas"?`},
		{deploy, "metadata.replicas", `did you mean "spec.replicas"?`},
		{sts, "spec.ServiceName", `did you mean "serviceName"?`},
		{pod, "spec.unknown1", ""},
		{pod, "", ""},
		{pod, "no.such.way", ""},
		{pod, "metadata.labels.x.y", ""},
		{pod, "spec.ab", ""},
	} {
		if got := Unknown(c.typ, c.path); got != c.want {
			t.Errorf("%s in %v: %q, want %q", c.path, c.typ, got, c.want)
		}
	}
}

func TestMisfit(t *testing.T) {
	pod, svc := reflect.TypeFor[corev1.Pod](), reflect.TypeFor[corev1.Service]()
	for _, c := range []struct {
		typ       reflect.Type
		doc, want string
	}{
		{svc, `{"spec":{"ports":[{"port":"http"}]}}`, `spec.ports[0].port: expected an integer, found the string "http"`},
		{svc, `{"spec":{"ports":{"port":80}}}`, `spec.ports: expected a list, found an object`},
		{svc, `{"spec":{"ports":[{"port":80.5}]}}`, `spec.ports[0].port: expected an integer, found the number 80.5`},
		{svc, `{"spec":{"ports":[{"port":99999999999}]}}`, `spec.ports[0].port: expected an integer of 32 bits, found the number 99999999999`},
		{svc, `{"spec":{"ports":[{"targetPort":true}]}}`, `spec.ports[0].targetPort: expected an integer or a string, found true`},
		{svc, `{"metadata":{"labels":{"a":1}}}`, `metadata.labels.a: expected a string, found the number 1`},
		{svc, `{"metadata":{"creationTimestamp":"noon"}}`, `metadata.creationTimestamp: expected a time such as 2006-01-02T15:04:05Z, found the string "noon"`},
		{pod, `{"spec":{"hostNetwork":"yes"}}`, `spec.hostNetwork: expected true or false, found the string "yes"`},
		{pod, `{"spec":{"containers":[{"resources":{"limits":{"cpu":"lots"}}}]}}`, `spec.containers[0].resources.limits.cpu: expected a quantity such as 500m or 1Gi, found the string "lots"`},
		{pod, `{"spec":[]}`, `spec: expected an object, found a list`},
		{pod, `[]`, `the document: expected an object, found a list`},
		{pod, `{"spec":{"nodeName":null,"containers":[{"args":["` + strings.Repeat("x", 100) + `"],"name":"` + strings.Repeat("y", 100) + `"}]}}`, ""},
		{pod, `{"spec":{"containers":[{"args":"` + strings.Repeat("x", 100) + `"}]}}`, `spec.containers[0].args: expected a list, found the string "` + strings.Repeat("x", 40) + `…"`},
		{pod, `{`, ""},
	} {
		if got := Misfit(c.typ, []byte(c.doc)); got != c.want {
			t.Errorf("%s: %q, want %q", c.doc, got, c.want)
		}
	}
}
