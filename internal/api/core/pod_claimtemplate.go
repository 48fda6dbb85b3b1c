package core

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/meta"
)

// validateClaimTemplate judges the claim an ephemeral volume makes.
func validateClaimTemplate(t *corev1.PersistentVolumeClaimTemplate, p *field.Path) field.ErrorList {
	var r meta.Report
	at := p.Child("metadata")
	r.Add(meta.Annotations(t.Annotations, at.Child("annotations")))
	r.Add(meta.Labels(t.Labels, at.Child("labels")))
	only := metav1.ObjectMeta{Labels: t.Labels, Annotations: t.Annotations}
	got, allowed := reflect.ValueOf(t.ObjectMeta), reflect.ValueOf(only)
	for i := range got.NumField() {
		if !reflect.DeepEqual(got.Field(i).Interface(), allowed.Field(i).Interface()) {
			name := got.Type().Field(i).Name
			r.Forbidden(at.Child(string(name[0]|0x20)+name[1:]), "cannot be set")
		}
	}
	r.Add(ValidateClaimSpec(&t.Spec, p.Child("spec")))
	return r.Errs
}

// ValidateClaimSpec judges the specification of a persistent volume claim.
func ValidateClaimSpec(s *corev1.PersistentVolumeClaimSpec, p *field.Path) field.ErrorList {
	var r meta.Report
	modes := p.Child("accessModes")
	if len(s.AccessModes) == 0 {
		r.Required(modes, "at least 1 access mode is required")
	}
	if s.Selector != nil {
		r.Add(meta.Selector(s.Selector, p.Child("selector")))
	}
	once, other := false, false
	for _, m := range s.AccessModes {
		meta.Among(&r, modes, m, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)
		switch m {
		case corev1.ReadWriteOncePod:
			once = true
		case corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce:
			other = true
		}
	}
	r.ForbiddenIf(once && other, modes, "may not use ReadWriteOncePod with other access modes")
	size := p.Child("resources").Key(string(corev1.ResourceStorage))
	if q, ok := s.Resources.Requests[corev1.ResourceStorage]; !ok {
		r.Required(size, "")
	} else if q.Sign() <= 0 {
		r.Invalid(size, q.String(), "must be greater than zero")
	} else {
		r.Add(ValidateQuantity(corev1.ResourceStorage, q, size))
	}
	if n := s.StorageClassName; n != nil && *n != "" {
		r.Named(p.Child("storageClassName"), *n, meta.DNSSubdomain)
	}
	meta.AmongPtr(&r, p.Child("volumeMode"), s.VolumeMode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
	if d := s.DataSource; d != nil {
		dataSource(&r, d.APIGroup, d.Kind, d.Name, p.Child("dataSource"))
	}
	if d := s.DataSourceRef; d != nil {
		at := p.Child("dataSourceRef")
		dataSource(&r, d.APIGroup, d.Kind, d.Name, at)
		if d.Namespace != nil && *d.Namespace != "" {
			r.Named(at.Child("namespace"), *d.Namespace, meta.Namespace)
			if s.DataSource != nil {
				r.Invalid(p, p.Child("dataSource"), "may not be specified when dataSourceRef.namespace is specified")
			}
		} else if o := s.DataSource; o != nil && (!reflect.DeepEqual(o.APIGroup, d.APIGroup) || o.Kind != d.Kind || o.Name != d.Name) {
			r.Invalid(p, p.Child("dataSource"), "must match dataSourceRef")
		}
	}
	if n := s.VolumeAttributesClassName; n != nil && *n != "" {
		r.Named(p.Child("volumeAttributesClassName"), *n, meta.DNSSubdomain)
	}
	return r.Errs
}

func dataSource(r *meta.Report, group *string, kind, name string, p *field.Path) {
	r.RequiredIf(name == "", p.Child("name"))
	r.RequiredIf(kind == "", p.Child("kind"))
	if group == nil || *group == "" {
		if kind != "PersistentVolumeClaim" {
			r.Invalid(p, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup")
		}
		return
	}
	r.InvalidAll(p.Child("apiGroup"), *group, validation.IsDNS1123Subdomain(*group))
}
