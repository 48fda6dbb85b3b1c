package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"math/big"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/asn1"
	"k8s.io/apiserver/pkg/authentication/user"
)

// testCA signs certificates at the time of newWorld.
type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newCA(t testing.TB, name string) *testCA {
	t.Helper()
	ca := &testCA{key: ecKey(t), pool: x509.NewCertPool()}
	ca.cert = signCert(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, ca.key.Public(), ca.key)
	ca.pool.AddCert(ca.cert)
	return ca
}

func (ca *testCA) roots() *x509.CertPool { return ca.pool }

func signCert(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	now := newWorld().now
	template.SerialNumber = big.NewInt(1)
	if template.NotBefore.IsZero() {
		template.NotBefore = now.Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = now.Add(time.Hour)
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (ca *testCA) client(t testing.TB, subject pkix.Name, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{Subject: subject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature}
	if change != nil {
		change(template)
	}
	return signCert(t, template, ca.cert, ecKey(t).Public(), ca.key)
}

func withCert(cert ...*x509.Certificate) *http.Request {
	return &http.Request{Header: http.Header{}, TLS: &tls.ConnectionState{PeerCertificates: cert}}
}

func TestClientCertificates(t *testing.T) {
	ca, other := newCA(t, "ours"), newCA(t, "theirs")
	ann := pkix.Name{CommonName: "ann", Organization: []string{"devs"}}
	now := newWorld().now
	uid := func(values ...any) pkix.Name {
		n := ann
		for _, v := range values {
			n.ExtraNames = append(n.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.X509UID(), Value: v})
		}
		return n
	}
	tests := []struct {
		name string
		cert *x509.Certificate
		want string // the cause of a 401; "" if good
	}{
		{"good", ca.client(t, ann, nil), ""},
		{"with a uid", ca.client(t, uid("u-1"), nil), ""},
		{"with two uids", ca.client(t, uid("u-1", "u-2"), nil), "expected 1 UID, but found multiple"},
		{"expired", ca.client(t, ann, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), "certificate has expired or is not yet valid"},
		{"not yet valid", ca.client(t, ann, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Minute) }), "certificate has expired or is not yet valid"},
		{"of another authority", other.client(t, ann, nil), "certificate signed by unknown authority"},
		{"of a server", ca.client(t, ann, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), "certificate specifies an incompatible key usage"},
	}
	a := newAuthenticator(t, newWorld(), ecKey(t), func(c *Config) { c.ClientCA = ca.roots })
	for _, test := range tests {
		for _, again := range []string{"", ", again"} { // the second time from the cache
			resp, err := a.Authenticate(withCert(test.cert))
			if test.want != "" {
				if !apierrors.IsUnauthorized(err) || !strings.Contains(errors.Unwrap(err).Error(), test.want) {
					t.Errorf("%s%s: %v because %v", test.name, again, err, errors.Unwrap(err))
				}
				continue
			}
			if err != nil {
				t.Errorf("%s%s: %v", test.name, again, errors.Unwrap(err))
				continue
			}
			sum := sha256.Sum256(test.cert.Raw)
			want := &user.DefaultInfo{Name: "ann", Groups: []string{"devs", "system:authenticated"}, Extra: map[string][]string{"authentication.kubernetes.io/credential-id": {"X509SHA256=" + hex.EncodeToString(sum[:])}}}
			if strings.Contains(test.name, "uid") {
				want.UID = "u-1"
			}
			if !reflect.DeepEqual(resp.User, user.Info(want)) {
				t.Errorf("%s%s: %+v", test.name, again, resp.User)
			}
		}
	}
	resp, err := a.Authenticate(withCert(ca.client(t, pkix.Name{Organization: []string{"devs"}}, nil)))
	if err != nil || resp.User.GetName() != user.Anonymous {
		t.Errorf("a certificate without a name: %+v %v", resp, err)
	}
}

func TestRememberedCertificatesEnd(t *testing.T) {
	w, ca, next := newWorld(), newCA(t, "ours"), newCA(t, "next")
	current := ca
	a := newAuthenticator(t, w, ecKey(t), func(c *Config) { c.ClientCA = func() *x509.CertPool { return current.pool } })
	req := withCert(ca.client(t, pkix.Name{CommonName: "ann"}, nil))
	if _, err := a.Authenticate(req); err != nil {
		t.Fatal(errors.Unwrap(err))
	}
	w.now = w.now.Add(2 * time.Hour)
	if _, err := a.Authenticate(req); err == nil {
		t.Error("good after it expired")
	}
	w.now = w.now.Add(-2 * time.Hour)
	current = next
	if _, err := a.Authenticate(req); err == nil {
		t.Error("good after its authority was taken away")
	}
}

func TestIntermediateCertificates(t *testing.T) {
	root := newCA(t, "root")
	mid := &testCA{key: ecKey(t)}
	mid.cert = signCert(t, &x509.Certificate{Subject: pkix.Name{CommonName: "mid"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, root.cert, mid.key.Public(), root.key)
	leaf := mid.client(t, pkix.Name{CommonName: "ann"}, nil)
	a := newAuthenticator(t, newWorld(), ecKey(t), func(c *Config) { c.ClientCA = root.roots })
	if _, err := a.Authenticate(withCert(leaf, mid.cert)); err != nil {
		t.Error(errors.Unwrap(err))
	}
	if _, err := a.Authenticate(withCert(leaf)); err == nil {
		t.Error("good without the certificate in between")
	}
}

func TestAnonymousRequests(t *testing.T) {
	w, key := newWorld(), ecKey(t)
	open := newAuthenticator(t, w, key, nil)
	closed := newAuthenticator(t, w, key, func(c *Config) { c.RefuseAnonymous = true })
	resp, err := open.Authenticate(withCert())
	if err != nil || resp.User.GetName() != "system:anonymous" || !slices.Equal(resp.User.GetGroups(), []string{"system:unauthenticated"}) {
		t.Errorf("%+v %v", resp, err)
	}
	_, err = closed.Authenticate(withCert())
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Code != 401 || status.Status().Message != "Unauthorized" {
		t.Errorf("%v", err)
	}
	for _, header := range []string{"Basic YTpi", "Bearer", "Bearer  x", "Token x"} {
		if _, err := open.Authenticate(&http.Request{Header: http.Header{"Authorization": {header}}}); err != nil {
			t.Errorf("%q is not a bearer token, and got %v", header, err)
		}
	}
	if _, err := open.Authenticate(bearer("nonsense")); !apierrors.IsUnauthorized(err) {
		t.Errorf("a bad token got %v", err)
	}
}

func TestOneGoodCredentialIsEnough(t *testing.T) {
	w, key, ca, other := newWorld(), ecKey(t), newCA(t, "ours"), newCA(t, "theirs")
	a := newAuthenticator(t, w, key, func(c *Config) { c.ClientCA = ca.roots })
	req := withCert(other.client(t, pkix.Name{CommonName: "ann"}, nil))
	req.Header.Set("Authorization", "Bearer "+issue(t, newIssuer(t, w, key, nil), authenticationv1.TokenRequestSpec{}).Response.Status.Token)
	if resp, err := a.Authenticate(req); err != nil || resp.User.GetName() != "system:serviceaccount:n:app" {
		t.Errorf("%+v %v", resp, err)
	}
}

func TestFrontProxies(t *testing.T) {
	ca, proxies := newCA(t, "ours"), newCA(t, "proxies")
	headers := func() http.Header {
		return http.Header{"X-Remote-User": {"ben"}, "X-Remote-Group": {"a", "b"}, "X-Remote-Uid": {"7"}, "X-Remote-Extra-Example.org%2frole": {"r"}, "Accept": {"*/*"}}
	}
	a := newAuthenticator(t, newWorld(), ecKey(t), func(c *Config) {
		c.ClientCA, c.ProxyCA, c.ProxyNames = ca.roots, proxies.roots, []string{"front-proxy-client"}
	})
	good := withCert(proxies.client(t, pkix.Name{CommonName: "front-proxy-client"}, nil))
	good.Header = headers()
	resp, err := a.Authenticate(good)
	want := &user.DefaultInfo{Name: "ben", UID: "7", Groups: []string{"a", "b", "system:authenticated"}, Extra: map[string][]string{"example.org/role": {"r"}}}
	if err != nil || !reflect.DeepEqual(resp.User, user.Info(want)) {
		t.Errorf("%+v %v", resp, err)
	}
	if len(good.Header) != 1 {
		t.Errorf("left in the request: %v", good.Header)
	}
	wrongName := withCert(proxies.client(t, pkix.Name{CommonName: "other"}, nil))
	wrongName.Header = headers()
	if _, err := a.Authenticate(wrongName); !apierrors.IsUnauthorized(err) {
		t.Errorf("a proxy of another name: %v", err)
	}
	ordinary := withCert(ca.client(t, pkix.Name{CommonName: "ann"}, nil))
	ordinary.Header = headers()
	if resp, err := a.Authenticate(ordinary); err != nil || resp.User.GetName() != "ann" || len(ordinary.Header) != 1 {
		t.Errorf("a user with a proxy's headers: %+v %v %v", resp, err, ordinary.Header)
	}
}

func TestWebSocketTokens(t *testing.T) {
	a := newAuthenticator(t, newWorld(), ecKey(t), func(c *Config) { c.StaticTokens = map[string]*user.DefaultInfo{"fixed": {Name: "ann"}} })
	token := func(s string) string { return websocketTokenPrefix + base64.RawURLEncoding.EncodeToString([]byte(s)) }
	tests := []struct{ protocols, who, left string }{
		{token("fixed") + ", v4.channel.k8s.io", "ann", "v4.channel.k8s.io"},
		{"v4.channel.k8s.io", user.Anonymous, "v4.channel.k8s.io"},
		{token("fixed"), "", ""},
		{token("wrong") + ", v4.channel.k8s.io", "", ""},
		{token("fixed") + "," + token("fixed") + ",x", "", ""},
		{websocketTokenPrefix + "!!, x", "", ""},
	}
	for _, test := range tests {
		req := &http.Request{Header: http.Header{"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"websocket"}, websocketProtocols: {test.protocols}}}
		resp, err := a.Authenticate(req)
		if test.who == "" {
			if err == nil {
				t.Errorf("%s: accepted", test.protocols)
			}
			continue
		}
		if err != nil || resp.User.GetName() != test.who || req.Header.Get(websocketProtocols) != test.left {
			t.Errorf("%s: %+v %v, left %q", test.protocols, resp, err, req.Header.Get(websocketProtocols))
		}
	}
}

func BenchmarkClientCertificate(b *testing.B) {
	ca := newCA(b, "ours")
	a := newAuthenticator(b, newWorld(), ecKey(b), func(c *Config) { c.ClientCA = ca.roots })
	req := withCert(ca.client(b, pkix.Name{CommonName: "ann"}, nil))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(req); err != nil {
			b.Fatal(err)
		}
	}
}
