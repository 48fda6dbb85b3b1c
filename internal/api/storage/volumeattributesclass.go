package storage

import (
	"maps"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

func volumeAttributesClassRow() *api.Kind {
	driver, params := field.NewPath("driverName"), field.NewPath("parameters")
	validate := func(c *storagev1.VolumeAttributesClass) field.ErrorList {
		r := &meta.Report{Errs: meta.ValidateObjectMeta(&c.ObjectMeta, false, meta.DNSSubdomain)}
		provisioner(r, c.DriverName, driver)
		parameters(r, c.Parameters, params)
		if len(c.Parameters) == 0 {
			r.Required(params, "must contain at least one key/value pair")
		}
		return r.Errs
	}
	return api.Define(api.Spec[*storagev1.VolumeAttributesClass]{
		GVK: gvk("VolumeAttributesClass"), Plural: "volumeattributesclasses", Singular: "volumeattributesclass", ShortNames: []string{"vac"}, UnconditionalUpdate: true,
		List:     &storagev1.VolumeAttributesClassList{},
		Validate: validate,
		ValidateUpdate: func(c, old *storagev1.VolumeAttributesClass) field.ErrorList {
			r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta)}
			r.ForbiddenIf(c.DriverName != old.DriverName, driver, "updates to driverName are forbidden.")
			r.ForbiddenIf(!maps.Equal(c.Parameters, old.Parameters), params, "updates to parameters are forbidden.")
			r.Add(validate(c))
			return r.Errs
		},
		Columns: []metav1.TableColumnDefinition{meta.NameColumn, meta.Text("DriverName", "The driver that knows the attributes."), meta.AgeColumn},
		Row: func(c *storagev1.VolumeAttributesClass, now time.Time) []any {
			return []any{c.Name, c.DriverName, meta.Age(c.CreationTimestamp, now)}
		},
	})
}
