package quota

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// amounts reads "cpu", "1", "memory", "2Gi".
func amounts(kv ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i+1 < len(kv); i += 2 {
		l[corev1.ResourceName(kv[i])] = resource.MustParse(kv[i+1])
	}
	return l
}

func pod(req, lim corev1.ResourceList) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: req, Limits: lim}}}},
	}
}

func with[T any](o T, change func(T)) T { change(o); return o }

func ptr[T any](v T) *T { return &v }

func of(group, plural string) Evaluator {
	return EvaluatorOf(schema.GroupResource{Group: group, Resource: plural}, Lookup{})
}

func claim(size, class string) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "c"}}
	c.Spec.Resources.Requests = amounts("storage", size)
	if class != "" {
		c.Spec.StorageClassName = &class
	}
	return c
}

func TestWhatObjectsCountFor(t *testing.T) {
	deleted := metav1.NewTime(now.Add(-time.Minute))
	for name, c := range map[string]struct {
		e    Evaluator
		o    api.Object
		want corev1.ResourceList
	}{
		"a pod": {of("", "pods"), pod(amounts("cpu", "1", "memory", "1Gi", "hugepages-2Mi", "4Mi", "example.com/gpu", "2"), amounts("cpu", "2", "ephemeral-storage", "1Gi", "hugepages-2Mi", "4Mi", "example.com/gpu", "2")), amounts(
			"count/pods", "1", "pods", "1", "cpu", "1", "requests.cpu", "1", "memory", "1Gi", "requests.memory", "1Gi", "limits.cpu", "2", "limits.ephemeral-storage", "1Gi",
			"hugepages-2Mi", "4Mi", "requests.hugepages-2Mi", "4Mi", "requests.example.com/gpu", "2")},
		"a pod with overhead and a start that needs more": {of("", "pods"), with(pod(amounts("cpu", "1"), nil), func(p *corev1.Pod) {
			p.Spec.Overhead = amounts("cpu", "100m")
			p.Spec.InitContainers = []corev1.Container{{Name: "i", Resources: corev1.ResourceRequirements{Requests: amounts("cpu", "3")}}}
		}), amounts("count/pods", "1", "pods", "1", "cpu", "3100m", "requests.cpu", "3100m")},
		"a pod with resources of its own": {of("", "pods"), with(pod(amounts("cpu", "1"), nil), func(p *corev1.Pod) {
			p.Spec.Resources = &corev1.ResourceRequirements{Requests: amounts("cpu", "5")}
		}), amounts("count/pods", "1", "pods", "1", "cpu", "5", "requests.cpu", "5")},
		"a pod that has ended":      {of("", "pods"), with(pod(amounts("cpu", "1"), nil), func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), amounts("count/pods", "1")},
		"a pod that overstayed":     {of("", "pods"), with(pod(amounts("cpu", "1"), nil), func(p *corev1.Pod) { p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &deleted, ptr(int64(30)) }), amounts("count/pods", "1")},
		"a pod with time to end in": {of("", "pods"), with(pod(nil, nil), func(p *corev1.Pod) { p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &deleted, ptr(int64(90)) }), amounts("count/pods", "1", "pods", "1")},
		"a service":                 {of("", "services"), &corev1.Service{}, amounts("count/services", "1", "services", "1", "services.nodeports", "0", "services.loadbalancers", "0")},
		"a service with node ports": {of("", "services"), &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: make([]corev1.ServicePort, 2)}}, amounts("count/services", "1", "services", "1", "services.nodeports", "2", "services.loadbalancers", "0")},
		"a load balancer":           {of("", "services"), &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: make([]corev1.ServicePort, 2)}}, amounts("count/services", "1", "services", "1", "services.nodeports", "2", "services.loadbalancers", "1")},
		"a load balancer without": {of("", "services"), &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, AllocateLoadBalancerNodePorts: ptr(false), Ports: []corev1.ServicePort{{}, {NodePort: 30000}}}},
			amounts("count/services", "1", "services", "1", "services.nodeports", "1", "services.loadbalancers", "1")},
		"a claim": {of("", "persistentvolumeclaims"), claim("1500m", ""), amounts("count/persistentvolumeclaims", "1", "persistentvolumeclaims", "1", "requests.storage", "2")},
		"a claim of a class": {of("", "persistentvolumeclaims"), with(claim("1Gi", "gold"), func(c *corev1.PersistentVolumeClaim) { c.Status.AllocatedResources = amounts("storage", "3Gi") }), amounts(
			"count/persistentvolumeclaims", "1", "persistentvolumeclaims", "1", "requests.storage", "3Gi",
			"gold.storageclass.storage.k8s.io/persistentvolumeclaims", "1", "gold.storageclass.storage.k8s.io/requests.storage", "3Gi")},
		"a secret":     {of("", "secrets"), &corev1.Secret{}, amounts("count/secrets", "1", "secrets", "1")},
		"a deployment": {of("apps", "deployments"), &corev1.Secret{}, amounts("count/deployments.apps", "1")},
		"devices": {of("resource.k8s.io", "resourceclaims"), &resourcev1.ResourceClaim{Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
			{Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 2}},
			{FirstAvailable: []resourcev1.DeviceSubRequest{
				{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 1},
				{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 3},
				{DeviceClassName: "fpga", AllocationMode: resourcev1.DeviceAllocationModeAll},
			}},
		}}}}, amounts("count/resourceclaims.resource.k8s.io", "1", "gpu.deviceclass.resource.k8s.io/devices", "5", "fpga.deviceclass.resource.k8s.io/devices", "32",
			"requests.deviceclass.resource.kubernetes.io/gpu", "5", "requests.deviceclass.resource.kubernetes.io/fpga", "32")},
	} {
		if got := c.e.Usage(c.o, now); !Equal(got, c.want) {
			t.Errorf("%s counts for %s, not for %s", name, print(got), print(c.want))
		}
	}
	for _, r := range []schema.GroupResource{{Resource: "events"}, {Group: "events.k8s.io", Resource: "events"}, {Resource: "bindings"}} {
		if EvaluatorOf(r, Lookup{}) != nil {
			t.Errorf("%s are counted", r)
		}
	}
}

func TestExtendedResourcesOfDeviceClasses(t *testing.T) {
	owner := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns", UID: "u"}, Spec: pod(amounts("example.com/gpu", "1"), nil).Spec}
	e := EvaluatorOf(schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaims"}, Lookup{
		DeviceClasses: func() []*resourcev1.DeviceClass {
			return []*resourcev1.DeviceClass{{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}, Spec: resourcev1.DeviceClassSpec{ExtendedResourceName: ptr("example.com/gpu")}}}
		},
		Pod: func(_, name string) *corev1.Pod { return map[string]*corev1.Pod{"p": owner}[name] },
	})
	c := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c"}}
	c.Spec.Devices.Requests = []resourcev1.DeviceRequest{{Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 3}}}
	got := e.Usage(c, now)["requests.example.com/gpu"]
	if got.Value() != 3 {
		t.Errorf("a claim counts for %s extended resources", got.String())
	}
	c.Annotations = map[string]string{resourcev1.ExtendedResourceClaimAnnotation: "true"}
	c.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "u", Controller: ptr(true)}}
	if got := e.Usage(c, now)["requests.example.com/gpu"]; got.Value() != 2 {
		t.Errorf("beyond its pod a claim counts for %s", got.String())
	}
	names := []corev1.ResourceName{"requests.example.com/gpu", "requests.example.com/other", "requests.deviceclass.resource.kubernetes.io/gpu", "gpu.deviceclass.resource.k8s.io/devices", "cpu"}
	if got := printNames(e.Matching(names)); got != "gpu.deviceclass.resource.k8s.io/devices,requests.deviceclass.resource.kubernetes.io/gpu,requests.example.com/gpu" {
		t.Errorf("claims count for %s", got)
	}
}

func TestScopes(t *testing.T) {
	best, burst := pod(nil, nil), pod(amounts("cpu", "1"), nil)
	short := with(pod(nil, nil), func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr(int64(5)) })
	classy := with(pod(nil, nil), func(p *corev1.Pod) { p.Spec.PriorityClassName = "high" })
	far := with(pod(nil, nil), func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{PodAffinityTerm: corev1.PodAffinityTerm{Namespaces: []string{"x"}}}}}}
	})
	gold := with(claim("1", ""), func(c *corev1.PersistentVolumeClaim) { c.Status.CurrentVolumeAttributesClassName = ptr("gold") })
	for _, c := range []struct {
		o     api.Object
		scope corev1.ResourceQuotaScope
		op    corev1.ScopeSelectorOperator
		value string
		want  bool
	}{
		{best, corev1.ResourceQuotaScopeBestEffort, corev1.ScopeSelectorOpExists, "", true},
		{burst, corev1.ResourceQuotaScopeBestEffort, corev1.ScopeSelectorOpExists, "", false},
		{burst, corev1.ResourceQuotaScopeNotBestEffort, corev1.ScopeSelectorOpExists, "", true},
		{short, corev1.ResourceQuotaScopeTerminating, corev1.ScopeSelectorOpExists, "", true},
		{best, corev1.ResourceQuotaScopeTerminating, corev1.ScopeSelectorOpExists, "", false},
		{best, corev1.ResourceQuotaScopeNotTerminating, corev1.ScopeSelectorOpExists, "", true},
		{classy, corev1.ResourceQuotaScopePriorityClass, corev1.ScopeSelectorOpExists, "", true},
		{best, corev1.ResourceQuotaScopePriorityClass, corev1.ScopeSelectorOpExists, "", false},
		{classy, corev1.ResourceQuotaScopePriorityClass, corev1.ScopeSelectorOpIn, "high", true},
		{classy, corev1.ResourceQuotaScopePriorityClass, corev1.ScopeSelectorOpNotIn, "high", false},
		{best, corev1.ResourceQuotaScopePriorityClass, corev1.ScopeSelectorOpNotIn, "high", true},
		{best, corev1.ResourceQuotaScopePriorityClass, corev1.ScopeSelectorOpDoesNotExist, "", true},
		{far, corev1.ResourceQuotaScopeCrossNamespacePodAffinity, corev1.ScopeSelectorOpExists, "", true},
		{best, corev1.ResourceQuotaScopeCrossNamespacePodAffinity, corev1.ScopeSelectorOpExists, "", false},
		{gold, corev1.ResourceQuotaScopeVolumeAttributesClass, corev1.ScopeSelectorOpExists, "", true},
		{gold, corev1.ResourceQuotaScopeVolumeAttributesClass, corev1.ScopeSelectorOpIn, "gold", true},
		{gold, corev1.ResourceQuotaScopeVolumeAttributesClass, corev1.ScopeSelectorOpIn, "iron", false},
		{claim("1", ""), corev1.ResourceQuotaScopeVolumeAttributesClass, corev1.ScopeSelectorOpDoesNotExist, "", true},
		{claim("1", ""), corev1.ResourceQuotaScopeBestEffort, corev1.ScopeSelectorOpExists, "", false},
	} {
		e := of("", "pods")
		if _, ok := c.o.(*corev1.PersistentVolumeClaim); ok {
			e = of("", "persistentvolumeclaims")
		}
		s := corev1.ScopedResourceSelectorRequirement{ScopeName: c.scope, Operator: c.op}
		if c.value != "" {
			s.Values = []string{c.value}
		}
		if got, err := e.InScope(s, c.o); got != c.want || err != nil {
			t.Errorf("%s %s %s: %v, %v", c.scope, c.op, c.value, got, err)
		}
	}
}

func limit(name string, hard, used corev1.ResourceList) *corev1.ResourceQuota {
	return &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns"}, Spec: corev1.ResourceQuotaSpec{Hard: hard},
		Status: corev1.ResourceQuotaStatus{Hard: hard, Used: used},
	}
}

func TestChecks(t *testing.T) {
	two := amounts("pods", "2", "cpu", "3")
	resized := func(q string) *corev1.Pod { return pod(amounts("cpu", q), nil) }
	for name, c := range map[string]struct {
		quotas  []*corev1.ResourceQuota
		change  Change
		limited []Limited
		err     string
		want    corev1.ResourceList // of the first quota
	}{
		"there is room":      {quotas: []*corev1.ResourceQuota{limit("q", two, amounts("pods", "1", "cpu", "1"))}, change: Change{Create: true, Object: resized("2")}, want: amounts("pods", "1", "cpu", "2")},
		"there is none":      {quotas: []*corev1.ResourceQuota{limit("q", two, amounts("pods", "2", "cpu", "1"))}, change: Change{Create: true, Object: resized("2500m")}, err: "exceeded quota: q, requested: cpu=2500m,pods=1, used: cpu=1,pods=2, limited: cpu=3,pods=2"},
		"one resource lacks": {quotas: []*corev1.ResourceQuota{limit("q", two, amounts("pods", "0", "cpu", "2"))}, change: Change{Create: true, Object: resized("2")}, err: "exceeded quota: q, requested: cpu=2, used: cpu=2, limited: cpu=3"},
		"what is not said":   {quotas: []*corev1.ResourceQuota{limit("q", amounts("limits.memory", "1Gi", "cpu", "1"), amounts("limits.memory", "0", "cpu", "0"))}, change: Change{Create: true, Object: pod(nil, nil)}, err: "failed quota: q: must specify cpu for: c; limits.memory for: c"},
		"not counted yet":    {quotas: []*corev1.ResourceQuota{limit("q", two, nil)}, change: Change{Create: true, Object: resized("1")}, err: "status unknown for quota: q, resources: cpu,pods"},
		"another kind's":     {quotas: []*corev1.ResourceQuota{limit("q", amounts("secrets", "0"), amounts("secrets", "0"))}, change: Change{Create: true, Object: resized("1")}},
		"a resize":           {quotas: []*corev1.ResourceQuota{limit("q", two, amounts("pods", "1", "cpu", "1"))}, change: Change{Subresource: "resize", Object: resized("2"), Old: resized("1")}, want: amounts("cpu", "1")},
		"a smaller one":      {quotas: []*corev1.ResourceQuota{limit("q", two, amounts("pods", "1", "cpu", "1"))}, change: Change{Subresource: "resize", Object: resized("500m"), Old: resized("1")}},
		"a resize too far":   {quotas: []*corev1.ResourceQuota{limit("q", two, amounts("pods", "1", "cpu", "3"))}, change: Change{Subresource: "resize", Object: resized("2"), Old: resized("1")}, err: "exceeded quota: q, requested: cpu=1, used: cpu=3, limited: cpu=3"},
		"a usual update":     {quotas: []*corev1.ResourceQuota{limit("q", two, amounts("pods", "2", "cpu", "3"))}, change: Change{Object: resized("1"), Old: resized("1")}},
		"negative":           {quotas: []*corev1.ResourceQuota{limit("q", two, amounts("pods", "0", "cpu", "0"))}, change: Change{Create: true, Object: resized("-1")}, err: "quota usage is negative for resource(s): cpu,requests.cpu"},
		"nothing covers it":  {change: Change{Create: true, Object: resized("1")}, limited: []Limited{{Resource: "pods", MatchContains: []string{"requests.cpu"}}}, err: "insufficient quota to consume: requests.cpu"},
		"a quota covers it":  {quotas: []*corev1.ResourceQuota{limit("q", amounts("requests.cpu", "1"), amounts("requests.cpu", "0"))}, change: Change{Create: true, Object: resized("1")}, limited: []Limited{{Resource: "pods", MatchContains: []string{"requests.cpu"}}}, want: amounts("requests.cpu", "1")},
		"no scope covers it": {change: Change{Create: true, Object: with(resized("1"), func(p *corev1.Pod) { p.Spec.PriorityClassName = "high" })}, limited: []Limited{{Resource: "pods", MatchScopes: []corev1.ScopedResourceSelectorRequirement{{ScopeName: "PriorityClass", Operator: "In", Values: []string{"high"}}}}}, err: "insufficient quota to match these scopes: [{PriorityClass In [high]}]"},
		"out of scope":       {quotas: []*corev1.ResourceQuota{with(limit("q", amounts("pods", "0"), amounts("pods", "0")), func(q *corev1.ResourceQuota) { q.Spec.Scopes = []corev1.ResourceQuotaScope{"BestEffort"} })}, change: Change{Create: true, Object: resized("1")}},
		"into a quota's scope": {quotas: []*corev1.ResourceQuota{with(limit("q", amounts("pods", "1"), amounts("pods", "0")), func(q *corev1.ResourceQuota) { q.Spec.Scopes = []corev1.ResourceQuotaScope{"Terminating"} })},
			change: Change{Object: with(resized("1"), func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr(int64(1)) }), Old: resized("1")}, want: amounts("pods", "1")},
	} {
		deltas, err := Check(c.quotas, of("", "pods"), c.change, c.limited, now)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != c.err {
			t.Errorf("%s: it says %q, not %q", name, text, c.err)
			continue
		}
		var got corev1.ResourceList
		if len(deltas) > 0 {
			got = deltas[0]
		}
		if !Equal(got, c.want) {
			t.Errorf("%s: it takes %s, not %s", name, print(got), print(c.want))
		}
	}
}

func TestUse(t *testing.T) {
	q := limit("q", amounts("pods", "10", "cpu", "10", "count/deployments.apps", "3", "example.com/unknown", "1", "secrets", "5"), nil)
	q.Status.Used = amounts("example.com/unknown", "7", "gone", "1")
	objects := map[string][]api.Object{"pods": {pod(amounts("cpu", "1"), nil), pod(amounts("cpu", "500m"), nil)}, "deployments": {&corev1.Secret{}}}
	evaluators := []Evaluator{of("", "pods"), of("apps", "deployments"), of("", "secrets"), of("", "services")}
	used := Used(q, evaluators, func(e Evaluator) []api.Object { return objects[e.Resource().Resource] }, now)
	if got := print(used); got != "count/deployments.apps=1,cpu=1500m,pods=2,secrets=0" {
		t.Errorf("the use is %s", got)
	}
	st := Status(q, used)
	if got := print(st.Used); got != "count/deployments.apps=1,cpu=1500m,example.com/unknown=7,pods=2,secrets=0" {
		t.Errorf("the status says %s", got)
	}
	q.Spec.Scopes = []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}
	if got := print(Used(q, evaluators, func(e Evaluator) []api.Object { return objects[e.Resource().Resource] }, now)); got != "count/deployments.apps=0,cpu=0,pods=0,secrets=0" {
		t.Errorf("in scope there is %s", got)
	}
}

func TestWhatMakesRoom(t *testing.T) {
	running, done := pod(nil, nil), with(pod(nil, nil), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })
	size := func(cpu string) *corev1.Pod {
		return with(pod(nil, nil), func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", Resources: &corev1.ResourceRequirements{Requests: amounts("cpu", cpu)}}}
		})
	}
	for name, c := range map[string]struct {
		e        Evaluator
		old, cur api.Object
		want     bool
	}{
		"a pod's end":        {of("", "pods"), running, done, true},
		"a pod's labels":     {of("", "pods"), running, with(pod(nil, nil), func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b"} }), false},
		"an ended pod's":     {of("", "pods"), done, done, false},
		"a resize":           {of("", "pods"), size("2"), size("1"), true},
		"a service's type":   {of("", "services"), &corev1.Service{Spec: corev1.ServiceSpec{Type: "NodePort"}}, &corev1.Service{Spec: corev1.ServiceSpec{Type: "ClusterIP"}}, true},
		"one that costs not": {of("", "services"), &corev1.Service{Spec: corev1.ServiceSpec{Type: "ExternalName"}}, &corev1.Service{Spec: corev1.ServiceSpec{Type: "ClusterIP"}}, false},
		"a secret's":         {of("", "secrets"), &corev1.Secret{}, &corev1.Secret{}, false},
		"a claim's size":     {of("", "persistentvolumeclaims"), with(claim("1", ""), func(c *corev1.PersistentVolumeClaim) { c.Status.AllocatedResources = amounts("storage", "2") }), claim("1", ""), true},
	} {
		if got := c.e.Frees(c.old, c.cur, now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
