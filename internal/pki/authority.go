package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 365 * 24 * time.Hour
	// skew is how far certificates are backdated, for clients whose clocks are behind.
	skew = 5 * time.Minute
)

// Authority signs certificates. One whose key is kept elsewhere can only vouch for those that exist.
type Authority struct {
	cert  *x509.Certificate
	chain []*x509.Certificate // all of its file: an authority may be replaced by adding the next before it
	key   crypto.Signer       // nil: the key is elsewhere
	pem   []byte
	pool  *x509.CertPool
	now   func() time.Time
}

// ensureAuthority loads name.crt and name.key or makes them. A certificate that is there is never written over.
func ensureAuthority(dir, name, commonName string, now func() time.Time) (*Authority, error) {
	certPath, keyPath := filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	data, err := os.ReadFile(certPath)
	if errors.Is(err, fs.ErrNotExist) {
		return makeAuthority(certPath, keyPath, commonName, now)
	}
	if err != nil {
		return nil, fmt.Errorf("load certificate authority: %w", err)
	}
	certs, err := parseCerts(data)
	if err != nil {
		return nil, fmt.Errorf("load certificate authority %s: %w; restore the file, or remove it and %s to start with a new authority that nobody trusts yet", certPath, err, keyPath)
	}
	if now().After(certs[0].NotAfter) {
		return nil, fmt.Errorf("load certificate authority %s: it expired on %s; put a renewed certificate of the same key in its place", certPath, certs[0].NotAfter.Format(time.DateOnly))
	}
	if !certs[0].IsCA {
		return nil, fmt.Errorf("load certificate authority %s: the certificate of %q is not an authority's", certPath, certs[0].Subject.CommonName)
	}
	a := newAuthority(certs, nil, now)
	keyData, err := os.ReadFile(keyPath)
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load certificate authority: %w", err)
	}
	if a.key, err = parseKey(keyData); err != nil {
		return nil, fmt.Errorf("load certificate authority %s: %w", keyPath, err)
	}
	if !sameKey(a.cert, a.key) {
		return nil, fmt.Errorf("load certificate authority: %s is not the key of %s", keyPath, certPath)
	}
	return a, nil
}

func makeAuthority(certPath, keyPath, commonName string, now func() time.Time) (*Authority, error) {
	// A key without a certificate is what a crash between the two writes leaves, or a key brought along: use it.
	var key crypto.Signer
	keyData, err := os.ReadFile(keyPath)
	switch {
	case err == nil:
		if key, err = parseKey(keyData); err != nil {
			return nil, fmt.Errorf("make certificate authority from %s: %w", keyPath, err)
		}
	case errors.Is(err, fs.ErrNotExist):
		if key, err = newKey(); err != nil {
			return nil, err
		}
		if keyData, err = encodeKey(key); err != nil {
			return nil, err
		}
		if err := writeFile(keyPath, keyData, keyMode, true); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("make certificate authority: %w", err)
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: commonName},
		DNSNames:              []string{commonName},
		NotBefore:             now().Add(-skew).UTC(),
		NotAfter:              now().Add(authorityLife).UTC(),
		KeyUsage:              x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make certificate authority %q: %w", commonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make certificate authority %q: %w", commonName, err)
	}
	a := newAuthority([]*x509.Certificate{cert}, key, now)
	return a, writeFile(certPath, a.pem, certMode, true)
}

func newAuthority(certs []*x509.Certificate, key crypto.Signer, now func() time.Time) *Authority {
	a := &Authority{cert: certs[0], chain: certs, key: key, pem: encodeCert(certs...), pool: x509.NewCertPool(), now: now}
	for _, cert := range certs {
		a.pool.AddCert(cert)
	}
	return a
}

// Certificate is the authority's own.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// PEM is its bundle, as clients keep it.
func (a *Authority) PEM() []byte { return a.pem }

// Pool trusts the authority; it is the same pool every time.
func (a *Authority) Pool() *x509.CertPool { return a.pool }

// CanSign is false for an authority whose key is elsewhere.
func (a *Authority) CanSign() bool { return a.key != nil }

// KeyHash pins the authority in a join token: "sha256:" and the hash of its public key.
func (a *Authority) KeyHash() string {
	sum := sha256.Sum256(a.cert.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// sign makes a leaf from the template's subject, names and usages. It does not outlive the authority.
func (a *Authority) sign(template *x509.Certificate, public crypto.PublicKey, life time.Duration) (*x509.Certificate, error) {
	who := template.Subject.CommonName
	if a.key == nil {
		return nil, fmt.Errorf("sign certificate of %q: the key of authority %q is not here; sign it where the key is and put it in place", who, a.cert.Subject.CommonName)
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	leaf := *template
	leaf.SerialNumber = serial
	leaf.NotBefore = a.now().Add(-skew).UTC()
	leaf.NotAfter = a.now().Add(life).UTC()
	if leaf.NotBefore.Before(a.cert.NotBefore) {
		leaf.NotBefore = a.cert.NotBefore
	}
	if leaf.NotAfter.After(a.cert.NotAfter) {
		leaf.NotAfter = a.cert.NotAfter
	}
	if leaf.KeyUsage == 0 {
		leaf.KeyUsage = x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature
	}
	leaf.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, &leaf, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of %q: %w", who, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of %q: %w", who, err)
	}
	return cert, nil
}

// SignClient makes a key and a client certificate for a user.
func (a *Authority) SignClient(user string, groups []string, life time.Duration) (certPEM, keyPEM []byte, err error) {
	key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	cert, err := a.sign(clientTemplate(user, groups...), key.Public(), life)
	if err != nil {
		return nil, nil, err
	}
	if keyPEM, err = encodeKey(key); err != nil {
		return nil, nil, err
	}
	return encodeCert(cert), keyPEM, nil
}

// clientTemplate is a certificate by which a client shows to be a user in groups. The order of groups is kept.
func clientTemplate(user string, groups ...string) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

func serialNumber() (*big.Int, error) {
	most := new(big.Int).Lsh(big.NewInt(1), 63)
	n, err := rand.Int(rand.Reader, most.Sub(most, big.NewInt(2)))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil
}
