package certificates

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
)

// legacyUnknown is the signer of requests older than signer names. Nothing limits what it signs.
const legacyUnknown = "kubernetes.io/legacy-unknown"

const (
	nodeGroup = "system:nodes"
	nodeUser  = "system:node:"

	// minLife is the least a requester gets, twice what certificates are backdated.
	minLife = 10 * time.Minute
)

// fits says in an error why a signer does not take a request. Known is false for a signer that is not built in.
func fits(signer string, request *x509.CertificateRequest, usages []certificatesv1.KeyUsage) (known bool, err error) {
	switch signer {
	case certificatesv1.KubeAPIServerClientSignerName:
		return true, fitsClient(usages)
	case certificatesv1.KubeAPIServerClientKubeletSignerName:
		return true, fitsKubeletClient(request, usages)
	case certificatesv1.KubeletServingSignerName:
		return true, fitsKubeletServing(request, usages)
	case legacyUnknown:
		return true, nil
	}
	return false, nil
}

func fitsClient(usages []certificatesv1.KeyUsage) error {
	for _, usage := range usages {
		switch usage {
		case certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment:
		default:
			return fmt.Errorf("invalid usage for client certificate: %s", usage)
		}
	}
	if !slices.Contains(usages, certificatesv1.UsageClientAuth) {
		return fmt.Errorf("missing required usage for client certificate: %s", certificatesv1.UsageClientAuth)
	}
	return nil
}

func fitsKubeletClient(request *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch {
	case !ofNodes(request):
		return errors.New("subject organization is not system:nodes")
	case len(request.DNSNames) > 0:
		return errors.New("DNS subjectAltNames are not allowed")
	case len(request.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed")
	case len(request.IPAddresses) > 0:
		return errors.New("IP subjectAltNames are not allowed")
	case len(request.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	case !ofNode(request):
		return errors.New("subject common name does not begin with system:node:")
	}
	return exactly(usages, certificatesv1.UsageClientAuth)
}

func fitsKubeletServing(request *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch {
	case !ofNodes(request):
		return errors.New("subject organization is not system:nodes")
	case len(request.DNSNames) == 0 && len(request.IPAddresses) == 0:
		return errors.New("DNS or IP subjectAltName is required")
	case len(request.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed")
	case len(request.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	}
	if err := exactly(usages, certificatesv1.UsageServerAuth); err != nil {
		return err
	}
	if !ofNode(request) {
		return errors.New("subject common name does not begin with system:node:")
	}
	return nil
}

func ofNodes(request *x509.CertificateRequest) bool {
	return slices.Equal(request.Subject.Organization, []string{nodeGroup})
}

func ofNode(request *x509.CertificateRequest) bool {
	return strings.HasPrefix(request.Subject.CommonName, nodeUser)
}

// exactly wants the usages of a kubelet's certificate; key encipherment, which only RSA keys have a use for, may be
// missing.
func exactly(usages []certificatesv1.KeyUsage, purpose certificatesv1.KeyUsage) error {
	want := []string{string(purpose), string(certificatesv1.UsageDigitalSignature), string(certificatesv1.UsageKeyEncipherment)}
	slices.Sort(want)
	var have []string
	for _, usage := range usages {
		have = append(have, string(usage))
	}
	slices.Sort(have)
	have = slices.Compact(have)
	if slices.Equal(have, want) {
		return nil
	}
	without := slices.DeleteFunc(slices.Clone(want), func(s string) bool { return s == string(certificatesv1.UsageKeyEncipherment) })
	if slices.Equal(have, without) {
		return nil
	}
	return fmt.Errorf("usages did not match %v", want)
}

// life is how long a certificate lasts: what was asked for, within bounds.
func life(asked *int32, most time.Duration) time.Duration {
	if asked == nil {
		return most
	}
	return min(max(time.Duration(*asked)*time.Second, minLife), most)
}

// keyUsages are the usages in the words of x509.
func keyUsages(usages []certificatesv1.KeyUsage) (x509.KeyUsage, []x509.ExtKeyUsage, error) {
	var basic x509.KeyUsage
	var extended []x509.ExtKeyUsage
	var unknown []certificatesv1.KeyUsage
	for _, usage := range usages {
		if bit, ok := basicUsage(usage); ok {
			basic |= bit
		} else if ext, ok := extendedUsage(usage); ok {
			extended = append(extended, ext)
		} else {
			unknown = append(unknown, usage)
		}
	}
	if len(unknown) > 0 {
		return 0, nil, fmt.Errorf("unrecognized usage values: %q", unknown)
	}
	slices.Sort(extended)
	return basic, slices.Compact(extended), nil
}

func basicUsage(usage certificatesv1.KeyUsage) (x509.KeyUsage, bool) {
	switch usage {
	case certificatesv1.UsageSigning, certificatesv1.UsageDigitalSignature:
		return x509.KeyUsageDigitalSignature, true
	case certificatesv1.UsageContentCommitment:
		return x509.KeyUsageContentCommitment, true
	case certificatesv1.UsageKeyEncipherment:
		return x509.KeyUsageKeyEncipherment, true
	case certificatesv1.UsageKeyAgreement:
		return x509.KeyUsageKeyAgreement, true
	case certificatesv1.UsageDataEncipherment:
		return x509.KeyUsageDataEncipherment, true
	case certificatesv1.UsageCertSign:
		return x509.KeyUsageCertSign, true
	case certificatesv1.UsageCRLSign:
		return x509.KeyUsageCRLSign, true
	case certificatesv1.UsageEncipherOnly:
		return x509.KeyUsageEncipherOnly, true
	case certificatesv1.UsageDecipherOnly:
		return x509.KeyUsageDecipherOnly, true
	}
	return 0, false
}

func extendedUsage(usage certificatesv1.KeyUsage) (x509.ExtKeyUsage, bool) {
	switch usage {
	case certificatesv1.UsageAny:
		return x509.ExtKeyUsageAny, true
	case certificatesv1.UsageServerAuth:
		return x509.ExtKeyUsageServerAuth, true
	case certificatesv1.UsageClientAuth:
		return x509.ExtKeyUsageClientAuth, true
	case certificatesv1.UsageCodeSigning:
		return x509.ExtKeyUsageCodeSigning, true
	case certificatesv1.UsageEmailProtection, certificatesv1.UsageSMIME:
		return x509.ExtKeyUsageEmailProtection, true
	case certificatesv1.UsageIPsecEndSystem:
		return x509.ExtKeyUsageIPSECEndSystem, true
	case certificatesv1.UsageIPsecTunnel:
		return x509.ExtKeyUsageIPSECTunnel, true
	case certificatesv1.UsageIPsecUser:
		return x509.ExtKeyUsageIPSECUser, true
	case certificatesv1.UsageTimestamping:
		return x509.ExtKeyUsageTimeStamping, true
	case certificatesv1.UsageOCSPSigning:
		return x509.ExtKeyUsageOCSPSigning, true
	case certificatesv1.UsageMicrosoftSGC:
		return x509.ExtKeyUsageMicrosoftServerGatedCrypto, true
	case certificatesv1.UsageNetscapeSGC:
		return x509.ExtKeyUsageNetscapeServerGatedCrypto, true
	}
	return 0, false
}
