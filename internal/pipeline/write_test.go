package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/monohull/monohull/internal/api"
)

func TestCreateFillsInWhatTheServerSets(t *testing.T) {
	r := newRig(t)
	d := deployment("d")
	d.UID, d.Generation, d.SelfLink = "mine", 99, "/me"
	d.DeletionTimestamp, d.CreationTimestamp = &metav1.Time{Time: start}, metav1.Unix(1, 0)
	d.Status.Replicas = 7
	got := create(r, d)
	if got.UID == "" || got.UID == "mine" || got.Generation != 1 || got.SelfLink != "" || got.DeletionTimestamp != nil {
		t.Errorf("the metadata is %+v", got.ObjectMeta)
	}
	if !got.CreationTimestamp.Time.Equal(start) || got.ResourceVersion != fmt.Sprint(r.revision()) {
		t.Errorf("created at %v, resourceVersion %s", got.CreationTimestamp, got.ResourceVersion)
	}
	if got.Status.Replicas != 0 {
		t.Error("a creation wrote a status")
	}
	if got.Spec.Replicas == nil || *got.Spec.Replicas != 1 || got.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		t.Errorf("defaults are missing: %+v", got.Spec)
	}
	other := create(r, deployment("e"))
	if other.UID == got.UID {
		t.Error("two objects share a UID")
	}
}

func TestCreateGivesGeneratedNamesThatDiffer(t *testing.T) {
	r := newRig(t)
	seen := map[string]bool{}
	for range 20 {
		got := create(r, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", GenerateName: "web-"}})
		suffix, ok := strings.CutPrefix(got.Name, "web-")
		if !ok || len(suffix) != nameSuffix || strings.Trim(suffix, nameAlphabet) != "" || seen[got.Name] {
			t.Fatalf("the generated name is %q", got.Name)
		}
		seen[got.Name] = true
	}
	long := create(r, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", GenerateName: strings.Repeat("a", 80)}})
	if len(long.Name) != 63 {
		t.Errorf("a generated name has %d characters", len(long.Name))
	}
	named := create(r, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "kept", GenerateName: "web-"}})
	if named.Name != "kept" {
		t.Errorf("a given name became %q", named.Name)
	}
}

func TestCreateRefuses(t *testing.T) {
	r := newRig(t)
	create(r, configMap("taken", "a", "1"))
	cms := kind[*corev1.ConfigMap](r)
	before := r.revision()

	_, err := cms.Create(r.ctx, configMap("taken", "a", "2"))
	s := refused(t, err, 409, metav1.StatusReasonAlreadyExists)
	if s.Message != `configmaps "taken" already exists` || s.Details.Kind != "configmaps" || s.Details.Name != "taken" {
		t.Errorf("already exists says %q, %+v", s.Message, s.Details)
	}
	versioned := configMap("x")
	versioned.ResourceVersion = "3"
	_, err = cms.Create(r.ctx, versioned)
	refused(t, err, 400, metav1.StatusReasonBadRequest, "resourceVersion should not be set on objects to be created")

	_, err = r.pipe.Create(r.ctx, r.client.Request(api.For[*corev1.ConfigMap](r.table), "other", "x", ""), configMap("x"))
	refused(t, err, 400, metav1.StatusReasonBadRequest, "the namespace of the provided object does not match the namespace sent on the request")

	bad := deployment("Bad_Name")
	bad.Spec.Selector = nil
	bad.Spec.Replicas = ptr(int32(-1))
	bad.Spec.Template.Spec.Containers = nil
	_, err = kind[*appsv1.Deployment](r).Create(r.ctx, bad)
	s = refused(t, err, 422, metav1.StatusReasonInvalid, `Deployment.apps "Bad_Name" is invalid`)
	for _, field := range []string{"FieldValueInvalid metadata.name", "FieldValueRequired spec.selector", "FieldValueInvalid spec.replicas", "FieldValueRequired spec.template.spec.containers"} {
		if !strings.Contains(causes(s), field) {
			t.Errorf("the causes %q lack %q", causes(s), field)
		}
	}
	_, err = cms.Create(r.ctx, configMap("big", "k", strings.Repeat("x", 1<<21)))
	if err == nil {
		t.Error("an object of two megabytes was stored")
	}
	if r.revision() != before {
		t.Error("a refused creation took a revision")
	}
	if got := get[*corev1.ConfigMap](r, "taken"); got.Data["a"] != "1" {
		t.Error("a refused creation changed the object")
	}
}

func TestDryRunStoresNothing(t *testing.T) {
	r := newRig(t)
	create(r, configMap("there", "a", "1"))
	k := api.For[*corev1.ConfigMap](r.table)
	before := r.revision()
	dry := r.client.Request(k, "ns", "x", "")
	dry.DryRun = true
	it, err := r.pipe.Create(r.ctx, dry, configMap("x"))
	if err != nil || it.Obj.GetUID() == "" || it.Obj.GetResourceVersion() != "" {
		t.Fatalf("a dry creation gives %+v, %v", it, err)
	}
	dry.Name = "there"
	_, err = r.pipe.Create(r.ctx, dry, configMap("there"))
	refused(t, err, 409, metav1.StatusReasonAlreadyExists)
	if it, err = r.pipe.Update(r.ctx, dry, configMap("there", "a", "2")); err != nil || it.Obj.(*corev1.ConfigMap).Data["a"] != "2" {
		t.Fatalf("a dry update: %v", err)
	}
	if _, err = r.pipe.Delete(r.ctx, dry, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	svc := service("dry", 80)
	sr := r.client.Request(api.For[*corev1.Service](r.table), "ns", "dry", "")
	sr.DryRun = true
	if _, err := r.pipe.Create(r.ctx, sr, svc); err != nil {
		t.Fatal(err)
	}
	if len(r.pipe.Services.ips) != 0 {
		t.Error("a dry run keeps a cluster IP")
	}
	if r.revision() != before || get[*corev1.ConfigMap](r, "there").Data["a"] != "1" {
		t.Error("a dry run wrote")
	}
}

func TestUpdateOfAnOldVersionConflicts(t *testing.T) {
	r := newRig(t)
	cms := kind[*corev1.ConfigMap](r)
	first := create(r, configMap("a", "k", "1"))
	second := first.DeepCopy()
	second.Data["k"] = "2"
	if _, err := cms.Update(r.ctx, second); err != nil {
		t.Fatal(err)
	}
	stale := first.DeepCopy()
	stale.Data["k"] = "3"
	_, err := cms.Update(r.ctx, stale)
	s := refused(t, err, 409, metav1.StatusReasonConflict)
	if want := `Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again`; s.Message != want {
		t.Errorf("the conflict says %q", s.Message)
	}
	if s.Details == nil || s.Details.Name != "a" || s.Details.Kind != "configmaps" {
		t.Errorf("its details are %+v", s.Details)
	}
	if get[*corev1.ConfigMap](r, "a").Data["k"] != "2" {
		t.Error("a conflicting update was stored")
	}
}

func TestUpdateWithoutAVersion(t *testing.T) {
	r := newRig(t)
	create(r, configMap("a", "k", "1"))
	got, err := kind[*corev1.ConfigMap](r).Update(r.ctx, configMap("a", "k", "2"))
	if err != nil || got.Data["k"] != "2" {
		t.Fatalf("an unconditional update of a config map: %v", err)
	}
	_, err = kind[*corev1.ConfigMap](r).Update(r.ctx, configMap("none"))
	refused(t, err, 404, metav1.StatusReasonNotFound, `configmaps "none" not found`)
	bad := configMap("a")
	bad.ResourceVersion = "x1"
	_, err = kind[*corev1.ConfigMap](r).Update(r.ctx, bad)
	refused(t, err, 400, metav1.StatusReasonBadRequest)
	wrong := configMap("a")
	wrong.UID = "another"
	_, err = kind[*corev1.ConfigMap](r).Update(r.ctx, wrong)
	refused(t, err, 409, metav1.StatusReasonConflict, "Precondition failed: UID in precondition: another")
}

func TestWriteThatChangesNothingTakesNoRevision(t *testing.T) {
	r := newRig(t)
	a := create(r, configMap("a", "k", "1"))
	before := r.revision()
	if got, err := kind[*corev1.ConfigMap](r).Update(r.ctx, a.DeepCopy()); err != nil || got.ResourceVersion != a.ResourceVersion {
		t.Errorf("an update: %v", err)
	}
	if got, err := kind[*corev1.ConfigMap](r).Patch(r.ctx, "ns", "a", "", types.MergePatchType, []byte(`{"data":{"k":"1"}}`)); err != nil || got.ResourceVersion != a.ResourceVersion {
		t.Errorf("a patch: %v", err)
	}
	if got, err := kind[*corev1.ConfigMap](r).Modify(r.ctx, "ns", "a", "", func(*corev1.ConfigMap) error { return nil }); err != nil || got.ResourceVersion != a.ResourceVersion {
		t.Errorf("a modification: %v", err)
	}
	if r.revision() != before {
		t.Errorf("nothing changed and the store went from %d to %d", before, r.revision())
	}
}

func TestSpecAndStatusAreWrittenApart(t *testing.T) {
	r := newRig(t)
	d := create(r, deployment("d"))
	ds := kind[*appsv1.Deployment](r)

	up := d.DeepCopy()
	up.Spec.Paused, up.Status.Replicas = true, 5
	up, err := ds.Update(r.ctx, up)
	if err != nil {
		t.Fatal(err)
	}
	if !up.Spec.Paused || up.Status.Replicas != 0 || up.Generation != 2 {
		t.Errorf("an update wrote paused=%v, replicas %d, generation %d", up.Spec.Paused, up.Status.Replicas, up.Generation)
	}
	st := up.DeepCopy()
	st.Spec.Paused, st.Status.Replicas, st.Status.ObservedGeneration = false, 3, 2
	st, err = ds.UpdateStatus(r.ctx, st)
	if err != nil {
		t.Fatal(err)
	}
	if !st.Spec.Paused || st.Status.Replicas != 3 || st.Generation != 2 {
		t.Errorf("a status update wrote paused=%v, replicas %d, generation %d", st.Spec.Paused, st.Status.Replicas, st.Generation)
	}
	lab := st.DeepCopy()
	lab.Labels = map[string]string{"a": "b"}
	lab.Generation, lab.UID, lab.CreationTimestamp = 77, st.UID, metav1.Unix(1, 0)
	if lab, err = ds.Update(r.ctx, lab); err != nil {
		t.Fatal(err)
	}
	if lab.Generation != 2 || !lab.CreationTimestamp.Time.Equal(start) || lab.Status.Replicas != 3 {
		t.Errorf("labels moved the generation to %d, creation to %v", lab.Generation, lab.CreationTimestamp)
	}
	_, err = r.pipe.Update(r.ctx, r.client.Request(api.For[*corev1.ConfigMap](r.table), "ns", "x", "status"), configMap("x"))
	refused(t, err, 404, metav1.StatusReasonNotFound)
}

func TestPatches(t *testing.T) {
	for name, c := range map[string]struct {
		typ   types.PatchType
		patch string
		want  string
	}{
		"merge":                    {types.MergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"z","image":"new"}]}}}}`, "z=new"},
		"strategic merges by name": {types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"z","image":"new"}]}}}}`, "z=new c=img"},
		"strategic deletes":        {types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"c","$patch":"delete"},{"name":"z","image":"new"}]}}}}`, "z=new"},
		"json":                     {types.JSONPatchType, `[{"op":"test","path":"/spec/template/spec/containers/0/name","value":"c"},{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"new"}]`, "c=new"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			create(r, deployment("d"))
			got, err := kind[*appsv1.Deployment](r).Patch(r.ctx, "ns", "d", "", c.typ, []byte(c.patch))
			if err != nil {
				t.Fatal(err)
			}
			var has []string
			for _, x := range got.Spec.Template.Spec.Containers {
				has = append(has, x.Name+"="+x.Image)
			}
			if s := strings.Join(has, " "); s != c.want {
				t.Errorf("the containers are %s, want %s", s, c.want)
			}
			if got.Generation != 2 {
				t.Errorf("the generation is %d", got.Generation)
			}
		})
	}
}

func TestBadPatches(t *testing.T) {
	r := newRig(t)
	create(r, deployment("d"))
	before := r.revision()
	for name, c := range map[string]struct {
		typ    types.PatchType
		patch  string
		code   int32
		reason metav1.StatusReason
	}{
		"merge that is no JSON":            {types.MergePatchType, `{`, 400, metav1.StatusReasonBadRequest},
		"strategic that is no JSON":        {types.StrategicMergePatchType, `nope`, 400, metav1.StatusReasonBadRequest},
		"json patch that is no list":       {types.JSONPatchType, `{"op":"add"}`, 400, metav1.StatusReasonBadRequest},
		"json patch whose test fails":      {types.JSONPatchType, `[{"op":"test","path":"/metadata/name","value":"x"}]`, 422, metav1.StatusReasonInvalid},
		"json patch of a path not there":   {types.JSONPatchType, `[{"op":"remove","path":"/spec/none"}]`, 422, metav1.StatusReasonInvalid},
		"json patch with an unknown op":    {types.JSONPatchType, `[{"op":"frob","path":"/spec"}]`, 422, metav1.StatusReasonInvalid},
		"a wrong type":                     {types.MergePatchType, `{"spec":{"replicas":"many"}}`, 422, metav1.StatusReasonInvalid},
		"an unknown kind of patch":         {types.PatchType("text/plain"), `{}`, 415, metav1.StatusReasonUnsupportedMediaType},
		"another name":                     {types.MergePatchType, `{"metadata":{"name":"e"}}`, 400, metav1.StatusReasonBadRequest},
		"another namespace":                {types.MergePatchType, `{"metadata":{"namespace":"e"}}`, 400, metav1.StatusReasonBadRequest},
		"an invalid result":                {types.MergePatchType, `{"spec":{"replicas":-1}}`, 422, metav1.StatusReasonInvalid},
		"an old resource version":          {types.MergePatchType, `{"metadata":{"resourceVersion":"1"}}`, 409, metav1.StatusReasonConflict},
		"an immutable field":               {types.MergePatchType, `{"spec":{"selector":{"matchLabels":{"app":"e"}}}}`, 422, metav1.StatusReasonInvalid},
		"a json patch that copies too far": {types.JSONPatchType, "[" + strings.Repeat(`{"op":"test","path":"/metadata/name","value":"d"},`, maxPatchOperations) + `{"op":"test","path":"/metadata/name","value":"d"}]`, 413, metav1.StatusReasonRequestEntityTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := kind[*appsv1.Deployment](r).Patch(r.ctx, "ns", "d", "", c.typ, []byte(c.patch))
			refused(t, err, c.code, c.reason)
		})
	}
	_, err := kind[*appsv1.Deployment](r).Patch(r.ctx, "ns", "none", "", types.MergePatchType, []byte(`{}`))
	refused(t, err, 404, metav1.StatusReasonNotFound, `deployments.apps "none" not found`)
	if r.revision() != before {
		t.Error("a refused patch took a revision")
	}
}

func TestScaleReadsAndWritesTheReplicasAlone(t *testing.T) {
	r := newRig(t)
	d := create(r, deployment("d"))
	k := api.For[*appsv1.Deployment](r.table)
	req := r.client.Request(k, "ns", "d", "scale")
	s := ScaleOf(k, d)
	if s.Spec.Replicas != 1 || s.Status.Selector != "app=d" || s.ResourceVersion != d.ResourceVersion {
		t.Fatalf("the scale is %+v", s)
	}
	s.Spec.Replicas = 5
	it, err := r.pipe.Update(r.ctx, req, s)
	if err != nil {
		t.Fatal(err)
	}
	if got := get[*appsv1.Deployment](r, "d"); *got.Spec.Replicas != 5 || got.Generation != 2 || it.Obj.(*autoscalingv1.Scale).Spec.Replicas != 5 {
		t.Fatalf("after the scale there are %d", *got.Spec.Replicas)
	}
	s.Spec.Replicas = 6 // of the old version
	_, err = r.pipe.Update(r.ctx, req, s)
	refused(t, err, 409, metav1.StatusReasonConflict)
	s.Spec.Replicas, s.ResourceVersion = -1, ""
	_, err = r.pipe.Update(r.ctx, req, s)
	refused(t, err, 422, metav1.StatusReasonInvalid, "must be greater than or equal to 0")
	if it, err = r.pipe.Patch(r.ctx, req, types.MergePatchType, []byte(`{"spec":{"replicas":2}}`)); err != nil || it.Obj.(*autoscalingv1.Scale).Spec.Replicas != 2 {
		t.Fatalf("a patch of the scale: %v", err)
	}
}

func TestModifyFromManyGoroutinesLosesNothing(t *testing.T) {
	r := newRig(t)
	create(r, configMap("n", "count", ""))
	const writers, each = 16, 10
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				for {
					_, err := kind[*corev1.ConfigMap](r).Modify(r.ctx, "ns", "n", "", func(c *corev1.ConfigMap) error {
						c.Data["count"] += "x"
						return nil
					})
					if err == nil {
						break
					}
					// after maxAttempts a writer is told of the conflict, and may go on
					var st interface{ Status() metav1.Status }
					if !errors.As(err, &st) || st.Status().Reason != metav1.StatusReasonConflict {
						t.Errorf("modifying: %v", err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if n := len(get[*corev1.ConfigMap](r, "n").Data["count"]); n != writers*each {
		t.Fatalf("of %d changes %d are there", writers*each, n)
	}
}

func TestModifyStopsWithItsOwnError(t *testing.T) {
	r := newRig(t)
	create(r, configMap("a"))
	stop := errors.New("enough")
	if _, err := kind[*corev1.ConfigMap](r).Modify(r.ctx, "ns", "a", "", func(*corev1.ConfigMap) error { return stop }); !errors.Is(err, stop) {
		t.Fatalf("got %v", err)
	}
}
