package auth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

func TestOthersAreAskedLast(t *testing.T) {
	w, key := newWorld(), ecKey(t)
	var asked []string
	other := authenticator.TokenFunc(func(ctx context.Context, token string) (*authenticator.Response, bool, error) {
		audiences, _ := authenticator.AudiencesFrom(ctx)
		asked = append(asked, token)
		switch token {
		case "outside":
			return &authenticator.Response{User: &user.DefaultInfo{Name: "out", Groups: []string{"g"}}, Audiences: audiences}, true, nil
		case "elsewhere":
			return &authenticator.Response{User: &user.DefaultInfo{Name: "out"}, Audiences: []string{"other"}}, true, nil
		case "broken":
			return nil, false, errors.New("no answer")
		}
		return nil, false, nil
	})
	a := newAuthenticator(t, w, key, func(c *Config) {
		c.Others = []authenticator.Token{other}
		c.StaticTokens = map[string]*user.DefaultInfo{"static": {Name: "ann"}}
	})
	resp, err := a.Authenticate(bearer("outside"))
	if err != nil || resp.User.GetName() != "out" || !reflect.DeepEqual(resp.User.GetGroups(), []string{"g", user.AllAuthenticated}) {
		t.Errorf("%+v %v", resp, err)
	}
	for token, want := range map[string]string{"elsewhere": "unable to match the audience", "broken": "no answer", "unknown": "invalid bearer token"} {
		if _, err := a.Authenticate(bearer(token)); err == nil || !strings.Contains(errors.Unwrap(err).Error(), want) {
			t.Errorf("%s: %v", token, errors.Unwrap(err))
		}
	}
	asked = nil
	if resp, err := a.Authenticate(bearer("static")); err != nil || resp.User.GetName() != "ann" || len(asked) > 0 {
		t.Errorf("%+v %v, asked %v", resp, err, asked)
	}
	review, err := a.ReviewToken(t.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: "outside", Audiences: []string{"vault"}}})
	if err != nil || !review.Status.Authenticated || !reflect.DeepEqual(review.Status.Audiences, []string{"vault"}) {
		t.Errorf("%+v %v", review, err)
	}
}

func TestAnonymousPaths(t *testing.T) {
	a := newAuthenticator(t, newWorld(), ecKey(t), func(c *Config) { c.AnonymousPaths = []string{"/livez", "/readyz"} })
	for path, ok := range map[string]bool{"/livez": true, "/readyz": true, "/livez/ping": false, "/api": false} {
		resp, err := a.Authenticate(&http.Request{Header: http.Header{}, URL: &url.URL{Path: path}})
		if ok != (err == nil) || ok && resp.User.GetName() != user.Anonymous {
			t.Errorf("%s: %+v %v", path, resp, err)
		}
	}
}

func TestProxyHeaders(t *testing.T) {
	p := ProxyHeaders{User: []string{"x-who", "X-Remote-User"}, Group: []string{"x-group"}, ExtraPrefixes: []string{"x-more-"}}
	if err := p.complete(); err != nil {
		t.Fatal(err)
	}
	headers := http.Header{
		"X-Remote-User": {"second"}, "X-Group": {"a", "", "b"}, "X-More-Scopes%2fx": {"1"}, "X-Remote-Uid": {"7"},
		"X-Remote-Extra-Y": {"z"}, "Accept": {"x"},
	}
	who := p.user(headers)
	if who.GetName() != "second" || who.GetUID() != "" || !reflect.DeepEqual(who.GetGroups(), []string{"a", "b", user.AllAuthenticated}) ||
		!reflect.DeepEqual(who.GetExtra(), map[string][]string{"scopes/x": {"1"}}) {
		t.Errorf("%+v", who)
	}
	headers.Set("X-Who", "first")
	if who := p.user(headers); who.GetName() != "first" {
		t.Errorf("%+v", who)
	}
	p.clear(headers)
	if len(headers) != 1 {
		t.Errorf("left %v", headers)
	}
	if who := p.user(headers); who != nil {
		t.Errorf("%+v of no header", who)
	}
	bad := ProxyHeaders{User: []string{" "}}
	if err := bad.complete(); err == nil {
		t.Error("an empty header was accepted")
	}
}

func TestStaleTokensAreAnnotated(t *testing.T) {
	w, key := newWorld(), ecKey(t)
	seconds := int64(warnTokenSeconds)
	token := issue(t, newIssuer(t, w, key, nil), authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds, BoundObjectRef: bindTo("Pod", "web")}).Response.Status.Token
	noted := map[string]string{}
	a := newAuthenticator(t, w, key, func(c *Config) {
		c.Annotate = func(_ context.Context, key, value string) { noted[key] = value }
	})
	if _, err := a.Authenticate(bearer(token)); err != nil || len(noted) > 0 {
		t.Fatalf("%v, noted %v", errors.Unwrap(err), noted)
	}
	w.now = w.now.Add(2 * time.Hour)
	if _, err := a.Authenticate(bearer(token)); err != nil {
		t.Fatal(errors.Unwrap(err))
	}
	if got := noted["authentication.k8s.io/stale-token"]; got != "subject: system:serviceaccount:n:app, seconds after warning threshold: 3593" {
		t.Errorf("noted %q", got)
	}
}

func TestUsedToday(t *testing.T) {
	now := time.Date(2026, 5, 1, 23, 30, 0, 0, time.UTC)
	for label, want := range map[string]bool{"": true, "2026-04-30": true, "2026-05-01": false, "2026-05-02": false, "2026-05-03": true} {
		date, write := UsedToday(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{LastUsedLabel: label}}}, now)
		if date != "2026-05-01" || write != want {
			t.Errorf("%s: %s %v", label, date, write)
		}
	}
}
