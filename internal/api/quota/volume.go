package quota

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
)

// ofClass stands between the name of a storage class and what is counted of it.
const ofClass = ".storageclass.storage.k8s.io/"

var volumeNames = []corev1.ResourceName{corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage}

// volumes measures PersistentVolumeClaims.
type volumes struct{}

func (volumes) Resource() schema.GroupResource {
	return schema.GroupResource{Resource: "persistentvolumeclaims"}
}
func (volumes) Scoped() bool                                        { return true }
func (volumes) Constraints([]corev1.ResourceName, api.Object) error { return nil }

func (v volumes) Handles(c Change) bool {
	switch c.Subresource {
	case "":
		return true
	case "status":
		return v.Frees(c.Old, c.Object, time.Time{})
	}
	return false
}

func (volumes) Matching(names []corev1.ResourceName) []corev1.ResourceName {
	var out []corev1.ResourceName
	for _, n := range names {
		s := string(n)
		if n == "count/persistentvolumeclaims" || slices.Contains(volumeNames, n) ||
			strings.HasSuffix(s, ofClass+string(volumeNames[0])) || strings.HasSuffix(s, ofClass+string(volumeNames[1])) {
			out = append(out, n)
		}
	}
	return out
}

func (volumes) InScope(s corev1.ScopedResourceSelectorRequirement, o api.Object) (bool, error) {
	claim, ok := o.(*corev1.PersistentVolumeClaim)
	if !ok {
		return false, fmt.Errorf("quota: measuring a claim that is a %T", o)
	}
	if s.ScopeName != corev1.ResourceQuotaScopeVolumeAttributesClass {
		return false, nil
	}
	classes := attributesClasses(claim)
	if s.Operator == corev1.ScopeSelectorOpExists {
		return len(classes) > 0, nil
	}
	sel, err := scopeSelector(s)
	if err != nil {
		return false, err
	}
	if len(classes) == 0 {
		return sel.Matches(labels.Set{}), nil
	}
	return slices.ContainsFunc(classes, func(c string) bool { return sel.Matches(labels.Set{string(s.ScopeName): c}) }), nil
}

func (volumes) Usage(o api.Object, _ time.Time) corev1.ResourceList {
	out := corev1.ResourceList{"count/persistentvolumeclaims": whole(1), corev1.ResourcePersistentVolumeClaims: whole(1)}
	claim, ok := o.(*corev1.PersistentVolumeClaim)
	if !ok {
		return out
	}
	class := ClassOf(claim)
	if class != "" {
		out[corev1.ResourceName(class+ofClass)+corev1.ResourcePersistentVolumeClaims] = whole(1)
	}
	if size, ok := claimSize(claim); ok {
		out[corev1.ResourceRequestsStorage] = size
		if class != "" {
			out[corev1.ResourceName(class+ofClass)+corev1.ResourceRequestsStorage] = size
		}
	}
	return out
}

func (volumes) Frees(old, cur api.Object, _ time.Time) bool {
	was, ok := old.(*corev1.PersistentVolumeClaim)
	now, ok2 := cur.(*corev1.PersistentVolumeClaim)
	if !ok || !ok2 {
		return false
	}
	return was.Status.AllocatedResources.Storage().Cmp(*now.Status.AllocatedResources.Storage()) != 0 ||
		!slices.Equal(attributesClasses(was), attributesClasses(now))
}

// ClassOf is the storage class of a claim, "" for none.
func ClassOf(c *corev1.PersistentVolumeClaim) string {
	if class, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return class
	}
	if c.Spec.StorageClassName != nil {
		return *c.Spec.StorageClassName
	}
	return ""
}

// claimSize is what a claim holds: what it asks for, or what a larger wish has
// already been given.
func claimSize(c *corev1.PersistentVolumeClaim) (resource.Quantity, bool) {
	size, ok := c.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		return size, false
	}
	if given, ok := c.Status.AllocatedResources[corev1.ResourceStorage]; ok && given.Cmp(size) > 0 {
		size = given
	}
	size = size.DeepCopy()
	size.RoundUp(0)
	return size, true
}

// attributesClasses are the volume attributes classes a claim has, wants or is
// on its way to, in order.
func attributesClasses(c *corev1.PersistentVolumeClaim) []string {
	var out []string
	for _, n := range []*string{c.Spec.VolumeAttributesClassName, c.Status.CurrentVolumeAttributesClassName} {
		if n != nil && *n != "" {
			out = append(out, *n)
		}
	}
	if m := c.Status.ModifyVolumeStatus; m != nil && m.TargetVolumeAttributesClassName != "" {
		out = append(out, m.TargetVolumeAttributesClassName)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
