package pki

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"os"
	"time"
)

// shortLife is from when on the backdating is taken off the end of a certificate's life: for a shorter one it would
// be too much of it.
const shortLife = 8 * time.Hour

// SignRequest signs what a certificate signing request asks for, with the usages given and no others, as the signers of
// certificates.k8s.io do after approval. Names are taken from the request, extensions are not. It is valid from five
// minutes ago, for clients whose clocks are behind, and does not outlive the authority. The request's own signature is
// verified.
func (a *Authority) SignRequest(request *x509.CertificateRequest, usage x509.KeyUsage, extended []x509.ExtKeyUsage, life time.Duration) ([]byte, error) {
	who := request.Subject.CommonName
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("sign certificate of %q: its request is not signed by its key: %w", who, err)
	}
	if a.key == nil {
		return nil, fmt.Errorf("sign certificate of %q: the key of authority %q is not here", who, a.cert.Subject.CommonName)
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	now := a.now()
	leaf := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               request.Subject,
		DNSNames:              request.DNSNames,
		IPAddresses:           request.IPAddresses,
		EmailAddresses:        request.EmailAddresses,
		URIs:                  request.URIs,
		KeyUsage:              usage,
		ExtKeyUsage:           extended,
		BasicConstraintsValid: true,
		NotBefore:             now.Add(-skew).UTC(),
		NotAfter:              now.Add(life).UTC(),
	}
	if life >= shortLife {
		leaf.NotAfter = leaf.NotAfter.Add(-skew)
	}
	if end := a.cert.NotAfter; leaf.NotAfter.After(end) {
		leaf.NotAfter = end
	}
	if !leaf.NotBefore.Before(a.cert.NotAfter) {
		return nil, fmt.Errorf("sign certificate of %q: the signer has expired: NotAfter=%v", who, a.cert.NotAfter)
	}
	if !now.Before(a.cert.NotAfter) {
		return nil, fmt.Errorf("sign certificate of %q: refusing to sign a certificate that expired in the past: NotAfter=%v", who, a.cert.NotAfter)
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.cert, request.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of %q: %w", who, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of %q: %w", who, err)
	}
	return encodeCert(cert), nil
}

// LoadAuthority reads an authority of the administrator's from two files, for --cluster-signing-cert-file and its kin.
func LoadAuthority(certFile, keyFile string, now func() time.Time) (*Authority, error) {
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate authority: %w", err)
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate authority: %w", err)
	}
	certs, err := parseCerts(certPEM)
	if err != nil {
		return nil, fmt.Errorf("load certificate authority %s: %w", certFile, err)
	}
	if len(certs) > 1 {
		return nil, fmt.Errorf("load certificate authority %s: expected one certificate, found %d", certFile, len(certs))
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("load certificate authority %s: %w", keyFile, err)
	}
	if !sameKey(certs[0], key) {
		return nil, fmt.Errorf("load certificate authority: %s is not the key of %s", keyFile, certFile)
	}
	return newAuthority(certs, key, now), nil
}
