package pipeline

import (
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
)

// calmly wants an error to be one that blames the request.
func calmly(t *testing.T, err error) {
	t.Helper()
	var status apierrors.APIStatus
	if err != nil && (!errors.As(err, &status) || status.Status().Code < 400 || status.Status().Code >= 500) {
		t.Errorf("%v", err)
	}
}

func FuzzPatch(f *testing.F) {
	patches := []types.PatchType{types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType}
	for _, p := range []string{
		`[{"op":"test","path":"/spec/replicas","value":1},{"op":"add","path":"/metadata/labels","value":{"a":"b"}}]`, `[{"op":"copy","from":"/spec","path":"/spec/x"}]`,
		`[{"op":"move","from":"","path":"/a"}]`, `[{"op":"remove","path":"/spec/template/spec/containers/-1"}]`, `[{"op":"add","path":"/spec/template/spec/containers/99999999999999999999","value":null}]`,
		`[{"op":"replace","path":"","value":null}]`, `[{"op":"test","path":"/x~2~","value":{}}]`, `[null]`, `[{"op":"add","path":"/metadata/labels/a~1b"}]`, `[` + strings.Repeat(`{"op":"copy","from":"/spec","path":"/spec/a"},`, 30) + `{}]`,
		`{"spec":{"replicas":null}}`, `null`, `[]`, `1`, ``, `{"metadata":[]}`, strings.Repeat(`{"a":`, 11000) + `1` + strings.Repeat(`}`, 11000),
		`{"spec":{"template":{"spec":{"containers":[{"name":"c","$patch":"delete"}]}}}}`, `{"$patch":"replace"}`, `{"$patch":{}}`, `{"spec":{"$retainKeys":["a"],"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}`,
		`{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"x"},{"name":"c"}],"containers":[{"name":"x"}]}}}}`, `{"spec":{"template":{"spec":{"containers":[{"image":"x"}]}}}}`,
		`{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"]}}`, `{"metadata":{"$deleteFromPrimitiveList/finalizers":{}}}`, `{"$setElementOrder/spec":1}`, `{"spec":{"template":{"spec":{"$setElementOrder/containers":[1,null]}}}}`,
		`{"spec":{"template":{"spec":{"containers":{"name":"x"}}}}}`, `{"spec":{"template":{"spec":{"containers":[[]]}}}}`, `{"spec":{"template":{"spec":{"containers":[null]}}}}`, `{"spec":{"template":{"spec":{"$retainKeys":1}}}}`,
	} {
		for i := range patches {
			f.Add(uint8(i), []byte(p))
		}
	}
	d := deployment("d")
	d.Finalizers = []string{"example.test/a"}
	doc, err := api.EncodeJSON(d)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, which uint8, patch []byte) {
		before := string(doc)
		calmly(t, patchInto(patches[int(which)%len(patches)], doc, patch, new(appsv1.Deployment), nil))
		calmly(t, patchInto(patches[int(which)%len(patches)], doc, patch, new(appsv1.Deployment), func([]error) error { return nil }))
		if string(doc) != before {
			t.Error("the document was written to")
		}
	})
}

func FuzzApply(f *testing.F) {
	for _, doc := range []string{
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: b}\n", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"applied"},"data":{"a":1}}`, "", "null", "- a", "a: &a [*a]", "{}",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied, managedFields: [{manager: x}]}\n", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: b, a: c}\n",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied, ownerReferences: [{uid: a}, {uid: a}]}\n", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied, labels: []}\n",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied, finalizers: [b, b]}\nx: 1\n", "apiVersion: v2\nkind: ConfigMap\nmetadata: {name: applied}\n", strings.Repeat("[", 12000), "? [a]\n: b", "\xff",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied, resourceVersion: '1', uid: x}\n", "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\n",
	} {
		f.Add([]byte(doc), true)
		f.Add([]byte(doc), false)
	}
	r := newRig(f)
	create(r, configMap("applied", "k", "v"))
	k := api.For[*corev1.ConfigMap](r.table)
	f.Fuzz(func(t *testing.T, doc []byte, force bool) {
		_, err := r.pipe.Patch(t.Context(), client.Request{
			User: &user.DefaultInfo{Name: "tester"}, Kind: k, Namespace: "ns", Name: "applied", Manager: "fuzz", Force: force,
			Strict: func([]error) error { return nil },
		}, types.ApplyYAMLPatchType, doc)
		if err != nil && strings.HasPrefix(err.Error(), "failed to create typed patch object") {
			return // upstream's words, and a 500 there too
		}
		calmly(t, err)
	})
}
