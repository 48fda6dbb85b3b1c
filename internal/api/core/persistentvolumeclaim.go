package core

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

func persistentVolumeClaimRow() *api.Kind {
	return api.Define(api.Spec[*corev1.PersistentVolumeClaim]{
		GVK: gvk("PersistentVolumeClaim"), Plural: "persistentvolumeclaims", Singular: "persistentvolumeclaim", ShortNames: []string{"pvc"},
		Namespaced: true, UnconditionalUpdate: true,
		List:    &corev1.PersistentVolumeClaimList{},
		Default: DefaultClaim,
		PrepareCreate: func(c *corev1.PersistentVolumeClaim) {
			c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
			settleSources(&c.Spec, nil)
		},
		// Claims of before the newer field have their source in the older alone.
		Restore:       func(c *corev1.PersistentVolumeClaim) { evenSources(&c.Spec) },
		PrepareUpdate: func(c, old *corev1.PersistentVolumeClaim) { settleSources(&c.Spec, &old.Spec) },
		Validate: func(c *corev1.PersistentVolumeClaim) field.ErrorList {
			return append(meta.ValidateObjectMeta(&c.ObjectMeta, true, meta.DNSSubdomain), ValidateClaimSpec(&c.Spec, specPath)...)
		},
		ValidateUpdate: validateClaimUpdate,
		ValidateStatus: validateClaimStatus,
		Warnings: func(c *corev1.PersistentVolumeClaim) []string {
			var w warner
			if _, ok := c.Annotations[betaStorageClassKey]; ok {
				w.at(metaPath.Child("annotations").Key(betaStorageClassKey), "%s", storageClassUseText)
			}
			return append(w, ClaimWarnings(specPath, &c.Spec)...)
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Status", "The current phase of the claim."),
			meta.Text("Volume", "The volume that the claim is bound to."),
			meta.Text("Capacity", "The actual resources of the volume."),
			meta.Text("Access Modes", "The access modes the volume has."),
			meta.Text("StorageClass", "StorageClass of the pvc"),
			meta.Text("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
			meta.AgeColumn,
			meta.Wide("VolumeMode", "Whether the volume is used with a filesystem or as a raw block device."),
		},
		Row: claimCells,
	})
}

// DefaultClaim fills the defaults of a claim, or of a template of claims.
func DefaultClaim(c *corev1.PersistentVolumeClaim) {
	setDefault(&c.Status.Phase, corev1.ClaimPending)
	setDefaultPtr(&c.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	for _, l := range []corev1.ResourceList{c.Spec.Resources.Limits, c.Spec.Resources.Requests, c.Status.Capacity, c.Status.AllocatedResources} {
		roundUp(l)
	}
}

// settleSources makes the two fields for a source of data agree. The older one
// only ever meant claims and snapshots: anything else in it alone is dropped,
// as it was when it was the only field. A source in another namespace is of a
// feature that is off.
func settleSources(s, old *corev1.PersistentVolumeClaimSpec) {
	hadRef := old != nil && old.DataSourceRef != nil
	if ref := s.DataSourceRef; ref != nil && ref.Namespace != nil && *ref.Namespace != "" && !hadRef {
		s.DataSourceRef = nil
	}
	had := hadRef || old != nil && old.DataSource != nil
	if src := s.DataSource; !had && s.DataSourceRef == nil && src != nil {
		group := ""
		if src.APIGroup != nil {
			group = *src.APIGroup
		}
		if !(src.Kind == "PersistentVolumeClaim" && group == "") && !(src.Kind == "VolumeSnapshot" && group == "snapshot.storage.k8s.io") {
			s.DataSource = nil
		}
	}
	evenSources(s)
}

// evenSources gives both fields for a source of data what one of them has.
func evenSources(s *corev1.PersistentVolumeClaimSpec) {
	copyGroup := func(g *string) *string {
		if g == nil {
			return nil
		}
		v := *g
		return &v
	}
	switch src, ref := s.DataSource, s.DataSourceRef; {
	case src != nil && ref == nil:
		s.DataSourceRef = &corev1.TypedObjectReference{APIGroup: copyGroup(src.APIGroup), Kind: src.Kind, Name: src.Name}
	case src == nil && ref != nil && (ref.Namespace == nil || *ref.Namespace == ""):
		s.DataSource = &corev1.TypedLocalObjectReference{APIGroup: copyGroup(ref.APIGroup), Kind: ref.Kind, Name: ref.Name}
	}
}

// ClaimWarnings are the warnings for the specification of a claim at p.
func ClaimWarnings(p *field.Path, s *corev1.PersistentVolumeClaimSpec) []string {
	var w warner
	for _, l := range []struct {
		name string
		list corev1.ResourceList
	}{{"requests", s.Resources.Requests}, {"limits", s.Resources.Limits}} {
		if q := l.list[corev1.ResourceStorage]; q.MilliValue()%1000 != 0 {
			w.at(p.Child("resources", l.name).Key(string(corev1.ResourceStorage)), "fractional byte value %q is invalid, must be an integer", q.String())
		}
	}
	return w
}

func claimCells(c *corev1.PersistentVolumeClaim, now time.Time) []any {
	phase := string(c.Status.Phase)
	if c.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	capacity, modes := "", ""
	if c.Spec.VolumeName != "" {
		q := c.Status.Capacity[corev1.ResourceStorage]
		capacity, modes = q.String(), accessModes(c.Status.AccessModes)
	}
	class, ok := c.Annotations[betaStorageClassKey]
	if !ok && c.Spec.StorageClassName != nil {
		class = *c.Spec.StorageClassName
	}
	return []any{c.Name, phase, c.Spec.VolumeName, capacity, modes, class, orUnset(c.Spec.VolumeAttributesClassName), meta.Age(c.CreationTimestamp, now), orUnset(c.Spec.VolumeMode)}
}

// validateClaimUpdate judges a change of a claim: what was asked for stays,
// but that a bound claim may ask for more space and for another class of
// attributes.
func validateClaimUpdate(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta)}
	r.Add(meta.ValidateObjectMeta(&c.ObjectMeta, true, meta.DNSSubdomain))
	spec := ValidateClaimSpec(&c.Spec, specPath)
	if s := &old.Spec; s.DataSource != nil && s.DataSource.APIGroup != nil || s.DataSourceRef != nil && s.DataSourceRef.APIGroup != nil {
		spec = spec.Filter(func(err error) bool { // a group was not always judged
			e, ok := err.(*field.Error)
			return ok && (e.Field == "spec.dataSource.apiGroup" || e.Field == "spec.dataSourceRef.apiGroup")
		})
	}
	r.Add(spec)

	now, was := c.Spec.DeepCopy(), old.Spec.DeepCopy()
	evenSources(was)          // of before there were two fields
	if was.VolumeName == "" { // bound once
		was.VolumeName = now.VolumeName
	}
	classUpdate(&r, c, old, now, was)
	storage := specPath.Child("resources", "requests", "storage")
	if c.Status.Phase == corev1.ClaimBound {
		if now.Resources.Requests != nil {
			now.Resources.Requests[corev1.ResourceStorage] = was.Resources.Requests[corev1.ResourceStorage]
		}
		now.VolumeAttributesClassName = was.VolumeAttributesClassName
	}
	if !equality.Semantic.DeepEqual(*now, *was) {
		r.Forbidden(specPath, "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n"+diff.Diff(*was, *now))
	}
	newSize, oldSize, size := c.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage], old.Status.Capacity[corev1.ResourceStorage]
	// a wish that could not be met may be taken back, a volume never shrinks
	r.ForbiddenIf(newSize.Cmp(oldSize) < 0 && newSize.Cmp(size) <= 0, storage, "field can not be less than status.capacity")
	r.Add(meta.Immutable(c.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode")))
	attributesUpdate(&r, c, old)
	return r.Errs
}

// classUpdate lets a class move from the annotation into its field, and lets
// a claim without one get one. It evens out now and was accordingly.
func classUpdate(r *meta.Report, c, old *corev1.PersistentVolumeClaim, now, was *corev1.PersistentVolumeClaimSpec) {
	before, had := old.Annotations[betaStorageClassKey]
	after, has := c.Annotations[betaStorageClassKey]
	class := c.Spec.StorageClassName
	given := old.Spec.StorageClassName == nil && class != nil
	if had && given && *class == before && (!has || after == before) {
		now.StorageClassName = nil
		return
	}
	if before != after {
		r.Invalid(metaPath.Child("annotations", betaStorageClassKey), after, meta.IsImmutable)
	}
	if given && (!had || *class == before) {
		now.StorageClassName = was.StorageClassName
	}
}

func attributesUpdate(r *meta.Report, c, old *corev1.PersistentVolumeClaim) {
	name, p := c.Spec.VolumeAttributesClassName, specPath.Child("volumeAttributesClassName")
	if equality.Semantic.DeepEqual(name, old.Spec.VolumeAttributesClassName) || old.Status.CurrentVolumeAttributesClassName == nil {
		return
	}
	if name == nil {
		r.Forbidden(p, "update to nil is forbidden when status.currentVolumeAttributesClassName is not nil")
	} else if *name == "" {
		r.Forbidden(p, "update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil")
	}
}

var resizeStates = []corev1.ClaimResourceStatus{
	corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible,
	corev1.PersistentVolumeClaimNodeResizeInProgress, corev1.PersistentVolumeClaimNodeResizeInfeasible, corev1.PersistentVolumeClaimNodeResizePending,
}

func validateClaimStatus(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta)}
	r.RequiredIf(len(c.Spec.AccessModes) == 0, field.NewPath("Spec", "accessModes"))
	for _, n := range sortedNames(c.Status.Capacity) {
		basicQuantity(&r, c.Status.Capacity[n], statusPath.Child("capacity").Key(string(n)))
	}
	states := statusPath.Child("allocatedResourceStatuses")
	for _, n := range slices.Sorted(maps.Keys(c.Status.AllocatedResourceStatuses)) {
		claimResource(&r, n, states)
		if !slices.Contains(resizeStates, c.Status.AllocatedResourceStatuses[n]) {
			r.Errs = append(r.Errs, field.NotSupported(states, n, resizeStates))
		}
	}
	allocated := statusPath.Child("allocatedResources")
	for _, n := range sortedNames(c.Status.AllocatedResources) {
		q, before := c.Status.AllocatedResources[n], len(r.Errs)
		claimResource(&r, n, allocated)
		if len(r.Errs) > before {
			continue
		}
		at := allocated.Key(string(n))
		if basicQuantity(&r, q, at); len(r.Errs) == before {
			r.Add(ValidateQuantity(corev1.ResourceStorage, q, at))
		}
	}
	return r.Errs
}

// claimResource wants storage, or a name of somebody else's.
func claimResource(r *meta.Report, n corev1.ResourceName, p *field.Path) {
	if msgs := validation.IsQualifiedName(string(n)); len(msgs) > 0 {
		r.InvalidAll(p, string(n), msgs)
	} else if isNative(n) {
		meta.Among(r, p, n, corev1.ResourceStorage)
	}
}

func basicQuantity(r *meta.Report, q resource.Quantity, p *field.Path) {
	if v := q.Value(); v < 0 {
		r.Invalid(p, v, "must be a valid resource quantity")
	}
}
