package apply

import (
	"math/rand"
	"slices"
	"testing"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// element is a random path element in the words of both.
func element(r *rand.Rand) fieldpath.PathElement {
	texts := []string{"a", "b", "ab", "<", "a\"b", "ü", "", "z\\", "A"}
	scalar := func() value.Value {
		if r.Intn(3) == 0 {
			return value.NewValueInterface(int64(r.Intn(120) - 20))
		}
		return value.NewValueInterface(texts[r.Intn(len(texts))])
	}
	switch r.Intn(6) {
	case 0:
		return fieldpath.IndexElement(r.Intn(12))
	case 1:
		return fieldpath.ValueElement(scalar())
	case 2:
		return fieldpath.KeyElement(value.Field{Name: "name", Value: scalar()})
	case 3:
		return fieldpath.KeyElement(value.Field{Name: "port", Value: scalar()}, value.Field{Name: "protocol", Value: scalar()})
	case 4:
		return fieldpath.KeyElement(value.Field{Name: "port", Value: scalar()})
	}
	return fieldpath.FieldNameElement(texts[r.Intn(len(texts))])
}

func randomSet(r *rand.Rand, few []fieldpath.PathElement) *fieldpath.Set {
	s := fieldpath.NewSet()
	for range r.Intn(12) + 1 {
		var p fieldpath.Path
		for range r.Intn(3) + 1 {
			p = append(p, few[r.Intn(len(few))])
		}
		s.Insert(p)
	}
	return s
}

func text(t *testing.T, s *fieldpath.Set) string {
	t.Helper()
	b, err := s.ToJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestTriesAreFieldpathSets compares the tries with the library's sets.
func TestTriesAreFieldpathSets(t *testing.T) {
	r := rand.New(rand.NewSource(7))
	unread := 0
	for range 20000 {
		var few []fieldpath.PathElement
		for range 6 {
			few = append(few, element(r))
		}
		a, b := randomSet(r, few), randomSet(r, few)
		x, okX := parse(text(t, a))
		y, okY := parse(text(t, b))
		if !okX || !okY {
			unread++
			continue
		}
		if got := string(encode(nil, x)); got != text(t, a) {
			t.Fatalf("written back:\n%s\n%s", got, text(t, a))
		}
		u, grown := union(x, y)
		if want := text(t, a.Union(b)); string(encode(nil, u)) != want {
			t.Fatalf("union of\n%s\n%s\nwant %s\ngot  %s", text(t, a), text(t, b), want, encode(nil, u))
		}
		if want := !a.Union(b).Equals(a); grown != want {
			t.Fatalf("union of\n%s\n%s\ngrown: want %v", text(t, a), text(t, b), want)
		}
		d, fewer := subtract(x, y)
		want := a.Difference(b)
		if string(encode(nil, d)) != text(t, want) || fewer == want.Equals(a) {
			t.Fatalf("difference of\n%s\n%s\nwant %s\ngot  %s", text(t, a), text(t, b), text(t, want), encode(nil, d))
		}
		if !a.Intersection(b).Empty() && !mayHold(text(t, a), y) {
			t.Fatalf("%s is said to have nothing of %s", text(t, a), text(t, b))
		}
	}
	if unread > 2000 {
		t.Errorf("%d sets were left to the long road", unread)
	}
}

func TestPathElementsAreInOrder(t *testing.T) {
	r := rand.New(rand.NewSource(7))
	for range 100000 {
		a, b := element(r), element(r)
		x, errA := fieldpath.SerializePathElement(a)
		y, errB := fieldpath.SerializePathElement(b)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if got, want := compare(x, y), a.Compare(b); got < 0 != (want < 0) || got > 0 != (want > 0) {
			t.Fatalf("%s against %s: want %d, got %d", x, y, want, got)
		}
	}
}

func TestOddSetsAreLeftToTheLibrary(t *testing.T) {
	for _, s := range []string{
		``, `{}`, `[]`, `{"f:a":{}`, `{"f:a":{}} `, `{"f:b":{},"f:a":{}}`, `{"f:a":{},"f:a":{}}`, `{"x:a":{}}`, `{".":{}}`, `{"f:a":{".":{}}}`,
		`{"f:a":null}`, `{"f:\u0061":{}}`, `{"a":{}}`, `{"":{}}`, `{"f:a":{"f:b":{},".":{}}}`, `{"f:a" :{}}`,
	} {
		if kids, ok := parse(s); ok {
			t.Errorf("%s was read: %v", s, kids)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:ports":{"k:{\"port\":80}":{".":{},"f:port":{}}}}}`)
	f.Fuzz(func(t *testing.T, s string) {
		kids, ok := parse(s)
		if !ok {
			return
		}
		if got := string(encode(nil, kids)); got != s && !slices.Contains([]byte(s), '\\') {
			t.Errorf("%q was written back as %q", s, got)
		}
	})
}
