package apply

import (
	"bytes"
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"github.com/monohull/monohull/internal/api"
)

// maxUpdaters is how many managers that update are told apart; the oldest
// beyond become one.
const maxUpdaters = 10

// Types gives the converter of a kind that no Go type of k8s.io/api describes,
// nil for one it does not know.
type Types func(schema.GroupVersionKind) managedfields.TypeConverter

// Write is one write whose fields are to be tracked.
type Write struct {
	Kind        *api.Kind
	Version     *api.Version // the version the writer speaks; nil for the kind's own
	Subresource string
	Manager     string // "" is "unknown"
	Now         time.Time
}

// Manager tracks and applies, for any kind of a table.
type Manager struct {
	table *api.Table
	types Types
	own   *goTypes
	plans sync.Map // planOf → *plan, nil where there is none
	roads sync.Map // road → *managedfields.FieldManager
}

// New makes a manager for the kinds of a table. types, where not nil, is asked
// first how to convert a kind.
func New(table *api.Table, types Types) *Manager {
	return &Manager{table: table, types: types, own: &goTypes{table: table}}
}

var scaleKind = autoscalingv1.SchemeGroupVersion.WithKind("Scale")

// target is what one sort of write goes to: a version of a kind, or the Scale
// of any.
type target struct {
	kind    *api.Kind    // nil for Scale
	version *api.Version // nil for Scale
	gvk     schema.GroupVersionKind
	typ     reflect.Type
	sub     string
}

func (w *Write) target() target {
	v := w.Version
	if v == nil {
		v = w.Kind.Own()
	}
	return target{kind: w.Kind, version: v, gvk: v.GVK, typ: v.GoType, sub: w.Subresource}
}

var scaleTarget = target{gvk: scaleKind, typ: reflect.TypeFor[*autoscalingv1.Scale](), sub: "scale"}

// Update sets the managed fields of obj, which is about to replace live or, if
// that is nil, to be created. Both are of the kind's own version, with their
// defaults. It never fails: an object that cannot be understood has none.
func (m *Manager) Update(w Write, live, obj api.Object) {
	if live == nil {
		live = w.Kind.New()
	}
	m.update(w.target(), w.Manager, w.Now, live, obj)
}

func (m *Manager) update(t target, manager string, now time.Time, live, obj api.Object) {
	if manager == "" {
		manager = "unknown"
	}
	now = now.UTC().Truncate(time.Second)
	entries := live.GetManagedFields()
	if t.sub == "" {
		given := obj.GetManagedFields()
		switch {
		case isReset(given):
			entries = nil
		case len(given) > 0 && !sameEntries(given, entries):
			m.updateLong(t, manager, now, live, obj)
			return
		}
	}
	if len(entries) == 0 && live.GetUID() != "" {
		obj.SetManagedFields(nil) // what nobody tracked from the start stays untracked
		return
	}
	if out, ok := m.updateShort(t, manager, now, live, obj, entries); ok {
		obj.SetManagedFields(out)
		return
	}
	m.updateLong(t, manager, now, live, obj)
}

// isReset tells whether a client asks to forget all managers.
func isReset(given []metav1.ManagedFieldsEntry) bool {
	switch len(given) {
	case 0:
		return given != nil
	case 1:
		return given[0] == metav1.ManagedFieldsEntry{}
	}
	return false
}

func sameEntries(a, b []metav1.ManagedFieldsEntry) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].Time.Equal(b[i].Time) || !SameEntry(&a[i], &b[i]) {
			return false
		}
	}
	return true
}

// SameEntry compares two entries but for their time.
func SameEntry(x, y *metav1.ManagedFieldsEntry) bool {
	if x.Manager != y.Manager || x.Operation != y.Operation || x.APIVersion != y.APIVersion || x.FieldsType != y.FieldsType || x.Subresource != y.Subresource {
		return false
	}
	if x.FieldsV1 == nil || y.FieldsV1 == nil || x.FieldsV1 == y.FieldsV1 {
		return x.FieldsV1 == y.FieldsV1
	}
	return bytes.Equal(x.FieldsV1.GetRawBytes(), y.FieldsV1.GetRawBytes())
}

type planOf struct {
	typ  reflect.Type
	kind *api.Kind
	sub  string
}

func (m *Manager) plan(t target) *plan {
	key := planOf{t.typ, t.kind, t.sub}
	if p, ok := m.plans.Load(key); ok {
		return p.(*plan)
	}
	p, err := m.makePlan(t)
	if err != nil {
		p = nil
	}
	m.plans.Store(key, p)
	return p
}

func (m *Manager) makePlan(t target) (*plan, error) {
	if t.version != nil && !t.version.IsOwn() {
		return nil, fmt.Errorf("%w: %v is converted", errNoPlan, t.gvk)
	}
	if t.kind != nil && only[place(t.kind, t.sub)] != nil {
		return nil, fmt.Errorf("%w: %s owns but a part", errNoPlan, t.sub)
	}
	return compile(t.typ, resetFields(t.kind, t.sub))
}

// updateShort is the short road; ok is false where the long one must be taken.
func (m *Manager) updateShort(t target, manager string, now time.Time, live, obj api.Object, entries []metav1.ManagedFieldsEntry) (out []metav1.ManagedFieldsEntry, ok bool) {
	p := m.plan(t)
	if p == nil || reflect.TypeOf(obj) != t.typ || reflect.TypeOf(live) != t.typ {
		return nil, false
	}
	version := t.gvk.GroupVersion().String()
	updaters := 0
	mine := -1
	for i := range entries {
		e := &entries[i]
		if e.APIVersion != version || e.FieldsType != "FieldsV1" || e.FieldsV1 == nil || len(e.FieldsV1.GetRawBytes()) <= 2 {
			return nil, false
		}
		switch e.Operation {
		case metav1.ManagedFieldsOperationUpdate:
			updaters++
			if e.Manager == manager && e.Subresource == t.sub {
				mine = i
			}
		case metav1.ManagedFieldsOperationApply:
		default:
			return nil, false
		}
		if i > 0 && compareEntries(entries[i-1], *e) >= 0 {
			return nil, false
		}
		for j := range i {
			if f := &entries[j]; f.Manager == e.Manager && f.Operation == e.Operation && f.Subresource == e.Subresource {
				return nil, false // one manager twice
			}
		}
	}
	if updaters > maxUpdaters {
		return nil, false
	}
	w := &walker{}
	d := w.diff(p, reflect.ValueOf(live).Elem(), reflect.ValueOf(obj).Elem())
	if w.odd {
		return nil, false
	}
	if d.none() {
		return entries, true
	}
	lost := d.came
	if len(d.went) > 0 {
		lost, _ = union(d.came, d.went)
	}
	out = make([]metav1.ManagedFieldsEntry, 0, len(entries)+1)
	var held []node
	var own metav1.ManagedFieldsEntry
	for i := range entries {
		e := entries[i]
		if i != mine && !mayHold(e.FieldsV1.GetRawString(), lost) {
			out = append(out, e)
			continue
		}
		set, ok := parse(e.FieldsV1.GetRawString())
		if !ok || !fits(p, set, true) {
			return nil, false
		}
		if i == mine && len(d.came) > 0 {
			// what of its own it changed comes back below
			held, own = set, e
			if len(d.went) > 0 {
				var fewer bool
				if held, fewer = subtract(set, d.went); fewer {
					own.FieldsV1 = nil
				}
			}
			continue
		}
		rest, fewer := subtract(set, lost)
		if len(rest) == 0 {
			continue
		}
		if fewer {
			e.FieldsV1 = fieldsOf(rest)
		}
		out = append(out, e)
	}
	if len(d.came) > 0 {
		if mine < 0 && updaters == maxUpdaters {
			return nil, false
		}
		set, grown := union(held, d.came)
		if own.FieldsV1 == nil || grown {
			own.FieldsV1 = fieldsOf(set)
		}
		at := metav1.NewTime(now)
		own.Manager, own.Operation, own.APIVersion, own.Subresource = manager, metav1.ManagedFieldsOperationUpdate, version, t.sub
		own.FieldsType, own.Time = "FieldsV1", &at
		out = append(out, own)
	}
	order(out)
	if len(out) == 0 {
		return nil, true
	}
	return out, true
}

func fieldsOf(set []node) *metav1.FieldsV1 {
	f := &metav1.FieldsV1{}
	buf := encode(make([]byte, 0, 1024), set)
	f.SetRawBytes(append(make([]byte, 0, len(buf)), buf...))
	return f
}

// fits tells whether a set says nothing that the long road would mend: fields
// no manager owns, and fields within what has become a whole.
func fits(p *plan, set []node, root bool) bool {
	if root {
		for i := range set {
			n := &set[i]
			switch n.key {
			case "f:apiVersion", "f:kind":
				return false
			case "f:metadata":
				if n.own {
					return false
				}
				for j := range n.kids {
					if slices.Contains(metaNames, n.kids[j].key[2:]) {
						return false
					}
				}
			}
		}
	}
	switch p.shape {
	case object:
		i := 0
		for j := range set {
			for i < len(p.fields) && p.fields[i].name < set[j].key {
				i++
			}
			if i < len(p.fields) && p.fields[i].name == set[j].key && len(set[j].kids) > 0 && !fits(p.fields[i].plan, set[j].kids, false) {
				return false
			}
		}
	case dict, keyList:
		for j := range set {
			if len(set[j].kids) > 0 && !fits(p.elem, set[j].kids, false) {
				return false
			}
		}
	case leaf:
		return len(set) == 0
	}
	return true
}

// compareEntries is the order in which entries are written.
func compareEntries(a, b metav1.ManagedFieldsEntry) int {
	return cmp.Or(
		cmp.Compare(a.Operation, b.Operation), cmp.Compare(seconds(a.Time), seconds(b.Time)),
		cmp.Compare(a.Manager, b.Manager), cmp.Compare(a.APIVersion, b.APIVersion), cmp.Compare(a.Subresource, b.Subresource),
	)
}

func seconds(t *metav1.Time) int64 {
	if t == nil {
		return 0
	}
	return t.Unix()
}

func order(entries []metav1.ManagedFieldsEntry) { slices.SortFunc(entries, compareEntries) }
