package certificates

import (
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

type (
	request   = certificatesv1.CertificateSigningRequest
	condition = certificatesv1.CertificateSigningRequestCondition
)

func requestRow() *api.Kind {
	return api.Define(api.Spec[*request]{
		GVK: gvk("CertificateSigningRequest"), Plural: "certificatesigningrequests", Singular: "certificatesigningrequest",
		ShortNames: []string{"csr"}, UnconditionalUpdate: true,
		List:  &certificatesv1.CertificateSigningRequestList{},
		Stamp: stampRequester,
		// What was asked for, and by whom, does not change.
		PrepareUpdate: func(c, old *request) { c.Spec = *old.Spec.DeepCopy() },
		PrepareStatus: keepDecisions,
		Date: func(c, old *request, now time.Time) {
			if old != nil {
				StampConditions(c, old, now)
			}
		},
		Validate: func(c *request) field.ErrorList {
			if errs := validateRequest(c, nil); len(errs) > 0 {
				return errs
			}
			return meta.Common(c, false)
		},
		ValidateUpdate: func(c, old *request) field.ErrorList {
			return validateRequestUpdate(c, old, may{})
		},
		ValidateStatus: func(c, old *request) field.ErrorList {
			return validateRequestUpdate(c, old, may{issue: true})
		},
		Parts: map[string]api.PartSpec[*request]{
			"approval": {
				Settle: func(c, old *request) {
					decided := c.Status.Conditions
					c.Spec, c.Status = *old.Spec.DeepCopy(), *old.Status.DeepCopy()
					c.Status.Conditions = decided
				},
				Validate: func(c, old *request) field.ErrorList {
					return validateRequestUpdate(c, old, may{decide: true})
				},
			},
		},
		Fields: map[string]func(*request) string{
			"spec.signerName": func(c *request) string { return c.Spec.SignerName },
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.AgeColumn,
			meta.Text("SignerName", "The signer that is asked."),
			meta.Text("Requestor", "The user who asks."),
			meta.Text("RequestedDuration", "How long the certificate shall be valid."),
			meta.Text("Condition", "What was decided, and whether the certificate was issued."),
		},
		Row: func(c *request, now time.Time) []any {
			signer, lifetime := meta.OrNone(c.Spec.SignerName), "<none>"
			if s := c.Spec.ExpirationSeconds; s != nil {
				lifetime = duration.HumanDuration(time.Duration(*s) * time.Second)
			}
			return []any{c.Name, meta.Age(c.CreationTimestamp, now), signer, c.Spec.Username, lifetime, state(c)}
		},
	})
}

// stampRequester writes who asks into the request, whatever the client wrote.
func stampRequester(c *request, u user.Info) {
	s := &c.Spec
	s.Username, s.UID, s.Groups, s.Extra = "", "", nil, nil
	if u == nil {
		return
	}
	s.Username, s.UID, s.Groups = u.GetName(), u.GetUID(), slices.Clone(u.GetGroups())
	for k, v := range u.GetExtra() {
		if s.Extra == nil {
			s.Extra = map[string]certificatesv1.ExtraValue{}
		}
		s.Extra[k] = slices.Clone(v)
	}
}

func indices(c *request, t certificatesv1.RequestConditionType) (at []int) {
	for i := range c.Status.Conditions {
		if c.Status.Conditions[i].Type == t {
			at = append(at, i)
		}
	}
	return at
}

// keepDecisions undoes what a write of status did to a decision that is still
// there: clients of old versions lose fields of it.
func keepDecisions(c, old *request) {
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied} {
		is, was := indices(c, t), indices(old, t)
		if len(is) != len(was) {
			continue
		}
		for i := range is {
			c.Status.Conditions[is[i]] = *old.Status.Conditions[was[i]].DeepCopy()
		}
	}
}

// StampConditions fills the times that a write through the status or approval
// subresource left out: a condition whose status did not change keeps the time
// of its transition.
func StampConditions(c, old *certificatesv1.CertificateSigningRequest, now time.Time) {
	stamp := meta.Moment(now)
	for i := range c.Status.Conditions {
		d := &c.Status.Conditions[i]
		if d.LastUpdateTime.IsZero() {
			d.LastUpdateTime = stamp
		}
		if !d.LastTransitionTime.IsZero() {
			continue
		}
		d.LastTransitionTime = stamp
		if j := slices.IndexFunc(old.Status.Conditions, func(o condition) bool {
			return o.Type == d.Type && o.Status == d.Status && !o.LastTransitionTime.IsZero()
		}); j >= 0 {
			d.LastTransitionTime = old.Status.Conditions[j].LastTransitionTime
		}
	}
}

func state(c *request) string {
	has := func(t certificatesv1.RequestConditionType) bool { return len(indices(c, t)) > 0 }
	s := "Pending"
	switch {
	case has(certificatesv1.CertificateDenied):
		s = "Denied"
	case has(certificatesv1.CertificateApproved):
		s = "Approved"
	}
	if has(certificatesv1.CertificateFailed) {
		s += ",Failed"
	}
	if len(c.Status.Certificate) > 0 {
		s += ",Issued"
	}
	return s
}
