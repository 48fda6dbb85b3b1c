package certificates

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/meta"
)

const (
	certificateBlock = "CERTIFICATE"
	requestBlock     = "CERTIFICATE REQUEST"
	// legacySigner stands for requests older than signer names.
	legacySigner     = "kubernetes.io/legacy-unknown"
	minExpirySeconds = 600
)

var (
	specPath       = field.NewPath("spec")
	conditionsPath = field.NewPath("status", "conditions")
	certPath       = field.NewPath("status", "certificate")
)

var usages = []certificatesv1.KeyUsage{
	certificatesv1.UsageSigning, certificatesv1.UsageDigitalSignature, certificatesv1.UsageContentCommitment,
	certificatesv1.UsageKeyEncipherment, certificatesv1.UsageKeyAgreement, certificatesv1.UsageDataEncipherment,
	certificatesv1.UsageCertSign, certificatesv1.UsageCRLSign, certificatesv1.UsageEncipherOnly, certificatesv1.UsageDecipherOnly,
	certificatesv1.UsageAny, certificatesv1.UsageServerAuth, certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning,
	certificatesv1.UsageEmailProtection, certificatesv1.UsageSMIME, certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel,
	certificatesv1.UsageIPsecUser, certificatesv1.UsageTimestamping, certificatesv1.UsageOCSPSigning,
	certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC,
}

// may says what a write is allowed that others are not.
type may struct {
	decide bool // approve or deny: the approval subresource
	issue  bool // set the certificate: the status subresource
}

// ParseRequest reads the request for a certificate out of its PEM block.
func ParseRequest(block []byte) (*x509.CertificateRequest, error) {
	b, _ := pem.Decode(block)
	if b == nil || b.Type != requestBlock {
		return nil, errors.New("PEM block type must be " + requestBlock)
	}
	return x509.ParseCertificateRequest(b.Bytes)
}

func signed(block []byte) error {
	c, err := ParseRequest(block)
	if err != nil {
		return err
	}
	return c.CheckSignature()
}

// certificates says what is wrong with a chain in PEM; none is well.
func certificates(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	n := 0
	for {
		b, rest := pem.Decode(data)
		if b == nil {
			break
		}
		if b.Type != certificateBlock {
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", b.Type)
		}
		if len(b.Headers) != 0 {
			return errors.New("no PEM block headers are permitted")
		}
		list, err := x509.ParseCertificates(b.Bytes)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return errors.New("found CERTIFICATE PEM block containing 0 certificates")
		}
		n++
		data = rest
	}
	if n == 0 {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}

func repeats[T comparable](n int, at func(int) T) bool {
	seen := sets.Set[T]{}
	for i := range n {
		if seen.Has(at(i)) {
			return true
		}
		seen.Insert(at(i))
	}
	return false
}

// validateRequest judges a request but for its name, which only has to fit a
// URL. What an old one had already, the new one may keep.
func validateRequest(c, old *request) field.ErrorList {
	r := &meta.Report{Errs: meta.ValidateObjectMeta(&c.ObjectMeta, false, func(string, bool) []string { return nil })}
	s := &c.Spec
	if err := signed(s.Request); err != nil {
		r.Invalid(specPath.Child("request"), s.Request, err.Error())
	}
	validateUsages(r, s.Usages, old)
	if s.SignerName == legacySigner && (old == nil || old.Spec.SignerName != legacySigner) {
		r.Invalid(specPath.Child("signerName"), s.SignerName, "the legacy signerName is not allowed via this API version")
	} else {
		r.Add(ValidateSignerName(s.SignerName, specPath.Child("signerName")))
	}
	if n := s.ExpirationSeconds; n != nil && *n < minExpirySeconds {
		r.Invalid(specPath.Child("expirationSeconds"), *n, "may not specify a duration less than 600 seconds (10 minutes)")
	}
	validateConditions(r, c, old)
	cert := c.Status.Certificate
	if old == nil || !bytes.Equal(cert, old.Status.Certificate) && certificates(old.Status.Certificate) == nil {
		if err := certificates(cert); err != nil {
			r.Invalid(certPath, "<certificate data>", err.Error())
		}
	}
	return r.Errs
}

func validateUsages(r *meta.Report, list []certificatesv1.KeyUsage, old *request) {
	p := specPath.Child("usages")
	r.RequiredIf(len(list) == 0, p)
	unknown := func(u certificatesv1.KeyUsage) bool { return !slices.Contains(usages, u) }
	var was []certificatesv1.KeyUsage
	if old != nil {
		was = old.Spec.Usages
	}
	if !slices.ContainsFunc(was, unknown) {
		known := slices.Sorted(slices.Values(usages))
		for i, u := range list {
			meta.Among(r, p.Index(i), u, known...)
		}
	}
	if !repeats(len(was), func(i int) certificatesv1.KeyUsage { return was[i] }) {
		seen := sets.Set[certificatesv1.KeyUsage]{}
		for i, u := range list {
			if seen.Has(u) {
				r.Duplicate(p.Index(i), u)
			}
			seen.Insert(u)
		}
	}
}

func validateConditions(r *meta.Report, c, old *request) {
	var was []condition
	both := false
	if old != nil {
		was = old.Status.Conditions
		both = len(indices(old, certificatesv1.CertificateApproved)) > 0 && len(indices(old, certificatesv1.CertificateDenied)) > 0
	}
	typ := func(i int) certificatesv1.RequestConditionType { return was[i].Type }
	repeated := repeats(len(was), typ)
	nameless := slices.ContainsFunc(was, func(d condition) bool { return d.Type == "" })

	seen := sets.Set[certificatesv1.RequestConditionType]{}
	for i, d := range c.Status.Conditions {
		at := conditionsPath.Index(i)
		r.RequiredIf(d.Type == "" && !nameless, at.Child("type"))
		opposite := certificatesv1.RequestConditionType("")
		switch d.Type {
		case certificatesv1.CertificateApproved:
			opposite = certificatesv1.CertificateDenied
		case certificatesv1.CertificateDenied:
			opposite = certificatesv1.CertificateApproved
		}
		if opposite != "" || d.Type == certificatesv1.CertificateFailed {
			meta.OneOf(r, at.Child("status"), d.Status, corev1.ConditionTrue)
		} else {
			meta.OneOf(r, at.Child("status"), d.Status, corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown)
		}
		if opposite != "" && !both && seen.Has(opposite) {
			r.Invalid(conditionsPath, d.Type, "Approved and Denied conditions are mutually exclusive")
		}
		if seen.Has(d.Type) && !repeated {
			r.Duplicate(at.Child("type"), d.Type)
		}
		seen.Insert(d.Type)
	}
}

func validateRequestUpdate(c, old *request, m may) field.ErrorList {
	r := &meta.Report{Errs: validateRequest(c, old)}
	pick := func(c *request, t certificatesv1.RequestConditionType) (list []condition) {
		for _, i := range indices(c, t) {
			list = append(list, c.Status.Conditions[i])
		}
		return list
	}
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		is, was := pick(c, t), pick(old, t)
		decision := t != certificatesv1.CertificateFailed
		switch {
		case len(is) < len(was):
			r.Forbidden(conditionsPath, fmt.Sprintf("updates may not remove a condition of type %q", t))
		case !decision || m.decide:
		case len(is) > len(was):
			r.Forbidden(conditionsPath, fmt.Sprintf("updates may not add a condition of type %q", t))
		case !equality.Semantic.DeepEqual(was, is):
			r.Forbidden(conditionsPath, fmt.Sprintf("updates may not modify a condition of type %q\n%v", t, diff.Diff(was, is)))
		}
	}
	if !bytes.Equal(c.Status.Certificate, old.Status.Certificate) {
		if !m.issue {
			r.Forbidden(certPath, "updates may not set certificate content")
		} else if len(old.Status.Certificate) > 0 {
			r.Forbidden(certPath, "updates may not modify existing certificate content")
		}
	}
	r.Add(meta.CommonUpdate(c, old, false))
	r.Add(meta.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta))
	return r.Errs
}

// ValidateSignerName judges the name of a signer, a domain and a path:
// example.com/namespace.name.
func ValidateSignerName(name string, p *field.Path) field.ErrorList {
	var r meta.Report
	if name == "" {
		r.Required(p, "")
		return r.Errs
	}
	domain, path, ok := strings.Cut(name, "/")
	if !ok || strings.Contains(path, "/") {
		r.Invalid(p, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
		return r.Errs
	}
	const maxDomain = validation.DNS1123SubdomainMaxLength
	if len(domain) > maxDomain {
		r.TooLong(p, maxDomain)
	}
	// The first bad label is enough.
	labels := func(v string, rule func(string) []string) int {
		list := strings.Split(v, ".")
		for _, l := range list {
			if msgs := rule(l); len(msgs) > 0 {
				for _, m := range msgs {
					r.Invalid(p, v, fmt.Sprintf("validating label %q: %s", l, m))
				}
				break
			}
		}
		return len(list)
	}
	if labels(domain, validation.IsDNS1123Label) < 2 {
		r.Invalid(p, domain, "should be a domain with at least two segments separated by dots")
	}
	labels(path, validation.IsDNS1123Subdomain)
	const maxName = maxDomain + 1 + validation.DNS1123LabelMaxLength + 1 + validation.DNS1123SubdomainMaxLength
	if len(name) > maxName {
		r.TooLong(p, maxName)
	}
	return r.Errs
}
