package pki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// clock is a time that tests set.
type clock struct{ t time.Time }

func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }

func newClock() *clock { return &clock{time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)} }

func options(c *clock) Options {
	return Options{NodeName: "node-1", NodeIPs: []net.IP{net.IPv4(192, 0, 2, 7)}, ExtraSANs: []string{"api.example.org", "198.51.100.4"}, Clock: c.now}
}

func mustEnsure(t testing.TB, dir string, o Options) *Bundle {
	t.Helper()
	b, err := Ensure(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(filepath.Join(dir, "pki"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, "pki", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(data)
	}
	return files
}

func TestEnsureMakesEverythingOnceAndKeepsIt(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	mustEnsure(t, dir, options(c))
	first := snapshot(t, dir)
	for _, name := range []string{
		"ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key", "sa.pub", "apiserver.crt", "apiserver.key",
		"kubelet.crt", "kubelet.key", "kubelet-client.crt", "kubelet-client.key", "admin.crt", "admin.key",
		"apiserver-kubelet-client.crt", "apiserver-kubelet-client.key", "front-proxy-client.crt", "front-proxy-client.key",
	} {
		if first[name] == "" {
			t.Errorf("%s was not made", name)
		}
	}
	if len(first) != 18 {
		t.Errorf("%d files, expected 18 and no temporary ones", len(first))
	}
	for name := range first {
		info, err := os.Stat(filepath.Join(dir, "pki", name))
		if err != nil {
			t.Fatal(err)
		}
		want := os.FileMode(0o644)
		if strings.HasSuffix(name, ".key") {
			want = 0o600
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, expected %o", name, info.Mode().Perm(), want)
		}
	}
	c.advance(24 * time.Hour)
	mustEnsure(t, dir, options(c))
	for name, data := range snapshot(t, dir) {
		if data != first[name] {
			t.Errorf("%s was changed by the second start", name)
		}
	}
}

func TestServingCertificateNames(t *testing.T) {
	b := mustEnsure(t, t.TempDir(), options(newClock()))
	pair, err := b.APIServer.Current()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		"node-1", "localhost", "127.0.0.1", "::1", "10.96.0.1", "192.0.2.7", "api.example.org", "198.51.100.4"} {
		if err := pair.Leaf.VerifyHostname(name); err != nil {
			t.Errorf("API server is not known as %s: %v", name, err)
		}
	}
	kubelet, _ := b.Kubelet.Current()
	if kubelet.Leaf.Subject.CommonName != "system:node:node-1" || !slices.Equal(kubelet.Leaf.Subject.Organization, []string{"system:nodes"}) {
		t.Errorf("kubelet serves as %v", kubelet.Leaf.Subject)
	}
	if err := kubelet.Leaf.VerifyHostname("192.0.2.7"); err != nil {
		t.Error(err)
	}
}

func TestRenewal(t *testing.T) {
	tests := []struct {
		name    string
		change  func(t *testing.T, dir string, c *clock, o *Options)
		renewed []string
	}{
		{"two thirds of a life are over", func(_ *testing.T, _ string, c *clock, _ *Options) { c.advance(leafLife / 3 * 2) },
			[]string{"apiserver", "kubelet", "kubelet-client", "admin", "apiserver-kubelet-client", "front-proxy-client"}},
		{"expired", func(_ *testing.T, _ string, c *clock, _ *Options) { c.advance(leafLife * 2) },
			[]string{"apiserver", "kubelet", "kubelet-client", "admin", "apiserver-kubelet-client", "front-proxy-client"}},
		{"half a life is over", func(_ *testing.T, _ string, c *clock, _ *Options) { c.advance(leafLife / 2) }, nil},
		{"a certificate is gone", func(t *testing.T, dir string, _ *clock, _ *Options) { remove(t, dir, "admin.crt") }, []string{"admin"}},
		{"a key is cut short", func(t *testing.T, dir string, _ *clock, _ *Options) { truncate(t, dir, "apiserver.key") }, []string{"apiserver"}},
		{"the server has another name", func(_ *testing.T, _ string, _ *clock, o *Options) { o.ExtraSANs = []string{"other.example.org"} }, []string{"apiserver"}},
		{"the node has another address", func(_ *testing.T, _ string, _ *clock, o *Options) { o.NodeIPs = []net.IP{net.IPv4(192, 0, 2, 8)} }, []string{"apiserver", "kubelet"}},
		{"the proxies' authority is gone", func(t *testing.T, dir string, _ *clock, _ *Options) {
			remove(t, dir, "front-proxy-ca.crt")
			remove(t, dir, "front-proxy-ca.key")
		}, []string{"front-proxy-ca", "front-proxy-client"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir, c := t.TempDir(), newClock()
			o := options(c)
			mustEnsure(t, dir, o)
			before := snapshot(t, dir)
			test.change(t, dir, c, &o)
			mustEnsure(t, dir, o)
			for name, data := range snapshot(t, dir) {
				base, ok := strings.CutSuffix(name, ".crt")
				if !ok {
					continue
				}
				if changed, want := data != before[name], slices.Contains(test.renewed, base); changed != want {
					t.Errorf("%s renewed: %v, expected %v", name, changed, want)
				}
			}
		})
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, "pki", name)); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Truncate(filepath.Join(dir, "pki", name), 40); err != nil {
		t.Fatal(err)
	}
}

func TestServingCertificateIsRenewedWhileRunning(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	b := mustEnsure(t, dir, options(c))
	get := b.ServerTLS().GetCertificate
	first, _ := get(nil)
	c.advance(leafLife / 2)
	if again, _ := get(nil); again != first {
		t.Fatal("renewed at half of its life")
	}
	c.advance(leafLife / 4)
	second, err := get(nil)
	if err != nil || second == first {
		t.Fatalf("not renewed at three quarters of its life: %v", err)
	}
	// The next start finds it.
	again := mustEnsure(t, dir, options(c))
	loaded, _ := again.APIServer.Current()
	if !loaded.Leaf.Equal(second.Leaf) {
		t.Fatal("the renewed certificate was not stored")
	}
}

func TestForeignAuthorityIsUsedAndNotTouched(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c := newClock()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "example root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: c.t.Add(-time.Hour), NotAfter: c.t.Add(100 * 24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pkcs8, _ := x509.MarshalPKCS8PrivateKey(key)
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	put := func(t *testing.T, dir, name string, data []byte) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, "pki"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "pki", name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("with its key", func(t *testing.T) {
		dir := t.TempDir()
		put(t, dir, "ca.crt", certPEM)
		put(t, dir, "ca.key", keyPEM)
		b := mustEnsure(t, dir, options(c))
		if got := snapshot(t, dir); got["ca.crt"] != string(certPEM) || got["ca.key"] != string(keyPEM) {
			t.Error("the authority was changed")
		}
		pair, _ := b.APIServer.Current()
		if pair.Leaf.Issuer.CommonName != "example root" || pair.Leaf.NotAfter.After(template.NotAfter) {
			t.Errorf("signed by %q until %s", pair.Leaf.Issuer.CommonName, pair.Leaf.NotAfter)
		}
		if err := os.Remove(filepath.Join(dir, "pki", "ca.key")); err != nil {
			t.Fatal(err)
		}
		if b := mustEnsure(t, dir, options(c)); b.CA.CanSign() {
			t.Error("signs without a key")
		}
	})
	t.Run("without its key and without certificates", func(t *testing.T) {
		dir := t.TempDir()
		put(t, dir, "ca.crt", certPEM)
		if _, err := Ensure(dir, options(c)); err == nil || !strings.Contains(err.Error(), "the key of authority") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("expired", func(t *testing.T) {
		dir := t.TempDir()
		put(t, dir, "ca.crt", certPEM)
		late := newClock()
		late.advance(200 * 24 * time.Hour)
		if _, err := Ensure(dir, options(late)); err == nil || !strings.Contains(err.Error(), "expired") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("with another key", func(t *testing.T) {
		dir := t.TempDir()
		put(t, dir, "ca.crt", certPEM)
		other, _ := newKey()
		data, _ := encodeKey(other)
		put(t, dir, "ca.key", data)
		if _, err := Ensure(dir, options(c)); err == nil {
			t.Error("accepted")
		}
	})
}

func TestHandshakeWithAForeignClientCertificateSucceeds(t *testing.T) {
	c := newClock()
	b, other := mustEnsure(t, t.TempDir(), options(c)), mustEnsure(t, t.TempDir(), options(c))
	foreign := b.ClientTLS(other.Admin)
	foreign.ServerName = "kubernetes"
	foreign.Time, foreign.NextProtos = c.now, nil
	server := b.ServerTLS()
	server.Time = c.now
	a, z := net.Pipe()
	done := make(chan error, 1)
	var seen []*x509.Certificate
	go func() {
		conn := tls.Server(a, server)
		err := conn.Handshake()
		seen = conn.ConnectionState().PeerCertificates
		_ = conn.Close()
		done <- err
	}()
	client := tls.Client(z, foreign)
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, client)
	_ = client.Close()
	if err := <-done; err != nil {
		t.Fatalf("the server refused: %v", err)
	}
	if len(seen) == 0 {
		t.Fatal("the server does not see the client's certificate: it was not asked for, or not among those named")
	}
}

func TestSignClient(t *testing.T) {
	c := newClock()
	b := mustEnsure(t, t.TempDir(), options(c))
	certPEM, keyPEM, err := b.CA.SignClient("alice", []string{"devs", "admins"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: b.CA.Pool(), CurrentTime: c.t, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if pair.Leaf.Subject.CommonName != "alice" || !sameElements(pair.Leaf.Subject.Organization, []string{"devs", "admins"}) {
		t.Errorf("subject %v", pair.Leaf.Subject)
	}
	if got := pair.Leaf.NotAfter; !got.Equal(c.t.Add(time.Hour)) {
		t.Errorf("expires %s", got)
	}
}

func TestSignRequest(t *testing.T) {
	c := newClock()
	b := mustEnsure(t, t.TempDir(), options(c))
	key, _ := newKey()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:two", Organization: []string{"system:nodes"}}}, key)
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	data, err := b.CA.SignRequest(request, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := parseCerts(data)
	if err != nil || certs[0].Subject.CommonName != "system:node:two" || !sameKey(certs[0], key) {
		t.Errorf("%v %v", certs, err)
	}
	for asked, want := range map[time.Duration]time.Duration{
		time.Hour: time.Hour, 8 * time.Hour: 8*time.Hour - skew, leafLife: leafLife - skew, 20 * authorityLife: b.CA.cert.NotAfter.Sub(c.t),
	} {
		data, err := b.CA.SignRequest(request, 0, nil, asked)
		if err != nil {
			t.Fatal(err)
		}
		certs, _ := parseCerts(data)
		if cert := certs[0]; !cert.NotBefore.Equal(c.t.Add(-skew)) || !cert.NotAfter.Equal(c.t.Add(want)) || cert.KeyUsage != 0 || cert.IsCA {
			t.Errorf("asked for %s: from %s to %s", asked, cert.NotBefore, cert.NotAfter)
		}
	}
	loaded, err := LoadAuthority(filepath.Join(b.Dir, "ca.crt"), filepath.Join(b.Dir, "ca.key"), c.now)
	if err != nil || !loaded.Certificate().Equal(b.CA.Certificate()) || !loaded.CanSign() {
		t.Errorf("%v %v", loaded, err)
	}
	if _, err := LoadAuthority(filepath.Join(b.Dir, "ca.crt"), filepath.Join(b.Dir, "front-proxy-ca.key"), c.now); err == nil {
		t.Error("loaded a key that is another's")
	}
	request.Signature[8] ^= 1
	if _, err := b.CA.SignRequest(request, 0, nil, time.Hour); err == nil {
		t.Error("signed a request whose own signature is bad")
	}
}

func TestKubeconfig(t *testing.T) {
	b := mustEnsure(t, t.TempDir(), options(newClock()))
	data, err := b.AdminKubeconfig("https://192.0.2.7:6443")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "new", "kubeconfig")
	if err := WriteKubeconfig(path, data); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	config, err := clientcmd.Load(data)
	if err != nil {
		t.Fatal(err)
	}
	cluster, who := config.Clusters["monohull"], config.AuthInfos["monohull"]
	if config.CurrentContext != "monohull" || cluster == nil || who == nil {
		t.Fatalf("%+v", config)
	}
	if cluster.Server != "https://192.0.2.7:6443" || !bytes.Equal(cluster.CertificateAuthorityData, b.CA.PEM()) {
		t.Errorf("%+v", cluster)
	}
	if _, err := tls.X509KeyPair(who.ClientCertificateData, who.ClientKeyData); err != nil {
		t.Error(err)
	}
}

func TestAccountKeyRotation(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	old := mustEnsure(t, dir, options(c))
	remove(t, dir, "sa.key") // sa.pub still holds the former key
	b := mustEnsure(t, dir, options(c))
	if len(b.AccountPublicKeys) != 2 {
		t.Fatalf("%d keys verify tokens, expected the new and the former", len(b.AccountPublicKeys))
	}
	equal := func(a, b crypto.PublicKey) bool { return a.(interface{ Equal(crypto.PublicKey) bool }).Equal(b) }
	if !equal(b.AccountPublicKeys[0], b.AccountKey.Public()) || !equal(b.AccountPublicKeys[1], old.AccountKey.Public()) {
		t.Error("not the expected keys")
	}
	truncate(t, dir, "sa.key")
	if _, err := Ensure(dir, options(c)); err == nil {
		t.Error("a broken sa.key was accepted")
	}
}

func TestServerWithoutNode(t *testing.T) {
	o := options(newClock())
	o.NodeName = ""
	if b := mustEnsure(t, t.TempDir(), o); b.Kubelet != nil || b.Node != nil {
		t.Error("a server without a node has the certificates of one")
	}
}

func BenchmarkEnsureFresh(b *testing.B) {
	o := options(newClock())
	for b.Loop() {
		mustEnsure(b, b.TempDir(), o)
	}
}

func BenchmarkEnsureAgain(b *testing.B) {
	o, dir := options(newClock()), b.TempDir()
	mustEnsure(b, dir, o)
	for b.Loop() {
		mustEnsure(b, dir, o)
	}
}
