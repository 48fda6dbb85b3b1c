package apiserver

import (
	"encoding/json"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
)

var plainColumns = []metav1.TableColumnDefinition{
	{Name: "Name", Type: "string", Format: "name", Description: "Name must be unique within a namespace."},
	{Name: "Created At", Type: "date", Description: "CreationTimestamp is the time at which the object was made."},
}

// tableOf shows items as the Table that kubectl prints.
func tableOf(k *api.Kind, items []*cache.Item, v view, m listMeta, now time.Time, headers bool) (*metav1.Table, error) {
	t := &metav1.Table{
		TypeMeta: metav1.TypeMeta{Kind: "Table", APIVersion: v.asGV},
		ListMeta: metav1.ListMeta{Continue: m.cont, RemainingItemCount: m.remaining},
		Rows:     make([]metav1.TableRow, 0, len(items)),
	}
	if m.rev > 0 {
		t.ResourceVersion = strconv.FormatInt(m.rev, 10)
	}
	if headers {
		t.ColumnDefinitions = k.Columns
		if k.Row == nil {
			t.ColumnDefinitions = plainColumns
		}
	}
	for _, it := range items {
		row := metav1.TableRow{}
		if k.Row != nil {
			row.Cells = k.Row(it.Obj, now)
		} else {
			row.Cells = []any{it.Obj.GetName(), it.Obj.GetCreationTimestamp().UTC().Format(time.RFC3339)}
		}
		switch v.include {
		case metav1.IncludeNone:
		case metav1.IncludeObject:
			plain := v
			plain.media = typeJSON
			body, err := itemBytes(it, plain)
			if err != nil {
				return nil, err
			}
			row.Object = runtime.RawExtension{Raw: body}
		default:
			raw, err := json.Marshal(partial(it.Obj, v.asGV))
			if err != nil {
				return nil, err
			}
			row.Object = runtime.RawExtension{Raw: raw}
		}
		t.Rows = append(t.Rows, row)
	}
	return t, nil
}

// partial is an object's metadata alone.
func partial(o api.Object, gv string) *metav1.PartialObjectMetadata {
	p := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: gv}}
	p.ObjectMeta = *metaOf(o)
	return p
}

func metaOf(o api.Object) *metav1.ObjectMeta {
	if a, ok := o.(metav1.ObjectMetaAccessor); ok {
		if m, ok := a.GetObjectMeta().(*metav1.ObjectMeta); ok {
			return m
		}
	}
	return &metav1.ObjectMeta{}
}

// viewBytes encodes one item in the form a client asked for.
func viewBytes(it *cache.Item, v view, now time.Time) ([]byte, error) {
	switch {
	case v.as == "" || it.Kind == nil:
		return itemBytes(it, v)
	case v.as == "Table":
		t, err := tableOf(it.Kind, []*cache.Item{it}, v, listMeta{rev: it.Rev}, now, true)
		if err != nil {
			return nil, err
		}
		return objectBytes(t, t.GroupVersionKind(), v.media)
	}
	p := partial(it.Obj, v.asGV)
	return objectBytes(p, p.GroupVersionKind(), v.media)
}

// viewListBytes is viewBytes for a list.
func viewListBytes(k *api.Kind, items []*cache.Item, m listMeta, v view, now time.Time) ([]byte, error) {
	switch v.as {
	case "":
		return listBytes(k, items, m, v)
	case "Table":
		t, err := tableOf(k, items, v, m, now, true)
		if err != nil {
			return nil, err
		}
		return objectBytes(t, t.GroupVersionKind(), v.media)
	}
	l := &metav1.PartialObjectMetadataList{
		TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadataList", APIVersion: v.asGV},
		ListMeta: metav1.ListMeta{ResourceVersion: strconv.FormatInt(m.rev, 10), Continue: m.cont, RemainingItemCount: m.remaining},
		Items:    make([]metav1.PartialObjectMetadata, 0, len(items)),
	}
	for _, it := range items {
		l.Items = append(l.Items, *partial(it.Obj, v.asGV))
	}
	return objectBytes(l, l.GroupVersionKind(), v.media)
}
