package pipeline

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
)

// by is a request by a field manager for an object in ns.
func by[T api.Object](r *rig, manager, name, sub string) client.Request {
	q := r.client.Request(api.For[T](r.table), "ns", name, sub)
	q.Manager = manager
	return q
}

func (r *rig) applyRequest(q client.Request, doc string) (*cache.Item, error) {
	return r.pipe.Patch(r.ctx, q, types.ApplyYAMLPatchType, []byte(doc))
}

// mustApply applies a document that must be accepted.
func mustApply[T api.Object](r *rig, manager, name, sub, doc string) T {
	r.t.Helper()
	it, err := r.applyRequest(by[T](r, manager, name, sub), doc)
	if err != nil {
		r.t.Fatalf("applying %s: %v", name, err)
	}
	return it.Obj.(T)
}

// owners lists an object's entries, one a line.
func owners(o metav1.Object) string {
	var out []string
	for _, e := range o.GetManagedFields() {
		at := "never"
		if e.Time != nil {
			at = e.Time.UTC().Format("15:04:05")
		}
		out = append(out, strings.TrimRight(fmt.Sprintf("%s %s %s %s %s %s", e.Manager, e.Operation, e.APIVersion, at, e.FieldsV1.GetRawString(), e.Subresource), " "))
	}
	return strings.Join(out, "\n")
}

func same(t testing.TB, what, want, got string) {
	t.Helper()
	if want = strings.TrimSpace(want); want != got {
		t.Errorf("%s:\nwant:\n%s\ngot:\n%s", what, want, got)
	}
}

const mapDoc = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"%s},"data":{%s}}`

func mapOf(data string) string { return fmt.Sprintf(mapDoc, "", data) }

func TestApplyCreatesSharesTakesAndGivesUp(t *testing.T) {
	r := newRig(t)
	type cm = *corev1.ConfigMap
	got := mustApply[cm](r, "one", "m", "", mapOf(`"a":"1","b":"1"`))
	same(t, "after creation", `one Apply v1 03:04:05 {"f:data":{"f:a":{},"f:b":{}}}`, owners(got))
	if got.UID == "" || got.Namespace != "ns" {
		t.Errorf("what was created is %+v", got.ObjectMeta)
	}

	// another says the same: both own it, nothing else changes, and as upstream
	// an apply without effect has no time
	r.clock.SetTime(start.Add(time.Minute))
	got = mustApply[cm](r, "two", "m", "", mapOf(`"b":"1"`))
	same(t, "shared", `
two Apply v1 never {"f:data":{"f:b":{}}}
one Apply v1 03:04:05 {"f:data":{"f:a":{},"f:b":{}}}`, owners(got))

	// to change it is a conflict, unless forced
	_, err := r.applyRequest(by[cm](r, "two", "m", ""), mapOf(`"b":"2"`))
	s := refused(t, err, 409, metav1.StatusReasonConflict)
	if want := `Apply failed with 1 conflict: conflict with "one": .data.b`; s.Message != want {
		t.Errorf("want %q, got %q", want, s.Message)
	}
	if len(s.Details.Causes) != 1 || s.Details.Causes[0] != (metav1.StatusCause{Type: metav1.CauseTypeFieldManagerConflict, Message: `conflict with "one"`, Field: ".data.b"}) {
		t.Errorf("causes: %+v", s.Details.Causes)
	}
	forced := by[cm](r, "two", "m", "")
	forced.Force = true
	it, err := r.applyRequest(forced, mapOf(`"b":"2"`))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "forced", `
one Apply v1 03:04:05 {"f:data":{"f:a":{}}}
two Apply v1 03:05:05 {"f:data":{"f:b":{}}}`, owners(it.Obj))

	// what is no longer said goes, and what others own stays
	got = mustApply[cm](r, "one", "m", "", mapOf(``))
	if len(got.Data) != 1 || got.Data["b"] != "2" {
		t.Errorf("after giving up: %v", got.Data)
	}
	same(t, "given up", `
one Apply v1 03:05:05 {"f:data":{}}
two Apply v1 03:05:05 {"f:data":{"f:b":{}}}`, owners(got))
}

func TestApplyOfTheSameIsNoWrite(t *testing.T) {
	r := newRig(t)
	doc := mapOf(`"a":"1"`)
	mustApply[*corev1.ConfigMap](r, "one", "m", "", doc)
	rev := r.revision()
	r.clock.SetTime(start.Add(time.Hour))
	got := mustApply[*corev1.ConfigMap](r, "one", "m", "", doc)
	if r.revision() != rev {
		t.Error("an apply that changes nothing was stored")
	}
	same(t, "owners", `one Apply v1 03:04:05 {"f:data":{"f:a":{}}}`, owners(got))
	// neither is a patch to the same value
	if _, err := kind[*corev1.ConfigMap](r).Patch(r.ctx, "ns", "m", "", types.MergePatchType, []byte(`{"data":{"a":"1"}}`)); err != nil {
		t.Fatal(err)
	}
	if r.revision() != rev {
		t.Error("a patch that changes nothing was stored")
	}
}

func TestWritesOfOthersAreTracked(t *testing.T) {
	r := newRig(t)
	create(r, configMap("m", "a", "1", "b", "1"))
	same(t, "created", `tester Update v1 03:04:05 {"f:data":{".":{},"f:a":{},"f:b":{}}}`, owners(get[*corev1.ConfigMap](r, "m")))
	r.clock.SetTime(start.Add(time.Minute))
	q := by[*corev1.ConfigMap](r, "patcher", "m", "")
	it, err := r.pipe.Patch(r.ctx, q, types.MergePatchType, []byte(`{"data":{"b":"2"},"metadata":{"labels":{"x":"y"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "patched", `
tester Update v1 03:04:05 {"f:data":{".":{},"f:a":{}}}
patcher Update v1 03:05:05 {"f:data":{"f:b":{}},"f:metadata":{"f:labels":{".":{},"f:x":{}}}}`, owners(it.Obj))

	_, err = r.applyRequest(by[*corev1.ConfigMap](r, "applier", "m", ""), mapOf(`"a":"3","b":"3"`))
	s := refused(t, err, 409, metav1.StatusReasonConflict)
	if want := "Apply failed with 2 conflicts: conflicts with \"patcher\" using v1:\n- .data.b\nconflicts with \"tester\" using v1:\n- .data.a"; s.Message != want {
		t.Errorf("want %q, got %q", want, s.Message)
	}

	// a client that sends the managed fields away keeps them, one that resets
	// them loses them, and from then on nobody is tracked
	cm := get[*corev1.ConfigMap](r, "m").DeepCopy()
	cm.ManagedFields = nil
	if got, err := r.pipe.Update(r.ctx, q, cm); err != nil || len(got.Obj.GetManagedFields()) != 2 {
		t.Errorf("after an update without managed fields: %v %v", got, err)
	}
	cm = get[*corev1.ConfigMap](r, "m").DeepCopy()
	cm.ManagedFields = []metav1.ManagedFieldsEntry{{}}
	if got, err := r.pipe.Update(r.ctx, q, cm); err != nil || got.Obj.GetManagedFields() != nil {
		t.Errorf("after a reset: %v %v", got, err)
	}
	if it, err = r.pipe.Patch(r.ctx, q, types.MergePatchType, []byte(`{"data":{"b":"5"}}`)); err != nil || it.Obj.GetManagedFields() != nil {
		t.Errorf("after a write to an untracked object: %v %v", it, err)
	}
	it, err = r.applyRequest(by[*corev1.ConfigMap](r, "applier", "m", ""), mapOf(`"b":"5"`))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "first apply", `
applier Apply v1 never {"f:data":{"f:b":{}}}
before-first-apply Update v1 03:05:05 {"f:data":{".":{},"f:a":{},"f:b":{}},"f:metadata":{"f:labels":{".":{},"f:x":{}}}}`, owners(it.Obj))
}

func TestManagersBeyondTenBecomeOne(t *testing.T) {
	r := newRig(t)
	create(r, configMap("m", "a", "0"))
	for i := range 13 {
		r.clock.SetTime(start.Add(time.Duration(i+1) * time.Minute))
		q := by[*corev1.ConfigMap](r, fmt.Sprintf("m%02d", i), "m", "")
		if _, err := r.pipe.Patch(r.ctx, q, types.MergePatchType, fmt.Appendf(nil, `{"data":{"k%d":"x"}}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	got := get[*corev1.ConfigMap](r, "m")
	if n := len(got.ManagedFields); n != 10 {
		t.Errorf("%d managers are told apart", n)
	}
	if e := got.ManagedFields[0]; e.Manager != "ancient-changes" || e.FieldsV1.GetRawString() != `{"f:data":{".":{},"f:a":{},"f:k0":{},"f:k1":{},"f:k2":{},"f:k3":{}}}` {
		t.Errorf("the oldest is %s %s", e.Manager, e.FieldsV1.GetRawString())
	}
}

const deploymentDoc = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  %s
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec:
      containers: [{name: c, image: img}]
`

func TestScaleAndStatusOwnTheirPart(t *testing.T) {
	r := newRig(t)
	type dep = *appsv1.Deployment
	spec := `{"f:spec":{"f:replicas":{},"f:selector":{},"f:template":{"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{}}}}}}}`
	got := mustApply[dep](r, "kubectl", "d", "", fmt.Sprintf(deploymentDoc, "replicas: 2"))
	same(t, "created", `kubectl Apply apps/v1 03:04:05 `+spec, owners(got))

	r.clock.SetTime(start.Add(time.Minute))
	scale := by[dep](r, "scaler", "d", "scale")
	it, err := r.pipe.Update(r.ctx, scale, &autoscalingv1.Scale{ObjectMeta: meta("d"), Spec: autoscalingv1.ScaleSpec{Replicas: 5}})
	if err != nil {
		t.Fatal(err)
	}
	if n := it.Obj.(*autoscalingv1.Scale).Spec.Replicas; n != 5 {
		t.Errorf("scaled to %d", n)
	}
	d := get[dep](r, "d")
	if n := len(d.ManagedFields); n != 2 || d.ManagedFields[1].Manager != "scaler" || d.ManagedFields[1].Subresource != "scale" ||
		d.ManagedFields[1].APIVersion != "apps/v1" || d.ManagedFields[1].FieldsV1.GetRawString() != `{"f:spec":{"f:replicas":{}}}` {
		t.Errorf("after scaling: %+v", d.ManagedFields)
	}
	if d.ManagedFields[0].FieldsV1.GetRawString() != strings.Replace(spec, `"f:replicas":{},`, "", 1) {
		t.Errorf("the applier still owns %s", d.ManagedFields[0].FieldsV1.GetRawString())
	}

	// to apply another number is a conflict with the scaler
	_, err = r.applyRequest(by[dep](r, "kubectl", "d", ""), fmt.Sprintf(deploymentDoc, "replicas: 2"))
	refused(t, err, 409, metav1.StatusReasonConflict, `conflict with "scaler" with subresource "scale" using apps/v1`, ".spec.replicas")
	_, err = r.applyRequest(by[dep](r, "other", "d", "scale"), `{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"d"},"spec":{"replicas":7}}`)
	refused(t, err, 409, metav1.StatusReasonConflict, `conflict with "scaler" with subresource "scale" using autoscaling/v1`)
	forced := by[dep](r, "other", "d", "scale")
	forced.Force = true
	if _, err := r.applyRequest(forced, `{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"d"},"spec":{"replicas":7}}`); err != nil {
		t.Fatal(err)
	}
	// entries that come through scale have no time, as upstream
	if d = get[dep](r, "d"); *d.Spec.Replicas != 7 || !strings.HasPrefix(owners(d), `other Apply apps/v1 never {"f:spec":{"f:replicas":{}}} scale`) {
		t.Errorf("after a forced apply to scale: %d\n%s", *d.Spec.Replicas, owners(d))
	}

	// the status is another's, and of what else is said nothing counts
	_, err = r.applyRequest(by[dep](r, "controller", "d", "status"), `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"replicas":1},"status":{"readyReplicas":1,"replicas":1}}`)
	if err != nil {
		t.Fatal(err)
	}
	d = get[dep](r, "d")
	if *d.Spec.Replicas != 7 || d.Status.ReadyReplicas != 1 {
		t.Errorf("after an apply to the status: %d %+v", *d.Spec.Replicas, d.Status)
	}
	if !strings.Contains(owners(d), `controller Apply apps/v1 03:05:05 {"f:status":{"f:readyReplicas":{},"f:replicas":{}}} status`) {
		t.Errorf("owners:\n%s", owners(d))
	}
}

func TestKubectlMovesFromClientSideApply(t *testing.T) {
	r := newRig(t)
	last := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"a":"1","b":"1"}}`
	cm := configMap("m", "a", "1", "b", "1")
	cm.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: last}
	q := by[*corev1.ConfigMap](r, "kubectl-client-side-apply", "m", "")
	if _, err := r.pipe.Create(r.ctx, q, cm); err != nil {
		t.Fatal(err)
	}
	// another manager meets a conflict where kubectl meets none
	_, err := r.applyRequest(by[*corev1.ConfigMap](r, "other", "m", ""), mapOf(`"a":"2"`))
	refused(t, err, 409, metav1.StatusReasonConflict, `conflict with "kubectl-client-side-apply" using v1: .data.a`)
	got := mustApply[*corev1.ConfigMap](r, "kubectl", "m", "", mapOf(`"a":"2","b":"1"`))
	if got.Data["a"] != "2" {
		t.Errorf("data: %v", got.Data)
	}
	if v := got.Annotations[corev1.LastAppliedConfigAnnotation]; v != `{"apiVersion":"v1","data":{"a":"2","b":"1"},"kind":"ConfigMap","metadata":{"name":"m"}}`+"\n" {
		t.Errorf("the annotation was not kept up: %q", v)
	}
}

func TestBadAppliesAreRefused(t *testing.T) {
	r := newRig(t)
	type cm = *corev1.ConfigMap
	create(r, configMap("there"))
	for _, c := range []struct {
		what, name, doc string
		code            int32
		reason          metav1.StatusReason
		message         string
	}{
		{"broken YAML", "m", "{", 400, metav1.StatusReasonBadRequest, "error decoding YAML: "},
		{"no kind", "m", `{"metadata":{"name":"m"}}`, 400, metav1.StatusReasonBadRequest, "invalid object type: /, Kind="},
		{"another kind", "m", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"m"}}`, 400, metav1.StatusReasonBadRequest, "invalid object type: /v1, Kind=Secret"},
		{"managed fields", "m", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m","managedFields":[]}}`, 400, metav1.StatusReasonBadRequest, "metadata.managedFields must be nil"},
		{"an unknown field", "m", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"dta":{}}`, 500, metav1.StatusReasonUnknown, "failed to create typed patch object (/m; /v1, Kind=ConfigMap): .dta: field not declared in schema"},
		{"a wrong type", "m", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"a":[1]}}`, 500, metav1.StatusReasonUnknown, "failed to create typed patch object (/m; /v1, Kind=ConfigMap): .data.a: expected string, got &value.valueUnstructured"},
		{"another name", "m", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"n"}}`, 400, metav1.StatusReasonBadRequest, "the name of the object (n) does not match the name on the URL (m)"},
		{"no name", "m", `{"apiVersion":"v1","kind":"ConfigMap"}`, 400, metav1.StatusReasonBadRequest, "the name of the object (m based on URL) was undeterminable: name must be provided"},
		{"another namespace", "m", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m","namespace":"x"}}`, 400, metav1.StatusReasonBadRequest, "the namespace of the provided object does not match the namespace sent on the request"},
		{"a uid of none", "m", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m","uid":"x"}}`, 409, metav1.StatusReasonConflict, "uid mismatch: the provided object specified uid x, and no existing object was found"},
		{"an old version", "there", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"there","resourceVersion":"1"},"data":{"a":"b"}}`, 409, metav1.StatusReasonConflict, "the object has been modified"},
	} {
		_, err := r.applyRequest(by[cm](r, "x", c.name, ""), c.doc)
		if err == nil {
			t.Errorf("%s was accepted", c.what)
			continue
		}
		refused(t, err, c.code, c.reason, c.message)
	}
	_, err := r.applyRequest(by[*corev1.Pod](r, "x", "p", "status"), `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}}`)
	refused(t, err, 404, metav1.StatusReasonNotFound)
	_, err = r.pipe.Patch(r.ctx, by[cm](r, "x", "m", ""), types.ApplyCBORPatchType, nil)
	refused(t, err, 415, metav1.StatusReasonUnsupportedMediaType, "application/apply-patch+yaml")
}

func TestTwiceSaidKeysAreJudged(t *testing.T) {
	r := newRig(t)
	q := by[*corev1.ConfigMap](r, "x", "m", "")
	doc := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata:\n  a: v\n  a: w\n"
	var said []error
	q.Strict = func(errs []error) error {
		said = append(said, errs...)
		return apierrors.NewBadRequest("no")
	}
	_, err := r.applyRequest(q, doc)
	refused(t, err, 400, metav1.StatusReasonBadRequest, "no")
	if len(said) != 1 || !strings.Contains(said[0].Error(), `key "a" already set in map`) {
		t.Errorf("said: %v", said)
	}
	if exists[*corev1.ConfigMap](r, "m") {
		t.Error("it was stored")
	}
}

// onlyPatch is a user who may patch and not create.
type onlyPatch struct{}

func (onlyPatch) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetVerb() == "create" {
		return authorizer.DecisionNoOpinion, "", nil
	}
	return authorizer.DecisionAllow, "", nil
}

func TestApplyThatCreatesNeedsThatRightToo(t *testing.T) {
	r := newRig(t)
	r.pipe.Authorizer = onlyPatch{}
	_, err := r.applyRequest(by[*corev1.ConfigMap](r, "x", "m", ""), mapOf(``))
	refused(t, err, 403, metav1.StatusReasonForbidden, `cannot create resource "configmaps"`)
}

func TestDryApplyStoresNothing(t *testing.T) {
	r := newRig(t)
	rev := r.revision()
	q := by[*corev1.ConfigMap](r, "x", "m", "")
	q.DryRun = true
	it, err := r.applyRequest(q, mapOf(`"a":"1"`))
	if err != nil || it.Obj.(*corev1.ConfigMap).Data["a"] != "1" || r.revision() != rev {
		t.Errorf("a dry apply: %v, revision %d after %d", err, r.revision(), rev)
	}
}

func TestComponentsAreKnownByUpstreamsNames(t *testing.T) {
	r := newRig(t)
	for user, want := range map[string]string{
		"system:serviceaccount:kube-system:replicaset-controller": "kube-controller-manager",
		"system:kube-scheduler":                                   "kube-scheduler",
		"system:node:n1":                                          "kubelet",
		"system:apiserver":                                        "kube-apiserver",
		"someone":                                                 "someone",
	} {
		q := r.client.AsUser(user).Request(api.For[*corev1.Pod](r.table), "ns", "p", "")
		if got := managerOf(q); got != want {
			t.Errorf("%s writes as %s", user, got)
		}
		q.Manager = "named"
		if got := managerOf(q); got != "named" {
			t.Errorf("%s that names itself writes as %s", user, got)
		}
	}
}

func TestBindingOwnsNothing(t *testing.T) {
	r := newRig(t)
	create(r, newPod("p"))
	before := owners(get[*corev1.Pod](r, "p"))
	if err := client.Bind(r.ctx, r.client.AsUser("system:kube-scheduler"), get[*corev1.Pod](r, "p"), "n"); err != nil {
		t.Fatal(err)
	}
	pod := get[*corev1.Pod](r, "p")
	if pod.Spec.NodeName != "n" {
		t.Errorf("bound to %q", pod.Spec.NodeName)
	}
	same(t, "after binding", before, owners(pod))
}
