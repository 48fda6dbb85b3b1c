package coordination

import (
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

var metaPath = field.NewPath("metadata")

func leaseRow() *api.Kind {
	// Coordinated leader election is off by default: what a lease has of it stays,
	// but none begins.
	drop := func(l, old *coordinationv1.Lease) {
		if old.Spec.Strategy == nil {
			l.Spec.Strategy = nil
		}
		if old.Spec.PreferredHolder == nil {
			l.Spec.PreferredHolder = nil
		}
	}
	return api.Define(api.Spec[*coordinationv1.Lease]{
		GVK: gvk("Lease"), Plural: "leases", Singular: "lease", Namespaced: true, CreateOnUpdate: true,
		List:          &coordinationv1.LeaseList{},
		PrepareCreate: func(l *coordinationv1.Lease) { drop(l, &coordinationv1.Lease{}) },
		PrepareUpdate: drop,
		Validate: func(l *coordinationv1.Lease) field.ErrorList {
			return append(apivalidation.ValidateObjectMeta(&l.ObjectMeta, true, apivalidation.ValidateNameFunc(meta.DNSSubdomain), metaPath), validateLeaseSpec(&l.Spec)...)
		},
		ValidateUpdate: func(l, old *coordinationv1.Lease) field.ErrorList {
			return append(apivalidation.ValidateObjectMetaUpdate(&l.ObjectMeta, &old.ObjectMeta, metaPath), validateLeaseSpec(&l.Spec)...)
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
	if s.Strategy != nil {
		strategy(&r, p.Child("strategy"), *s.Strategy)
	}
	if h := s.PreferredHolder; h != nil && *h != "" && (s.Strategy == nil || *s.Strategy == "") {
		r.Forbidden(p.Child("preferredHolder"), "may only be specified if `strategy` is defined")
	}
	return r.Errs
}

// strategy judges how a holder is chosen: by one of Kubernetes' own names, or by
// a name of someone's domain.
func strategy(r *meta.Report, p *field.Path, s coordinationv1.CoordinatedLeaseStrategy) {
	p = p.Child("strategy")
	if !strings.Contains(string(s), "/") {
		meta.Among(r, p, s, coordinationv1.OldestEmulationVersion)
		return
	}
	r.InvalidAll(p, s, validation.IsQualifiedName(string(s)))
}
