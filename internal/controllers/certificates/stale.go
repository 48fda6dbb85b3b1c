package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// How long requests are kept: those that came to an end, and those that wait for somebody.
const (
	keepDecided = time.Hour
	keepWaiting = 24 * time.Hour
)

// stale says why a request is to be deleted; nothing if it is to be kept.
func stale(r *certificatesv1.CertificateSigningRequest, now time.Time) string {
	older := func(since metav1.Time, limit time.Duration) bool {
		return !since.IsZero() && now.Sub(since.Time) > limit
	}
	issued := len(r.Status.Certificate) > 0
	if len(r.Status.Conditions) == 0 && older(r.CreationTimestamp, keepWaiting) {
		return "nobody decided on it"
	}
	for i := range r.Status.Conditions {
		c := &r.Status.Conditions[i]
		switch c.Type {
		case certificatesv1.CertificateDenied:
			if older(c.LastUpdateTime, keepDecided) {
				return "it was denied"
			}
		case certificatesv1.CertificateFailed:
			if older(c.LastUpdateTime, keepDecided) {
				return "it failed"
			}
		case certificatesv1.CertificateApproved:
			switch {
			case issued && older(c.LastUpdateTime, keepDecided):
				return "the certificate was issued"
			case issued && expired(r.Status.Certificate, now):
				return "the certificate expired"
			case !issued && older(c.LastUpdateTime, keepWaiting):
				return "it was approved, but nobody issued the certificate"
			}
		}
	}
	return ""
}

func expired(bundle []byte, now time.Time) bool {
	block, _ := pem.Decode(bundle)
	if block == nil {
		return false
	}
	certs, err := x509.ParseCertificates(block.Bytes)
	return err == nil && len(certs) > 0 && now.After(certs[0].NotAfter)
}

// decided says what was, if anything, and whether signing failed.
func decided(r *certificatesv1.CertificateSigningRequest) (approved, denied, failed bool) {
	for i := range r.Status.Conditions {
		switch c := &r.Status.Conditions[i]; c.Type {
		case certificatesv1.CertificateApproved:
			approved = true
		case certificatesv1.CertificateDenied:
			denied = true
		case certificatesv1.CertificateFailed:
			failed = true
		}
	}
	return approved, denied, failed
}
