package api

import (
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
)

// deriveStatus builds the functions that tell desired state from status by the
// shape every API type shares: TypeMeta, ObjectMeta, and fields of which the
// one named Status is not the user's.
func (k *Kind) deriveStatus(t reflect.Type, served bool) {
	status, hasStatus := t.FieldByName("Status")
	if !served {
		hasStatus = false
	}
	k.HasStatus = hasStatus
	var desired []int
	for i := range t.NumField() {
		switch f := t.Field(i); {
		case f.Name == "TypeMeta", f.Name == "ObjectMeta", hasStatus && f.Name == "Status":
		default:
			desired = append(desired, i)
		}
	}
	elem := func(o Object) reflect.Value { return reflect.ValueOf(o).Elem() }
	if hasStatus {
		k.ClearStatus = func(o Object) { elem(o).FieldByIndex(status.Index).SetZero() }
		k.CopyStatus = func(n, old Object) {
			elem(n).FieldByIndex(status.Index).Set(elem(old.DeepCopyObject().(Object)).FieldByIndex(status.Index))
		}
	}
	k.CopySpec = func(n, old Object) {
		from, to := elem(old.DeepCopyObject().(Object)), elem(n)
		for _, i := range desired {
			to.Field(i).Set(from.Field(i))
		}
	}
	k.SpecEqual = func(a, b Object) bool {
		x, y := elem(a), elem(b)
		for _, i := range desired {
			if !equality.Semantic.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
				return false
			}
		}
		return true
	}
}
