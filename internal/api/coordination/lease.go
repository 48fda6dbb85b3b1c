package coordination

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

func leaseRow() *api.Kind {
	// Coordinated leader election is an alpha feature, off by default.
	drop := func(l *coordinationv1.Lease) { l.Spec.Strategy, l.Spec.PreferredHolder = nil, nil }
	return api.Define(api.Spec[*coordinationv1.Lease]{
		GVK: gvk("Lease"), Plural: "leases", Singular: "lease", Namespaced: true, CreateOnUpdate: true,
		List:          &coordinationv1.LeaseList{},
		PrepareCreate: drop,
		PrepareUpdate: func(l, _ *coordinationv1.Lease) { drop(l) },
		Validate: func(l *coordinationv1.Lease) field.ErrorList {
			return append(meta.ValidateObjectMeta(&l.ObjectMeta, true, meta.DNSSubdomain), validateLeaseSpec(&l.Spec)...)
		},
		ValidateUpdate: func(l, old *coordinationv1.Lease) field.ErrorList {
			return append(meta.ValidateObjectMetaUpdate(&l.ObjectMeta, &old.ObjectMeta), validateLeaseSpec(&l.Spec)...)
		},
		Columns: []metav1.TableColumnDefinition{meta.NameColumn, meta.Text("Holder", "The identity of the holder of the lease."), meta.AgeColumn},
		Row: func(l *coordinationv1.Lease, now time.Time) []any {
			holder := ""
			if l.Spec.HolderIdentity != nil {
				holder = *l.Spec.HolderIdentity
			}
			return []any{l.Name, holder, meta.Age(l.CreationTimestamp, now)}
		},
	})
}

func validateLeaseSpec(s *coordinationv1.LeaseSpec) field.ErrorList {
	var r meta.Report
	p := field.NewPath("spec")
	if d := s.LeaseDurationSeconds; d != nil && *d <= 0 {
		r.Invalid(p.Child("leaseDurationSeconds"), d, "must be greater than 0")
	}
	if t := s.LeaseTransitions; t != nil && *t < 0 {
		r.Invalid(p.Child("leaseTransitions"), t, "must be greater than or equal to 0")
	}
	return r.Errs
}
