package admission_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/monohull/monohull/internal/admission"
	"github.com/monohull/monohull/internal/admission/admissiontest"
	"github.com/monohull/monohull/internal/api"
)

func privileged(name string) *corev1.Pod {
	p := newPod(name)
	p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr(true)}
	return p
}

// hear runs a request and gathers its warnings and audit annotations.
func hear(c *admissiontest.Cluster, a *admission.Attributes) (warnings []string, audit map[string]string, err error) {
	audit = map[string]string{}
	a.Warn = func(m string) { warnings = append(warnings, m) }
	a.Audit = func(k, v string) { audit[k] = v }
	err = c.Admit(a)
	return warnings, audit, err
}

func label(c *admissiontest.Cluster, kv ...string) {
	admissiontest.Modify(c, "", "ns", "", func(ns *corev1.Namespace) {
		for i := 0; i < len(kv); i += 2 {
			metav1.SetMetaDataLabel(&ns.ObjectMeta, "pod-security.kubernetes.io/"+kv[i], kv[i+1])
		}
	})
}

const violates = `privileged (container "c" must not set securityContext.privileged=true)`

func TestPodSecurityLevels(t *testing.T) {
	c := admissiontest.New(t, only("PodSecurity"), nil)
	pod := func(op admission.Operation, sub string, p, old *corev1.Pod) *admission.Attributes {
		if old == nil {
			return admissiontest.Attributes[*corev1.Pod](c, op, sub, p, nil)
		}
		return admissiontest.Attributes[*corev1.Pod](c, op, sub, p, old)
	}
	_, audit, err := hear(c, pod(admission.Create, "", privileged("p"), nil))
	says(t, "without labels", err, "")
	if audit["pod-security.kubernetes.io/enforce-policy"] != "privileged:latest" {
		t.Errorf("the audit says %v", audit)
	}
	label(c, "warn", "baseline", "audit", "baseline", "audit-version", "v1.30")
	warnings, audit, err := hear(c, pod(admission.Create, "", privileged("p"), nil))
	says(t, "with a warning", err, "")
	if fmt.Sprint(warnings) != `[would violate PodSecurity "baseline:latest": `+violates+`]` {
		t.Errorf("the warnings are %q", warnings)
	}
	if audit["pod-security.kubernetes.io/audit-violations"] != `would violate PodSecurity "baseline:v1.30": `+violates {
		t.Errorf("the audit says %v", audit)
	}
	label(c, "enforce", "baseline")
	warnings, _, err = hear(c, pod(admission.Create, "", privileged("p"), nil))
	says(t, "enforced", err, `pods "p" is forbidden: violates PodSecurity "baseline:latest": `+violates)
	if len(warnings) != 0 {
		t.Errorf("what is refused is warned of too: %q", warnings)
	}
	says(t, "a good pod", createPod(c, newPod("p")), "")
	says(t, "a change without a new image", updatePod(c, "", with(privileged("p"), func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b"} }), privileged("p")), "")
	says(t, "a new image", updatePod(c, "", with(privileged("p"), func(p *corev1.Pod) { p.Spec.Containers[0].Image = "x" }), privileged("p")), `pods "p" is forbidden: violates PodSecurity "baseline:latest": `+violates)
	says(t, "a status", updatePod(c, "status", with(privileged("p"), func(p *corev1.Pod) { p.Spec.Containers[0].Image = "x" }), privileged("p")), "")
	ephemeral := newPod("p")
	ephemeral.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "e", Image: "x", SecurityContext: &corev1.SecurityContext{Privileged: ptr(true)}}}}
	says(t, "a container to look in", updatePod(c, "ephemeralcontainers", ephemeral, newPod("p")), `pods "p" is forbidden: violates PodSecurity "baseline:latest": privileged (container "e" must not set securityContext.privileged=true)`)
	says(t, "a deletion", c.Admit(admissiontest.Attributes[*corev1.Pod](c, admission.Delete, "", nil, privileged("p"))), "")
	d := &appsv1.Deployment{ObjectMeta: meta("d"), Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: privileged("").Spec}}}
	warnings, _, err = hear(c, admissiontest.Attributes[*appsv1.Deployment](c, admission.Create, "", d, nil))
	says(t, "a workload", err, "")
	if fmt.Sprint(warnings) != `[would violate PodSecurity "baseline:latest": `+violates+`]` {
		t.Errorf("the warnings are %q", warnings)
	}
}

func TestPodSecurityLabelsOfNamespaces(t *testing.T) {
	c := admissiontest.New(t, only("PodSecurity"), nil)
	for i := range 3 {
		p := privileged(fmt.Sprintf("p%d", i))
		admissiontest.Create(c, p)
	}
	admissiontest.Create(c, with(newPod("host"), func(p *corev1.Pod) { p.Spec.HostNetwork = true }))
	ns, _ := admissiontest.Get[*corev1.Namespace](c, "", "ns")
	change := func(kv ...string) *admission.Attributes {
		now := ns.DeepCopy()
		for i := 0; i < len(kv); i += 2 {
			metav1.SetMetaDataLabel(&now.ObjectMeta, "pod-security.kubernetes.io/"+kv[i], kv[i+1])
		}
		return admissiontest.Attributes[*corev1.Namespace](c, admission.Update, "", now, ns)
	}
	warnings, _, err := hear(c, change("enforce", "baseline"))
	says(t, "a stricter level", err, "")
	want := []string{
		`existing pods in namespace "ns" violate the new PodSecurity enforce level "baseline:latest"`,
		`host: host namespaces`, `p0 (and 2 other pods): privileged`,
	}
	if fmt.Sprint(warnings) != fmt.Sprint(want) {
		t.Errorf("the warnings are %q", warnings)
	}
	_, _, err = hear(c, change("enforce", "tight", "warn-version", "2"))
	if err == nil || !strings.Contains(err.Error(), `metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "tight": must be one of privileged, baseline, restricted`) ||
		!strings.Contains(err.Error(), `metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "2": must be "latest" or "v1.x"`) {
		t.Errorf("bad labels: %v", err)
	}
}

func TestPodSecurityConfiguration(t *testing.T) {
	c := admissiontest.New(t, configured("PodSecurity", `
apiVersion: pod-security.admission.config.k8s.io/v1
kind: PodSecurityConfiguration
defaults: {enforce: baseline, enforce-version: v1.36}
exemptions: {usernames: [root], namespaces: [default], runtimeClasses: [vm]}
`), nil)
	says(t, "the default", createPod(c, privileged("p")), `pods "p" is forbidden: violates PodSecurity "baseline:v1.36": `+violates)
	says(t, "an exempt namespace", createPod(c, with(privileged("p"), func(p *corev1.Pod) { p.Namespace = "default" })), "")
	says(t, "an exempt runtime", createPod(c, with(privileged("p"), func(p *corev1.Pod) { p.Spec.RuntimeClassName = ptr("vm") })), "")
	a := admissiontest.Attributes[*corev1.Pod](c, admission.Create, "", privileged("p"), nil)
	a.User = &user.DefaultInfo{Name: "root"}
	_, audit, err := hear(c, a)
	says(t, "an exempt user", err, "")
	if audit["pod-security.kubernetes.io/exempt"] != "user" {
		t.Errorf("the audit says %v", audit)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	warnings, _, _ := hear(c, admissiontest.Attributes[*corev1.Namespace](c, admission.Create, "", ns, nil))
	if fmt.Sprint(warnings) != `[namespace "default" is exempt from Pod Security, and the policy (enforce=restricted:v1.36) will be ignored]` {
		t.Errorf("the warnings are %q", warnings)
	}
	for config, want := range map[string]string{
		`{apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, defaults: {enforce: tight}}`:       `defaults.enforce: Invalid value: "tight"`,
		`{apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, exemptions: {namespaces: [a, a]}}`: `exemptions.namespaces[1]: Duplicate value: "a"`,
		`{apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, exemptions: {namespace: [a]}}`:     `unknown field "namespace"`,
		`{apiVersion: pod-security.admission.config.k8s.io/v2, kind: PodSecurityConfiguration}`:                                   `no kind "PodSecurityConfiguration" is registered for version "pod-security.admission.config.k8s.io/v2"`,
		`{apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: Configuration, limits: [{type: Server, qps: 1, burst: 1}]}`: `expected PodSecurityConfiguration, got "Configuration"`,
	} {
		if _, err := admission.New(configured("PodSecurity", config), admission.Deps{Client: c.Client}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
}

func TestConfigurationFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("events.yaml", "kind: Configuration\n")
	var cfg admission.Config
	err := cfg.ReadFile(write("a.yaml", `
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration: {kind: PodSecurityConfiguration, defaults: {enforce: baseline}}
- name: EventRateLimit
  path: events.yaml
`))
	if err != nil || string(cfg.Plugins["EventRateLimit"]) != "kind: Configuration\n" || !strings.Contains(string(cfg.Plugins["PodSecurity"]), `"enforce":"baseline"`) {
		t.Errorf("it reads %s, %v", cfg.Plugins, err)
	}
	if err := cfg.ReadFile(write("old.yaml", "podNodeSelectorPluginConfig: {a: b}\n")); err != nil || len(cfg.Plugins["PodNodeSelector"]) == 0 {
		t.Errorf("the old form: %v", err)
	}
	for text, want := range map[string]string{
		"apiVersion: v1\nkind: Pod\n": `no kind "Pod" is registered`,
		"apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugin: []\n":                  `unknown field "plugin"`,
		"apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins: [{name: a, path: x}]": "no such file",
		"a: [": "reading the admission configuration",
	} {
		if err := cfg.ReadFile(write("bad.yaml", text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	c := admissiontest.New(t, admission.Config{}, nil)
	for cfg, want := range map[*admission.Config]string{
		{Enable: []string{"Nothing"}}:                                 `enable-admission-plugins plugin "Nothing" is unknown`,
		{Disable: []string{"Nothing"}}:                                `disable-admission-plugins plugin "Nothing" is unknown`,
		{Enable: []string{"Priority"}, Disable: []string{"Priority"}}: "Priority in enable-admission-plugins and disable-admission-plugins overlapped",
	} {
		if _, err := admission.New(*cfg, admission.Deps{Client: c.Client}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	chain, err := admission.New(admission.Config{Enable: []string{"AlwaysAdmit"}, Disable: []string{"Priority"}}, admission.Deps{
		Client: c.Client, Others: map[string]admission.Plugin{"ValidatingAdmissionWebhook": {}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range chain {
		names = append(names, p.Name)
	}
	want := "AlwaysAdmit NamespaceLifecycle LimitRanger ServiceAccount TaintNodesByCondition PodSecurity DefaultTolerationSeconds DefaultStorageClass StorageObjectInUseProtection " +
		"PersistentVolumeClaimResize RuntimeClass CertificateApproval CertificateSigning CertificateSubjectRestriction DefaultIngressClass PodTopologyLabels " +
		"NodeDeclaredFeatureValidator PodResizeValidator ValidatingAdmissionWebhook ResourceQuota"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("the chain is\n%s, not\n%s", got, want)
	}
}

func TestKubeletsKeepToTheirNode(t *testing.T) {
	c := admissiontest.New(t, only("NodeRestriction"), may{"request-serviceaccounts-token-audience granted default"})
	node := admissiontest.Create(c, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "me"}})
	on := func(name, node string) *corev1.Pod {
		return admissiontest.Create(c, with(newPod(name), func(p *corev1.Pod) {
			p.Spec.NodeName, p.Spec.ServiceAccountName = node, "default"
			p.Spec.Volumes = []corev1.Volume{{Name: "t", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "t", Audience: "vault"}}}}}}}
		}))
	}
	mine, theirs := on("mine", "me"), on("theirs", "other")
	mirror := func(change func(*corev1.Pod)) *corev1.Pod {
		p := newPod("m")
		p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
		p.Spec.NodeName = "me"
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "me", UID: node.UID, Controller: ptr(true)}}
		change(p)
		return p
	}
	named := func(name string, labels ...string) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
		for _, l := range labels {
			n.Labels[l] = "x"
		}
		return n
	}
	lease := func(ns, name string) *coordinationv1.Lease {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	}
	token := func(pod *corev1.Pod, uid types.UID, audiences ...string) *authenticationv1.TokenRequest {
		r := &authenticationv1.TokenRequest{ObjectMeta: meta("default"), Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
		if pod != nil {
			r.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: uid}
		}
		return r
	}
	pods := func(op admission.Operation, sub string, o, old api.Object) *admission.Attributes {
		return admissiontest.Attributes[*corev1.Pod](c, op, sub, o, old)
	}
	nodes := func(op admission.Operation, o, old api.Object) *admission.Attributes {
		return admissiontest.Attributes[*corev1.Node](c, op, "", o, old)
	}
	tokens := func(r *authenticationv1.TokenRequest) *admission.Attributes {
		return admissiontest.Attributes[*corev1.ServiceAccount](c, admission.Create, "token", r, nil)
	}
	relabelled := mine.DeepCopy()
	relabelled.Labels = map[string]string{"a": "b"}
	tainted := named("me")
	tainted.Spec.Taints = []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectNoSchedule}}
	for _, tc := range []struct {
		what string
		a    *admission.Attributes
		want string
	}{
		{"a mirror pod", pods(admission.Create, "", mirror(func(*corev1.Pod) {}), nil), ""},
		{"an ordinary pod", pods(admission.Create, "", with(mirror(func(*corev1.Pod) {}), func(p *corev1.Pod) { p.Annotations = nil }), nil), `pods "m" is forbidden: pod does not have "kubernetes.io/config.mirror" annotation, node "me" can only create mirror pods`},
		{"a pod elsewhere", pods(admission.Create, "", mirror(func(p *corev1.Pod) { p.Spec.NodeName = "other" }), nil), `pods "m" is forbidden: node "me" can only create pods with spec.nodeName set to itself`},
		{"a pod of nobody", pods(admission.Create, "", mirror(func(p *corev1.Pod) { p.OwnerReferences = nil }), nil), `pods "m" is forbidden: node "me" can only create pods with an owner reference set to itself`},
		{"a pod of another life", pods(admission.Create, "", mirror(func(p *corev1.Pod) { p.OwnerReferences[0].UID = "x" }), nil), `pods "m" is forbidden: node me UID mismatch: expected x got ` + string(node.UID)},
		{"a pod with an account", pods(admission.Create, "", mirror(func(p *corev1.Pod) { p.Spec.ServiceAccountName = "a" }), nil), `pods "m" is forbidden: node "me" can not create pods that reference serviceaccounts`},
		{"a pod with a claim", pods(admission.Create, "", mirror(func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}}}}
		}), nil), `pods "m" is forbidden: node "me" can not create pods that reference persistentvolumeclaims`},
		{"a deletion", pods(admission.Delete, "", nil, mine), ""},
		{"another's deletion", pods(admission.Delete, "", nil, theirs), `pods "theirs" is forbidden: node "me" can only delete pods with spec.nodeName set to itself`},
		{"a status", pods(admission.Update, "status", mine, mine), ""},
		{"another's status", pods(admission.Update, "status", theirs, theirs), `pods "theirs" is forbidden: node "me" can only update pod status for pods with spec.nodeName set to itself`},
		{"labels", pods(admission.Update, "status", relabelled, mine), `pods "mine" is forbidden: node "me" cannot update labels through pod status`},
		{"a pod", pods(admission.Update, "", mine, mine), `pods "mine" is forbidden: unexpected operation "UPDATE", node "me" can only create and delete mirror pods`},
		{"a binding", pods(admission.Create, "binding", &corev1.Binding{ObjectMeta: meta("mine")}, nil), `pods "mine" is forbidden: unexpected pod subresource "binding", only 'status' and 'eviction' are allowed`},
		{"an eviction", pods(admission.Create, "eviction", &policyv1.Eviction{ObjectMeta: meta("mine")}, nil), ""},
		{"another's eviction", pods(admission.Create, "eviction", &policyv1.Eviction{ObjectMeta: meta("theirs")}, nil), `pods "theirs" is forbidden: node me can only evict pods with spec.nodeName set to itself`},
		{"its node", nodes(admission.Create, named("me", "kubernetes.io/hostname", "node.kubernetes.io/x", "example.com/x"), nil), ""},
		{"another node", nodes(admission.Create, named("other"), nil), `nodes "other" is forbidden: node "me" is not allowed to modify node "other"`},
		{"labels of others", nodes(admission.Create, named("me", "node-restriction.kubernetes.io/a", "kubernetes.io/b"), nil), `nodes "me" is forbidden: node "me" is not allowed to set the following labels: kubernetes.io/b, node-restriction.kubernetes.io/a`},
		{"a change of them", nodes(admission.Update, named("me"), named("me", "x.k8s.io/a")), `nodes "me" is forbidden: is not allowed to modify labels: x.k8s.io/a`},
		{"taints", nodes(admission.Update, tainted, named("me")), `nodes "me" is forbidden: node "me" is not allowed to modify taints`},
		{"its lease", admissiontest.Attributes[*coordinationv1.Lease](c, admission.Update, "", lease("kube-node-lease", "me"), lease("kube-node-lease", "me")), ""},
		{"another's lease", admissiontest.Attributes[*coordinationv1.Lease](c, admission.Create, "", lease("kube-node-lease", "x"), nil), `leases.coordination.k8s.io "x" is forbidden: can only access node lease with the same name as the requesting node`},
		{"a lease elsewhere", admissiontest.Attributes[*coordinationv1.Lease](c, admission.Create, "", lease("ns", "me"), nil), `leases.coordination.k8s.io "me" is forbidden: can only access leases in the "kube-node-lease" system namespace`},
		{"a token", tokens(token(mine, mine.UID, "vault")), ""},
		{"a token by right", tokens(token(mine, mine.UID, "granted")), ""},
		{"a token for another audience", tokens(token(mine, mine.UID, "x")), `serviceaccounts "default" is forbidden: audience "x" not found in pod spec volume, system:node:me is not authorized to request tokens for this audience`},
		{"a token for two", tokens(token(mine, mine.UID, "x", "y")), `serviceaccounts "default" is forbidden: node may only request 0 or 1 audiences`},
		{"an unbound token", tokens(token(nil, "")), `serviceaccounts "default" is forbidden: node requested token not bound to a pod`},
		{"without UID", tokens(token(mine, "")), `serviceaccounts "default" is forbidden: node requested token with a pod binding without a uid`},
		{"of another life", tokens(token(mine, "u")), `serviceaccounts "default" is forbidden: the UID in the bound object reference (u) does not match the UID in record. The object might have been deleted and then recreated`},
		{"of another node", tokens(token(theirs, theirs.UID)), `serviceaccounts "default" is forbidden: node requested token bound to a pod scheduled on a different node`},
	} {
		tc.a.User = &user.DefaultInfo{Name: "system:node:me", Groups: []string{"system:nodes"}}
		says(t, tc.what, c.Admit(tc.a), tc.want)
	}
	pvc := &corev1.PersistentVolumeClaim{ObjectMeta: meta("c")}
	bigger := with(pvc.DeepCopy(), func(p *corev1.PersistentVolumeClaim) { p.Status.Capacity = list("storage", "1") })
	bound := with(pvc.DeepCopy(), func(p *corev1.PersistentVolumeClaim) { p.Status.Phase = corev1.ClaimBound })
	for _, now := range []*corev1.PersistentVolumeClaim{bigger, bound} {
		a := admissiontest.Attributes[*corev1.PersistentVolumeClaim](c, admission.Update, "status", now, pvc)
		a.User = &user.DefaultInfo{Name: "system:node:me", Groups: []string{"system:nodes"}}
		if err := c.Admit(a); (err == nil) != (now == bigger) || err != nil && !strings.Contains(err.Error(), "is not allowed to update fields other than status.quantity and status.conditions") {
			t.Errorf("a claim's status: %v", err)
		}
	}
}
