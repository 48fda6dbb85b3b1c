package oracle

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/all"
	"github.com/monohull/monohull/internal/schema/apply"
)

// noSubresource is one that no rule knows: its writer owns all it writes.
const noSubresource = "none"

// TestResetFields compares what the writers of each kind and subresource may
// own: upstream leaves out of the managed fields what the strategy puts back.
func TestResetFields(t *testing.T) {
	up, err := upstream()
	if err != nil {
		t.Fatal(err)
	}
	seeds, err := readSeeds("testdata")
	if err != nil {
		t.Fatal(err)
	}
	pool, err := newPool(all.Table(), seeds)
	if err != nil {
		t.Fatal(err)
	}
	fields := apply.New(all.Table(), nil)
	for _, k := range all.Table().Kinds() {
		name := nameOf(k.GVK.Group, k.GVK.Kind)
		r := up.Resources[k.GVR()]
		if r == nil || r.Store == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			m := &Mutator{r: rand.New(rand.NewPCG(1, 2)), pool: pool}
			for sub, s := range withMain(r) {
				filter, compared := filterOf(s, k), false
				for _, doc := range seeds[name] {
					for range 3 {
						probe := probe(t, m, k, doc)
						theirs := owned(t, fields, k, noSubresource, probe)
						if theirs.Empty() {
							continue // what no manager can own, such as an item twice
						}
						compared = true
						if filter != nil {
							theirs = filter.Filter(theirs)
						}
						ours := owned(t, fields, k, sub, probe)
						if !theirs.Equals(ours) {
							t.Fatalf("%q: upstream alone owns %v, we alone %v", sub, theirs.Difference(ours), ours.Difference(theirs))
						}
					}
				}
				if !compared {
					t.Errorf("%q: nothing could be compared", sub)
				}
			}
		})
	}
}

// withMain are the storages that write a kind, the main one under "".
func withMain(r *Resource) map[string]rest.Storage {
	out := map[string]rest.Storage{"": r.Storage}
	for name, s := range r.Subs {
		if r.partStore(name) != nil {
			out[name] = s
		}
	}
	return out
}

// filterOf is what upstream's installer makes of a storage. Those of ephemeral
// containers and resizing do not hand on what their strategies say, though they
// mean to; we go by the strategies.
func filterOf(s rest.Storage, k *api.Kind) fieldpath.Filter {
	version := fieldpath.APIVersion(k.GVK.GroupVersion().String())
	if f, ok := s.(rest.ResetFieldsFilterStrategy); ok {
		return f.GetResetFieldsFilter()[version]
	}
	if f, ok := storeOf(s).UpdateStrategy.(rest.ResetFieldsFilterStrategy); ok {
		return f.GetResetFieldsFilter()[version]
	}
	if f, ok := s.(rest.ResetFieldsStrategy); ok {
		if set := f.GetResetFields()[version]; set != nil {
			return fieldpath.NewExcludeSetFilter(set)
		}
	}
	return nil
}

// probe is an object that says something in every place that may be reset.
func probe(t *testing.T, m *Mutator, k *api.Kind, doc any) api.Object {
	t.Helper()
	tree := clone(doc).(map[string]any)
	if f, ok := k.GoType.Elem().FieldByName("Status"); ok {
		if status, ok := m.fill(f.Type, "status", 3).(map[string]any); ok {
			tree["status"] = status
		}
	}
	j := Judge{Kind: k}
	o, ok := j.decode(tree)
	if !ok {
		if o, ok = j.decode(doc); !ok {
			t.Fatalf("a seed cannot be decoded: %v", doc)
		}
	}
	at := metav1.NewTime(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	o.SetLabels(map[string]string{"a": "b"})
	o.SetAnnotations(map[string]string{"a": "b"})
	o.SetFinalizers([]string{"example.com/x"})
	o.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "u"}})
	o.SetDeletionTimestamp(&at)
	return o
}

// owned are the fields that a manager has by creating an object.
func owned(t *testing.T, fields *apply.Manager, k *api.Kind, sub string, o api.Object) *fieldpath.Set {
	t.Helper()
	o = o.DeepCopyObject().(api.Object)
	fields.Update(apply.Write{Kind: k, Subresource: sub, Manager: "m", Now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}, nil, o)
	set := &fieldpath.Set{}
	for _, e := range o.GetManagedFields() {
		if err := set.FromJSON(bytes.NewReader(e.FieldsV1.Raw)); err != nil {
			t.Fatal(err)
		}
	}
	return set
}
