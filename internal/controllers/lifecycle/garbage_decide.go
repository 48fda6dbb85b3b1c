package lifecycle

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/monohull/monohull/internal/api"
)

// ownerState is what is known of an owner that a reference names.
type ownerState int

const (
	ownerThere   ownerState = iota
	ownerAbsent             // no such object, or a namesake with another uid
	ownerWaits              // it is being deleted and waits for its dependents
	ownerUnknown            // of a kind that is not served, or of no namespace: nothing may be concluded
)

// fate is what is to become of an object.
type fate int

const (
	keep fate = iota
	trim      // take references to absent and waiting owners away
	collect
	collectForeground
)

// classify decides over an object by the states of its owners, in the order of
// its references. It also tells the references to be trimmed.
func classify(refs []metav1.OwnerReference, states []ownerState, hasDependents bool) (fate, []types.UID) {
	var solid, waiting int
	var drop []types.UID
	for i, s := range states {
		switch s {
		case ownerUnknown:
			return keep, nil
		case ownerThere:
			solid++
		case ownerWaits:
			waiting++
			drop = append(drop, refs[i].UID)
		case ownerAbsent:
			drop = append(drop, refs[i].UID)
		}
	}
	switch {
	case len(drop) == 0:
		return keep, nil
	case solid > 0:
		return trim, drop
	case waiting > 0 && hasDependents:
		return collectForeground, nil
	}
	return collect, nil
}

// propagation honours a wish that an object already carries.
func propagation(o api.Object) metav1.DeletionPropagation {
	switch {
	case hasFinalizer(o, metav1.FinalizerOrphanDependents):
		return metav1.DeletePropagationOrphan
	case hasFinalizer(o, metav1.FinalizerDeleteDependents):
		return metav1.DeletePropagationForeground
	}
	return metav1.DeletePropagationBackground
}

func hasFinalizer(o api.Object, f string) bool { return slices.Contains(o.GetFinalizers(), f) }

// deletesDependents: the object is being deleted and waits for those it owns.
func deletesDependents(o api.Object) bool {
	return o.GetDeletionTimestamp() != nil && hasFinalizer(o, metav1.FinalizerDeleteDependents)
}

// orphansDependents: the object is being deleted, and those it owns are to stay.
func orphansDependents(o api.Object) bool {
	return o.GetDeletionTimestamp() != nil && hasFinalizer(o, metav1.FinalizerOrphanDependents)
}

// blocks tells whether an object keeps an owner that waits for it.
func blocks(o api.Object, owner types.UID) bool {
	return slices.ContainsFunc(o.GetOwnerReferences(), func(r metav1.OwnerReference) bool {
		return r.UID == owner && r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion
	})
}

// withoutOwners are the references but for some.
func withoutOwners(refs []metav1.OwnerReference, drop []types.UID) []metav1.OwnerReference {
	return slices.DeleteFunc(slices.Clone(refs), func(r metav1.OwnerReference) bool { return slices.Contains(drop, r.UID) })
}

// unblocked are the references, none of them holding its owner.
func unblocked(refs []metav1.OwnerReference) []metav1.OwnerReference {
	out := slices.Clone(refs)
	for i := range out {
		if out[i].BlockOwnerDeletion != nil && *out[i].BlockOwnerDeletion {
			no := false
			out[i].BlockOwnerDeletion = &no
		}
	}
	return out
}
