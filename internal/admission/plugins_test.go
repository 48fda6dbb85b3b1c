package admission_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/monohull/monohull/internal/admission"
	"github.com/monohull/monohull/internal/admission/admissiontest"
	"github.com/monohull/monohull/internal/client"
)

// only is the configuration of a chain of some plugins.
func only(names ...string) admission.Config {
	var cfg admission.Config
	all, on := admission.Names()
	for i, n := range all {
		switch {
		case slices.Contains(names, n):
			cfg.Enable = append(cfg.Enable, n)
		case on[i]:
			cfg.Disable = append(cfg.Disable, n)
		}
	}
	return cfg
}

func configured(name, config string) admission.Config {
	cfg := only(name)
	cfg.Plugins = map[string][]byte{name: []byte(config)}
	return cfg
}

// may allows what it lists, as "verb resource name".
type may []string

func (m may) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	res := a.GetResource()
	if s := a.GetSubresource(); s != "" {
		res += "/" + s
	}
	if slices.Contains(m, strings.TrimSpace(a.GetVerb()+" "+res+" "+a.GetName())) {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

func meta(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "ns", Name: name} }

func ptr[T any](v T) *T { return &v }

func with[T any](o T, change func(T)) T { change(o); return o }

func list(kv ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i+1 < len(kv); i += 2 {
		l[corev1.ResourceName(kv[i])] = resource.MustParse(kv[i+1])
	}
	return l
}

func newPod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: meta(name), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "img"}}}}
}

func sized(name string, requests, limits corev1.ResourceList) *corev1.Pod {
	p := newPod(name)
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: requests, Limits: limits}
	return p
}

// says checks the text of an error, "" for none.
func says(t *testing.T, what string, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func createPod(c *admissiontest.Cluster, p *corev1.Pod) error {
	return c.Admit(admissiontest.Attributes[*corev1.Pod](c, admission.Create, "", p, nil))
}

func updatePod(c *admissiontest.Cluster, sub string, p, old *corev1.Pod) error {
	return c.Admit(admissiontest.Attributes[*corev1.Pod](c, admission.Update, sub, p, old))
}

func TestNamespaces(t *testing.T) {
	c := admissiontest.New(t, only("NamespaceLifecycle", "NamespaceExists"), nil)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "none", Name: "a"}}
	says(t, "a creation in none", c.Admit(admissiontest.Attributes[*corev1.ConfigMap](c, admission.Create, "", cm, nil)), `namespaces "none" not found`)
	says(t, "a change in none", c.Admit(admissiontest.Attributes[*corev1.ConfigMap](c, admission.Update, "", cm, cm)), `namespaces "none" not found`)
	for _, n := range []string{"default", "kube-system", "kube-public", "ns"} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n}}
		want := `namespaces "` + n + `" is forbidden: this namespace may not be deleted`
		if n == "ns" {
			want = ""
		}
		says(t, "deleting "+n, c.Admit(admissiontest.Attributes[*corev1.Namespace](c, admission.Delete, "", nil, ns)), want)
	}
	if err := client.Of[*corev1.Namespace](c.Client).Delete(t.Context(), "", "ns", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	cm.Namespace = "ns"
	says(t, "a creation in one that goes", c.Admit(admissiontest.Attributes[*corev1.ConfigMap](c, admission.Create, "", cm, nil)),
		`configmaps "a" is forbidden: unable to create new content in namespace ns because it is being terminated`)
	says(t, "a change in one that goes", c.Admit(admissiontest.Attributes[*corev1.ConfigMap](c, admission.Update, "", cm, cm)), "")

	c = admissiontest.New(t, admission.Config{Enable: []string{"NamespaceAutoProvision"}}, nil)
	admissiontest.Create(c, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "made", Name: "a"}})
	if _, ok := admissiontest.Get[*corev1.Namespace](c, "", "made"); !ok {
		t.Error("no namespace was made")
	}
}

func TestLimitRanges(t *testing.T) {
	type item = corev1.LimitRangeItem
	requests := func(kv ...string) *corev1.Pod { return sized("p", list(kv...), nil) }
	for name, tc := range map[string]struct {
		item item
		pod  *corev1.Pod
		want string
	}{
		"enough":          {item{Type: "Container", Min: list("cpu", "100m")}, requests("cpu", "100m"), ""},
		"too little":      {item{Type: "Container", Min: list("cpu", "100m")}, requests("cpu", "50m"), "minimum cpu usage per Container is 100m, but request is 50m"},
		"nothing said":    {item{Type: "Pod", Min: list("memory", "1Gi")}, requests(), "minimum memory usage per Pod is 1Gi.  No request is specified"},
		"too low a limit": {item{Type: "Container", Min: list("cpu", "1")}, sized("p", list("cpu", "1"), list("cpu", "500m")), "minimum cpu usage per Container is 1, but limit is 500m"},
		"no limit":        {item{Type: "Pod", Max: list("cpu", "1")}, requests("cpu", "1"), "maximum cpu usage per Pod is 1.  No limit is specified"},
		"too much":        {item{Type: "Container", Max: list("cpu", "1", "memory", "1Gi")}, sized("p", list("cpu", "1"), list("cpu", "2", "memory", "2Gi")), "[maximum cpu usage per Container is 1, but limit is 2, maximum memory usage per Container is 1Gi, but limit is 2Gi]"},
		"a large request": {item{Type: "Container", Max: list("cpu", "1")}, sized("p", list("cpu", "2"), list("cpu", "1")), "maximum cpu usage per Container is 1, but request is 2"},
		"the ratio":       {item{Type: "Container", MaxLimitRequestRatio: list("cpu", "2")}, sized("p", list("cpu", "1"), list("cpu", "3")), "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"},
		"no ratio":        {item{Type: "Container", MaxLimitRequestRatio: list("cpu", "2")}, sized("p", nil, list("cpu", "3")), "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0"},
		"the pod's sum": {item{Type: "Pod", Max: list("cpu", "2")}, with(sized("p", nil, list("cpu", "1500m")), func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, p.Spec.Containers[0])
		}), "maximum cpu usage per Pod is 2, but limit is 3"},
		"what a pod says itself": {item{Type: "Pod", Max: list("cpu", "2")}, with(sized("p", nil, list("cpu", "3")), func(p *corev1.Pod) {
			p.Spec.Resources = &corev1.ResourceRequirements{Limits: list("cpu", "2")}
		}), ""},
		"its start": {item{Type: "Pod", Max: list("cpu", "2")}, with(sized("p", nil, list("cpu", "1")), func(p *corev1.Pod) {
			always := corev1.ContainerRestartPolicyAlways
			side := corev1.Container{Name: "s", RestartPolicy: &always, Resources: corev1.ResourceRequirements{Limits: list("cpu", "500m")}}
			p.Spec.InitContainers = []corev1.Container{side, {Name: "i", Resources: corev1.ResourceRequirements{Limits: list("cpu", "2")}}}
		}), "maximum cpu usage per Pod is 2, but limit is 2500m"},
	} {
		c := admissiontest.New(t, only("LimitRanger"), nil)
		admissiontest.Create(c, &corev1.LimitRange{ObjectMeta: meta("l"), Spec: corev1.LimitRangeSpec{Limits: []item{tc.item}}})
		want := tc.want
		if want != "" {
			want = `pods "p" is forbidden: ` + want
		}
		says(t, name, createPod(c, tc.pod), want)
	}
	c := admissiontest.New(t, only("LimitRanger"), nil)
	admissiontest.Create(c, &corev1.LimitRange{ObjectMeta: meta("l"), Spec: corev1.LimitRangeSpec{Limits: []item{
		{Type: "Container", Default: list("cpu", "1", "memory", "1Gi"), DefaultRequest: list("cpu", "100m", "memory", "1Gi")},
		{Type: "PersistentVolumeClaim", Min: list("storage", "1Gi"), Max: list("storage", "2Gi")},
	}}})
	p := sized("p", nil, list("memory", "2Gi"))
	p.Spec.InitContainers = []corev1.Container{{Name: "i"}}
	says(t, "defaulting", createPod(c, p), "")
	r := p.Spec.Containers[0].Resources
	if r.Requests.Cpu().String() != "100m" || r.Limits.Cpu().String() != "1" || r.Limits.Memory().String() != "2Gi" {
		t.Errorf("the container has %v", r)
	}
	if got := p.Annotations["kubernetes.io/limit-ranger"]; got != "LimitRanger plugin set: cpu, memory request for container c; cpu limit for container c; cpu, memory request for init container i; cpu, memory limit for init container i" {
		t.Errorf("the annotation says %q", got)
	}
	claim := func(size string) error {
		o := &corev1.PersistentVolumeClaim{ObjectMeta: meta("c")}
		o.Spec.Resources.Requests = list("storage", size)
		return c.Admit(admissiontest.Attributes[*corev1.PersistentVolumeClaim](c, admission.Create, "", o, nil))
	}
	says(t, "a small claim", claim("500Mi"), `persistentvolumeclaims "c" is forbidden: minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi`)
	says(t, "a large claim", claim("3Gi"), `persistentvolumeclaims "c" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi`)
	says(t, "a good claim", claim("2Gi"), "")
}

func TestAccounts(t *testing.T) {
	c := admissiontest.New(t, only("ServiceAccount"), nil)
	admissiontest.Create(c, &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "strict", Annotations: map[string]string{"kubernetes.io/enforce-mountable-secrets": "true"}},
		Secrets:    []corev1.ObjectReference{{Name: "ours"}}, ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}},
	})
	mirror := func(change func(*corev1.Pod)) *corev1.Pod {
		p := newPod("p")
		p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
		change(p)
		return p
	}
	strict := func(change func(*corev1.Pod)) *corev1.Pod {
		p := newPod("p")
		p.Spec.ServiceAccountName = "strict"
		change(p)
		return p
	}
	env := []corev1.EnvVar{{Name: "E", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "other"}}}}}
	for name, tc := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"a mirror pod":        {mirror(func(*corev1.Pod) {}), ""},
		"one with an account": {mirror(func(p *corev1.Pod) { p.Spec.ServiceAccountName = "default" }), "a mirror pod may not reference service accounts"},
		"one with a secret":   {mirror(func(p *corev1.Pod) { p.Spec.Containers[0].Env = env }), "a mirror pod may not reference secrets"},
		"one with a token": {mirror(func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{}}}}}}}
		}), "a mirror pod may not use ServiceAccountToken volume projections"},
		"no such account": {with(newPod("p"), func(p *corev1.Pod) { p.Spec.ServiceAccountName = "nobody" }), `error looking up service account ns/nobody: serviceaccount "nobody" not found`},
		"the account's secrets": {strict(func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "ours"}}}}
		}), ""},
		"another secret": {strict(func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "other"}}}}
		}), `volume with secret.secretName="other" is not allowed because service account strict does not reference that secret`},
		"in the environment": {strict(func(p *corev1.Pod) { p.Spec.Containers[0].Env = env }), `container c with envVar E referencing secret.secretName="other" is not allowed because service account strict does not reference that secret`},
		"to pull with":       {strict(func(p *corev1.Pod) { p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "x"}} }), `imagePullSecrets[0].name="x" is not allowed because service account strict does not reference that imagePullSecret`},
	} {
		want := tc.want
		if want != "" {
			want = `pods "p" is forbidden: ` + want
		}
		says(t, name, createPod(c, tc.pod), want)
	}
	// a base name stands for one that is still to be made
	lost := newPod("base-abcde")
	lost.GenerateName, lost.Spec.ServiceAccountName = "base-", "nobody"
	a := admissiontest.Attributes[*corev1.Pod](c, admission.Create, "", lost, nil)
	a.Generated = true
	says(t, "a generated name", c.Admit(a), `pods "base-" is forbidden: error looking up service account ns/nobody: serviceaccount "nobody" not found`)
}

func TestDefaultAccountIsWaitedFor(t *testing.T) {
	c := admissiontest.New(t, only("ServiceAccount"), nil)
	admissiontest.Create(c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "new"}})
	made := make(chan error, 1)
	p := newPod("p")
	p.Namespace = "new"
	go func() { made <- createPod(c, p) }()
	admissiontest.Create(c, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "new", Name: "default"}})
	says(t, "a pod right after its namespace", <-made, "")
}

func TestPodDefaults(t *testing.T) {
	c := admissiontest.New(t, only("DefaultTolerationSeconds", "ExtendedResourceToleration", "AlwaysPullImages", "Priority"), nil)
	p := sized("p", list("example.com/gpu", "1"), nil)
	says(t, "a pod", createPod(c, p), "")
	if len(p.Spec.Tolerations) != 3 || p.Spec.Tolerations[2].Key != "example.com/gpu" || *p.Spec.Tolerations[0].TolerationSeconds != 300 {
		t.Errorf("it tolerates %v", p.Spec.Tolerations)
	}
	if p.Spec.Containers[0].ImagePullPolicy != corev1.PullAlways || *p.Spec.Priority != 0 {
		t.Errorf("it has %s, %d", p.Spec.Containers[0].ImagePullPolicy, *p.Spec.Priority)
	}
	// an old client that knows of neither
	up := newPod("p")
	says(t, "an update", updatePod(c, "", up, p), "")
	if up.Spec.Priority == nil || len(up.Spec.Tolerations) != 2 || up.Spec.Containers[0].ImagePullPolicy == corev1.PullAlways {
		t.Errorf("the update is %+v", up.Spec)
	}
	up.Spec.Containers[0].Image = "other"
	says(t, "a new image", updatePod(c, "", up, p), "")
	if up.Spec.Containers[0].ImagePullPolicy != corev1.PullAlways {
		t.Error("a new image is not pulled")
	}
	admissiontest.Create(c, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "one"}, GlobalDefault: true, Value: 7})
	again := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "one"}, GlobalDefault: true}
	says(t, "a second default", c.Admit(admissiontest.Attributes[*schedulingv1.PriorityClass](c, admission.Create, "", again, nil)), `priorityclasses.scheduling.k8s.io "one" is forbidden: PriorityClass one is already marked as default. Only one default can exist`)
	says(t, "a change of it", c.Admit(admissiontest.Attributes[*schedulingv1.PriorityClass](c, admission.Update, "", again, again)), "")
	says(t, "another priority", createPod(c, with(newPod("p"), func(p *corev1.Pod) { p.Spec.Priority = ptr(int32(9)) })), `pods "p" is forbidden: the integer value of priority (9) must not be provided in pod spec; priority admission controller computed 7 from the given PriorityClass name`)
	says(t, "no class", createPod(c, with(newPod("p"), func(p *corev1.Pod) { p.Spec.PriorityClassName = "x" })), `pods "p" is forbidden: no PriorityClass with name x was found`)
}

func TestRuntimeClasses(t *testing.T) {
	c := admissiontest.New(t, only("RuntimeClass"), nil)
	admissiontest.Create(c, &nodev1.RuntimeClass{
		ObjectMeta: metav1.ObjectMeta{Name: "vm"}, Handler: "vm", Overhead: &nodev1.Overhead{PodFixed: list("cpu", "100m")},
		Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"vm": "yes"}, Tolerations: []corev1.Toleration{{Key: "vm", Operator: corev1.TolerationOpExists}}},
	})
	vm := func(change func(*corev1.Pod)) *corev1.Pod {
		p := newPod("p")
		p.Spec.RuntimeClassName = ptr("vm")
		change(p)
		return p
	}
	p := vm(func(p *corev1.Pod) {
		p.Spec.NodeSelector = map[string]string{"a": "b"}
		p.Spec.Tolerations = []corev1.Toleration{{Key: "vm", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
	})
	says(t, "a pod", createPod(c, p), "")
	if p.Spec.Overhead.Cpu().String() != "100m" || p.Spec.NodeSelector["vm"] != "yes" || p.Spec.NodeSelector["a"] != "b" || len(p.Spec.Tolerations) != 1 {
		t.Errorf("it is %+v", p.Spec)
	}
	says(t, "no class", createPod(c, with(newPod("p"), func(p *corev1.Pod) { p.Spec.RuntimeClassName = ptr("x") })), `pods "p" is forbidden: pod rejected: RuntimeClass "x" not found`)
	says(t, "its own overhead", createPod(c, with(newPod("p"), func(p *corev1.Pod) { p.Spec.Overhead = list("cpu", "1") })), `pods "p" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead`)
	says(t, "another overhead", createPod(c, vm(func(p *corev1.Pod) { p.Spec.Overhead = list("cpu", "1") })), `pods "p" is forbidden: pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead`)
	says(t, "another node", createPod(c, vm(func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"vm": "no"} })), `pods "p" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no`)
}

func TestNodesAndTheirPods(t *testing.T) {
	c := admissiontest.New(t, only("TaintNodesByCondition", "PodTopologyLabels", "PodResizeValidator", "NodeDeclaredFeatureValidator"), nil)
	admissiontest.Create(c, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "x": "y"}},
		Status:     corev1.NodeStatus{Allocatable: list("cpu", "2", "memory", "1Gi")},
	})
	if n, _ := admissiontest.Get[*corev1.Node](c, "", "n"); len(n.Spec.Taints) != 1 || n.Spec.Taints[0].Key != "node.kubernetes.io/not-ready" || n.Spec.Taints[0].Effect != corev1.TaintEffectNoSchedule {
		t.Errorf("a new node is tainted %v", n.Spec.Taints)
	}
	b := &corev1.Binding{ObjectMeta: meta("p"), Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}
	says(t, "a binding", c.Admit(admissiontest.Attributes[*corev1.Pod](c, admission.Create, "binding", b, nil)), "")
	if len(b.Labels) != 2 || b.Labels["topology.kubernetes.io/zone"] != "z" {
		t.Errorf("the binding is labelled %v", b.Labels)
	}
	was := sized("p", list("cpu", "1"), nil)
	was.Spec.NodeName, was.Generation = "n", 1
	now := sized("p", list("cpu", "3", "memory", "2Gi"), nil)
	now.Spec.NodeName, now.Generation = "n", 2
	says(t, "a pod larger than its node", updatePod(c, "resize", now, was), `pods "p" is forbidden: node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824`)
	now = sized("p", list("cpu", "2"), nil)
	now.Spec.NodeName, now.Generation = "n", 2
	now.Spec.Resources = &corev1.ResourceRequirements{Requests: list("cpu", "2")}
	says(t, "what the node does not know", updatePod(c, "resize", now, was), `pods "p" is forbidden: pod update requires features InPlacePodLevelResourcesVerticalScaling which are not available on node "n"`)
	now.Spec.Resources = nil
	says(t, "a good resize", updatePod(c, "resize", now, was), "")
	now.Spec.NodeName = "x"
	says(t, "no node", updatePod(c, "resize", now, was), `pods "p" is forbidden: node "x" not found`)
}

func TestStorage(t *testing.T) {
	c := admissiontest.New(t, only("DefaultStorageClass", "StorageObjectInUseProtection", "PersistentVolumeClaimResize", "DefaultIngressClass"), nil)
	isDefault := map[string]string{"storageclass.kubernetes.io/is-default-class": "true", "ingressclass.kubernetes.io/is-default-class": "true"}
	at := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, Annotations: isDefault} }
	for i, n := range []string{"b", "a"} {
		c.Clock.SetTime(c.Clock.Now().Add(time.Duration(1-i) * time.Minute))
		admissiontest.Create(c, &storagev1.StorageClass{ObjectMeta: at(n), Provisioner: "x", AllowVolumeExpansion: ptr(n == "a")})
		admissiontest.Create(c, &networkingv1.IngressClass{ObjectMeta: at(n), Spec: networkingv1.IngressClassSpec{Controller: "x/y"}})
	}
	claim := func(size, class string, phase corev1.PersistentVolumeClaimPhase) *corev1.PersistentVolumeClaim {
		o := &corev1.PersistentVolumeClaim{ObjectMeta: meta("c"), Status: corev1.PersistentVolumeClaimStatus{Phase: phase}}
		o.Spec.Resources.Requests = list("storage", size)
		if class != "-" {
			o.Spec.StorageClassName = &class
		}
		return o
	}
	write := func(o, old *corev1.PersistentVolumeClaim) error {
		if old == nil {
			return c.Admit(admissiontest.Attributes[*corev1.PersistentVolumeClaim](c, admission.Create, "", o, nil))
		}
		return c.Admit(admissiontest.Attributes[*corev1.PersistentVolumeClaim](c, admission.Update, "", o, old))
	}
	o := claim("1", "-", "")
	says(t, "a claim", write(o, nil), "")
	if o.Spec.StorageClassName == nil || *o.Spec.StorageClassName != "a" || len(o.Finalizers) != 1 || o.Finalizers[0] != "kubernetes.io/pvc-protection" {
		t.Errorf("it is %+v", o)
	}
	o = claim("1", "", "")
	if says(t, "without a class", write(o, nil), ""); *o.Spec.StorageClassName != "" {
		t.Error("a claim that wants none got a class")
	}
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v"}}
	says(t, "a volume", c.Admit(admissiontest.Attributes[*corev1.PersistentVolume](c, admission.Create, "", pv, nil)), "")
	vac := &storagev1.VolumeAttributesClass{ObjectMeta: metav1.ObjectMeta{Name: "v", Finalizers: []string{"kubernetes.io/vac-protection"}}}
	says(t, "an attributes class", c.Admit(admissiontest.Attributes[*storagev1.VolumeAttributesClass](c, admission.Create, "", vac, nil)), "")
	if len(pv.Finalizers) != 1 || pv.Finalizers[0] != "kubernetes.io/pv-protection" || len(vac.Finalizers) != 1 {
		t.Errorf("they have %v, %v", pv.Finalizers, vac.Finalizers)
	}
	says(t, "a resize", write(claim("2", "a", "Bound"), claim("1", "a", "Bound")), "")
	says(t, "of one not bound", write(claim("2", "a", ""), claim("1", "a", "Pending")), `persistentvolumeclaims "c" is forbidden: Only bound persistent volume claims can be expanded`)
	says(t, "of a class that cannot", write(claim("2", "b", "Bound"), claim("1", "b", "Bound")), `persistentvolumeclaims "c" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize`)
	in := &networkingv1.Ingress{ObjectMeta: meta("i")}
	says(t, "an ingress", c.Admit(admissiontest.Attributes[*networkingv1.Ingress](c, admission.Create, "", in, nil)), "")
	if in.Spec.IngressClassName == nil || *in.Spec.IngressClassName != "a" {
		t.Errorf("it has class %v", in.Spec.IngressClassName)
	}
	in = &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "i", Annotations: map[string]string{"kubernetes.io/ingress.class": "old"}}}
	if says(t, "an old ingress", c.Admit(admissiontest.Attributes[*networkingv1.Ingress](c, admission.Create, "", in, nil)), ""); in.Spec.IngressClassName != nil {
		t.Error("an ingress with the annotation got a class")
	}
}

func request(t *testing.T, cn string, orgs ...string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn, Organization: orgs}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func csr(signer string, req []byte) *certificatesv1.CertificateSigningRequest {
	return &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: signer, Request: req}}
}

func TestCertificates(t *testing.T) {
	c := admissiontest.New(t, only("CertificateApproval", "CertificateSigning", "CertificateSubjectRestriction"), may{"approve signers example.com/*", "sign signers example.com/a"})
	attr := func(op admission.Operation, sub string, o, old *certificatesv1.CertificateSigningRequest) *admission.Attributes {
		if old == nil {
			return admissiontest.Attributes[*certificatesv1.CertificateSigningRequest](c, op, sub, o, nil)
		}
		return admissiontest.Attributes[*certificatesv1.CertificateSigningRequest](c, op, sub, o, old)
	}
	good, bad := csr("example.com/a", nil), csr("example.org/a", nil)
	issued := good.DeepCopy()
	issued.Status.Certificate = []byte("x")
	other := csr("example.com/b", nil)
	otherIssued := other.DeepCopy()
	otherIssued.Status.Certificate = []byte("x")
	const is = `certificatesigningrequests.certificates.k8s.io "r" is forbidden: `
	says(t, "approval", c.Admit(attr(admission.Update, "approval", good, good)), "")
	says(t, "approval without right", c.Admit(attr(admission.Update, "approval", bad, bad)), is+`user not permitted to approve requests with signerName "example.org/a"`)
	says(t, "signing", c.Admit(attr(admission.Update, "status", issued, good)), "")
	says(t, "signing without right", c.Admit(attr(admission.Update, "status", otherIssued, other)), is+`user not permitted to sign requests with signerName "example.com/b"`)
	says(t, "a status without certificate", c.Admit(attr(admission.Update, "status", other, other)), "")
	says(t, "a client", c.Admit(attr(admission.Create, "", csr("kubernetes.io/kube-apiserver-client", request(t, "me", "us")), nil)), "")
	says(t, "an administrator", c.Admit(attr(admission.Create, "", csr("kubernetes.io/kube-apiserver-client", request(t, "me", "system:masters")), nil)), is+"use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed")
	says(t, "nonsense", c.Admit(attr(admission.Create, "", csr("kubernetes.io/kube-apiserver-client", []byte("x")), nil)), is+"failed to parse CSR: PEM block type must be CERTIFICATE REQUEST")
}

func TestOwnerReferences(t *testing.T) {
	z := may{"delete configmaps a", "update configmaps/finalizers good"}
	c := admissiontest.New(t, only("OwnerReferencesPermissionEnforcement"), z)
	cm := func(name, kind, owner string, block bool) *corev1.ConfigMap {
		o := &corev1.ConfigMap{ObjectMeta: meta(name)}
		if owner != "" {
			o.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: kind, Name: owner, UID: "u", BlockOwnerDeletion: &block}}
		}
		return o
	}
	write := func(o, old *corev1.ConfigMap) error {
		if old == nil {
			return c.Admit(admissiontest.Attributes[*corev1.ConfigMap](c, admission.Create, "", o, nil))
		}
		return c.Admit(admissiontest.Attributes[*corev1.ConfigMap](c, admission.Update, "", o, old))
	}
	says(t, "a new one", write(cm("b", "ConfigMap", "x", false), nil), "")
	says(t, "a change", write(cm("a", "ConfigMap", "x", false), cm("a", "", "", false)), "")
	says(t, "of what one may not delete", write(cm("b", "ConfigMap", "x", false), cm("b", "", "", false)), `configmaps "b" is forbidden: cannot set an ownerRef on a resource you can't delete: , <nil>`)
	says(t, "one that blocks", write(cm("a", "ConfigMap", "good", true), nil), "")
	says(t, "one that blocks another's", write(cm("a", "ConfigMap", "x", true), nil), `configmaps "a" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>`)
	says(t, "of a kind nobody knows", write(cm("a", "Nothing", "x", true), nil), `configmaps "a" is forbidden: cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion v1 Kind Nothing: no matches for kind "Nothing" in version "v1"`)
	says(t, "as it was", write(cm("b", "ConfigMap", "x", true), cm("b", "ConfigMap", "x", true)), "")
}

func TestOthers(t *testing.T) {
	c := admissiontest.New(t, only("LimitPodHardAntiAffinityTopology", "DenyServiceExternalIPs"), nil)
	says(t, "affinity", createPod(c, with(newPod("p"), func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: "zone"}}}}
	})), `pods "p" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only key kubernetes.io/hostname is allowed`)
	svc := func(ips ...string) *corev1.Service {
		return &corev1.Service{ObjectMeta: meta("s"), Spec: corev1.ServiceSpec{ExternalIPs: ips}}
	}
	says(t, "an external IP", c.Admit(admissiontest.Attributes[*corev1.Service](c, admission.Create, "", svc("1.2.3.4"), nil)), `services "s" is forbidden: Use of external IPs is denied by admission control`)
	says(t, "one it had", c.Admit(admissiontest.Attributes[*corev1.Service](c, admission.Update, "", svc("1.2.3.4"), svc("1.2.3.4", "5.6.7.8"))), "")

	c = admissiontest.New(t, only(), nil)
	deny, err := admission.New(only("AlwaysDeny"), admission.Deps{Client: c.Client})
	if err != nil {
		t.Fatal(err)
	}
	a := admissiontest.Attributes[*corev1.Pod](c, admission.Create, "", newPod("p"), nil)
	says(t, "always", admission.Mutate(t.Context(), deny, a), `pods "p" is forbidden: admission control is denying all modifications`)
}

func TestEventRates(t *testing.T) {
	c := admissiontest.New(t, configured("EventRateLimit", `{apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: Configuration, limits: [{type: Namespace, qps: 1, burst: 2}, {type: SourceAndObject, qps: 10, burst: 10}]}`), nil)
	event := func(ns string) error {
		e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "e"}}
		return c.Admit(admissiontest.Attributes[*corev1.Event](c, admission.Create, "", e, nil))
	}
	for range 2 {
		says(t, "an event", event("ns"), "")
	}
	says(t, "one too many", event("ns"), "Too many requests: limit reached on type Namespace for key ns")
	says(t, "elsewhere", event("default"), "")
	c.Clock.SetTime(c.Clock.Now().Add(time.Second))
	says(t, "later", event("ns"), "")
	_, err := admission.New(configured("EventRateLimit", `{apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: Configuration, limits: [{type: Moon, qps: 0, burst: 1}]}`), admission.Deps{Client: c.Client})
	if err == nil || !strings.Contains(err.Error(), `limits[0].type: Unsupported value: "Moon"`) || !strings.Contains(err.Error(), "limits[0].qps: Invalid value: 0: must be positive") {
		t.Errorf("a bad configuration: %v", err)
	}
}

func TestSelectorsAndTolerationsOfNamespaces(t *testing.T) {
	c := admissiontest.New(t, configured("PodNodeSelector", `{podNodeSelectorPluginConfig: {clusterDefaultNodeSelector: a=b, ns: "a=b,c=d"}}`), nil)
	p := newPod("p")
	says(t, "a pod", createPod(c, p), "")
	if p.Spec.NodeSelector["a"] != "b" {
		t.Errorf("it selects %v", p.Spec.NodeSelector)
	}
	p.Spec.NodeSelector = map[string]string{"a": "x"}
	says(t, "a conflict", createPod(c, p), `pods "p" is forbidden: pod node label selector conflicts with its namespace node label selector`)
	p.Spec.NodeSelector = map[string]string{"e": "f"}
	says(t, "what is not allowed", createPod(c, p), `pods "p" is forbidden: pod node label selector labels conflict with its namespace whitelist`)

	c = admissiontest.New(t, configured("PodTolerationRestriction", `{apiVersion: podtolerationrestriction.admission.k8s.io/v1alpha1, kind: Configuration, whitelist: [{operator: Exists, key: all}]}`), nil)
	admissiontest.Modify(c, "", "default", "", func(ns *corev1.Namespace) {
		ns.Annotations = map[string]string{
			"scheduler.alpha.kubernetes.io/defaultTolerations":   `[{"operator": "Exists", "key": "mine"}]`,
			"scheduler.alpha.kubernetes.io/tolerationsWhitelist": `[{"operator": "Exists", "key": "mine"}, {"operator": "Exists", "key": "node.kubernetes.io/memory-pressure"}]`,
		}
	})
	p = sized("p", list("cpu", "1"), nil)
	p.Namespace = "default"
	says(t, "a pod", createPod(c, p), "")
	if len(p.Spec.Tolerations) != 2 {
		t.Errorf("it tolerates %v", p.Spec.Tolerations)
	}
	p = newPod("p")
	p.Spec.Tolerations = []corev1.Toleration{{Key: "x", Operator: corev1.TolerationOpExists}}
	says(t, "what the cluster does not allow", createPod(c, p), "pod tolerations (possibly merged with namespace default tolerations) conflict with its cluster whitelist")
	p.Namespace = "default"
	says(t, "what the namespace does not allow", createPod(c, p), "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist")
}
