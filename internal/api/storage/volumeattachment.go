package storage

import (
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/api/meta"
)

const (
	maxAttachmentMetadata = 256 << 10
	maxVolumeError        = 1024
)

func volumeAttachmentRow() *api.Kind {
	return api.Define(api.Spec[*storagev1.VolumeAttachment]{
		GVK: gvk("VolumeAttachment"), Plural: "volumeattachments", Singular: "volumeattachment",
		List: &storagev1.VolumeAttachmentList{},
		Default: func(a *storagev1.VolumeAttachment) {
			if s := a.Spec.Source.InlineVolumeSpec; s != nil {
				defaultInlineVolume(s)
			}
		},
		PrepareStatus: func(a, old *storagev1.VolumeAttachment) {
			metav1.ResetObjectMetaForStatus(&a.ObjectMeta, old.ObjectMeta.DeepCopy())
		},
		Validate:       validateAttachment,
		ValidateUpdate: validateAttachmentUpdate,
		ValidateStatus: validateAttachmentUpdate,
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			{Name: "Attacher", Type: "string", Format: "name", Description: "The driver that attaches the volume."},
			meta.Text("PV", "The volume."),
			meta.Text("Node", "The node the volume is attached to."),
			boolean("Attached", "Whether the volume is attached."),
			meta.AgeColumn,
		},
		Row: func(a *storagev1.VolumeAttachment, now time.Time) []any {
			return []any{a.Name, a.Spec.Attacher, orDefault(a.Spec.Source.PersistentVolumeName, ""), a.Spec.NodeName, a.Status.Attached, meta.Age(a.CreationTimestamp, now)}
		},
	})
}

func validateAttachmentUpdate(a, old *storagev1.VolumeAttachment) field.ErrorList {
	r := meta.Report{Errs: validateAttachment(a)}
	r.Add(meta.ValidateObjectMetaUpdate(&a.ObjectMeta, &old.ObjectMeta))
	r.Add(meta.Immutable(a.Spec, old.Spec, specPath))
	return r.Errs
}

func validateAttachment(a *storagev1.VolumeAttachment) field.ErrorList {
	r := &meta.Report{Errs: meta.ValidateObjectMeta(&a.ObjectMeta, false, meta.DNSSubdomain)}
	r.Add(core.ValidateCSIDriverName(a.Spec.Attacher, specPath.Child("attacher")))
	const oneSource = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
	name, inline := a.Spec.Source.PersistentVolumeName, a.Spec.Source.InlineVolumeSpec
	source := specPath.Child("source")
	switch {
	case inline == nil && name == nil:
		r.Required(source, oneSource)
	case inline != nil && name != nil:
		r.Forbidden(source, oneSource)
	case inline != nil:
		r.Add(core.ValidateVolumeSpec(inline, "", true, source.Child("inlineVolumeSpec")))
	case *name == "":
		r.Required(source.Child("persistentVolumeName"), "must specify non empty persistentVolumeName")
	}
	if name != nil {
		r.Named(source.Child("persistentVolumeName"), *name, meta.DNSSubdomain)
	}
	r.Named(specPath.Child("nodeName"), a.Spec.NodeName, meta.DNSSubdomain)

	status := field.NewPath("status")
	if sizeOf(a.Status.AttachmentMetadata) > maxAttachmentMetadata {
		r.TooLong(status.Child("attachmentMetadata"), maxAttachmentMetadata)
	}
	volumeError(r, a.Status.AttachError, status.Child("attachError"))
	volumeError(r, a.Status.DetachError, status.Child("detachError"))
	return r.Errs
}

func volumeError(r *meta.Report, e *storagev1.VolumeError, p *field.Path) {
	if e == nil {
		return
	}
	if len(e.Message) > maxVolumeError {
		r.TooLong(p.Child("message"), maxAttachmentMetadata) // upstream names this limit
	}
	if c := e.ErrorCode; c != nil && *c < 0 {
		r.Invalid(p.Child("errorCode"), *c, validation.InclusiveRangeError(0, math.MaxInt32))
	}
}

// defaultInlineVolume fills the defaults of the sources a volume may have.
func defaultInlineVolume(s *corev1.PersistentVolumeSpec) {
	for n, q := range s.Capacity {
		q.RoundUp(-3)
		s.Capacity[n] = q
	}
	if h := s.HostPath; h != nil {
		setDefaultPtr(&h.Type, corev1.HostPathUnset)
	}
	if v := s.RBD; v != nil {
		setDefault(&v.RBDPool, "rbd")
		setDefault(&v.RadosUser, "admin")
		setDefault(&v.Keyring, "/etc/ceph/keyring")
	}
	if v := s.ISCSI; v != nil {
		setDefault(&v.ISCSIInterface, "default")
	}
	if v := s.AzureDisk; v != nil {
		setDefaultPtr(&v.CachingMode, corev1.AzureDataDiskCachingReadWrite)
		setDefaultPtr(&v.FSType, "ext4")
		setDefaultPtr(&v.ReadOnly, false)
		setDefaultPtr(&v.Kind, corev1.AzureSharedBlobDisk)
	}
	if v := s.ScaleIO; v != nil {
		setDefault(&v.StorageMode, "ThinProvisioned")
		setDefault(&v.FSType, "xfs")
	}
}

func setDefault(f *string, v string) {
	if *f == "" {
		*f = v
	}
}
