package autoscaling

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/diff"
)

const whole = `{"metadata":{"name":"h","namespace":"ns","annotations":{"a":"b"}},
"spec":{"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"d"},"minReplicas":2,"maxReplicas":10,
"metrics":[{"type":"Resource","resource":{"name":"memory","target":{"type":"AverageValue","averageValue":"1Gi"}}},
{"type":"Pods","pods":{"metric":{"name":"p","selector":{"matchLabels":{"a":"b"}}},"target":{"type":"AverageValue","averageValue":"2k"}}},
{"type":"Object","object":{"describedObject":{"kind":"Service","name":"i"},"metric":{"name":"rps"},"target":{"type":"AverageValue","averageValue":"2k"}}},
{"type":"External","external":{"metric":{"name":"q"},"target":{"type":"Value","value":"30"}}},
{"type":"ContainerResource","containerResource":{"name":"cpu","container":"c","target":{"type":"Utilization","averageUtilization":60}}},
{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":70}}}],
"behavior":{"scaleUp":{"stabilizationWindowSeconds":0,"selectPolicy":"Max","tolerance":"50m","policies":[{"type":"Pods","value":2,"periodSeconds":30}]},
"scaleDown":{"selectPolicy":"Max","policies":[{"type":"Percent","value":100,"periodSeconds":15}]}}},
"status":{"currentReplicas":2,"desiredReplicas":3,"lastScaleTime":"2026-01-02T03:04:05Z",
"currentMetrics":[{"type":"Resource","resource":{"name":"cpu","current":{"averageUtilization":30,"averageValue":"100m"}}}],
"conditions":[{"type":"AbleToScale","status":"True","lastTransitionTime":"2026-01-02T03:04:05Z","reason":"r","message":"m"}]}}`

func parse(t *testing.T, text string) *autoscalingv2.HorizontalPodAutoscaler {
	t.Helper()
	h := &autoscalingv2.HorizontalPodAutoscaler{}
	if err := json.Unmarshal([]byte(text), h); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestV1LosesNothing(t *testing.T) {
	h := parse(t, whole)
	old, err := toV1(h)
	if err != nil {
		t.Fatal(err)
	}
	if p := old.Spec.TargetCPUUtilizationPercentage; p == nil || *p != 70 {
		t.Errorf("target utilization is %v, want 70", p)
	}
	if p := old.Status.CurrentCPUUtilizationPercentage; p == nil || *p != 30 {
		t.Errorf("current utilization is %v, want 30", p)
	}
	const behavior = `{"ScaleUp":{"StabilizationWindowSeconds":0,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":2,"PeriodSeconds":30}],"Tolerance":"50m"},` +
		`"ScaleDown":{"StabilizationWindowSeconds":null,"SelectPolicy":"Max","Policies":[{"Type":"Percent","Value":100,"PeriodSeconds":15}],"Tolerance":null}}`
	if got := old.Annotations[behaviorKey]; got != behavior {
		t.Errorf("behavior is written %s", got)
	}
	back, err := fromV1(old)
	if err != nil {
		t.Fatal(err)
	}
	if !equality.Semantic.DeepEqual(h, back) {
		t.Errorf("came back changed:\n%s", diff.Diff(h, back))
	}
}

func TestV1Alone(t *testing.T) {
	old := &autoscalingv1.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{metricsKey: "no JSON", behaviorKey: "{}", "a": "b"}}}
	h, err := fromV1(old)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Annotations) != 1 || h.Spec.Behavior != nil || len(h.Spec.Metrics) != 1 || *h.Spec.Metrics[0].Resource.Target.AverageUtilization != 80 {
		t.Errorf("converted to %+v", h)
	}
	if len(old.Annotations) != 3 {
		t.Error("the object given was changed")
	}
}

func TestDefaults(t *testing.T) {
	h := parse(t, `{"metadata":{"annotations":{"autoscaling.alpha.kubernetes.io/conditions":"[]"}},"spec":{"behavior":{"scaleDown":{"selectPolicy":"Min"}}}}`)
	defaultHPA(h)
	got, err := json.Marshal(h.Spec)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"scaleTargetRef":{"kind":"","name":""},"minReplicas":1,"maxReplicas":0,"metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":80}}}],` +
		`"behavior":{"scaleUp":{"stabilizationWindowSeconds":0,"selectPolicy":"Max","policies":[{"type":"Pods","value":4,"periodSeconds":15},{"type":"Percent","value":100,"periodSeconds":15}]},` +
		`"scaleDown":{"selectPolicy":"Min","policies":[{"type":"Percent","value":100,"periodSeconds":15}]}}}`
	if string(got) != want || len(h.Annotations) != 0 {
		t.Errorf("got  %s %v\nwant %s", got, h.Annotations, want)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*autoscalingv2.HorizontalPodAutoscaler)
		want   string
	}{
		{"whole", func(*autoscalingv2.HorizontalPodAutoscaler) {}, ""},
		{"to none", func(h *autoscalingv2.HorizontalPodAutoscaler) { *h.Spec.MinReplicas = 0 }, "spec.minReplicas"},
		{"below least", func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Spec.MaxReplicas = 1 }, "spec.maxReplicas"},
		{"core group", func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Spec.ScaleTargetRef.APIVersion = "v1" }, "spec.scaleTargetRef.apiVersion"},
		{"replication controller", func(h *autoscalingv2.HorizontalPodAutoscaler) {
			h.Spec.ScaleTargetRef.APIVersion, h.Spec.ScaleTargetRef.Kind = "v1", "ReplicationController"
		}, ""},
		{"other source", func(h *autoscalingv2.HorizontalPodAutoscaler) {
			h.Spec.Metrics[0].Type = autoscalingv2.PodsMetricSourceType
		}, "spec.metrics[0].pods"},
		{"two sources", func(h *autoscalingv2.HorizontalPodAutoscaler) {
			h.Spec.Metrics[0].External = h.Spec.Metrics[3].External
		}, "spec.metrics[0].external"},
		{"long window", func(h *autoscalingv2.HorizontalPodAutoscaler) {
			*h.Spec.Behavior.ScaleUp.StabilizationWindowSeconds = 3601
		}, "spec.behavior.scaleUp.stabilizationWindowSeconds"},
		{"no policy", func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Spec.Behavior.ScaleUp.Policies = nil }, "spec.behavior.scaleUp.policies"},
	} {
		h := parse(t, whole)
		c.change(h)
		errs := validateHPA(h, nil)
		if c.want == "" && len(errs) > 0 || c.want != "" && (len(errs) != 1 || errs[0].Field != c.want) {
			t.Errorf("%s: %v, want one at %q", c.name, errs, c.want)
		}
	}
}

func TestTargetsColumn(t *testing.T) {
	h := parse(t, whole)
	h.Spec.Metrics[0], h.Spec.Metrics[5] = h.Spec.Metrics[5], h.Spec.Metrics[0]
	cells := hpaCells(h, time.Now())
	if got, want := cells[2], "cpu: 30%/70%, <unknown>/2k + 4 more..."; got != want {
		t.Errorf("targets are %q, want %q", got, want)
	}
	if got := cells[1].(string); !strings.HasPrefix(got, "Deployment/") {
		t.Errorf("reference is %q", got)
	}
}
