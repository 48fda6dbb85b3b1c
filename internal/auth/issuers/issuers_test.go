package issuers

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/utils/clock"
)

// provider is an issuer of tokens on loopback.
type provider struct {
	t      *testing.T
	server *httptest.Server
	key    *ecdsa.PrivateKey
	url    string // as tokens name it
}

// newProvider serves the discovery document at the usual place, for an issuer that may call itself something else.
func newProvider(t *testing.T, url string) *provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{t: t, key: key, url: url}
	mux := http.NewServeMux()
	p.server = httptest.NewUnstartedServer(mux)
	p.server.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(io.Discard, nil), slog.LevelDebug)
	p.server.StartTLS()
	t.Cleanup(p.server.Close)
	if p.url == "" {
		p.url = p.server.URL
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": p.url, "jwks_uri": p.server.URL + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	})
	return p
}

func (p *provider) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw}))
}

func (p *provider) token(claims map[string]any) string {
	p.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: p.key, KeyID: "k"}}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	all := map[string]any{"iss": p.url, "aud": "app", "sub": "ann", "exp": time.Now().Add(time.Hour).Unix()}
	for key, value := range claims {
		all[key] = value
	}
	token, err := jwt.Signed(signer).Claims(all).Serialize()
	if err != nil {
		p.t.Fatal(err)
	}
	return token
}

func discard() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// start runs the issuers until the test ends, and waits until all have answered.
func start(t *testing.T, config Config) *Issuers {
	t.Helper()
	config.Clock, config.Log, config.ServerID = clock.RealClock{}, discard(), "test"
	i, err := Load(config)
	if err != nil {
		t.Fatal(err)
	}
	i.poll = 5 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- i.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the issuers are ready", func() bool { return i.Healthy() == nil })
	return i
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func indent(text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n        ")
}

func TestStructuredConfiguration(t *testing.T) {
	one, two := newProvider(t, ""), newProvider(t, "https://two.example.org")
	path := filepath.Join(t.TempDir(), "authentication.yaml")
	file := func(version, prefix string) string {
		return fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/%s
kind: AuthenticationConfiguration
anonymous:
  enabled: true
  conditions:
  - path: /livez
jwt:
- issuer:
    url: %s
    certificateAuthority: |
        %s
    audiences: [app, other]
    audienceMatchPolicy: MatchAny
  claimValidationRules:
  - expression: "!has(claims.robot) || !claims.robot"
    message: robots are not welcome
  claimMappings:
    username:
      expression: "'%s' + claims.sub"
    groups:
      expression: "claims.roles"
    uid:
      claim: uid
    extra:
    - key: example.org/team
      valueExpression: claims.team
  userValidationRules:
  - expression: "!user.username.startsWith('system:')"
    message: the name is taken
- issuer:
    url: https://two.example.org
    discoveryURL: %s/.well-known/openid-configuration
    certificateAuthority: |
        %s
    audiences: [app]
  claimMappings:
    username: {claim: sub, prefix: "two:"}
    groups: {claim: groups, prefix: "two:"}
`, version, one.url, indent(one.ca()), prefix, two.server.URL, indent(two.ca()))
	}
	write(t, path, file("v1beta1", "one:"))
	i := start(t, Config{File: path, Audiences: []string{"https://api"}, OwnIssuers: []string{"https://own"}})
	if allowed, paths, said := i.Anonymous(); !allowed || !said || !reflect.DeepEqual(paths, []string{"/livez"}) {
		t.Errorf("anonymous: %v %v %v", allowed, paths, said)
	}
	base := map[string]any{"roles": []string{"a", "b"}, "uid": "7", "team": "x"}
	with := func(more map[string]any) map[string]any {
		out := map[string]any{}
		for _, m := range []map[string]any{base, more} {
			for key, value := range m {
				out[key] = value
			}
		}
		return out
	}
	tests := []struct {
		name, token, want, err string
	}{
		{"mapped", one.token(base), `{"username":"one:ann","uid":"7","groups":["a","b"],"extra":{"example.org/team":["x"]}}`, ""},
		{"other audience", one.token(with(map[string]any{"aud": []string{"other", "more"}})), `{"username":"one:ann","uid":"7","groups":["a","b"],"extra":{"example.org/team":["x"]}}`, ""},
		{"no audience of ours", one.token(with(map[string]any{"aud": "x"})), "", `expected audience in ["app" "other"] got ["x"]`},
		{"expired", one.token(with(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})), "", "token is expired"},
		{"robot", one.token(with(map[string]any{"robot": true})), "", "validation expression '!has(claims.robot) || !claims.robot' failed: robots are not welcome"},
		{"two", two.token(map[string]any{"groups": "g"}), `{"username":"two:ann","groups":["two:g"]}`, ""},
		{"one's name, two's key", func() string { p := *two; p.url = one.url; return p.token(base) }(), "", "failed to verify signature"},
		{"somebody else's", func() string { p := *two; p.url = "https://three"; return p.token(nil) }(), "", ""},
	}
	for _, test := range tests {
		resp, ok, err := i.AuthenticateToken(authenticator.WithAudiences(t.Context(), []string{"https://api"}), test.token)
		switch {
		case test.want != "":
			if !ok || err != nil {
				t.Errorf("%s: %v", test.name, err)
				continue
			}
			info := authenticationv1.UserInfo{Username: resp.User.GetName(), UID: resp.User.GetUID(), Groups: resp.User.GetGroups()}
			for key, values := range resp.User.GetExtra() {
				if info.Extra == nil {
					info.Extra = map[string]authenticationv1.ExtraValue{}
				}
				info.Extra[key] = values
			}
			if got, _ := json.Marshal(info); string(got) != test.want || !reflect.DeepEqual([]string(resp.Audiences), []string{"https://api"}) {
				t.Errorf("%s: %s for %v", test.name, got, resp.Audiences)
			}
		case test.err == "":
			if ok || err != nil {
				t.Errorf("%s: %v %v", test.name, ok, err)
			}
		default:
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: got %v, expected %q", test.name, err, test.err)
			}
		}
	}

	name := func() string {
		resp, ok, _ := i.AuthenticateToken(t.Context(), one.token(base))
		if !ok {
			return ""
		}
		return resp.User.GetName()
	}
	write(t, path, "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nno: such\n")
	write(t, path, strings.Replace(file("v1", "other:"), "/livez", "/readyz", 1))
	write(t, path, file("v1", "changed:"))
	eventually(t, "the changed prefix is used", func() bool { return name() == "changed:ann" })
}

func TestFlags(t *testing.T) {
	p := newProvider(t, "")
	ca := filepath.Join(t.TempDir(), "ca.crt")
	write(t, ca, p.ca())
	i := start(t, Config{Flags: Flags{
		IssuerURL: p.url, ClientID: "app", CAFile: ca, GroupsClaim: "groups", GroupsPrefix: "oidc:",
		SigningAlgs: []string{"ES256"}, RequiredClaims: map[string]string{"hd": "example.org"},
	}})
	if _, _, said := i.Anonymous(); said {
		t.Error("flags say nothing of anonymous requests")
	}
	resp, ok, err := i.AuthenticateToken(t.Context(), p.token(map[string]any{"groups": []string{"a"}, "hd": "example.org"}))
	if !ok || resp.User.GetName() != p.url+"#ann" || !reflect.DeepEqual(resp.User.GetGroups(), []string{"oidc:a"}) {
		t.Errorf("%+v %v", resp, err)
	}
	if _, _, err := i.AuthenticateToken(t.Context(), p.token(nil)); err == nil || !strings.Contains(err.Error(), "required claim hd not present in ID token") {
		t.Error(err)
	}
}

func TestRefusedConfigurations(t *testing.T) {
	const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"
	jwt := func(url string) string {
		return head + "jwt:\n- issuer: {url: " + url + ", audiences: [a]}\n  claimMappings: {username: {claim: sub, prefix: ''}}\n"
	}
	tests := []struct {
		name, file string
		change     func(*Config)
		want       string
	}{
		{"empty", "", nil, "empty config data"},
		{"another kind", "apiVersion: v1\nkind: Pod\n", nil, `no kind "Pod" is registered`},
		{"unknown field", head + "jwts: []\n", nil, `unknown field "jwts"`},
		{"http", jwt("http://x"), nil, "URL scheme must be https"},
		{"our own issuer", jwt("https://own"), nil, "URL must not overlap with disallowed issuers: [https://own]"},
		{"twice", jwt("https://x") + jwt("https://x")[len(head)+len("jwt:\n"):], nil, "Duplicate value"},
		{"bad expression", head + "jwt:\n- issuer: {url: 'https://x', audiences: [a]}\n  claimMappings: {username: {expression: 'claims.'}}\n", nil, "compilation failed"},
		{"anonymous twice", head + "anonymous: {enabled: false}\n", func(c *Config) { c.AnonymousFlag = true }, "--anonymous-auth flag cannot be set"},
		{"file and flags", head, func(c *Config) { c.Flags.ClientID = "x" }, "mutually exclusive"},
		{"half the flags", head, func(c *Config) { c.File, c.Flags.ClientID = "", "x" }, "must be specified together"},
		{"algorithm", head, func(c *Config) {
			c.File, c.Flags = "", Flags{IssuerURL: "https://x", ClientID: "x", SigningAlgs: []string{"none"}}
		}, `unsupported signing alg: "none"`},
	}
	for _, test := range tests {
		path := filepath.Join(t.TempDir(), "f")
		write(t, path, test.file)
		config := Config{File: path, OwnIssuers: []string{"https://own"}, Clock: clock.RealClock{}, Log: discard()}
		if test.change != nil {
			test.change(&config)
		}
		if _, err := Load(config); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, expected %q", test.name, err, test.want)
		}
	}
	if i, err := Load(Config{}); i != nil || err != nil {
		t.Error("something was made of nothing", err)
	}
}

func TestWebhookTokens(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked++
		var review authenticationv1.TokenReview
		_ = json.NewDecoder(req.Body).Decode(&review)
		if review.Spec.Token == "good" {
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "ann", Groups: []string{"g"}}, Audiences: review.Spec.Audiences}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(&review)
	}))
	defer server.Close()
	path := filepath.Join(t.TempDir(), "webhook.kubeconfig")
	write(t, path, "apiVersion: v1\nkind: Config\nclusters:\n- {name: c, cluster: {server: '"+server.URL+"'}}\nusers:\n- {name: u, user: {}}\ncontexts:\n- {name: x, context: {cluster: c, user: u}}\ncurrent-context: x\n")
	tokens, err := WebhookTokens(Webhook{File: path, Version: "v1", CacheTTL: DefaultWebhookTTL, Audiences: []string{"api"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := authenticator.WithAudiences(t.Context(), []string{"api"})
	for range 2 {
		resp, ok, err := tokens.AuthenticateToken(ctx, "good")
		if !ok || resp.User.GetName() != "ann" {
			t.Errorf("%+v %v", resp, err)
		}
	}
	if asked != 1 {
		t.Errorf("the webhook was asked %d times about one token", asked)
	}
	if _, ok, err := tokens.AuthenticateToken(ctx, "bad"); ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
}
