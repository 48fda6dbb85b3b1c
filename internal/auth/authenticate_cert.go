package auth

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/asn1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

// certCacheEntries bounds each of the two halves of the cache of verified certificates.
const certCacheEntries = 4096

// certVerifier verifies client certificates. A connection brings the same certificate with each request, and a
// verification costs more than the rest of a small request, so good ones are remembered for as long as the
// authorities stay the same and nothing in the chain expires.
type certVerifier struct {
	authorities func() *x509.CertPool
	now         func() time.Time
	verified    *bounded[[sha256.Size]byte, *verifiedCert]
}

type verifiedCert struct {
	pool                *x509.CertPool
	notBefore, notAfter time.Time
	user                user.Info // nil: the certificate has no common name
	err                 error     // the certificate is good but names nobody
}

func newCertVerifier(authorities func() *x509.CertPool, now func() time.Time) *certVerifier {
	return &certVerifier{authorities: authorities, now: now, verified: newBounded[[sha256.Size]byte, *verifiedCert](certCacheEntries)}
}

// verify gives nil and no error if there is no certificate or there are no authorities to verify it by.
func (v *certVerifier) verify(req *http.Request) (*verifiedCert, error) {
	if req.TLS == nil || len(req.TLS.PeerCertificates) == 0 {
		return nil, nil
	}
	pool := v.authorities()
	if pool == nil {
		return nil, nil
	}
	certs := req.TLS.PeerCertificates
	key := certsKey(certs)
	now := v.now()
	if known, ok := v.verified.get(key); ok && known.pool == pool && !now.Before(known.notBefore) && !now.After(known.notAfter) {
		return known, nil
	}
	options := x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if len(certs) > 1 {
		options.Intermediates = x509.NewCertPool()
		for _, cert := range certs[1:] {
			options.Intermediates.AddCert(cert)
		}
	}
	chains, err := certs[0].Verify(options)
	if err != nil {
		return nil, fmt.Errorf("verifying certificate %s failed: %w", certID(certs[0]), err)
	}
	known := &verifiedCert{pool: pool, notBefore: certs[0].NotBefore, notAfter: certs[0].NotAfter}
	for _, cert := range chains[0] {
		if cert.NotBefore.After(known.notBefore) {
			known.notBefore = cert.NotBefore
		}
		if cert.NotAfter.Before(known.notAfter) {
			known.notAfter = cert.NotAfter
		}
	}
	known.user, known.err = certUser(certs[0])
	v.verified.put(key, known)
	return known, nil
}

func certsKey(certs []*x509.Certificate) [sha256.Size]byte {
	if len(certs) == 1 {
		return sha256.Sum256(certs[0].Raw)
	}
	h := sha256.New()
	for _, cert := range certs {
		h.Write(cert.Raw)
	}
	var key [sha256.Size]byte
	h.Sum(key[:0])
	return key
}

// certUser reads the identity: common name, organizations, and the uid attribute where there is one.
func certUser(cert *x509.Certificate) (user.Info, error) {
	if cert.Subject.CommonName == "" {
		return nil, nil
	}
	var uids []string
	for _, name := range cert.Subject.Names {
		if !name.Type.Equal(asn1.X509UID()) {
			continue
		}
		uid, ok := name.Value.(string)
		if !ok {
			return nil, errors.New("unable to parse UID into a string")
		}
		uids = append(uids, uid)
	}
	info := &user.DefaultInfo{Name: cert.Subject.CommonName, Groups: cert.Subject.Organization}
	switch {
	case len(uids) > 1:
		return nil, fmt.Errorf("expected 1 UID, but found multiple: %v", uids)
	case len(uids) == 1 && uids[0] == "":
		return nil, errors.New("UID cannot be an empty string")
	case len(uids) == 1:
		info.UID = uids[0]
	}
	sum := sha256.Sum256(cert.Raw)
	info.Extra = map[string][]string{user.CredentialIDKey: {"X509SHA256=" + hex.EncodeToString(sum[:])}}
	return authenticated(info), nil
}

func certID(cert *x509.Certificate) string {
	colons := func(raw []byte) string {
		parts := make([]string, len(raw))
		for i, b := range raw {
			parts[i] = fmt.Sprintf("%02X", b)
		}
		return strings.Join(parts, ":")
	}
	return fmt.Sprintf("SN=%d, SKID=%s, AKID=%s", cert.SerialNumber, colons(cert.SubjectKeyId), colons(cert.AuthorityKeyId))
}

// certificate authenticates by the client certificate of the connection.
func (a *Authenticator) certificate(req *http.Request) (*authenticator.Response, bool, error) {
	if a.clients == nil {
		return nil, false, nil
	}
	known, err := a.clients.verify(req)
	if err != nil || known == nil {
		return nil, false, err
	}
	if known.err != nil || known.user == nil {
		return nil, false, known.err
	}
	resp, ok := a.forAnyAudience(req.Context(), known.user)
	return resp, ok, nil
}
