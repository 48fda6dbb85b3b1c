package reload

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/utils/clock"
)

func authority(t *testing.T, name string) ([]byte, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), cert
}

func put(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestAuthoritiesFollowTheirFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.crt")
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if _, err := LoadAuthorities(path, log); err == nil {
		t.Error("a file that is not there was loaded")
	}
	onePEM, one := authority(t, "one")
	twoPEM, two := authority(t, "two")
	put(t, path, []byte("nothing"))
	if _, err := LoadAuthorities(path, log); err == nil {
		t.Error("a file without certificates was loaded")
	}
	put(t, path, onePEM)
	_, own := authority(t, "own")
	a, err := LoadAuthorities(path, log, own)
	if err != nil {
		t.Fatal(err)
	}
	trusts := func(c *x509.Certificate) bool {
		_, err := c.Verify(x509.VerifyOptions{Roots: a.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		return err == nil
	}
	looked := make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Watch(ctx, path, clock.RealClock{}, func(context.Context) { a.look(); looked <- struct{}{} })
	}()
	<-looked
	before := a.Pool()
	if !trusts(own) || !trusts(one) || trusts(two) || a.Pool() != before {
		t.Error("the first bundle is not in force")
	}
	put(t, path, []byte("broken"))
	<-looked
	put(t, path, append(append([]byte{}, onePEM...), twoPEM...))
	for deadline := time.After(10 * time.Second); !trusts(two); {
		select {
		case <-looked:
		case <-deadline:
			t.Fatal("the new bundle never came into force")
		}
	}
	if !trusts(own) || !trusts(one) || a.Pool() == before {
		t.Error("the second bundle is not in force")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
