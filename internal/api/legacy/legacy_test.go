package legacy

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/monohull/monohull/internal/api"
)

func find(t *testing.T, apiVersion, kind string) *api.Version {
	t.Helper()
	gvk := schema.FromAPIVersionAndKind(apiVersion, kind)
	for _, o := range versions() {
		if o.derive == nil && o.ver.GVK == gvk {
			return o.ver
		}
	}
	t.Fatalf("%v is not served", gvk)
	return nil
}

// lines flattens YAML to "a.b[0].c: value" for comparing parts of it.
func lines(t *testing.T, v any) []string {
	t.Helper()
	body, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := yaml.Unmarshal(body, &doc); err != nil {
		t.Fatal(err)
	}
	var out []string
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch x := v.(type) {
		case map[string]any:
			for k, e := range x {
				walk(strings.TrimPrefix(at+"."+k, "."), e)
			}
		case []any:
			for _, e := range x {
				walk(at+"[]", e)
			}
		default:
			b, _ := yaml.Marshal(v)
			out = append(out, at+": "+strings.TrimSpace(string(b)))
		}
	}
	walk("", doc)
	slices.Sort(out)
	return out
}

func TestManifestsOfEveryAge(t *testing.T) {
	const template = "\n  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: c, image: i}]}"
	for _, c := range []struct {
		name, version, kind, manifest string
		want                          []string // in today's object
		not                           []string // prefixes that must not be there
		warns                         []string // parts of warnings
	}{
		{
			name: "a deployment of extensions gets its selector and the defaults of its time", version: "extensions/v1beta1", kind: "Deployment",
			manifest: "metadata: {name: web}\nspec:\n  rollbackTo: {revision: 3}" + template,
			want: []string{
				"spec.selector.matchLabels.app: web", "metadata.labels.app: web", "spec.strategy.rollingUpdate.maxSurge: 1",
				"spec.strategy.rollingUpdate.maxUnavailable: 1", "spec.progressDeadlineSeconds: 2147483647", "spec.revisionHistoryLimit: 2147483647",
				`metadata.annotations.deprecated.deployment.rollback.to: "3"`,
			},
			warns: []string{"extensions/v1beta1 Deployment is deprecated in v1.8+, unavailable in v1.16+; use apps/v1 Deployment"},
		},
		{
			name: "a deployment of apps/v1beta1", version: "apps/v1beta1", kind: "Deployment", manifest: "spec:" + template,
			want: []string{"spec.selector.matchLabels.app: web", "spec.revisionHistoryLimit: 2"}, not: []string{"spec.strategy.rollingUpdate"},
		},
		{
			name: "a deployment of apps/v1beta2 must say its selector", version: "apps/v1beta2", kind: "Deployment", manifest: "spec:" + template,
			not: []string{"spec.selector.matchLabels", "spec.revisionHistoryLimit"},
		},
		{
			name: "a daemon set of extensions updates on deletion", version: "extensions/v1beta1", kind: "DaemonSet", manifest: "spec:" + template,
			want: []string{"spec.updateStrategy.type: OnDelete", "spec.selector.matchLabels.app: web"},
		},
		{
			name: "a stateful set of apps/v1beta1", version: "apps/v1beta1", kind: "StatefulSet", manifest: "spec:\n  serviceName: s" + template,
			want: []string{"spec.updateStrategy.type: OnDelete", "spec.serviceName: s"},
		},
		{
			name: "a cron job of 2016", version: "batch/v2alpha1", kind: "CronJob", manifest: "spec: {schedule: '* * * * *'}",
			want: []string{"spec.schedule: '* * * * *'"}, warns: []string{"use batch/v1 CronJob"},
		},
		{
			name: "an ingress of extensions", version: "extensions/v1beta1", kind: "Ingress",
			manifest: "spec:\n  backend: {serviceName: d, servicePort: http}\n  rules:\n  - http: {paths: [{path: /, backend: {serviceName: web, servicePort: 80}}]}",
			want: []string{
				"spec.defaultBackend.service.name: d", "spec.defaultBackend.service.port.name: http",
				"spec.rules[].http.paths[].backend.service.name: web", "spec.rules[].http.paths[].backend.service.port.number: 80",
				"spec.rules[].http.paths[].pathType: ImplementationSpecific",
			},
			warns: []string{"use networking.k8s.io/v1 Ingress", "spec.backend: is spec.defaultBackend", "backend.service.name"},
		},
		{
			name: "an empty selector of an old budget selects nothing", version: "policy/v1beta1", kind: "PodDisruptionBudget", manifest: "spec: {selector: {}, minAvailable: 1}",
			want:  []string{"spec.selector.matchExpressions[].operator: Exists", "spec.selector.matchExpressions[].key: " + emptyMatch},
			warns: []string{"selects no pods"},
		},
		{
			name: "everybody in alpha bindings", version: "rbac.authorization.k8s.io/v1alpha1", kind: "RoleBinding",
			manifest: "subjects:\n- {kind: User, name: '*'}\nroleRef: {kind: Role, name: r, apiGroup: rbac.authorization.k8s.io}",
			want:     []string{"subjects[].kind: Group", "subjects[].name: system:authenticated", "subjects[].apiGroup: rbac.authorization.k8s.io"},
			warns:    []string{"use rbac.authorization.k8s.io/v1 RoleBinding"},
		},
		{
			name: "a role of beta", version: "rbac.authorization.k8s.io/v1beta1", kind: "Role", manifest: "rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]",
			want: []string{"rules[].resources[]: pods"},
		},
		{
			name: "an autoscaler of v2beta1", version: "autoscaling/v2beta1", kind: "HorizontalPodAutoscaler",
			manifest: "spec:\n  scaleTargetRef: {kind: Deployment, name: web}\n  maxReplicas: 3\n  metrics:\n  - type: Resource\n    resource: {name: cpu, targetAverageUtilization: 50}",
			want:     []string{"spec.metrics[].resource.target.averageUtilization: 50", "spec.metrics[].resource.target.type: Utilization", "spec.metrics[].resource.name: cpu"},
			warns:    []string{"autoscaling/v2beta1 HorizontalPodAutoscaler is deprecated in v1.22+, unavailable in v1.25+; use autoscaling/v2 HorizontalPodAutoscaler", "target.averageUtilization"},
		},
		{
			name: "an autoscaler of v2beta2", version: "autoscaling/v2beta2", kind: "HorizontalPodAutoscaler",
			manifest: "spec:\n  scaleTargetRef: {kind: Deployment, name: web}\n  maxReplicas: 3\n  metrics:\n  - type: Resource\n    resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}",
			want:     []string{"spec.metrics[].resource.target.averageUtilization: 50"},
		},
		{
			name: "an endpoint slice's topology", version: "discovery.k8s.io/v1beta1", kind: "EndpointSlice",
			manifest: "addressType: IPv4\nendpoints:\n- addresses: [10.0.0.1]\n  nodeName: h1\n  topology: {kubernetes.io/hostname: h1, topology.kubernetes.io/zone: z, other: o}",
			want:     []string{"endpoints[].zone: z", "endpoints[].deprecatedTopology.other: o"}, not: []string{"endpoints[].deprecatedTopology.kubernetes"},
		},
		{
			name: "a webhook that is silent on its effects", version: "admissionregistration.k8s.io/v1beta1", kind: "ValidatingWebhookConfiguration", manifest: "webhooks: [{name: a.b.c}]",
			want:  []string{"webhooks[].sideEffects: None", "webhooks[].failurePolicy: Ignore", "webhooks[].matchPolicy: Exact", "webhooks[].timeoutSeconds: 30", "webhooks[].admissionReviewVersions[]: v1beta1"},
			warns: []string{"webhooks[0].sideEffects: must be None or NoneOnDryRun"},
		},
		{
			name: "a definition of custom resources", version: "apiextensions.k8s.io/v1beta1", kind: "CustomResourceDefinition",
			manifest: "metadata: {name: as.b.c}\nspec:\n  group: b.c\n  version: v1\n  names: {plural: as, kind: A}\n  validation: {openAPIV3Schema: {type: object}}\n  subresources: {status: {}}",
			want:     []string{"spec.versions[].name: v1", "spec.versions[].schema.openAPIV3Schema.type: object", "spec.versions[].served: true", "spec.preserveUnknownFields: true"},
			warns:    []string{"use apiextensions.k8s.io/v1 CustomResourceDefinition", "spec.validation: is spec.versions[].schema"},
		},
		{
			name: "shares of a priority level", version: "flowcontrol.apiserver.k8s.io/v1beta1", kind: "PriorityLevelConfiguration", manifest: "spec: {type: Limited, limited: {assuredConcurrencyShares: 7}}",
			want: []string{"spec.limited.nominalConcurrencyShares: 7"}, warns: []string{"nominalConcurrencyShares"},
		},
		{
			name: "a request for a certificate", version: "certificates.k8s.io/v1beta1", kind: "CertificateSigningRequest", manifest: "spec: {request: bm9uZQ==}",
			want: []string{"spec.signerName: kubernetes.io/legacy-unknown", "spec.usages[]: digital signature", "spec.usages[]: key encipherment"}, warns: []string{"spec.signerName"},
		},
		{name: "a lease", version: "coordination.k8s.io/v1beta1", kind: "Lease", manifest: "spec: {holderIdentity: a}", want: []string{"spec.holderIdentity: a"}},
		{name: "a storage class", version: "storage.k8s.io/v1beta1", kind: "StorageClass", manifest: "provisioner: p", want: []string{"provisioner: p"}},
		{name: "a priority class", version: "scheduling.k8s.io/v1alpha1", kind: "PriorityClass", manifest: "value: 5", want: []string{"value: 5"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := find(t, c.version, c.kind)
			obj := v.New()
			doc, err := yaml.YAMLToJSON([]byte(c.manifest))
			if err != nil {
				t.Fatal(err)
			}
			strict, err := api.DecodeJSONStrict(doc, obj)
			if err != nil || len(strict) > 0 {
				t.Fatalf("the manifest does not fit: %v %v", err, strict)
			}
			warnings := []string{v.Deprecated}
			if v.Warnings != nil {
				warnings = append(warnings, v.Warnings(obj)...)
			}
			today, err := v.Convert(obj)
			if err != nil {
				t.Fatal(err)
			}
			got := lines(t, today)
			for _, w := range c.want {
				if !slices.Contains(got, w) {
					t.Errorf("there is no %q in\n%s", w, strings.Join(got, "\n"))
				}
			}
			for _, n := range c.not {
				if slices.ContainsFunc(got, func(l string) bool { return strings.HasPrefix(l, n) }) {
					t.Errorf("there is a %q in\n%s", n, strings.Join(got, "\n"))
				}
			}
			for _, w := range c.warns {
				if !strings.Contains(strings.Join(warnings, "\n"), w) {
					t.Errorf("no warning says %q: %q", w, warnings)
				}
			}
			// there and back says the same
			shown, err := v.Show(today)
			if err != nil {
				t.Fatal(err)
			}
			again, err := v.Convert(shown)
			if err != nil {
				t.Fatal(err)
			}
			if a, b := strings.Join(lines(t, again), "\n"), strings.Join(got, "\n"); a != b {
				t.Errorf("after a round trip:\n%s\nbefore:\n%s", a, b)
			}
		})
	}
}
