package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

const (
	testIssuer   = "https://kubernetes.default.svc.cluster.local"
	testAudience = testIssuer
)

// world is a Lookup and a clock.
type world struct {
	now      time.Time
	accounts map[string]*corev1.ServiceAccount
	pods     map[string]*corev1.Pod
	secrets  map[string]*corev1.Secret
	nodes    map[string]*corev1.Node
}

func (w *world) ServiceAccount(ns, name string) *corev1.ServiceAccount {
	return w.accounts[ns+"/"+name]
}
func (w *world) Pod(ns, name string) *corev1.Pod       { return w.pods[ns+"/"+name] }
func (w *world) Secret(ns, name string) *corev1.Secret { return w.secrets[ns+"/"+name] }
func (w *world) Node(name string) *corev1.Node         { return w.nodes[name] }
func (w *world) clock() time.Time                      { return w.now }

func objectMeta(ns, name string, uid types.UID) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: ns, Name: name, UID: uid}
}

// newWorld has the account n/app with a pod, a secret and a node.
func newWorld() *world {
	return &world{
		now:      time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC),
		accounts: map[string]*corev1.ServiceAccount{"n/app": {ObjectMeta: objectMeta("n", "app", "sa-uid")}},
		pods: map[string]*corev1.Pod{"n/web": {ObjectMeta: objectMeta("n", "web", "pod-uid"),
			Spec: corev1.PodSpec{ServiceAccountName: "app", NodeName: "one"}}},
		secrets: map[string]*corev1.Secret{"n/tok": {ObjectMeta: objectMeta("n", "tok", "secret-uid"), Type: corev1.SecretTypeServiceAccountToken}},
		nodes:   map[string]*corev1.Node{"one": {ObjectMeta: objectMeta("", "one", "node-uid")}},
	}
}

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newIssuer(t testing.TB, w *world, key crypto.Signer, change func(*IssuerConfig)) *TokenIssuer {
	t.Helper()
	config := IssuerConfig{Issuer: testIssuer, Audiences: []string{testAudience}, Key: key, Now: w.clock}
	if change != nil {
		change(&config)
	}
	issuer, err := NewTokenIssuer(config, w)
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

func newAuthenticator(t testing.TB, w *world, key crypto.Signer, change func(*Config)) *Authenticator {
	t.Helper()
	config := Config{Issuers: []string{testIssuer}, Audiences: []string{testAudience}, TokenKeys: []crypto.PublicKey{key.Public()}, Now: w.clock}
	if change != nil {
		change(&config)
	}
	a, err := NewAuthenticator(config, w)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func bindTo(kind, name string) *authenticationv1.BoundObjectReference {
	return &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: kind, Name: name}
}

func issue(t testing.TB, i *TokenIssuer, spec authenticationv1.TokenRequestSpec) *Issued {
	t.Helper()
	out, err := i.Request(t.Context(), "n", "app", &authenticationv1.TokenRequest{Spec: spec}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func payload(t *testing.T, token string) map[string]any {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func bearer(token string) *http.Request {
	return &http.Request{Header: http.Header{"Authorization": {"Bearer " + token}}}
}

func TestTokenClaims(t *testing.T) {
	w, key := newWorld(), ecKey(t)
	seconds := int64(warnTokenSeconds)
	out := issue(t, newIssuer(t, w, key, nil), authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds, BoundObjectRef: bindTo("Pod", "web")})
	claims := payload(t, out.Response.Status.Token)
	now := float64(w.now.Unix())
	want := map[string]any{
		"iss": testIssuer, "sub": "system:serviceaccount:n:app", "aud": []any{testAudience}, "jti": claims["jti"],
		"iat": now, "nbf": now, "exp": now + extendedTokenSeconds,
		"kubernetes.io": map[string]any{
			"namespace": "n", "serviceaccount": map[string]any{"name": "app", "uid": "sa-uid"}, "pod": map[string]any{"name": "web", "uid": "pod-uid"},
			"node": map[string]any{"name": "one", "uid": "node-uid"}, "warnafter": now + warnTokenSeconds,
		},
	}
	if !reflect.DeepEqual(claims, want) {
		t.Errorf("claims %v\nexpected %v", claims, want)
	}
	if !strings.Contains(string(mustHeader(t, out.Response.Status.Token)), mustKeyID(t, key)) {
		t.Error("the header does not name the key")
	}
	if got := out.Response.Status.ExpirationTimestamp.Time; !got.Equal(w.now.Add(warnTokenSeconds * time.Second)) {
		t.Errorf("the client is told %s", got)
	}
	if out.Response.Name != "app" || out.Response.UID != "sa-uid" || out.CredentialID != "JTI="+claims["jti"].(string) {
		t.Errorf("%+v", out)
	}
}

func mustHeader(t *testing.T, token string) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func mustKeyID(t *testing.T, key crypto.Signer) string {
	t.Helper()
	id, err := KeyID(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestTokenLifetime(t *testing.T) {
	tests := []struct {
		name       string
		seconds    int64
		bound      *authenticationv1.BoundObjectReference
		audiences  []string
		config     func(*IssuerConfig)
		lasts      int64
		told       int64
		warns      bool
		warning    string
		invalidity string
	}{
		{name: "default", lasts: 3600, told: 3600},
		{name: "asked", seconds: 7200, lasts: 7200, told: 7200},
		{name: "kubelet's", seconds: 3607, bound: bindTo("Pod", "web"), lasts: extendedTokenSeconds, told: 3607, warns: true},
		{name: "kubelet's, extension off", seconds: 3607, bound: bindTo("Pod", "web"), config: func(c *IssuerConfig) { c.KeepExpiration = true }, lasts: 3607, told: 3607},
		{name: "kubelet's, for others", seconds: 3607, bound: bindTo("Pod", "web"), audiences: []string{"vault"}, lasts: 3607, told: 3607},
		{name: "kubelet's seconds, not bound to a pod", seconds: 3607, lasts: 3607, told: 3607},
		{name: "clamped", seconds: 7200, config: func(c *IssuerConfig) { c.MaxExpiration = time.Hour }, lasts: 3600, told: 3600, warning: "requested expiration of 7200 seconds shortened to 3600 seconds"},
		{name: "too short", seconds: 599, invalidity: "may not specify a duration less than 10 minutes"},
		{name: "too long", seconds: 1<<32 + 1, invalidity: "may not specify a duration larger than 2^32 seconds"},
	}
	key := ecKey(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld()
			spec := authenticationv1.TokenRequestSpec{BoundObjectRef: test.bound, Audiences: test.audiences}
			if test.seconds != 0 {
				spec.ExpirationSeconds = &test.seconds
			}
			out, err := newIssuer(t, w, key, test.config).Request(t.Context(), "n", "app", &authenticationv1.TokenRequest{Spec: spec}, nil)
			if test.invalidity != "" {
				if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), test.invalidity) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			claims := payload(t, out.Response.Status.Token)
			if got := int64(claims["exp"].(float64)) - w.now.Unix(); got != test.lasts {
				t.Errorf("lasts %d, expected %d", got, test.lasts)
			}
			if got := int64(out.Response.Status.ExpirationTimestamp.Sub(w.now).Seconds()); got != test.told {
				t.Errorf("told %d, expected %d", got, test.told)
			}
			if _, warns := claims["kubernetes.io"].(map[string]any)["warnafter"]; warns != test.warns {
				t.Errorf("warnafter: %v", warns)
			}
			if strings.Join(out.Warnings, "") != test.warning {
				t.Errorf("warnings %q", out.Warnings)
			}
		})
	}
}

func TestTokenRequestRefusals(t *testing.T) {
	issuer := newIssuer(t, newWorld(), ecKey(t), nil)
	ref := bindTo("Pod", "web")
	ref.UID = "other"
	tests := []struct {
		name, account string
		request       authenticationv1.TokenRequest
		is            func(error) bool
	}{
		{"no account", "none", authenticationv1.TokenRequest{}, apierrors.IsNotFound},
		{"another name", "app", authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, apierrors.IsInvalid},
		{"another namespace", "app", authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "x"}}, apierrors.IsInvalid},
		{"another uid", "app", authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{UID: "x"}}, apierrors.IsConflict},
		{"no pod", "app", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bindTo("Pod", "x")}}, apierrors.IsNotFound},
		{"another pod's uid", "app", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: ref}}, apierrors.IsConflict},
		{"no such kind", "app", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bindTo("ConfigMap", "x")}}, apierrors.IsBadRequest},
	}
	for _, test := range tests {
		if _, err := issuer.Request(t.Context(), "n", test.account, &test.request, nil); !test.is(err) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	w := newWorld()
	w.pods["n/web"].Spec.ServiceAccountName = "other"
	if _, err := newIssuer(t, w, ecKey(t), nil).Request(t.Context(), "n", "app", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bindTo("Pod", "web")}}, nil); !apierrors.IsBadRequest(err) {
		t.Errorf("pod of another account: %v", err)
	}
}

func TestTokenChecks(t *testing.T) {
	deleted := func(w *world, ago time.Duration) *metav1.Time { return &metav1.Time{Time: w.now.Add(-ago)} }
	tests := []struct {
		name   string
		bound  *authenticationv1.BoundObjectReference
		change func(*world, *IssuerConfig, *Config) // before the token is made
		later  func(*world)                         // after it was made, and used once where it is good
		want   string                               // "" if good
	}{
		{name: "good"},
		{name: "good, bound to a pod", bound: bindTo("Pod", "web")},
		{name: "good, bound to a node", bound: bindTo("Node", "one")},
		{name: "good, bound to a secret", bound: bindTo("Secret", "tok")},
		{name: "expired", later: func(w *world) { w.now = w.now.Add(3600*time.Second + 61*time.Second) }, want: "service account token has expired"},
		{name: "expired less than a minute ago", later: func(w *world) { w.now = w.now.Add(3600*time.Second + 30*time.Second) }},
		{name: "from the future", later: func(w *world) { w.now = w.now.Add(-2 * time.Minute) }, want: "service account token is not valid yet"},
		{name: "account deleted", later: func(w *world) { delete(w.accounts, "n/app") }, want: `serviceaccounts "app" not found`},
		{name: "account recreated", later: func(w *world) {
			w.accounts["n/app"] = &corev1.ServiceAccount{ObjectMeta: objectMeta("n", "app", "new")}
		}, want: "service account UID (new) does not match claim (sa-uid)"},
		{name: "account in deletion", later: func(w *world) { w.accounts["n/app"].DeletionTimestamp = deleted(w, 2*time.Minute) }, want: "service account n/app has been deleted"},
		{name: "pod gone", bound: bindTo("Pod", "web"), later: func(w *world) { delete(w.pods, "n/web") }, want: "service account token has been invalidated"},
		{name: "pod recreated", bound: bindTo("Pod", "web"), later: func(w *world) { w.pods["n/web"].UID = "new" }, want: "pod UID (new) does not match service account pod ref claim (pod-uid)"},
		{name: "pod shutting down", bound: bindTo("Pod", "web"), later: func(w *world) { w.pods["n/web"].DeletionTimestamp = deleted(w, 30*time.Second) }},
		{name: "pod past its grace", bound: bindTo("Pod", "web"), later: func(w *world) { w.pods["n/web"].DeletionTimestamp = deleted(w, 61*time.Second) }, want: "service account token has been invalidated"},
		{name: "pod's node gone", bound: bindTo("Pod", "web"), later: func(w *world) { delete(w.nodes, "one") }},
		{name: "node gone", bound: bindTo("Node", "one"), later: func(w *world) { delete(w.nodes, "one") }, want: "service account token has been invalidated"},
		{name: "node recreated", bound: bindTo("Node", "one"), later: func(w *world) { w.nodes["one"].UID = "new" }, want: "node UID (new)"},
		{name: "secret gone", bound: bindTo("Secret", "tok"), later: func(w *world) { delete(w.secrets, "n/tok") }, want: "service account token has been invalidated"},
		{name: "secret recreated", bound: bindTo("Secret", "tok"), later: func(w *world) { w.secrets["n/tok"].UID = "new" }, want: "secret UID (new)"},
		{name: "another issuer", change: func(_ *world, i *IssuerConfig, _ *Config) { i.Issuer = "https://elsewhere" }, want: "invalid bearer token"},
		{name: "another audience", change: func(_ *world, i *IssuerConfig, _ *Config) { i.Audiences = []string{"vault"} },
			want: `token audiences ["vault"] is invalid for the target audiences ["` + testAudience + `"]`},
		{name: "one audience of several", change: func(_ *world, i *IssuerConfig, _ *Config) { i.Audiences = []string{"vault", testAudience} }},
		{name: "another key", change: func(_ *world, i *IssuerConfig, _ *Config) { i.Key = ecKey(t) }, want: "invalid signature, no keys found"},
		{name: "a former issuer", change: func(_ *world, i *IssuerConfig, c *Config) {
			i.Issuer = "https://former"
			c.Issuers = append(c.Issuers, "https://former")
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, key := newWorld(), ecKey(t)
			ic := IssuerConfig{Issuer: testIssuer, Audiences: []string{testAudience}, Key: key, Now: w.clock}
			ac := Config{Issuers: []string{testIssuer}, Audiences: []string{testAudience}, TokenKeys: []crypto.PublicKey{ecKey(t).Public(), key.Public()}, Now: w.clock}
			if test.change != nil {
				test.change(w, &ic, &ac)
			}
			issuer, err := NewTokenIssuer(ic, w)
			if err != nil {
				t.Fatal(err)
			}
			a, err := NewAuthenticator(ac, w)
			if err != nil {
				t.Fatal(err)
			}
			token := issue(t, issuer, authenticationv1.TokenRequestSpec{BoundObjectRef: test.bound}).Response.Status.Token
			if test.later != nil {
				if _, err := a.Authenticate(bearer(token)); err != nil {
					t.Fatalf("not good to begin with: %v", errors.Unwrap(err))
				}
				test.later(w)
			}
			resp, err := a.Authenticate(bearer(token))
			if test.want == "" {
				if err != nil || resp.User.GetName() != "system:serviceaccount:n:app" || !slices.Equal(resp.Audiences, []string{testAudience}) {
					t.Errorf("%+v %v", resp, errors.Unwrap(err))
				}
				return
			}
			if !apierrors.IsUnauthorized(err) || err.Error() != "Unauthorized" || !strings.Contains(errors.Unwrap(err).Error(), test.want) {
				t.Errorf("got %v because %v, expected %q", err, errors.Unwrap(err), test.want)
			}
		})
	}
}

func TestForgedTokens(t *testing.T) {
	w, key := newWorld(), ecKey(t)
	a := newAuthenticator(t, w, key, nil)
	good := issue(t, newIssuer(t, w, key, nil), authenticationv1.TokenRequestSpec{}).Response.Status.Token
	parts := strings.Split(good, ".")
	enc := base64.RawURLEncoding.EncodeToString
	changed := strings.Replace(string(must(base64.RawURLEncoding.DecodeString(parts[1]))), `"name":"app"`, `"name":"root"`, 1)
	public, _ := json.Marshal(jose.JSONWebKey{Key: key.Public()})
	hmac, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: append(public, make([]byte, 32)...)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, _ := hmac.Sign(must(base64.RawURLEncoding.DecodeString(parts[1])))
	symmetric, _ := signed.CompactSerialize()
	for name, token := range map[string]string{
		"changed claims":            parts[0] + "." + enc([]byte(changed)) + "." + parts[2],
		"no algorithm":              enc([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".",
		"signed by the public key":  symmetric,
		"signature of zeros":        parts[0] + "." + parts[1] + "." + enc(make([]byte, 64)),
		"two parts":                 parts[0] + "." + parts[1],
		"four parts":                good + ".x",
		"nonsense":                  "x",
		"a known token with a tail": good + "A",
	} {
		if _, err := a.Authenticate(bearer(token)); !apierrors.IsUnauthorized(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := a.Authenticate(bearer(good)); err != nil {
		t.Error(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestTokenUser(t *testing.T) {
	w, key := newWorld(), ecKey(t)
	out := issue(t, newIssuer(t, w, key, nil), authenticationv1.TokenRequestSpec{BoundObjectRef: bindTo("Pod", "web")})
	req := bearer(out.Response.Status.Token)
	resp, err := newAuthenticator(t, w, key, nil).Authenticate(req)
	if err != nil {
		t.Fatal(err)
	}
	want := &user.DefaultInfo{
		Name: "system:serviceaccount:n:app", UID: "sa-uid",
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:n", "system:authenticated"},
		Extra: map[string][]string{
			"authentication.kubernetes.io/pod-name": {"web"}, "authentication.kubernetes.io/pod-uid": {"pod-uid"},
			"authentication.kubernetes.io/node-name": {"one"}, "authentication.kubernetes.io/node-uid": {"node-uid"},
			"authentication.kubernetes.io/credential-id": {out.CredentialID},
		},
	}
	if !reflect.DeepEqual(resp.User, user.Info(want)) {
		t.Errorf("got %+v", resp.User)
	}
	if req.Header.Get("Authorization") != "" {
		t.Error("the token is still in the request")
	}
}

func TestAudiencesOfATokenReview(t *testing.T) {
	w, key := newWorld(), ecKey(t)
	token := issue(t, newIssuer(t, w, key, nil), authenticationv1.TokenRequestSpec{Audiences: []string{"vault", "db"}}).Response.Status.Token
	a := newAuthenticator(t, w, key, func(c *Config) { c.StaticTokens = map[string]*user.DefaultInfo{"fixed": {Name: "ann"}} })
	resp, ok, err := a.AuthenticateToken(authenticator.WithAudiences(t.Context(), []string{"vault", "other"}), token)
	if !ok || err != nil || !slices.Equal(resp.Audiences, []string{"vault"}) {
		t.Errorf("%+v %v %v", resp, ok, err)
	}
	if _, ok, _ := a.AuthenticateToken(authenticator.WithAudiences(t.Context(), []string{"other"}), token); ok {
		t.Error("good for an audience it does not name")
	}
	if _, ok, _ := a.AuthenticateToken(authenticator.WithAudiences(t.Context(), []string{"vault"}), "fixed"); ok {
		t.Error("a static token is good for others than the API server")
	}
	if resp, ok, _ := a.AuthenticateToken(authenticator.WithAudiences(t.Context(), []string{testAudience}), "fixed"); !ok || resp.User.GetName() != "ann" {
		t.Error("a static token is not good for the API server")
	}
}

func TestLegacyTokens(t *testing.T) {
	tests := []struct {
		name   string
		change func(*world)
		want   string
	}{
		{"good", func(*world) {}, ""},
		{"good years later", func(w *world) { w.now = w.now.AddDate(5, 0, 0) }, ""},
		{"secret gone", func(w *world) { delete(w.secrets, "n/tok") }, "Token has been invalidated"},
		{"secret in deletion", func(w *world) { w.secrets["n/tok"].DeletionTimestamp = &metav1.Time{Time: w.now} }, "Token has been invalidated"},
		{"secret holds another", func(w *world) { w.secrets["n/tok"].Data["token"] = []byte("x") }, "Token does not match server's copy"},
		{"account gone", func(w *world) { delete(w.accounts, "n/app") }, "not found"},
		{"account recreated", func(w *world) { w.accounts["n/app"].UID = "new" }, "ServiceAccount UID (new) does not match claim (sa-uid)"},
		{"marked invalid", func(w *world) {
			w.secrets["n/tok"].Labels = map[string]string{InvalidSinceLabel: "2026-01-01"}
		}, "the token in secret n/tok for service account n/app has been marked invalid"},
	}
	key := ecKey(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld()
			token, err := newIssuer(t, w, key, nil).LegacyToken(w.accounts["n/app"], w.secrets["n/tok"])
			if err != nil {
				t.Fatal(err)
			}
			w.secrets["n/tok"].Data = map[string][]byte{"token": []byte(token)}
			var used []string
			a := newAuthenticator(t, w, key, func(c *Config) {
				c.UsedToken = func(_ context.Context, s *corev1.Secret) { used = append(used, s.Name) }
			})
			if _, err := a.Authenticate(bearer(token)); err != nil || !slices.Equal(used, []string{"tok"}) {
				t.Fatalf("not good to begin with: %v, used %v", errors.Unwrap(err), used)
			}
			test.change(w)
			resp, err := a.Authenticate(bearer(token))
			if test.want == "" {
				if err != nil || resp.User.GetName() != "system:serviceaccount:n:app" || resp.User.GetExtra() != nil {
					t.Errorf("%+v %v", resp, err)
				}
			} else if err == nil || !strings.Contains(errors.Unwrap(err).Error(), test.want) {
				t.Errorf("got %v, expected %q", err, test.want)
			}
		})
	}
}

func TestBootstrapTokens(t *testing.T) {
	fresh := func() *corev1.Secret {
		return &corev1.Secret{Type: bootstrapSecretType, ObjectMeta: objectMeta("kube-system", "bootstrap-token-abcdef", "u"), Data: map[string][]byte{
			"token-id": []byte("abcdef"), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-authentication": []byte("true"),
			"auth-extra-groups": []byte("system:bootstrappers:kubeadm:default-node-token"), "expiration": []byte("2026-05-02T00:00:00Z"),
		}}
	}
	const token = "abcdef.0123456789abcdef"
	tests := []struct {
		name, token string
		change      func(*corev1.Secret)
		good        bool
	}{
		{"good", token, func(*corev1.Secret) {}, true},
		{"wrong secret", "abcdef.0123456789abcdee", func(*corev1.Secret) {}, false},
		{"unknown id", "abcdee.0123456789abcdef", func(*corev1.Secret) {}, false},
		{"wrong form", "ABCDEF.0123456789abcdef", func(*corev1.Secret) {}, false},
		{"wrong type", token, func(s *corev1.Secret) { s.Type = "Opaque" }, false},
		{"expired", token, func(s *corev1.Secret) { s.Data["expiration"] = []byte("2026-05-01T12:00:00Z") }, false},
		{"bad date", token, func(s *corev1.Secret) { s.Data["expiration"] = []byte("soon") }, false},
		{"not for this", token, func(s *corev1.Secret) { delete(s.Data, "usage-bootstrap-authentication") }, false},
		{"group of its own choice", token, func(s *corev1.Secret) { s.Data["auth-extra-groups"] = []byte("system:masters") }, false},
		{"in deletion", token, func(s *corev1.Secret) { s.DeletionTimestamp = &metav1.Time{} }, false},
	}
	for _, test := range tests {
		w, secret := newWorld(), fresh()
		test.change(secret)
		w.secrets["kube-system/bootstrap-token-abcdef"] = secret
		resp, err := newAuthenticator(t, w, ecKey(t), func(c *Config) { c.BootstrapTokens = true }).Authenticate(bearer(test.token))
		if !test.good {
			if err == nil {
				t.Errorf("%s: accepted", test.name)
			}
			continue
		}
		if err != nil || resp.User.GetName() != "system:bootstrap:abcdef" || !slices.Equal(resp.User.GetGroups(), []string{"system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token", "system:authenticated"}) {
			t.Errorf("%s: %+v %v", test.name, resp, err)
		}
	}
}

func TestParseTokenFile(t *testing.T) {
	got, err := ParseTokenFile(strings.NewReader("t1,ann,1\nt2,ben,2,\"a,b\"\n,x,3\n"))
	want := map[string]*user.DefaultInfo{"t1": {Name: "ann", UID: "1"}, "t2": {Name: "ben", UID: "2", Groups: []string{"a", "b"}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v %v", got, err)
	}
	if _, err := ParseTokenFile(strings.NewReader("t1,ann\n")); err == nil {
		t.Error("a short line was accepted")
	}
}

func TestOtherKeysSignTokens(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	for _, key := range []crypto.Signer{rsaKey, p384} {
		w := newWorld()
		token := issue(t, newIssuer(t, w, key, nil), authenticationv1.TokenRequestSpec{}).Response.Status.Token
		if _, err := newAuthenticator(t, w, key, nil).Authenticate(bearer(token)); err != nil {
			t.Errorf("%T: %v", key, errors.Unwrap(err))
		}
	}
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if _, err := NewTokenIssuer(IssuerConfig{Issuer: "x", Key: p224}, nil); err == nil {
		t.Error("P-224 was accepted")
	}
}

func TestDiscoveryDocuments(t *testing.T) {
	key := ecKey(t)
	keys := []crypto.PublicKey{key.Public()}
	doc, err := DiscoveryJSON(testIssuer, "", "192.0.2.7:6443", keys)
	want := `{"issuer":"` + testIssuer + `","jwks_uri":"https://192.0.2.7:6443/openid/v1/jwks","response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["ES256"]}`
	if err != nil || string(doc) != want {
		t.Errorf("%s %v", doc, err)
	}
	set, err := KeySetJSON(keys)
	if err != nil {
		t.Fatal(err)
	}
	var parsed jose.JSONWebKeySet
	if err := json.Unmarshal(set, &parsed); err != nil || len(parsed.Keys) != 1 {
		t.Fatal(err)
	}
	if k := parsed.Keys[0]; k.KeyID != mustKeyID(t, key) || k.Use != "sig" || k.Algorithm != "ES256" || !k.IsPublic() {
		t.Errorf("%+v", k)
	}
	for _, issuer := range []string{"http://x", "https://x?q", "https://x#f"} {
		if _, err := DiscoveryJSON(issuer, "", "x", keys); err == nil {
			t.Errorf("%s was accepted", issuer)
		}
	}
}

func TestBoundedForgets(t *testing.T) {
	b := newBounded[int, int](10)
	for i := range 1000 {
		b.put(i, i)
		if v, ok := b.get(0); i < 500 && (!ok || v != 0) {
			t.Fatalf("forgot what is in use, after %d", i)
		}
		if n := len(b.young) + len(b.old); n > 20 {
			t.Fatalf("holds %d", n)
		}
	}
	if _, ok := b.get(700); ok {
		t.Error("remembers what was not used")
	}
}

func BenchmarkToken(b *testing.B) {
	w, key := newWorld(), ecKey(b)
	issuer, a := newIssuer(b, w, key, nil), newAuthenticator(b, w, key, nil)
	token := issue(b, issuer, authenticationv1.TokenRequestSpec{BoundObjectRef: bindTo("Pod", "web")}).Response.Status.Token
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok, err := a.AuthenticateToken(b.Context(), token); !ok {
				b.Fatal(err)
			}
		}
	})
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			a.accounts.verified = newBounded[[32]byte, *verifiedToken](1)
			if _, ok, err := a.AuthenticateToken(b.Context(), token); !ok {
				b.Fatal(err)
			}
		}
	})
	b.Run("issue", func(b *testing.B) {
		for b.Loop() {
			issue(b, issuer, authenticationv1.TokenRequestSpec{BoundObjectRef: bindTo("Pod", "web")})
		}
	})
}
