package certificates

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers/controllertest"
	"github.com/monohull/monohull/internal/pki"
)

const (
	clientSigner  = certificatesv1.KubeAPIServerClientSignerName
	kubeletSigner = certificatesv1.KubeAPIServerClientKubeletSignerName
	servingSigner = certificatesv1.KubeletServingSignerName
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// asked is a request in PEM, by its key.
func asked(t *testing.T, key crypto.Signer, template *x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func kubelet(name string) pkix.Name {
	return pkix.Name{CommonName: "system:node:" + name, Organization: []string{"system:nodes"}}
}

func usages(words ...certificatesv1.KeyUsage) []certificatesv1.KeyUsage { return words }

func TestWhatSignersTake(t *testing.T) {
	link, _ := url.Parse("https://x")
	address := []net.IP{net.IPv4(192, 0, 2, 1)}
	client, serving := usages("digital signature", "client auth"), usages("digital signature", "key encipherment", "server auth")
	tests := []struct {
		name, signer string
		request      x509.CertificateRequest
		usages       []certificatesv1.KeyUsage
		want         string
	}{
		{"client", clientSigner, x509.CertificateRequest{Subject: pkix.Name{CommonName: "ann"}, DNSNames: []string{"x"}}, usages("client auth", "key encipherment"), ""},
		{"client without purpose", clientSigner, x509.CertificateRequest{}, usages("digital signature"), "missing required usage for client certificate: client auth"},
		{"client as server", clientSigner, x509.CertificateRequest{}, usages("client auth", "server auth"), "invalid usage for client certificate: server auth"},
		{"kubelet", kubeletSigner, x509.CertificateRequest{Subject: kubelet("a")}, client, ""},
		{"kubelet with RSA", kubeletSigner, x509.CertificateRequest{Subject: kubelet("a")}, usages("key encipherment", "digital signature", "client auth"), ""},
		{"kubelet, too much", kubeletSigner, x509.CertificateRequest{Subject: kubelet("a")}, append(slices.Clone(client), "cert sign"), "usages did not match [client auth digital signature key encipherment]"},
		{"kubelet of another group", kubeletSigner, x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:a", Organization: []string{"system:nodes", "system:masters"}}}, client, "subject organization is not system:nodes"},
		{"kubelet of another name", kubeletSigner, x509.CertificateRequest{Subject: pkix.Name{CommonName: "ann", Organization: []string{"system:nodes"}}}, client, "subject common name does not begin with system:node:"},
		{"kubelet with a name", kubeletSigner, x509.CertificateRequest{Subject: kubelet("a"), DNSNames: []string{"a"}}, client, "DNS subjectAltNames are not allowed"},
		{"kubelet with an address", kubeletSigner, x509.CertificateRequest{Subject: kubelet("a"), IPAddresses: address}, client, "IP subjectAltNames are not allowed"},
		{"kubelet with mail", kubeletSigner, x509.CertificateRequest{Subject: kubelet("a"), EmailAddresses: []string{"a@b"}}, client, "Email subjectAltNames are not allowed"},
		{"kubelet with a URI", kubeletSigner, x509.CertificateRequest{Subject: kubelet("a"), URIs: []*url.URL{link}}, client, "URI subjectAltNames are not allowed"},
		{"serving", servingSigner, x509.CertificateRequest{Subject: kubelet("a"), IPAddresses: address}, serving, ""},
		{"serving, nameless", servingSigner, x509.CertificateRequest{Subject: kubelet("a")}, serving, "DNS or IP subjectAltName is required"},
		{"serving as client", servingSigner, x509.CertificateRequest{Subject: kubelet("a"), DNSNames: []string{"a"}}, client, "usages did not match [digital signature key encipherment server auth]"},
		{"serving of another name", servingSigner, x509.CertificateRequest{Subject: pkix.Name{CommonName: "a", Organization: []string{"system:nodes"}}, DNSNames: []string{"a"}}, serving, "subject common name does not begin with system:node:"},
		{"anything", legacyUnknown, x509.CertificateRequest{}, usages("cert sign"), ""},
	}
	for _, test := range tests {
		known, err := fits(test.signer, &test.request, test.usages)
		if !known || (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
			t.Errorf("%s: got %v, expected %q", test.name, err, test.want)
		}
	}
	if known, _ := fits("example.org/mine", &x509.CertificateRequest{}, nil); known {
		t.Error("a foreign signer is known")
	}
}

func TestLife(t *testing.T) {
	seconds := func(n int32) *int32 { return &n }
	for _, test := range []struct {
		asked *int32
		want  time.Duration
	}{{nil, DefaultLife}, {seconds(3600), time.Hour}, {seconds(60), 10 * time.Minute}, {seconds(1 << 30), DefaultLife}} {
		if got := life(test.asked, DefaultLife); got != test.want {
			t.Errorf("%v: %s, expected %s", test.asked, got, test.want)
		}
	}
}

func TestKeyUsages(t *testing.T) {
	basic, extended, err := keyUsages(usages("signing", "server auth", "client auth", "crl sign", "s/mime", "email protection"))
	if err != nil || basic != x509.KeyUsageDigitalSignature|x509.KeyUsageCRLSign ||
		!slices.Equal(extended, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageEmailProtection}) {
		t.Errorf("%v %v %v", basic, extended, err)
	}
	if _, _, err := keyUsages(usages("flying")); err == nil || err.Error() != `unrecognized usage values: ["flying"]` {
		t.Error(err)
	}
}

func TestStale(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	authority := authorityAt(t, now.Add(-48*time.Hour))
	key := newKey(t)
	block, _ := pem.Decode(asked(t, key, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "a"}}))
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	short, err := authority.SignRequest(request, 0, nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	long, err := authority.SignRequest(request, 0, nil, 1000*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ago := func(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }
	is := func(kind certificatesv1.RequestConditionType, d time.Duration) certificatesv1.CertificateSigningRequestCondition {
		return certificatesv1.CertificateSigningRequestCondition{Type: kind, LastUpdateTime: ago(d)}
	}
	tests := []struct {
		name       string
		age        time.Duration
		conditions []certificatesv1.CertificateSigningRequestCondition
		cert       []byte
		want       bool
	}{
		{"waiting", 23 * time.Hour, nil, nil, false},
		{"waiting for a day", 25 * time.Hour, nil, nil, true},
		{"denied just now", 25 * time.Hour, []certificatesv1.CertificateSigningRequestCondition{is("Denied", time.Minute)}, nil, false},
		{"denied", time.Hour, []certificatesv1.CertificateSigningRequestCondition{is("Denied", 61*time.Minute)}, nil, true},
		{"failed", time.Hour, []certificatesv1.CertificateSigningRequestCondition{is("Approved", time.Minute), is("Failed", 61*time.Minute)}, nil, true},
		{"approved", time.Hour, []certificatesv1.CertificateSigningRequestCondition{is("Approved", 61*time.Minute)}, nil, false},
		{"approved, never issued", time.Hour, []certificatesv1.CertificateSigningRequestCondition{is("Approved", 25*time.Hour)}, nil, true},
		{"issued", time.Hour, []certificatesv1.CertificateSigningRequestCondition{is("Approved", 61*time.Minute)}, long, true},
		{"issued just now", time.Hour, []certificatesv1.CertificateSigningRequestCondition{is("Approved", time.Minute)}, long, false},
		{"issued and expired", time.Hour, []certificatesv1.CertificateSigningRequestCondition{is("Approved", time.Minute)}, short, true},
	}
	for _, test := range tests {
		r := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: ago(test.age)}}
		r.Status.Conditions, r.Status.Certificate = test.conditions, test.cert
		if got := stale(r, now); (got != "") != test.want {
			t.Errorf("%s: %q", test.name, got)
		}
	}
}

func authorityAt(t *testing.T, now time.Time) *pki.Authority {
	t.Helper()
	b, err := pki.Ensure(t.TempDir(), pki.Options{Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return b.CA
}

// rights allows by user and subresource.
type rights map[string]string

func (r rights) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetVerb() == "create" && a.GetAPIGroup() == "certificates.k8s.io" && a.GetResource() == "certificatesigningrequests" && a.GetSubresource() == r[a.GetUser().GetName()] {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

func TestRequestsAreApprovedSignedAndDeleted(t *testing.T) {
	c := controllertest.New(t)
	authority := authorityAt(t, c.Clock.Now())
	deps := c.Deps()
	c.Run(Controllers(deps, Config{Signers: BuiltIn(authority), Authorizer: rights{"test": "nodeclient"}})...)
	key, day := newKey(t), int32(24*3600)
	controllertest.Create(c, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "node"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			SignerName: kubeletSigner, Usages: usages("digital signature", "client auth"), ExpirationSeconds: &day,
			Request: asked(t, key, &x509.CertificateRequest{Subject: kubelet("two")}), Username: "test",
		},
	})
	get := func(name string) *certificatesv1.CertificateSigningRequest {
		r, _ := controllertest.Get[*certificatesv1.CertificateSigningRequest](c, "", name)
		return r
	}
	c.Eventually("the certificate is issued", func() bool { return len(get("node").Status.Certificate) > 0 })
	r := get("node")
	if len(r.Status.Conditions) != 1 || r.Status.Conditions[0].Reason != "AutoApproved" || !strings.Contains(r.Status.Conditions[0].Message, "kubelet client certificate after SubjectAccessReview") {
		t.Errorf("%+v", r.Status.Conditions)
	}
	block, _ := pem.Decode(r.Status.Certificate)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	now := c.Clock.Now()
	if _, err := cert.Verify(x509.VerifyOptions{Roots: authority.Pool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if !cert.NotBefore.Equal(now.Add(-5*time.Minute)) || !cert.NotAfter.Equal(now.Add(24*time.Hour-5*time.Minute)) || cert.KeyUsage != x509.KeyUsageDigitalSignature || cert.IsCA ||
		cert.Subject.CommonName != "system:node:two" || !key.PublicKey.Equal(cert.PublicKey) {
		t.Errorf("%s-%s %v %v", cert.NotBefore, cert.NotAfter, cert.KeyUsage, cert.Subject)
	}

	controllertest.Create(c, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "bad"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			SignerName: clientSigner, Usages: usages("server auth"),
			Request: asked(t, key, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "ann"}}),
		},
	})
	if _, err := client.Of[*certificatesv1.CertificateSigningRequest](c.Client).Modify(c.Context(), "", "bad", "approval", func(m *certificatesv1.CertificateSigningRequest) error {
		m.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: "Approved", Status: corev1.ConditionTrue, Reason: "Test", LastUpdateTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now)}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("the bad request failed", func() bool {
		r := get("bad")
		return len(r.Status.Conditions) == 2 && r.Status.Conditions[1].Reason == "SignerValidationFailure" && r.Status.Conditions[1].Message == "invalid usage for client certificate: server auth"
	})
	c.Clock.SetTime(now.Add(61 * time.Minute))
	controllertest.Modify(c, "", "node", func(m *certificatesv1.CertificateSigningRequest) { m.Labels = map[string]string{"look": "again"} })
	c.Eventually("the request is gone", func() bool { return get("node") == nil })
}
