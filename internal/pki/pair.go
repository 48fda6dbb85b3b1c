package pki

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Pair is a certificate with its key, in two files, renewed when two thirds of its life are over: at start, and
// then whenever it is asked for. It is safe for concurrent use.
type Pair struct {
	authority *Authority
	template  *x509.Certificate // what the certificate is to say
	path      string            // without .crt and .key

	current atomic.Pointer[tls.Certificate]
	mu      sync.Mutex // held to renew
}

// ensurePair loads the pair or makes it. One that is worn, was signed by another authority, or lacks a name is
// made again, unless the authority cannot sign and the pair is still good.
func ensurePair(a *Authority, dir, name string, template *x509.Certificate) (*Pair, error) {
	p := &Pair{authority: a, template: template, path: filepath.Join(dir, name)}
	loaded, err := p.load()
	if err == nil {
		p.current.Store(loaded)
		if a.CanSign() && p.worn(loaded) {
			err = p.renew()
		}
		return p, err
	}
	if !a.CanSign() {
		return nil, fmt.Errorf("load certificate %s.crt: %w; the key of authority %q is not here to make another", p.path, err, a.cert.Subject.CommonName)
	}
	return p, p.renew()
}

// load gives the pair of the files if it can serve.
func (p *Pair) load() (*tls.Certificate, error) {
	certPEM, err := os.ReadFile(p.path + ".crt")
	if err != nil {
		return nil, err
	}
	keyPEM, err := os.ReadFile(p.path + ".key")
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	leaf := pair.Leaf
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: p.authority.pool, CurrentTime: p.authority.now(), KeyUsages: p.template.ExtKeyUsage}); err != nil {
		return nil, err
	}
	if leaf.Subject.CommonName != p.template.Subject.CommonName || !sameElements(leaf.Subject.Organization, p.template.Subject.Organization) {
		return nil, fmt.Errorf("it is for %q", leaf.Subject.CommonName)
	}
	for _, name := range p.template.DNSNames {
		if !slices.Contains(leaf.DNSNames, name) {
			return nil, fmt.Errorf("it lacks the name %q", name)
		}
	}
	for _, ip := range p.template.IPAddresses {
		if !slices.ContainsFunc(leaf.IPAddresses, ip.Equal) {
			return nil, fmt.Errorf("it lacks the address %s", ip)
		}
	}
	return &pair, nil
}

func sameElements(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

func (p *Pair) worn(pair *tls.Certificate) bool {
	life := pair.Leaf.NotAfter.Sub(pair.Leaf.NotBefore)
	return !p.authority.now().Before(pair.Leaf.NotBefore.Add(life / 3 * 2))
}

// renew makes a new key and certificate and writes both.
func (p *Pair) renew() error {
	key, err := newKey()
	if err != nil {
		return err
	}
	cert, err := p.authority.sign(p.template, key.Public(), leafLife)
	if err != nil {
		return err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	// A crash in between leaves a pair that does not match, which the next start makes again.
	if err := writeFile(p.path+".key", keyPEM, keyMode, false); err != nil {
		return err
	}
	if err := writeFile(p.path+".crt", encodeCert(cert), certMode, false); err != nil {
		return err
	}
	p.current.Store(&tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert})
	return nil
}

// Current is the pair as it is now, renewed first if it is worn. When renewal fails, what there is serves on: an
// error is given only once it has expired.
func (p *Pair) Current() (*tls.Certificate, error) {
	pair := p.current.Load()
	if !p.authority.CanSign() || !p.worn(pair) {
		return pair, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pair = p.current.Load()
	if !p.worn(pair) {
		return pair, nil
	}
	if err := p.renew(); err != nil && p.authority.now().After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("renew expired certificate %s.crt: %w", p.path, err)
	}
	return p.current.Load(), nil
}

// GetCertificate serves with the pair; for tls.Config.
func (p *Pair) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.Current() }

// GetClientCertificate shows the pair to a server; for tls.Config.
func (p *Pair) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return p.Current()
}

// Expires is when the pair as it is now does.
func (p *Pair) Expires() time.Time { return p.current.Load().Leaf.NotAfter }

// CertFile and KeyFile are where it is.
func (p *Pair) CertFile() string { return p.path + ".crt" }
func (p *Pair) KeyFile() string  { return p.path + ".key" }

// PEM is the certificate and the key as files hold them.
func (p *Pair) PEM() (cert, key []byte, err error) {
	pair, err := p.Current()
	if err != nil {
		return nil, nil, err
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("read key of certificate %s.crt: a %T cannot sign", p.path, pair.PrivateKey)
	}
	if key, err = encodeKey(signer); err != nil {
		return nil, nil, err
	}
	return encodeCert(pair.Leaf), key, nil
}

// serverTemplate is a certificate for a server by these names; those that are addresses become such.
func serverTemplate(commonName string, groups, names []string, ips []net.IP) *x509.Certificate {
	t := clientTemplate(commonName, groups...)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, ip := range ips {
		t.IPAddresses = addIP(t.IPAddresses, ip)
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = addIP(t.IPAddresses, ip)
		} else if name != "" && !slices.Contains(t.DNSNames, name) {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
	return t
}

func addIP(ips []net.IP, ip net.IP) []net.IP {
	if ip == nil || ip.IsUnspecified() || slices.ContainsFunc(ips, ip.Equal) {
		return ips
	}
	return append(ips, ip)
}
