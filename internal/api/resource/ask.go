package resource

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// AdminAccess gives the first request of a claim for access to devices that are
// in use, nil where there is none. Such a claim may be created only in a
// namespace that has the label resource.kubernetes.io/admin-access: "true".
func AdminAccess(c *resourcev1.DeviceClaim) *field.Path {
	for i, q := range c.Requests {
		if q.Exactly != nil && q.Exactly.AdminAccess != nil && *q.Exactly.AdminAccess {
			return specPath.Child("devices", "requests").Index(i).Child("adminAccess")
		}
	}
	return nil
}

// AdminAccessGranted is AdminAccess for a change of status that grants what was
// not granted before.
func AdminAccessGranted(s, old *resourcev1.ResourceClaimStatus) *field.Path {
	granted := func(s *resourcev1.ResourceClaimStatus) *field.Path {
		if s.Allocation == nil {
			return nil
		}
		for i, res := range s.Allocation.Devices.Results {
			if res.AdminAccess != nil && *res.AdminAccess {
				return statusPath.Child("allocation", "devices", "results").Index(i).Child("adminAccess")
			}
		}
		return nil
	}
	if granted(old) != nil {
		return nil
	}
	return granted(s)
}

// BindingChanged tells whether a change of status needs the right to do it on
// resourceclaims/binding in all namespaces.
func BindingChanged(s, old *resourcev1.ResourceClaimStatus) bool {
	return !equality.Semantic.DeepEqual(s.Allocation, old.Allocation) || !equality.Semantic.DeepEqual(s.ReservedFor, old.ReservedFor)
}

// DriversChanged lists the drivers whose reports a change of status touches.
// Each needs the right to resourceclaims/driver by its name, with the verb
// prefixed: "associated-node:" for a service account on the node of the claim,
// "arbitrary-node:" for all. A claim that is not allocated needs none.
func DriversChanged(s, old *resourcev1.ResourceClaimStatus) []string {
	if s.Allocation == nil {
		return nil
	}
	before := map[device]resourcev1.AllocatedDeviceStatus{}
	for _, d := range old.Devices {
		before[reported(&d)] = d
	}
	out := map[string]bool{}
	for _, d := range s.Devices {
		was, ok := before[reported(&d)]
		delete(before, reported(&d))
		if !ok || !equality.Semantic.DeepEqual(was, d) {
			out[d.Driver] = true
		}
	}
	for _, d := range before {
		out[d.Driver] = true
	}
	return slices.Sorted(maps.Keys(out))
}

// NodeOf gives the node that an allocation is good for, "" where it is not
// exactly one by name.
func NodeOf(a *resourcev1.AllocationResult) string {
	if a == nil || a.NodeSelector == nil || len(a.NodeSelector.NodeSelectorTerms) != 1 {
		return ""
	}
	t := a.NodeSelector.NodeSelectorTerms[0]
	if len(t.MatchExpressions) > 0 || len(t.MatchFields) != 1 {
		return ""
	}
	f := t.MatchFields[0]
	if f.Key != metav1.ObjectNameField || f.Operator != corev1.NodeSelectorOpIn || len(f.Values) != 1 {
		return ""
	}
	return f.Values[0]
}
