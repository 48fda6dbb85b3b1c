package storage

import (
	"strings"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

const (
	minUpdatePeriodSeconds = 10
	minTokenSeconds        = 10 * 60
	maxTokenSeconds        = 1 << 32
)

func csiDriverRow() *api.Kind {
	return api.Define(api.Spec[*storagev1.CSIDriver]{
		GVK: gvk("CSIDriver"), Plural: "csidrivers", Singular: "csidriver", Generation: true,
		List:    &storagev1.CSIDriverList{},
		Default: defaultCSIDriver,
		PrepareCreate: func(d *storagev1.CSIDriver) { // changes alone are counted
			// Scheduling by the limits of volumes is an alpha feature, off.
			d.Spec.PreventPodSchedulingIfMissing = nil
		},
		PrepareUpdate: func(d, old *storagev1.CSIDriver) {
			if old.Spec.PreventPodSchedulingIfMissing == nil {
				d.Spec.PreventPodSchedulingIfMissing = nil
			}
		},
		Validate: func(d *storagev1.CSIDriver) field.ErrorList {
			return append(meta.ValidateObjectMeta(&d.ObjectMeta, false, meta.DNSSubdomain), validateCSIDriverSpec(&d.Spec)...)
		},
		ValidateUpdate: func(d, old *storagev1.CSIDriver) field.ErrorList {
			r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&d.ObjectMeta, &old.ObjectMeta)}
			r.Add(validateCSIDriverSpec(&d.Spec))
			r.Add(meta.Immutable(d.Spec.AttachRequired, old.Spec.AttachRequired, attachRequiredPath))
			r.Add(meta.Immutable(d.Spec.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes, specPath.Child("volumeLifecycleModes")))
			return r.Errs
		},
		Warnings: tokenWarnings,
		UpdateWarnings: func(d, old *storagev1.CSIDriver) []string {
			if equality.Semantic.DeepEqual(d.Spec.TokenRequests, old.Spec.TokenRequests) {
				return nil
			}
			return tokenWarnings(d)
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			boolean("AttachRequired", "Whether volumes are attached to nodes before they are mounted."),
			boolean("PodInfoOnMount", "Whether the driver is told of the pod when it mounts a volume."),
			boolean("StorageCapacity", "Whether the scheduler heeds the capacity the driver publishes."),
			meta.Text("TokenRequests", "The audiences of the tokens the driver is given."),
			boolean("RequiresRepublish", "Whether mounted volumes are published again and again."),
			meta.Text("Modes", "The kinds of volumes the driver supports."),
			meta.AgeColumn,
		},
		Row: func(d *storagev1.CSIDriver, now time.Time) []any {
			s := &d.Spec
			var modes, audiences []string
			for _, m := range s.VolumeLifecycleModes {
				modes = append(modes, string(m))
			}
			for _, t := range s.TokenRequests {
				audiences = append(audiences, t.Audience)
			}
			tokens := "<unset>"
			if s.TokenRequests != nil {
				tokens = strings.Join(audiences, ",")
			}
			return []any{d.Name, orDefault(s.AttachRequired, true), orDefault(s.PodInfoOnMount, false), orDefault(s.StorageCapacity, false), tokens,
				orDefault(s.RequiresRepublish, false), meta.OrNone(strings.Join(modes, ",")), meta.Age(d.CreationTimestamp, now)}
		},
	})
}

// attachRequiredPath is misspelt upstream, and so in what clients see.
var attachRequiredPath = specPath.Child("attachedRequired")

func boolean(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "boolean", Description: description}
}

func defaultCSIDriver(d *storagev1.CSIDriver) {
	s := &d.Spec
	setDefaultPtr(&s.AttachRequired, true)
	setDefaultPtr(&s.PodInfoOnMount, false)
	setDefaultPtr(&s.StorageCapacity, false)
	setDefaultPtr(&s.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	if len(s.VolumeLifecycleModes) == 0 {
		s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	}
	setDefaultPtr(&s.RequiresRepublish, false)
	setDefaultPtr(&s.SELinuxMount, false)
}

func validateCSIDriverSpec(s *storagev1.CSIDriverSpec) field.ErrorList {
	r := &meta.Report{}
	p := specPath
	r.RequiredIf(s.AttachRequired == nil, attachRequiredPath)
	r.RequiredIf(s.PodInfoOnMount == nil, p.Child("podInfoOnMount"))
	r.RequiredIf(s.StorageCapacity == nil, p.Child("storageCapacity"))
	meta.AmongPtr(r, p.Child("fsGroupPolicy"), s.FSGroupPolicy, storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	tokenRequests(r, s.TokenRequests, p.Child("tokenRequests"))
	for _, m := range s.VolumeLifecycleModes {
		meta.Among(r, p.Child("volumeLifecycleModes"), m, storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral)
	}
	r.RequiredIf(s.SELinuxMount == nil, p.Child("seLinuxMount"))
	if n := s.NodeAllocatableUpdatePeriodSeconds; n != nil && *n < minUpdatePeriodSeconds {
		r.Invalid(p.Child("nodeAllocatableUpdatePeriodSeconds"), *n, "must be greater than or equal to 10 seconds")
	}
	if s.ServiceAccountTokenInSecrets != nil && len(s.TokenRequests) == 0 {
		r.Invalid(p.Child("serviceAccountTokenInSecrets"), s.ServiceAccountTokenInSecrets, "serviceAccountTokenInSecrets is set but no tokenRequests are specified")
	}
	return r.Errs
}

func tokenRequests(r *meta.Report, list []storagev1.TokenRequest, p *field.Path) {
	seen := sets.Set[string]{}
	for i, t := range list {
		at := p.Index(i)
		if seen.Has(t.Audience) {
			r.Duplicate(at.Child("audience"), t.Audience)
			continue
		}
		seen.Insert(t.Audience)
		n := t.ExpirationSeconds
		switch {
		case n == nil:
		case *n < minTokenSeconds:
			r.Invalid(at.Child("expirationSeconds"), *n, "may not specify a duration less than 10 minutes")
		case *n > maxTokenSeconds:
			r.Invalid(at.Child("expirationSeconds"), *n, "may not specify a duration larger than 2^32 seconds")
		}
	}
}

func tokenWarnings(d *storagev1.CSIDriver) []string {
	if len(d.Spec.TokenRequests) > 0 && d.Spec.ServiceAccountTokenInSecrets == nil {
		return []string{"spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes"}
	}
	return nil
}
