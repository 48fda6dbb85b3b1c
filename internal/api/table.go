package api

import (
	"fmt"
	"reflect"
	"sort"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Table is the set of kinds a cluster serves. It does not change after New.
type Table struct {
	kinds  []*Kind
	byGVR  map[schema.GroupVersionResource]*Version
	byGVK  map[schema.GroupVersionKind]*Version
	byType map[reflect.Type]*Kind
	groups []schema.GroupVersion
}

// NewTable indexes rows; it panics where two claim one name.
func NewTable(rows ...*Kind) *Table {
	t := &Table{
		byGVR:  map[schema.GroupVersionResource]*Version{},
		byGVK:  map[schema.GroupVersionKind]*Version{},
		byType: map[reflect.Type]*Kind{},
	}
	seen := map[schema.GroupVersion]bool{}
	for _, k := range rows {
		if t.byType[k.GoType] != nil {
			panic(fmt.Sprintf("api: %v is in the table twice", k.GVK))
		}
		t.kinds = append(t.kinds, k)
		t.byType[k.GoType] = k
		for _, v := range k.Served() {
			if t.byGVR[v.GVR()] != nil || t.byGVK[v.GVK] != nil {
				panic(fmt.Sprintf("api: %v is in the table twice", v.GVK))
			}
			t.byGVR[v.GVR()], t.byGVK[v.GVK] = v, v
			if gv := v.GVK.GroupVersion(); !v.Old && !seen[gv] {
				seen[gv] = true
				t.groups = append(t.groups, gv)
			}
		}
	}
	sort.SliceStable(t.groups, func(i, j int) bool { return t.groups[i].Group < t.groups[j].Group })
	return t
}

// Kinds lists all rows in the order they were given.
func (t *Table) Kinds() []*Kind { return t.kinds }

// GroupVersions lists the served groups, the core group first.
func (t *Table) GroupVersions() []schema.GroupVersion { return t.groups }

// Served finds the version served at a path, or nil.
func (t *Table) Served(r schema.GroupVersionResource) *Version { return t.byGVR[r] }

// ByResource finds the kind served at a path, in whatever version, or nil.
func (t *Table) ByResource(r schema.GroupVersionResource) *Kind {
	if v := t.byGVR[r]; v != nil {
		return v.Kind
	}
	return nil
}

// VersionOf finds the version of a manifest, or nil.
func (t *Table) VersionOf(g schema.GroupVersionKind) *Version { return t.byGVK[g] }

// ByGVK finds the kind of a manifest, in whatever version, or nil.
func (t *Table) ByGVK(g schema.GroupVersionKind) *Kind {
	if v := t.byGVK[g]; v != nil {
		return v.Kind
	}
	return nil
}

// Of finds the kind of a Go type, and panics where the table has none: a
// programmer's mistake.
func (t *Table) Of(typ reflect.Type) *Kind {
	k := t.byType[typ]
	if k == nil {
		panic(fmt.Sprintf("api: no kind is defined for %v", typ))
	}
	return k
}

// For is Of by type parameter: For[*corev1.Pod](table).
func For[T Object](t *Table) *Kind {
	var zero T
	return t.Of(reflect.TypeOf(zero))
}
