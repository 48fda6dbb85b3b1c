package hint

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// FuzzUnknown wants of any path a guess that is short, or none.
func FuzzUnknown(f *testing.F) {
	for _, path := range []string{
		"", ".", "[]", "spec", "spec.ports[0].nodeport", "spec.containers", "metadata.labels[a.b]", "spec.[0]..x", "a[[]]b]", "ſpec.ports", "\xff\xfe",
		"spec.template.spec.volumes[0].emptydir", strings.Repeat("spec.", 300), strings.Repeat("[0]", 300), strings.Repeat("x", 5000),
	} {
		f.Add(path)
	}
	types := []reflect.Type{reflect.TypeFor[*corev1.Pod](), reflect.TypeFor[corev1.Service](), reflect.TypeFor[appsv1.StatefulSet]()}
	f.Fuzz(func(t *testing.T, path string) {
		for _, typ := range types {
			// the way to a field that is known is repeated, the field that is not is not
			if got := Unknown(typ, path); got != "" && (!strings.HasPrefix(got, "did you mean \"") || len(got) > len(path)+200) {
				t.Errorf("%q in %v: %q", path, typ, got)
			}
		}
	})
}

// FuzzMisfit wants nothing said of a document that fits, and little of any.
func FuzzMisfit(f *testing.F) {
	for _, doc := range []string{
		`{"spec":{"containers":[{"resources":{"limits":{"cpu":"lots"}}}]}}`, `{"spec":{"hostNetwork":"yes"}}`, `[]`, `null`, `{`, `"\ud800"`,
		`{"spec":{"activeDeadlineSeconds":1e400}}`, `{"spec":{"activeDeadlineSeconds":` + strings.Repeat("9", 5000) + `}}`,
		`{"metadata":{"creationTimestamp":"noon","labels":{"a":1}}}`, `{"metadata":{"labels":{"` + strings.Repeat("é", 3000) + `":1}}}`,
		`{"spec":{"nodeName":["` + strings.Repeat("é", 60) + `"]}}`, `{"spec":{"nodeName":{}},"spec":1}`, `{"spec":{"volumes":[{"secret":{"defaultMode":"0644"}}]}}`,
		`{"metadata":{"labels":` + strings.Repeat(`{"a":`, 200) + strings.Repeat(`}`, 200) + `}}`,
	} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		got := Misfit(reflect.TypeFor[corev1.Pod](), doc)
		if !utf8.ValidString(got) || len(got) > maxPlace+20*maxShown {
			t.Errorf("%q: %q", doc, got)
		}
		if got != "" && json.Unmarshal(doc, new(corev1.Pod)) == nil {
			t.Errorf("%q fits, and yet %q", doc, got)
		}
	})
}

func TestWordsTooLongToCompare(t *testing.T) {
	long := strings.Repeat("x", 3<<20)
	if got := Unknown(reflect.TypeFor[corev1.Pod](), "spec."+long); got != "" {
		t.Errorf("%.100q", got)
	}
	if got := Misfit(reflect.TypeFor[corev1.Pod](), []byte(`{"metadata":{"labels":{"`+long+`":1}}}`)); got != "" {
		t.Errorf("%.100q", got)
	}
	number := strings.Repeat("9", 3<<20)
	if got := Misfit(reflect.TypeFor[corev1.Pod](), []byte(`{"spec":{"priority":`+number+`}}`)); got != "spec.priority: expected an integer of 32 bits, found the number "+number[:maxShown]+"…" {
		t.Errorf("%.100q", got)
	}
}
