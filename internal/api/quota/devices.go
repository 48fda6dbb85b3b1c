package quota

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
)

const (
	claimCount = corev1.ResourceName("count/resourceclaims.resource.k8s.io")
	perClass   = corev1.ResourceClaimsPerClass
	implicit   = corev1.ResourceImplicitExtendedClaimsPerClass
)

// devices measures ResourceClaims.
type devices struct{ look Lookup }

func (devices) Resource() schema.GroupResource {
	return schema.GroupResource{Group: resourcev1.GroupName, Resource: "resourceclaims"}
}
func (devices) Handles(c Change) bool                               { return c.Subresource == "" }
func (devices) Scoped() bool                                        { return false }
func (devices) Constraints([]corev1.ResourceName, api.Object) error { return nil }
func (devices) Frees(_, _ api.Object, _ time.Time) bool             { return false }
func (devices) InScope(corev1.ScopedResourceSelectorRequirement, api.Object) (bool, error) {
	return false, nil
}

func (d devices) Matching(names []corev1.ResourceName) []corev1.ResourceName {
	var out []corev1.ResourceName
	for _, n := range names {
		class, isImplicit := strings.CutPrefix(string(n), implicit)
		switch {
		case n == claimCount, strings.HasSuffix(string(n), perClass):
		case isImplicit && d.extendedOf(class) != "":
		case extendedInQuota(n) && d.served(string(n[len(requests):])):
		default:
			continue
		}
		out = append(out, n)
	}
	return out
}

func (d devices) classes() []*resourcev1.DeviceClass {
	if d.look.DeviceClasses == nil {
		return nil
	}
	return d.look.DeviceClasses()
}

// extendedOf is the extended resource that a device class stands for, or "".
func (d devices) extendedOf(class string) string {
	for _, c := range d.classes() {
		if c.Name == class && c.Spec.ExtendedResourceName != nil {
			return *c.Spec.ExtendedResourceName
		}
	}
	return ""
}

// served tells whether a device class stands for an extended resource.
func (d devices) served(name string) bool {
	for _, c := range d.classes() {
		if name == resourcev1.ResourceDeviceClassPrefix+c.Name || c.Spec.ExtendedResourceName != nil && *c.Spec.ExtendedResourceName == name {
			return true
		}
	}
	return false
}

func (d devices) Usage(o api.Object, now time.Time) corev1.ResourceList {
	out := corev1.ResourceList{claimCount: whole(1)}
	claim, ok := o.(*resourcev1.ResourceClaim)
	if !ok {
		return out
	}
	for i := range claim.Spec.Devices.Requests {
		r := &claim.Spec.Devices.Requests[i]
		switch {
		case len(r.FirstAvailable) > 0:
			// whichever is chosen: the most of each class
			most := corev1.ResourceList{}
			for _, sub := range r.FirstAvailable {
				n, q := corev1.ResourceName(sub.DeviceClassName+perClass), number(sub.AllocationMode, sub.Count)
				if have := most[n]; q.Cmp(have) > 0 {
					most[n] = q
				}
			}
			out = Add(out, most)
		case r.Exactly != nil:
			out = Add(out, corev1.ResourceList{corev1.ResourceName(r.Exactly.DeviceClassName + perClass): number(r.Exactly.AllocationMode, r.Exactly.Count)})
		}
	}
	d.addExtended(out, d.ofPod(claim, now))
	return out
}

func number(mode resourcev1.DeviceAllocationMode, n int64) resource.Quantity {
	switch mode {
	case resourcev1.DeviceAllocationModeExactCount:
		return whole(n)
	case resourcev1.DeviceAllocationModeAll:
		return whole(resourcev1.AllocationResultsMaxSize) // the worst case
	}
	return whole(0)
}

// addExtended names the devices of a claim as extended resources too, but for
// those the claim's pod counts for already.
func (d devices) addExtended(out, pod corev1.ResourceList) {
	more := corev1.ResourceList{}
	for n, q := range out {
		class, ok := strings.CutSuffix(string(n), perClass)
		if !ok || class == "" {
			continue
		}
		more[corev1.ResourceName(implicit+class)] = q
		if name := d.extendedOf(class); name != "" {
			more[corev1.ResourceName(requests+name)] = q
		}
	}
	for n, q := range more {
		q = q.DeepCopy()
		if counted, ok := pod[n]; ok {
			q.Sub(counted)
		}
		if q.Sign() > 0 {
			out[n] = q
		}
	}
}

// ofPod is what the pod counts for whose extended resources this claim serves;
// nothing where that cannot be told for sure.
func (d devices) ofPod(claim *resourcev1.ResourceClaim, now time.Time) corev1.ResourceList {
	owner := metav1.GetControllerOfNoCopy(claim)
	if claim.Annotations[resourcev1.ExtendedResourceClaimAnnotation] != "true" || owner == nil || owner.Kind != "Pod" || owner.APIVersion != "v1" || d.look.Pod == nil {
		return nil
	}
	pod := d.look.Pod(claim.Namespace, owner.Name)
	if pod == nil || pod.UID != owner.UID {
		return nil
	}
	if s := pod.Status.ExtendedResourceClaimStatus; s != nil {
		if s.ResourceClaimName != claim.Name {
			return nil
		}
	} else if d.look.Claims != nil {
		// the first of a pod's claims alone
		for _, other := range d.look.Claims(claim.Namespace) {
			o := metav1.GetControllerOfNoCopy(other)
			if other.Annotations[resourcev1.ExtendedResourceClaimAnnotation] != "true" || o == nil || o.UID != pod.UID {
				continue
			}
			if c := other.CreationTimestamp.Compare(claim.CreationTimestamp.Time); c < 0 || c == 0 && other.Name < claim.Name {
				return nil
			}
		}
	}
	return pods{}.Usage(pod, now)
}
