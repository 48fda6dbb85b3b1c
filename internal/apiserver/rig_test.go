package apiserver

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/all"
	"github.com/monohull/monohull/internal/auth"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/pipeline"
	"github.com/monohull/monohull/internal/store"
)

const (
	adminToken = "admin-token" // may do anything
	guestToken = "guest-token" // may do nothing
	issuer     = "https://kubernetes.default.svc"
)

var testStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// rig is a server with everything real but the store and the clock.
type rig struct {
	t      testing.TB
	clock  *clocktesting.FakePassiveClock
	store  *store.Memory
	caches *cache.Set
	client *client.Client
	tokens *auth.TokenIssuer
	server *Server
	ca     *testCA
	sick   atomic.Bool // the check named "moody" fails
	log    bytes.Buffer
}

type onlyAdmin struct{}

func (onlyAdmin) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetUser().GetName() == "admin" || !a.IsResourceRequest() && a.GetPath() == "/healthz" {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

func (onlyAdmin) RulesFor(context.Context, user.Info, string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	return nil, nil, false, nil
}

// seen looks bound objects up in the caches.
type seen struct{ c *client.Client }

func found[T api.Object](c *client.Client, ns, name string) T {
	o, _ := client.Of[T](c).Get(ns, name)
	return o
}

func (s seen) ServiceAccount(ns, name string) *corev1.ServiceAccount {
	return found[*corev1.ServiceAccount](s.c, ns, name)
}
func (s seen) Pod(ns, name string) *corev1.Pod       { return found[*corev1.Pod](s.c, ns, name) }
func (s seen) Secret(ns, name string) *corev1.Secret { return found[*corev1.Secret](s.c, ns, name) }
func (s seen) Node(name string) *corev1.Node         { return found[*corev1.Node](s.c, "", name) }

type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newCA(t testing.TB) *testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &testCA{key: key, pool: x509.NewCertPool()}
	ca.cert = ca.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, key.Public())
	ca.pool.AddCert(ca.cert)
	return ca
}

func (ca *testCA) sign(t testing.TB, tmpl *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
	t.Helper()
	tmpl.SerialNumber, tmpl.NotBefore, tmpl.NotAfter = big.NewInt(time.Now().UnixNano()), testStart.Add(-time.Hour), testStart.AddDate(50, 0, 0)
	parent := ca.cert
	if parent == nil {
		parent = tmpl
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (ca *testCA) client(t testing.TB, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := ca.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, key.Public())
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key, Leaf: c}
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, clock: clocktesting.NewFakePassiveClock(testStart), store: store.NewMemory(), ca: newCA(t)}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	table := all.Table()
	r.caches = cache.NewSet(cache.Config{Store: r.store, Table: table, Indexes: client.Indexes(table), Logger: log})
	lookup := seen{client.New(table, r.caches, nil, nil)}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if r.tokens, err = auth.NewTokenIssuer(auth.IssuerConfig{Issuer: issuer, Audiences: []string{issuer}, Key: key, Now: r.clock.Now}, lookup); err != nil {
		t.Fatal(err)
	}
	authn, err := auth.NewAuthenticator(auth.Config{
		ClientCA: func() *x509.CertPool { return r.ca.pool }, Issuers: []string{issuer}, Audiences: []string{issuer},
		TokenKeys: []crypto.PublicKey{key.Public()}, Now: r.clock.Now,
		StaticTokens: map[string]*user.DefaultInfo{adminToken: {Name: "admin"}, guestToken: {Name: "guest", Groups: []string{"guests"}}},
	}, lookup)
	if err != nil {
		t.Fatal(err)
	}
	writer := pipeline.New(pipeline.Config{
		Table: table, Store: r.store, Caches: r.caches, Authorizer: onlyAdmin{}, Clock: r.clock, Logger: log, Tokens: r.tokens,
		Services: pipeline.NewAllocator(netip.MustParsePrefix("10.0.0.0/24"), pipeline.DefaultNodePorts),
	})
	r.client = client.New(table, r.caches, writer, &user.DefaultInfo{Name: "admin"})
	r.server = New(Config{
		Table: table, Caches: r.caches, Writer: writer, Authenticator: authn, Authorizer: onlyAdmin{}, Rules: onlyAdmin{},
		Checks: []Check{
			{Name: "ping", Probe: func(context.Context) error { return nil }},
			{Name: "moody", Probe: func(context.Context) error {
				if r.sick.Load() {
					return errors.New("a secret reason")
				}
				return nil
			}},
			{Name: "late", ReadyOnly: true, Probe: func(context.Context) error { return nil }},
		},
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a_metric 1\n") }),
		Address: "127.0.0.1:6443", Clock: r.clock, Logger: slog.New(slog.NewTextHandler(&r.log, nil)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.caches.Run(ctx); err != nil {
			t.Errorf("the caches ended: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	<-r.caches.Loaded()
	return r
}

// answer is a response as a test looks at it.
type answer struct {
	t    testing.TB
	what string
	code int
	head http.Header
	body []byte
}

// do sends a request as admin. headers are pairs.
func (r *rig) do(method, path, body string, headers ...string) answer {
	r.t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+adminToken)
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i+1] == "" {
			req.Header.Del(headers[i])
		} else {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	r.server.ServeHTTP(w, req)
	return answer{r.t, method + " " + path, w.Code, w.Result().Header, w.Body.Bytes()}
}

func (r *rig) get(path string, headers ...string) answer {
	r.t.Helper()
	return r.do("GET", path, "", headers...)
}

// ok checks the code and reads the JSON body.
func (a answer) ok(code int, into any) answer {
	a.t.Helper()
	if a.code != code {
		a.t.Fatalf("%s: want %d, got %d: %s", a.what, code, a.code, a.body)
	}
	if into != nil {
		if err := json.Unmarshal(a.body, into); err != nil {
			a.t.Fatalf("%s: %v: %s", a.what, err, a.body)
		}
	}
	return a
}

// fails checks that the answer is a Status of failure.
func (a answer) fails(code int, reason metav1.StatusReason, parts ...string) metav1.Status {
	a.t.Helper()
	var s metav1.Status
	a.ok(code, &s)
	if s.Kind != "Status" || s.APIVersion != "v1" || s.Status != metav1.StatusFailure || s.Reason != reason || s.Code != int32(code) {
		a.t.Fatalf("%s: the status is %s", a.what, a.body)
	}
	for _, p := range parts {
		if !strings.Contains(s.Message, p) {
			a.t.Errorf("%s: the message %q does not say %q", a.what, s.Message, p)
		}
	}
	return s
}

func (a answer) header(name, want string) answer {
	a.t.Helper()
	if got := a.head.Get(name); got != want {
		a.t.Errorf("%s: header %s is %q, want %q", a.what, name, got, want)
	}
	return a
}

// serve runs the server on loopback and returns its address and how to dial.
func (r *rig) serve() *httptest.Server {
	r.t.Helper()
	ts := httptest.NewUnstartedServer(r.server)
	ts.EnableHTTP2 = true
	ts.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	ts.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(io.Discard, nil), slog.LevelError)
	ts.StartTLS()
	r.t.Cleanup(func() {
		r.server.drain()
		ts.CloseClientConnections()
		ts.Close()
	})
	return ts
}

func (r *rig) clientset(media string) (kubernetes.Interface, *rest.Config) {
	r.t.Helper()
	c := &rest.Config{Host: r.serve().URL, BearerToken: adminToken, TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: -1}
	c.ContentType, c.AcceptContentTypes = media, media
	cs, err := kubernetes.NewForConfig(c)
	if err != nil {
		r.t.Fatal(err)
	}
	return cs, c
}

func (r *rig) configMap(name string, labels map[string]string, change ...func(*corev1.ConfigMap)) *corev1.ConfigMap {
	r.t.Helper()
	obj := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: labels}, Data: map[string]string{"k": "v"},
	}
	for _, f := range change {
		f(obj)
	}
	cm, err := client.Of[*corev1.ConfigMap](r.client).Create(r.t.Context(), obj)
	if err != nil {
		r.t.Fatal(err)
	}
	return cm
}

func (r *rig) label(name, key, value string) *corev1.ConfigMap {
	r.t.Helper()
	cm, err := client.Of[*corev1.ConfigMap](r.client).Modify(r.t.Context(), "ns", name, "", func(c *corev1.ConfigMap) error {
		metav1.SetMetaDataLabel(&c.ObjectMeta, key, value)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return cm
}

func (r *rig) delete(name string) {
	r.t.Helper()
	if err := client.Of[*corev1.ConfigMap](r.client).Delete(r.t.Context(), "ns", name, metav1.DeleteOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

const maps = "/api/v1/namespaces/ns/configmaps"

func named(name string) string {
	return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + name + `"},"data":{"k":"v"}}`
}
