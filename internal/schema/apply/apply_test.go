package apply

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/all"
)

// TestAppliesAreTheLibrarys applies random documents to random objects, and
// compares with the library over client-go's schemas.
func TestAppliesAreTheLibrarys(t *testing.T) {
	seed := *fixedSeed
	if seed == 0 {
		seed = time.Now().UnixNano()
	}
	t.Logf("seed %d", seed)
	table := all.Table()
	m := New(table, nil)
	done, refused := 0, 0
	for _, k := range table.Kinds() {
		if !scheme.Scheme.Recognizes(k.GVK) {
			continue
		}
		t.Run(k.GVK.Kind, func(t *testing.T) {
			f := newFiller(seed)
			lib := libraryFor(t, k, "")
			for round := range *rounds {
				clock := now
				var live api.Object
				for step := range 6 {
					clock = clock.Add(time.Minute)
					manager, force := fmt.Sprintf("m%d", f.r.Intn(3)), f.r.Intn(2) == 0
					doc := document(t, f, k)
					was := live
					if was == nil {
						was = k.New()
					}
					patch := &unstructured.Unstructured{}
					if err := json.Unmarshal(doc, &patch.Object); err != nil {
						t.Fatal(err)
					}
					theirs, wantErr := lib.Apply(withKind(k, was), numbers(t, doc), manager, force)
					ours, err := m.Apply(Write{Kind: k, Manager: manager, Now: clock.Add(time.Minute)}, live, Patch{Document: doc, Force: force})
					// past a field it does not know the library stops, wherever that is
					odd := err != nil && wantErr != nil && strings.Contains(string(doc), "surprise")
					if !odd && said(err) != said(wantErr) {
						t.Fatalf("round %d step %d: want the error\n%s\ngot\n%s\nfor %s", round, step, said(wantErr), said(err), doc)
					}
					if err != nil {
						refused++
						continue
					}
					done++
					if got, want := canonical(t, ours.GetManagedFields(), clock), canonical(t, theirs.(metav1.Object).GetManagedFields(), clock); got != want {
						t.Fatalf("round %d step %d, %s applies %s\nwant:\n%s\ngot:\n%s", round, step, manager, doc, want, got)
					}
					if got, want := bare(t, k, ours), bare(t, k, theirs); got != want {
						t.Fatalf("round %d step %d, %s applies %s\nwant:\n%s\ngot:\n%s", round, step, manager, doc, want, got)
					}
					live = ours
					live.SetUID("u")
				}
			}
		})
	}
	t.Logf("%d applied, %d refused", done, refused)
	if done < refused/3 {
		t.Error("too few were accepted to tell")
	}
}

// document is a random part of an object, as a user writes it.
func document(t *testing.T, f *filler, k *api.Kind) []byte {
	t.Helper()
	o := f.make(k)
	if p, err := compile(k.GoType, nil); err == nil && f.r.Intn(20) != 0 {
		distinct(p, valueOf(o))
	}
	*metaOf(o) = metav1.ObjectMeta{Name: "n", Namespace: "ns", Labels: o.GetLabels(), Annotations: o.GetAnnotations()}
	b, err := api.EncodeJSON(o)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := api.DecodeJSON(b, &doc); err != nil {
		t.Fatal(err)
	}
	for field := range doc {
		if field != "metadata" && f.r.Intn(4) == 0 {
			delete(doc, field)
		}
	}
	doc["apiVersion"], doc["kind"] = k.GVK.GroupVersion().String(), k.GVK.Kind
	if f.r.Intn(30) == 0 {
		doc["surprise"] = 1
	}
	if b, err = json.Marshal(doc); err != nil {
		t.Fatal(err)
	}
	return b
}

func numbers(t *testing.T, doc []byte) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := api.DecodeJSON(doc, &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

func said(err error) string {
	if err == nil {
		return ""
	}
	var st apierrors.APIStatus
	if errors.As(err, &st) {
		s := st.Status()
		var causes []string // in no order
		if s.Details != nil {
			for _, c := range s.Details.Causes {
				causes = append(causes, fmt.Sprint(c))
			}
		}
		return lines(err.Error() + "\n" + strings.Join(causes, "\n"))
	}
	return lines(err.Error())
}

// lines puts the lines of a message in order: the library goes through maps.
func lines(s string) string {
	l := strings.Split(s, "\n")
	slices.Sort(l)
	return strings.TrimSpace(strings.Join(l, "\n"))
}

// canonical writes entries as maps are written: the library keeps sets in maps
// here, with other escapes and another order than upstream stores.
func canonical(t *testing.T, entries []metav1.ManagedFieldsEntry, past time.Time) string {
	t.Helper()
	out := slices.Clone(entries)
	for i := range out {
		var v any
		if err := json.Unmarshal(out[i].FieldsV1.GetRawBytes(), &v); err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out[i].FieldsV1 = &metav1.FieldsV1{}
		out[i].FieldsV1.SetRawBytes(b)
	}
	return words(out, past)
}

// bare is an object without what the test sets itself.
func bare(t *testing.T, k *api.Kind, o runtime.Object) string {
	t.Helper()
	typed, err := structured(o, k.GVK, k.GoType)
	if err != nil {
		t.Fatal(err)
	}
	c := typed.DeepCopyObject().(api.Object)
	c.SetManagedFields(nil)
	c.SetUID("")
	b, err := api.EncodeJSON(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTimesAreOfTheGivenClock(t *testing.T) {
	table := all.Table()
	m, k := New(table, nil), api.For[*corev1.ConfigMap](table)
	doc := []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: b}\n")
	obj, err := m.Apply(Write{Kind: k, Manager: "a", Now: now.Add(500 * time.Millisecond)}, nil, Patch{Document: doc})
	if err != nil {
		t.Fatal(err)
	}
	if got := obj.GetManagedFields()[0].Time; !got.Time.Equal(now) {
		t.Errorf("applied at %v", got)
	}
	next := obj.DeepCopyObject().(*corev1.ConfigMap)
	obj.SetUID("u")
	next.Data["a"] = "c"
	next.ManagedFields = append(next.ManagedFields, metav1.ManagedFieldsEntry{
		Manager: "z", Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:data":{"f:q":{}}}`)}, Time: &metav1.Time{Time: now.Add(-time.Hour)},
	})
	m.Update(Write{Kind: k, Manager: "b", Now: now.Add(time.Minute)}, obj, next)
	got := words(next.ManagedFields, now.Add(time.Second))
	want := "z Update v1  2020-01-02T02:04:05Z FieldsV1 {\"f:data\":{\"f:q\":{}}}\nb Update v1  new FieldsV1 {\"f:data\":{\"f:a\":{}}}\n"
	if got != want {
		t.Errorf("want:\n%s\ngot:\n%s", want, got)
	}
}

func TestManagersOfAnotherVersionKeepTheirs(t *testing.T) {
	table := all.Table()
	m, k := New(table, nil), api.For[*appsv1.Deployment](table)
	obj := k.New()
	m.Update(Write{Kind: k, Manager: "a", Now: now}, nil, obj)
	obj.SetLabels(map[string]string{"x": "y"})
	obj.SetUID("u")
	obj.SetManagedFields([]metav1.ManagedFieldsEntry{
		{Manager: "gone", Operation: "Update", APIVersion: "apps/v0", FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:metadata":{"f:labels":{"f:x":{}}}}`)}},
		{Manager: "odd", Operation: "Update", APIVersion: "apps/v1", FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(`{ "f:metadata" : {"f:labels":{"f:x":{}}}}`)}},
	})
	next := obj.DeepCopyObject().(api.Object)
	next.SetLabels(map[string]string{"x": "z"})
	m.Update(Write{Kind: k, Manager: "b", Now: now}, obj, next)
	if got := words(next.GetManagedFields(), now.Add(-time.Second)); !strings.HasPrefix(got, "b Update apps/v1  new FieldsV1 {\"f:metadata\":{\"f:labels\":{\"f:x\":{}}}}") || strings.Count(got, "\n") != 1 {
		t.Errorf("a version that is no longer there, and an entry in an odd hand:\n%s", got)
	}
}

func TestUserAgentsNameManagers(t *testing.T) {
	for agent, want := range map[string]string{
		"kubectl/v1.36.3 (linux/amd64) kubernetes/abc": "kubectl",
		"curl":                   "curl",
		"":                       "",
		"/x":                     "",
		"a\x00b\n/1":             "ab",
		strings.Repeat("ü", 100): strings.Repeat("ü", 64),
	} {
		if got := DefaultManager(agent); got != want {
			t.Errorf("%q writes as %q", agent, got)
		}
	}
}

// TestOldVersionsAreSpoken updates and applies in every version that is served.
func TestOldVersionsAreSpoken(t *testing.T) {
	table := all.Table()
	m := New(table, nil)
	n := 0
	for _, k := range table.Kinds() {
		for _, v := range k.Versions {
			n++
			gv := v.GVK.GroupVersion().String()
			obj := k.New()
			obj.SetName("m")
			obj.SetLabels(map[string]string{"a": "b"})
			m.Update(Write{Kind: k, Version: v, Manager: "x", Now: now}, nil, obj)
			if e := obj.GetManagedFields(); len(e) != 1 || e[0].APIVersion != gv {
				t.Errorf("%v: an update left %+v", v.GVK, e)
				continue
			}
			obj.SetUID("u")
			doc := fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":"m","labels":{"a":"c"}}}`, gv, v.GVK.Kind)
			_, err := m.Apply(Write{Kind: k, Version: v, Manager: "y", Now: now}, obj, Patch{Document: []byte(doc)})
			if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "x" using `+gv+`: .metadata.labels.a`) {
				t.Errorf("%v: want a conflict, got %v", v.GVK, err)
			}
			doc = fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":"m","labels":{"a":"c"}}}`, k.GVK.GroupVersion().String(), k.GVK.Kind)
			out, err := m.Apply(Write{Kind: k, Manager: "y", Now: now}, obj, Patch{Document: []byte(doc), Force: true})
			if err != nil || out.GetLabels()["a"] != "c" || len(out.GetManagedFields()) < 1 {
				t.Errorf("%v: forced in the kind's own version: %v", v.GVK, err)
			}
		}
	}
	t.Logf("%d versions", n)
}
