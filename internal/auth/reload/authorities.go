package reload

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"k8s.io/utils/clock"
)

// Authorities is a bundle of certificate authorities in a file, as it is now. A file that cannot be read or holds no
// certificate leaves the bundle before it in force.
type Authorities struct {
	path    string
	also    []*x509.Certificate
	log     *slog.Logger
	current atomic.Pointer[bundle]
	refused []byte // what was complained of last; only the watcher looks at it
}

type bundle struct {
	pem  []byte
	pool *x509.CertPool
}

// LoadAuthorities reads the bundle for the first time. also are trusted whatever the file says: the cluster's own.
func LoadAuthorities(path string, log *slog.Logger, also ...*x509.Certificate) (*Authorities, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load certificate authorities: %w", err)
	}
	b, err := parseBundle(data, also)
	if err != nil {
		return nil, fmt.Errorf("load certificate authorities %s: %w", path, err)
	}
	a := &Authorities{path: path, also: also, log: log}
	a.current.Store(b)
	return a, nil
}

// Pool is a new one whenever the file changes.
func (a *Authorities) Pool() *x509.CertPool { return a.current.Load().pool }

// PEM is the file's content.
func (a *Authorities) PEM() []byte { return a.current.Load().pem }

// Run follows the file until ctx ends.
func (a *Authorities) Run(ctx context.Context, c clock.WithTicker) error {
	return Watch(ctx, a.path, c, func(context.Context) { a.look() })
}

func (a *Authorities) look() {
	data, err := os.ReadFile(a.path)
	if err != nil {
		if a.refused == nil {
			a.log.Error("auth: certificate authorities cannot be read; those read before stay in force", "path", a.path, "error", err)
		}
		a.refused = []byte{}
		return
	}
	if bytes.Equal(data, a.current.Load().pem) {
		a.refused = nil
		return
	}
	b, err := parseBundle(data, a.also)
	if err != nil {
		if !bytes.Equal(a.refused, data) {
			a.log.Error("auth: certificate authorities are refused; those read before stay in force", "path", a.path, "error", err)
		}
		a.refused = data
		return
	}
	a.refused = nil
	a.current.Store(b)
	a.log.Info("auth: certificate authorities were read again", "path", a.path)
}

func parseBundle(data []byte, also []*x509.Certificate) (*bundle, error) {
	b := &bundle{pem: data, pool: x509.NewCertPool()}
	for _, cert := range also {
		b.pool.AddCert(cert)
	}
	found := false
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		b.pool.AddCert(cert)
		found = true
	}
	if !found {
		return nil, errors.New("data does not contain any valid RSA or ECDSA certificates")
	}
	return b, nil
}
