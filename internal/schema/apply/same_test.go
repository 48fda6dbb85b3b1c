package apply

import (
	"flag"
	"fmt"
	"math/rand"
	"reflect"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/all"
)

var rounds = flag.Int("rounds", 2, "how many objects of each kind are written to")

var fixedSeed = flag.Int64("seed", 0, "the seed of random objects; 0 takes a new one")

var now = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)

// library is upstream's manager, driven as upstream drives it.
type library struct{}

func (library) ConvertToVersion(in runtime.Object, _ runtime.GroupVersioner) (runtime.Object, error) {
	return in, nil
}
func (library) Convert(_, _, _ any) error { return nil }
func (library) ConvertFieldLabel(_ schema.GroupVersionKind, l, v string) (string, string, error) {
	return l, v, nil
}
func (library) Default(runtime.Object) {}
func (library) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	o, err := scheme.Scheme.New(gvk)
	if err == nil {
		o.GetObjectKind().SetGroupVersionKind(gvk)
	}
	return o, err
}

func libraryFor(t testing.TB, k *api.Kind, sub string) *managedfields.FieldManager {
	t.Helper()
	filters := map[fieldpath.APIVersion]fieldpath.Filter{}
	if f := filterOf(k, sub); f != nil {
		filters[fieldpath.APIVersion(k.GVK.GroupVersion().String())] = f
	}
	conv := applyconfigurations.NewTypeConverter(scheme.Scheme)
	f, err := managedfields.NewDefaultFieldManager(conv, library{}, library{}, library{}, k.GVK, k.GVK.GroupVersion(), sub, filters)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// filler makes random objects of a kind.
type filler struct {
	f *randfill.Filler
	r *rand.Rand
}

func newFiller(seed int64) *filler {
	r := rand.New(rand.NewSource(seed))
	codecs := serializer.NewCodecFactory(scheme.Scheme)
	f := fuzzer.FuzzerFor(fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, func(serializer.CodecFactory) []any {
		return []any{
			func(f *metav1.FieldsV1, c randfill.Continue) {},
			func(s *string, c randfill.Continue) {
				*s = []string{"a", "b", "web", "x/y", "TCP", "<&>", "a\"b", "ü", ""}[c.Intn(9)]
			},
			func(n *int32, c randfill.Continue) { *n = int32(c.Intn(4)) },
		}
	}), rand.NewSource(seed), codecs).NilChance(.4).NumElements(0, 3).MaxDepth(12)
	return &filler{f: f, r: r}
}

func (f *filler) make(k *api.Kind) api.Object {
	o := k.New()
	f.f.Fill(o)
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	o.SetManagedFields(nil)
	return o
}

// mutate replaces some fields of an object by those of another.
func (f *filler) mutate(v, from reflect.Value, chance float64) {
	switch v.Kind() {
	case reflect.Struct:
		if hasMarshaler(v.Type()) || v.Type() == reflect.TypeFor[metav1.ManagedFieldsEntry]() {
			if f.r.Float64() < chance {
				v.Set(from)
			}
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "ManagedFields" && v.Type().Field(i).Name != "TypeMeta" {
				f.mutate(v.Field(i), from.Field(i), chance)
			}
		}
	case reflect.Pointer:
		if v.IsNil() || from.IsNil() {
			if f.r.Float64() < chance {
				v.Set(from)
			}
			return
		}
		f.mutate(v.Elem(), from.Elem(), chance)
	case reflect.Slice:
		if f.r.Float64() < chance {
			n := reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, 4), v)
			switch f.r.Intn(4) {
			case 0:
				n = from
			case 1:
				if n.Len() > 0 {
					n = n.Slice(1, n.Len())
				}
			case 2:
				n = reflect.AppendSlice(n, from)
			case 3:
				f.r.Shuffle(n.Len(), reflect.Swapper(n.Interface()))
			}
			v.Set(n)
			return
		}
		for i := range min(v.Len(), from.Len()) {
			f.mutate(v.Index(i), from.Index(i), chance)
		}
	default:
		if f.r.Float64() < chance {
			v.Set(from)
		}
	}
}

// distinct takes the items out of lists with keys that are there twice, most of
// the time: the short road leaves such lists alone.
func distinct(p *plan, v reflect.Value) {
	v, ok := deref(v)
	if !ok {
		return
	}
	w := &walker{}
	switch p.shape {
	case object:
		for i := range p.fields {
			x, _ := p.fields[i].of(v)
			distinct(p.fields[i].plan, x)
		}
	case keyList, setList:
		if v.IsNil() {
			return
		}
		out := reflect.MakeSlice(v.Type(), 0, v.Len())
		seen := map[string]bool{}
		for i := range v.Len() {
			k := w.anyKey(p, v.Index(i))
			if k == "k:{}" || seen[k] {
				continue
			}
			seen[k] = true
			if p.shape == keyList {
				distinct(p.elem, v.Index(i))
			}
			out = reflect.Append(out, v.Index(i))
		}
		v.Set(out)
	}
}

// decoded is an object as a client sends it: what is left out is nil, not empty.
// The library tells the two apart within lists.
func decoded(t *testing.T, k *api.Kind, o api.Object) api.Object {
	t.Helper()
	b, err := api.EncodeJSON(o)
	if err != nil {
		t.Fatal(err)
	}
	out := k.New()
	if err := api.DecodeJSON(b, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func withKind(k *api.Kind, o api.Object) api.Object {
	c := o.DeepCopyObject().(api.Object)
	c.GetObjectKind().SetGroupVersionKind(k.GVK)
	return c
}

// words are entries in a form to compare; times are told apart only as old and
// new, for the library has a clock of its own.
func words(entries []metav1.ManagedFieldsEntry, past time.Time) string {
	var b strings.Builder
	for _, e := range entries {
		when := "never"
		if e.Time != nil {
			when = "new"
			if !e.Time.After(past) {
				when = e.Time.UTC().Format(time.RFC3339)
			}
		}
		raw := "nil"
		if e.FieldsV1 != nil {
			raw = e.FieldsV1.GetRawString()
		}
		fmt.Fprintf(&b, "%s %s %s %s %s %s %s\n", e.Manager, e.Operation, e.APIVersion, e.Subresource, when, e.FieldsType, raw)
	}
	return b.String()
}

// TestBothRoadsLeadToTheSame writes random objects of every kind by several
// managers and compares with the library.
func TestBothRoadsLeadToTheSame(t *testing.T) {
	seed := *fixedSeed
	if seed == 0 {
		seed = time.Now().UnixNano()
	}
	t.Logf("seed %d", seed)
	table := all.Table()
	m := New(table, nil)
	short, long := 0, 0
	for _, k := range table.Kinds() {
		if !scheme.Scheme.Recognizes(k.GVK) {
			continue
		}
		t.Run(k.GVK.Kind, func(t *testing.T) {
			f := newFiller(seed)
			subs := []string{""}
			if k.HasStatus {
				subs = append(subs, "status")
			}
			libs := map[string]*managedfields.FieldManager{}
			for _, s := range subs {
				libs[s] = libraryFor(t, k, s)
			}
			whole, err := compile(k.GoType, nil)
			if err != nil {
				t.Logf("no plan: %v", err)
			}
			for round := range *rounds {
				var live api.Object
				clock := now
				for step := range 8 {
					clock = clock.Add(time.Minute)
					next := f.make(k)
					sub := ""
					if live != nil {
						sub = subs[f.r.Intn(len(subs))]
						base := live.DeepCopyObject().(api.Object)
						f.mutate(reflect.ValueOf(base).Elem(), reflect.ValueOf(next).Elem(), []float64{0, .02, .2}[f.r.Intn(3)])
						next = base
					}
					if whole != nil && f.r.Intn(20) != 0 {
						distinct(whole, reflect.ValueOf(next))
					}
					next = decoded(t, k, next)
					manager := fmt.Sprintf("m%d", f.r.Intn(4))
					if f.r.Intn(10) == 0 && live != nil {
						next.SetManagedFields([][]metav1.ManagedFieldsEntry{nil, {}, {{}}, {{Manager: "x"}}}[f.r.Intn(4)])
					}
					// what upstream makes of it
					was := live
					if was == nil {
						was = k.New()
					}
					theirs := withKind(k, next)
					theirs = libs[sub].UpdateNoErrors(withKind(k, was), theirs, manager).(api.Object)
					want := words(theirs.GetManagedFields(), clock)

					next.SetUID("u")
					if live == nil {
						theirs.SetUID("u")
					}
					ours := next.DeepCopyObject().(api.Object)
					target := (&Write{Kind: k, Subresource: sub}).target()
					if out, ok := m.updateShort(target, manager, clock.Add(time.Minute), was, ours, was.GetManagedFields()); ok {
						short++
						_ = out
					} else {
						long++
					}
					before := ""
					if live != nil {
						before = words(live.GetManagedFields(), clock)
					}
					m.Update(Write{Kind: k, Subresource: sub, Manager: manager, Now: clock.Add(time.Minute)}, live, ours)
					if got := words(ours.GetManagedFields(), clock); got != want {
						a, _ := api.EncodeJSON(live)
						b, _ := api.EncodeJSON(next)
						t.Fatalf("round %d step %d, %s writes %q\nlive: %s\nnext: %s\nbefore:\n%s\nwant:\n%s\ngot:\n%s", round, step, manager, sub, a, b, before, want, got)
					}
					live = ours
				}
			}
		})
	}
	t.Logf("%d writes by the short road, %d by the long", short, long)
	if short < long {
		t.Errorf("the short road took %d writes of %d", short, short+long)
	}
}

func valueOf(o api.Object) reflect.Value { return reflect.ValueOf(o) }

func metaOf(o api.Object) *metav1.ObjectMeta {
	return reflect.ValueOf(o).Elem().FieldByName("ObjectMeta").Addr().Interface().(*metav1.ObjectMeta)
}
