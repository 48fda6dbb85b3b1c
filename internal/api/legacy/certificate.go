package legacy

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
)

func certificates() []old {
	return []old{version(spec[*certificatesv1beta1.CertificateSigningRequest, *certificatesv1.CertificateSigningRequest]{
		gvk: certificatesv1beta1.SchemeGroupVersion.WithKind("CertificateSigningRequest"), of: certificatesv1.SchemeGroupVersion.WithKind("CertificateSigningRequest"),
		list: &certificatesv1beta1.CertificateSigningRequestList{},
		defaults: func(c *certificatesv1beta1.CertificateSigningRequest) {
			if c.Spec.Usages == nil {
				c.Spec.Usages = []certificatesv1beta1.KeyUsage{certificatesv1beta1.UsageDigitalSignature, certificatesv1beta1.UsageKeyEncipherment}
			}
			fill(&c.Spec.SignerName, signer(&c.Spec))
			for i := range c.Status.Conditions {
				if c.Status.Conditions[i].Status == "" {
					c.Status.Conditions[i].Status = "True"
				}
			}
		},
		warnings: func(c *certificatesv1beta1.CertificateSigningRequest) []string {
			if c.Spec.SignerName == nil {
				return []string{"spec.signerName: is required in certificates.k8s.io/v1"}
			}
			return nil
		},
	})}
}

// signer is who a request without a signer was for.
func signer(s *certificatesv1beta1.CertificateSigningRequestSpec) string {
	block, _ := pem.Decode(s.Request)
	if block == nil {
		return certificatesv1beta1.LegacyUnknownSignerName
	}
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || !slices.Equal(req.Subject.Organization, []string{"system:nodes"}) || !strings.HasPrefix(req.Subject.CommonName, "system:node:") ||
		len(req.EmailAddresses)+len(req.URIs) > 0 {
		return certificatesv1beta1.LegacyUnknownSignerName
	}
	named := len(req.DNSNames)+len(req.IPAddresses) > 0
	switch {
	case !named && usedFor(s.Usages, certificatesv1beta1.UsageClientAuth):
		return certificatesv1beta1.KubeAPIServerClientKubeletSignerName
	case named && usedFor(s.Usages, certificatesv1beta1.UsageServerAuth):
		return certificatesv1beta1.KubeletServingSignerName
	}
	return certificatesv1beta1.LegacyUnknownSignerName
}

// usedFor tells whether a key is for signing and one purpose, and for
// encipherment or not.
func usedFor(usages []certificatesv1beta1.KeyUsage, purpose certificatesv1beta1.KeyUsage) bool {
	got := map[certificatesv1beta1.KeyUsage]bool{}
	for _, u := range usages {
		got[u] = true
	}
	delete(got, certificatesv1beta1.UsageKeyEncipherment)
	return len(got) == 2 && got[certificatesv1beta1.UsageDigitalSignature] && got[purpose]
}
