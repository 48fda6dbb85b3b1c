package all

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
)

func TestEveryRowIsComplete(t *testing.T) {
	for _, k := range Table().Kinds() {
		o := k.New()
		if len(k.Columns) == 0 || k.Row == nil {
			t.Errorf("%v prints nothing", k.GVK)
			continue
		}
		if n := len(k.Row(o, time.Now())); n != len(k.Columns) {
			t.Errorf("%v has %d columns and %d cells", k.GVK, len(k.Columns), n)
		}
		if k.Validate == nil || k.ValidateUpdate == nil {
			t.Errorf("%v is not validated", k.GVK)
		}
		if k.HasStatus && k.ValidateStatus == nil {
			t.Errorf("%v serves a status that is not validated", k.GVK)
		}
		if _, ok := reflect.TypeOf(k.NewList()).Elem().FieldByName("Items"); !ok {
			t.Errorf("%v has a list without items", k.GVK)
		}
	}
}

func TestEmptyObjectsAreRefusedNotCrashedOn(t *testing.T) {
	for _, k := range Table().Kinds() {
		o, old := k.New(), k.New()
		if errs := k.Validate(o); len(errs) == 0 {
			t.Errorf("%v: an object without a name was accepted", k.GVK)
		}
		k.ValidateUpdate(o, old)
		if k.Default != nil {
			k.Default(o)
		}
		if k.PrepareCreate != nil {
			k.PrepareCreate(o)
		}
		if k.PrepareUpdate != nil {
			k.PrepareUpdate(o, old)
		}
		if k.HasStatus {
			if k.PrepareStatus != nil {
				k.PrepareStatus(o, old)
			}
			k.ValidateStatus(o, old)
		}
		if k.Warnings != nil {
			k.Warnings(o)
		}
	}
}

func TestDefaultsAreIdempotent(t *testing.T) {
	for _, k := range Table().Kinds() {
		if k.Default == nil {
			continue
		}
		o := k.New()
		k.Default(o)
		again := o.DeepCopyObject().(api.Object)
		k.Default(again)
		if !equality.Semantic.DeepEqual(o, again) {
			t.Errorf("%v: a second defaulting changed the object", k.GVK)
		}
	}
}

func TestStoreKeysAreUpstreams(t *testing.T) {
	want := map[string]string{
		"pods": "/registry/pods/ns/x", "services": "/registry/services/specs/ns/x", "endpoints": "/registry/services/endpoints/ns/x",
		"nodes": "/registry/minions/x", "replicationcontrollers": "/registry/controllers/ns/x", "leases": "/registry/leases/ns/x",
		"clusterroles": "/registry/clusterroles/x", "events": "/registry/events/ns/x",
	}
	for _, k := range Table().Kinds() {
		if w := want[k.Plural]; w != "" && k.StoreKey("ns", "x") != w {
			t.Errorf("%s is stored at %s, want %s", k.Plural, k.StoreKey("ns", "x"), w)
		}
	}
}

// TestDefaultsOfManifests shows every default of a small manifest.
func TestDefaultsOfManifests(t *testing.T) {
	for _, c := range []struct{ kind, in, want string }{
		{"Pod", `{"spec":{"containers":[{"name":"c","image":"nginx"}]}}`,
			`{"metadata":{},"spec":{"containers":[{"name":"c","image":"nginx","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"Always"}],` +
				`"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","securityContext":{},"schedulerName":"default-scheduler","enableServiceLinks":true},"status":{}}`},
		{"Service", `{"spec":{"ports":[{"port":80}]}}`,
			`{"metadata":{},"spec":{"ports":[{"protocol":"TCP","port":80,"targetPort":80}],"type":"ClusterIP","sessionAffinity":"None","internalTrafficPolicy":"Cluster"},"status":{"loadBalancer":{}}}`},
		{"Service", `{"spec":{"type":"LoadBalancer","sessionAffinity":"ClientIP"}}`,
			`{"metadata":{},"spec":{"type":"LoadBalancer","sessionAffinity":"ClientIP","externalTrafficPolicy":"Cluster","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":10800}},` +
				`"allocateLoadBalancerNodePorts":true,"internalTrafficPolicy":"Cluster"},"status":{"loadBalancer":{}}}`},
		{"Secret", `{"stringData":{"a":"b"}}`, `{"metadata":{},"data":{"a":"Yg=="},"type":"Opaque"}`},
		{"Namespace", `{"metadata":{"name":"n"}}`, `{"metadata":{"name":"n","labels":{"kubernetes.io/metadata.name":"n"}},"spec":{},"status":{"phase":"Active"}}`},
		{"RoleBinding", `{"subjects":[{"kind":"User","name":"u"},{"kind":"ServiceAccount","name":"s"}],"roleRef":{"kind":"Role","name":"r"}}`,
			`{"metadata":{},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"u"},{"kind":"ServiceAccount","name":"s"}],"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"r"}}`},
		{"PriorityClass", `{"value":1}`, `{"metadata":{},"value":1,"preemptionPolicy":"PreemptLowerPriority"}`},
		{"Node", `{"spec":{"podCIDR":"10.0.0.0/24"}}`, `{"metadata":{},"spec":{"podCIDR":"10.0.0.0/24","podCIDRs":["10.0.0.0/24"]},"status":{"daemonEndpoints":{"kubeletEndpoint":{"Port":0}},` +
			`"nodeInfo":{"machineID":"","systemUUID":"","bootID":"","kernelVersion":"","osImage":"","containerRuntimeVersion":"","kubeletVersion":"","kubeProxyVersion":"","operatingSystem":"","architecture":""}}}`},
	} {
		k := byKind(t, c.kind)
		o := k.New()
		if err := json.Unmarshal([]byte(c.in), o); err != nil {
			t.Fatal(err)
		}
		k.Default(o)
		got, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != c.want {
			t.Errorf("%s %s\ngot  %s\nwant %s", c.kind, c.in, got, c.want)
		}
	}
}

func byKind(t *testing.T, name string) *api.Kind {
	t.Helper()
	for _, k := range Table().Kinds() {
		if k.GVK.Kind == name {
			return k
		}
	}
	t.Fatalf("the table has no kind %s", name)
	return nil
}

const (
	goodPod        = `{"metadata":{"name":"p","namespace":"n"},"spec":{"containers":[{"name":"c","image":"i:1"}]}}`
	goodService    = `{"metadata":{"name":"s","namespace":"n"},"spec":{"clusterIP":"10.0.0.1","clusterIPs":["10.0.0.1"],"ports":[{"port":80}]}}`
	goodDeployment = `{"metadata":{"name":"d","namespace":"n"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i:1"}]}}}}`
	goodNode       = `{"metadata":{"name":"n"},"spec":{"podCIDR":"10.0.0.0/24","providerID":"a"}}`
	goodSlice      = `{"metadata":{"name":"s","namespace":"n"},"addressType":"IPv4","endpoints":[{"addresses":["10.1.1.1"]}]}`
	goodBinding    = `{"metadata":{"name":"b","namespace":"n"},"roleRef":{"kind":"Role","name":"r"}}`
)

// patched is a good object with a merge patch over it, defaulted.
func patched(t *testing.T, k *api.Kind, base, patch string) api.Object {
	t.Helper()
	var doc, over map[string]any
	for text, into := range map[string]*map[string]any{base: &doc, patch: &over} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	merge(doc, over)
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	o := k.New()
	if err := json.Unmarshal(text, o); err != nil {
		t.Fatal(err)
	}
	if k.Default != nil {
		k.Default(o)
	}
	return o
}

func merge(doc, over map[string]any) {
	for k, v := range over {
		if m, ok := v.(map[string]any); ok {
			if d, ok := doc[k].(map[string]any); ok {
				merge(d, m)
				continue
			}
		}
		doc[k] = v
	}
}

func TestValidationNamesTheField(t *testing.T) {
	for _, c := range []struct{ kind, base, patch, want string }{
		{"Pod", goodPod, `{}`, ""},
		{"Pod", goodPod, `{"metadata":{"name":"A"}}`, "metadata.name"},
		{"Pod", goodPod, `{"spec":{"containers":[]}}`, "spec.containers: Required value"},
		{"Pod", goodPod, `{"spec":{"containers":[{"name":"c"}]}}`, "spec.containers[0].image: Required value"},
		{"Pod", goodPod, `{"spec":{"containers":[{"name":"c","image":"i"},{"name":"c","image":"i"}]}}`, "spec.containers[1].name: Duplicate value"},
		{"Pod", goodPod, `{"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":70000}]}]}}`, "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"},
		{"Pod", goodPod, `{"spec":{"containers":[{"name":"c","image":"i","volumeMounts":[{"name":"x","mountPath":"/x"}]}]}}`, `spec.containers[0].volumeMounts[0].name: Not found: "x"`},
		{"Pod", goodPod, `{"spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"1"},"requests":{"cpu":"2"}}}]}}`, "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"},
		{"Pod", goodPod, `{"spec":{"containers":[{"name":"c","image":"i","livenessProbe":{}}]}}`, "spec.containers[0].livenessProbe: Required value: must specify a handler type"},
		{"Pod", goodPod, `{"spec":{"restartPolicy":"Sometimes"}}`, `spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"`},
		{"Pod", goodPod, `{"spec":{"volumes":[{"name":"v","emptyDir":{},"hostPath":{"path":"/x"}}]}}`, "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"},
		{"Pod", goodPod, `{"spec":{"initContainers":[{"name":"i","image":"x","readinessProbe":{"exec":{"command":["a"]}}}]}}`, "spec.initContainers[0].readinessProbe: Forbidden"},
		{"Pod", goodPod, `{"spec":{"nodeName":"x","schedulingGates":[{"name":"g"}]}}`, "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"},
		{"Service", goodService, `{}`, ""},
		{"Service", goodService, `{"metadata":{"name":"1a"}}`, ""},
		{"Service", goodService, `{"spec":{"ports":[]}}`, "spec.ports: Required value"},
		{"Service", goodService, `{"spec":{"ports":[{"port":80,"nodePort":30000}]}}`, "spec.ports[0].nodePort: Forbidden"},
		{"Service", goodService, `{"spec":{"type":"ExternalName","clusterIP":"","clusterIPs":[]}}`, "spec.externalName: Required value"},
		{"Deployment", goodDeployment, `{}`, ""},
		{"Deployment", goodDeployment, `{"spec":{"selector":{"matchLabels":{"a":"c"}}}}`, "spec.template.metadata.labels: Invalid value"},
		{"Deployment", goodDeployment, `{"spec":{"strategy":{"rollingUpdate":{"maxSurge":0,"maxUnavailable":0}}}}`, "spec.strategy.rollingUpdate.maxUnavailable: Invalid value"},
		{"Deployment", goodDeployment, `{"spec":{"replicas":-1}}`, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"},
		{"ConfigMap", `{"metadata":{"name":"c","namespace":"n"}}`, `{"data":{"a b":"c"}}`, "data[a b]: Invalid value"},
		{"Secret", `{"metadata":{"name":"c","namespace":"n"}}`, `{"type":"kubernetes.io/tls"}`, "data[tls.crt]: Required value"},
		{"Node", goodNode, `{"spec":{"taints":[{"key":"a","effect":"No"}]}}`, "metadata.taints[0].effect: Unsupported value"},
		{"EndpointSlice", goodSlice, `{"endpoints":[{"addresses":["127.0.0.1"]}]}`, "endpoints[0].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range"},
		{"RoleBinding", goodBinding, `{"roleRef":{"kind":"Rule"}}`, "roleRef.kind: Unsupported value"},
		{"Lease", `{"metadata":{"name":"l","namespace":"n"}}`, `{"spec":{"leaseDurationSeconds":0}}`, "spec.leaseDurationSeconds: Invalid value"},
		{"PriorityClass", `{"metadata":{"name":"c"}}`, `{"value":2000000000}`, "value: Forbidden: maximum allowed value"},
		{"PriorityClass", `{"metadata":{"name":"system-x"}}`, `{}`, "metadata.name: Forbidden"},
		{"Event", `{"metadata":{"name":"e","namespace":"n"},"involvedObject":{"namespace":"n"}}`, `{"involvedObject":{"namespace":"m"}}`, "involvedObject.namespace: Invalid value"},
		{"Role", `{"metadata":{"name":"a:b","namespace":"n"}}`, `{"rules":[{"verbs":["get"]}]}`, "rules[0].apiGroups: Required value"},
		{"Namespace", `{"metadata":{"name":"a"}}`, `{"spec":{"finalizers":["x"]}}`, "spec.finalizers: Invalid value"},
	} {
		k := byKind(t, c.kind)
		check(t, c.kind+" "+c.patch, k.Validate(patched(t, k, c.base, c.patch)).ToAggregate(), c.want)
	}
}

func TestUpdatesKeepWhatMayNotChange(t *testing.T) {
	gated := `{"metadata":{"name":"p","namespace":"n"},"spec":{"schedulingGates":[{"name":"g"}],"nodeSelector":{"a":"b"},"containers":[{"name":"c","image":"i:1"}]}}`
	frozen := `{"metadata":{"name":"c","namespace":"n"},"immutable":true,"data":{"a":"Yg=="}}`
	for _, c := range []struct{ kind, base, patch, want string }{
		{"Pod", goodPod, `{"spec":{"containers":[{"name":"c","image":"i:2","imagePullPolicy":"IfNotPresent"}]}}`, ""},
		{"Pod", goodPod, `{"spec":{"tolerations":[{"key":"a","operator":"Exists"}]}}`, ""},
		{"Pod", goodPod, `{"spec":{"activeDeadlineSeconds":5}}`, ""},
		{"Pod", goodPod, `{"spec":{"nodeName":"x"}}`, "spec: Forbidden: pod updates may not change fields other than"},
		{"Pod", goodPod, `{"spec":{"containers":[{"name":"c","image":"i:1","command":["x"]}]}}`, "spec: Forbidden"},
		{"Pod", goodPod, `{"spec":{"containers":[{"name":"c","image":"i:1"},{"name":"d","image":"i"}]}}`, "spec.containers: Forbidden: pod updates may not add or remove containers"},
		{"Pod", goodPod, `{"metadata":{"name":"q"}}`, "metadata.name: Invalid value"},
		{"Pod", gated, `{"spec":{"schedulingGates":[]}}`, ""},
		{"Pod", gated, `{"spec":{"nodeSelector":{"c":"d"}}}`, ""},
		{"Pod", gated, `{"spec":{"nodeSelector":{"a":"x"}}}`, "spec.nodeSelector: Invalid value"},
		{"Pod", gated, `{"spec":{"schedulingGates":[{"name":"h"}]}}`, "spec.schedulingGates[0].name: Forbidden"},
		{"Service", goodService, `{"spec":{"clusterIP":"10.0.0.2","clusterIPs":["10.0.0.2"]}}`, "spec.clusterIPs[0]: Invalid value"},
		{"Deployment", goodDeployment, `{"spec":{"replicas":5}}`, ""},
		{"Deployment", goodDeployment, `{"spec":{"selector":{"matchLabels":{"c":"d"}},"template":{"metadata":{"labels":{"c":"d"}}}}}`, "spec.selector: Invalid value"},
		{"Secret", frozen, `{"data":{"a":"Yw=="}}`, "data: Forbidden: field is immutable when `immutable` is set"},
		{"Secret", frozen, `{"type":"x/y"}`, "type: Invalid value"},
		{"ConfigMap", `{"metadata":{"name":"c","namespace":"n"},"immutable":true}`, `{"immutable":false}`, "immutable: Forbidden"},
		{"Node", goodNode, `{"spec":{"podCIDR":"10.0.1.0/24"}}`, "spec.podCIDRs: Forbidden"},
		{"Node", goodNode, `{"spec":{"providerID":"b"}}`, "spec.providerID: Forbidden"},
		{"Node", goodNode, `{"spec":{"unschedulable":true}}`, ""},
		{"RoleBinding", goodBinding, `{"roleRef":{"name":"x"}}`, "roleRef: Invalid value"},
		{"EndpointSlice", goodSlice, `{"addressType":"IPv6","endpoints":[]}`, "addressType: Invalid value"},
		{"PriorityClass", `{"metadata":{"name":"c"}}`, `{"value":5}`, "value: Forbidden"},
	} {
		k := byKind(t, c.kind)
		old, o := patched(t, k, c.base, "{}"), patched(t, k, c.base, c.patch)
		for _, m := range []metav1.Object{old, o} {
			m.SetResourceVersion("1")
		}
		before := old.DeepCopyObject()
		check(t, c.kind+" "+c.patch, k.ValidateUpdate(o, old).ToAggregate(), c.want)
		if !equality.Semantic.DeepEqual(before, old) {
			t.Errorf("%s %s: the old object was written to", c.kind, c.patch)
		}
	}
}

func check(t *testing.T, what string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s was refused: %v", what, err)
	case want != "" && err == nil:
		t.Errorf("%s was accepted, want %s", what, want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("%s\ngot  %v\nwant %s", what, err, want)
	}
}
