package core

import (
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

const (
	betaStorageClassKey = corev1.BetaStorageClassAnnotation
	mountOptionsKey     = "volume.beta.kubernetes.io/mount-options"
	storageClassUseText = `deprecated since v1.8; use "storageClassName" attribute instead`
)

func persistentVolumeRow() *api.Kind {
	return api.Define(api.Spec[*corev1.PersistentVolume]{
		GVK: gvk("PersistentVolume"), Plural: "persistentvolumes", Singular: "persistentvolume", ShortNames: []string{"pv"}, UnconditionalUpdate: true,
		List:    &corev1.PersistentVolumeList{},
		Default: defaultVolumeObject,
		PrepareCreate: func(v *corev1.PersistentVolume) {
			v.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending}
		},
		Date:           datePhase,
		Validate:       validateVolumeObject,
		ValidateUpdate: validateVolumeUpdate,
		ValidateStatus: func(v, old *corev1.PersistentVolume) field.ErrorList {
			return meta.ValidateObjectMetaUpdate(&v.ObjectMeta, &old.ObjectMeta)
		},
		Warnings: volumeObjectWarnings,
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Capacity", "The volume's resources and capacity."),
			meta.Text("Access Modes", "All ways the volume can be mounted."),
			meta.Text("Reclaim Policy", "What happens to the volume when released from its claim."),
			meta.Text("Status", "Whether the volume is available, bound to a claim, or released by one."),
			meta.Text("Claim", "The claim that the volume is bound to."),
			meta.Text("StorageClass", "StorageClass of the pv"),
			meta.Text("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
			meta.Text("Reason", "A brief reason of a failure."),
			meta.AgeColumn,
			meta.Wide("VolumeMode", "Whether the volume is used with a filesystem or as a raw block device."),
		},
		Row: volumeObjectCells,
	})
}

// datePhase notes since when the volume is in its phase, where the writer has
// moved it on and left the time.
func datePhase(v, old *corev1.PersistentVolume, now time.Time) {
	s, since := &v.Status, meta.Moment(now)
	switch {
	case old == nil:
		s.LastPhaseTransitionTime = &since
	case s.Phase == old.Status.Phase:
		if s.LastPhaseTransitionTime == nil {
			s.LastPhaseTransitionTime = old.Status.LastPhaseTransitionTime.DeepCopy()
		}
	case s.LastPhaseTransitionTime == nil || s.LastPhaseTransitionTime.Equal(old.Status.LastPhaseTransitionTime):
		s.LastPhaseTransitionTime = &since
	}
}

func defaultVolumeObject(v *corev1.PersistentVolume) {
	s := &v.Spec
	setDefault(&v.Status.Phase, corev1.VolumePending)
	setDefault(&s.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	setDefaultPtr(&s.VolumeMode, corev1.PersistentVolumeFilesystem)
	roundUp(s.Capacity)
	// the types shared with volumes of pods, then those with a namespace more
	shared := corev1.VolumeSource{AzureDisk: s.AzureDisk}
	defaultLegacyVolume(&shared)
	if s.HostPath != nil {
		setDefaultPtr(&s.HostPath.Type, corev1.HostPathUnset)
	}
	if s.RBD != nil {
		setDefault(&s.RBD.RBDPool, "rbd")
		setDefault(&s.RBD.RadosUser, "admin")
		setDefault(&s.RBD.Keyring, "/etc/ceph/keyring")
	}
	if s.ISCSI != nil {
		setDefault(&s.ISCSI.ISCSIInterface, "default")
	}
	if s.ScaleIO != nil {
		setDefault(&s.ScaleIO.StorageMode, "ThinProvisioned")
		setDefault(&s.ScaleIO.FSType, "xfs")
	}
}

func volumeObjectWarnings(v *corev1.PersistentVolume) []string {
	var w warner
	s := &v.Spec
	for _, a := range []struct{ key, text string }{
		{betaStorageClassKey, storageClassUseText}, {mountOptionsKey, `deprecated since v1.31; use "mountOptions" attribute instead`},
	} {
		if _, ok := v.Annotations[a.key]; ok {
			w.at(metaPath.Child("annotations").Key(a.key), "%s", a.text)
		}
	}
	if s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		w.at(specPath.Child("persistentVolumeReclaimPolicy"), "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.")
	}
	if s.NodeAffinity != nil && s.NodeAffinity.Required != nil {
		for i := range s.NodeAffinity.Required.NodeSelectorTerms {
			w.nodeTerm(&s.NodeAffinity.Required.NodeSelectorTerms[i], specPath.Child("nodeAffinity", "required", "nodeSelectorTerms").Index(i), false)
		}
	}
	for _, old := range []struct {
		set        bool
		name, text string
	}{
		{s.CephFS != nil, "cephfs", "deprecated in v1.28, non-functional in v1.31+"},
		{s.PhotonPersistentDisk != nil, "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"},
		{s.ScaleIO != nil, "scaleIO", "deprecated in v1.16, non-functional in v1.22+"},
		{s.StorageOS != nil, "storageOS", "deprecated in v1.22, non-functional in v1.25+"},
		{s.Glusterfs != nil, "glusterfs", "deprecated in v1.25, non-functional in v1.26+"},
		{s.RBD != nil, "rbd", "deprecated in v1.28, non-functional in v1.31+"},
	} {
		if old.set {
			w.at(specPath.Child(old.name), "%s", old.text)
		}
	}
	return w
}

// accessModes prints modes as kubectl users know them.
func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	var out []string
	for _, m := range []struct {
		mode  corev1.PersistentVolumeAccessMode
		short string
	}{{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"}} {
		if slices.Contains(modes, m.mode) {
			out = append(out, m.short)
		}
	}
	return strings.Join(out, ",")
}

func orUnset[T ~string](p *T) string {
	if p == nil {
		return "<unset>"
	}
	return string(*p)
}

func volumeObjectCells(v *corev1.PersistentVolume, now time.Time) []any {
	claim := ""
	if ref := v.Spec.ClaimRef; ref != nil {
		claim = ref.Namespace + "/" + ref.Name
	}
	phase := string(v.Status.Phase)
	if v.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	class := v.Spec.StorageClassName
	if c, ok := v.Annotations[betaStorageClassKey]; ok {
		class = c
	}
	size := v.Spec.Capacity[corev1.ResourceStorage]
	return []any{v.Name, size.String(), accessModes(v.Spec.AccessModes), string(v.Spec.PersistentVolumeReclaimPolicy), phase, claim, class,
		orUnset(v.Spec.VolumeAttributesClassName), v.Status.Reason, meta.Age(v.CreationTimestamp, now), orUnset(v.Spec.VolumeMode)}
}

// modesRule judges access modes: the one that is for a single pod excludes the
// others.
func modesRule(r *meta.Report, modes []corev1.PersistentVolumeAccessMode, p *field.Path) {
	once, other := false, false
	for _, m := range modes {
		meta.Among(r, p, m, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)
		switch m {
		case corev1.ReadWriteOncePod:
			once = true
		case corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce:
			other = true
		}
	}
	r.ForbiddenIf(once && other, p, "may not use ReadWriteOncePod with other access modes")
}

func validateVolumeObject(v *corev1.PersistentVolume) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMeta(&v.ObjectMeta, false, meta.DNSSubdomain)}
	r.Add(ValidateVolumeSpec(&v.Spec, v.Name, false, specPath))
	s := &v.Spec
	if _, ok := v.Annotations[mountOptionsKey]; ok && s.GCEPersistentDisk == nil && s.AWSElasticBlockStore == nil && s.Glusterfs == nil && s.NFS == nil &&
		s.RBD == nil && s.Quobyte == nil && s.ISCSI == nil && s.Cinder == nil && s.CephFS == nil && s.AzureFile == nil && s.VsphereVolume == nil &&
		s.AzureDisk == nil && s.PhotonPersistentDisk == nil {
		r.Forbidden(metaPath.Child("annotations", mountOptionsKey), "may not specify mount options for this volume type")
	}
	return r.Errs
}

// ValidateVolumeSpec judges the specification of a persistent volume, or one
// inline in an attachment, which says how to reach a volume of CSI and no more;
// a class of attributes is not judged there.
func ValidateVolumeSpec(s *corev1.PersistentVolumeSpec, name string, inline bool, p *field.Path) field.ErrorList {
	c := &podCheck{}
	reclaim, mode, class := p.Child("persistentVolumeReclaimPolicy"), p.Child("volumeMode"), p.Child("storageClassName")
	c.RequiredIf(len(s.AccessModes) == 0, p.Child("accessModes"))
	modesRule(&c.Report, s.AccessModes, p.Child("accessModes"))
	if inline {
		const text = "may not be specified in the context of inline volumes"
		c.ForbiddenIf(s.ClaimRef != nil, p.Child("claimRef"), text)
		c.ForbiddenIf(len(s.Capacity) != 0, p.Child("capacity"), text)
		c.ForbiddenIf(s.NodeAffinity != nil, p.Child("nodeAffinity"), text)
		c.ForbiddenIf(s.StorageClassName != "", class, text)
		if s.CSI == nil {
			c.Required(p.Child("csi"), "has to be specified in the context of inline volumes")
		}
		c.ForbiddenIf(s.PersistentVolumeReclaimPolicy != "" && s.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain, reclaim,
			"may only be "+string(corev1.PersistentVolumeReclaimRetain)+" in the context of inline volumes")
		c.ForbiddenIf(s.VolumeMode != nil && *s.VolumeMode != corev1.PersistentVolumeFilesystem, mode,
			"may not specify volumeMode other than "+string(corev1.PersistentVolumeFilesystem)+" in the context of inline volumes")
	} else {
		c.checkCapacity(s.Capacity, p.Child("capacity"))
		if s.PersistentVolumeReclaimPolicy != "" {
			meta.Among(&c.Report, reclaim, s.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)
		}
		if a := s.NodeAffinity; a != nil && a.Required != nil {
			c.Add(ValidateNodeSelector(a.Required, p.Child("nodeAffinity", "required")))
		} else if a != nil {
			c.Required(p.Child("nodeAffinity", "required"), "must specify required node constraints")
		}
		if s.StorageClassName != "" {
			c.Named(class, s.StorageClassName, meta.DNSSubdomain)
		}
		meta.AmongPtr(&c.Report, mode, s.VolumeMode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
	}
	c.checkVolumeObjectSource(s, name, p)
	c.ForbiddenIf(s.HostPath != nil && path.Clean(s.HostPath.Path) == "/" && s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle,
		reclaim, "may not be 'recycle' for a hostPath mount of '/'")
	if n := s.VolumeAttributesClassName; n != nil && !inline {
		if *n == "" {
			c.Required(p.Child("volumeAttributesClassName"), "an empty string is disallowed")
		} else {
			c.Named(p.Child("volumeAttributesClassName"), *n, meta.DNSSubdomain)
		}
		if s.CSI == nil {
			c.Required(p.Child("csi"), "has to be specified when using volumeAttributesClassName")
		}
	}
	return c.Errs
}

// checkCapacity wants storage and nothing else.
func (c *podCheck) checkCapacity(l corev1.ResourceList, p *field.Path) {
	c.RequiredIf(len(l) == 0, p)
	if _, ok := l[corev1.ResourceStorage]; !ok || len(l) > 1 {
		c.Errs = append(c.Errs, field.NotSupported(p, l, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	for _, n := range sortedNames(l) {
		q, at := l[n], p.Key(string(n))
		basicQuantity(&c.Report, q, at)
		if q.Sign() <= 0 {
			c.Invalid(at, q.String(), "must be greater than zero")
		}
	}
}

func validateVolumeUpdate(v, old *corev1.PersistentVolume) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&v.ObjectMeta, &old.ObjectMeta)}
	r.Add(validateVolumeObject(v))
	now, was := &v.Spec, &old.Spec
	source := now.PersistentVolumeSource
	if was.CSI != nil && was.CSI.ControllerExpandSecretRef == nil && source.CSI != nil && source.CSI.ControllerExpandSecretRef != nil {
		csi := *source.CSI // it may be added
		csi.ControllerExpandSecretRef, source.CSI = nil, &csi
	}
	if !equality.Semantic.DeepEqual(source, was.PersistentVolumeSource) {
		r.Forbidden(specPath.Child("persistentvolumesource"), "spec.persistentvolumesource is immutable after creation\n"+diff.Diff(was.PersistentVolumeSource, source))
	}
	r.Add(meta.Immutable(now.VolumeMode, was.VolumeMode, field.NewPath("volumeMode")))
	if was.NodeAffinity != nil && !sameButNewerLabels(now.NodeAffinity, was.NodeAffinity) {
		r.Invalid(field.NewPath("nodeAffinity"), now.NodeAffinity, meta.IsImmutable+", except for updating from beta label to GA")
	}
	r.ForbiddenIf(was.VolumeAttributesClassName != nil && now.VolumeAttributesClassName == nil, specPath.Child("volumeAttributesClassName"),
		"update from non-nil value to nil is forbidden")
	return r.Errs
}

// newerLabel gives the label that took the place of another.
var newerLabel = map[string]string{
	corev1.LabelFailureDomainBetaZone: corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
	"beta.kubernetes.io/os": corev1.LabelOSStable, "beta.kubernetes.io/arch": corev1.LabelArchStable, corev1.LabelInstanceType: corev1.LabelInstanceTypeStable,
}

// sameButNewerLabels compares, where a label may have become its successor.
func sameButNewerLabels(now, was *corev1.VolumeNodeAffinity) bool {
	if now == nil || now.Required == nil || was.Required == nil || len(now.Required.NodeSelectorTerms) != len(was.Required.NodeSelectorTerms) {
		return equality.Semantic.DeepEqual(now, was)
	}
	was = was.DeepCopy()
	for i := range was.Required.NodeSelectorTerms {
		a, b := &now.Required.NodeSelectorTerms[i], &was.Required.NodeSelectorTerms[i]
		for _, lists := range [][2][]corev1.NodeSelectorRequirement{{a.MatchExpressions, b.MatchExpressions}, {a.MatchFields, b.MatchFields}} {
			for j := range lists[1] {
				if j < len(lists[0]) && newerLabel[lists[1][j].Key] == lists[0][j].Key {
					lists[1][j].Key = lists[0][j].Key
				}
			}
		}
	}
	return equality.Semantic.DeepEqual(now, was)
}
