package identity

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/monohull/monohull/internal/auth"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
	"github.com/monohull/monohull/internal/controllers/controllertest"
	"github.com/monohull/monohull/internal/pki"
)

// deps lets the two controllers whose rights are Roles of namespaces do anything.
func deps(c *controllertest.Cluster) controllers.Deps {
	d := c.Deps()
	as := d.Client
	d.Client = func(name string) *client.Client {
		if name == "bootstrap-signer" || name == "token-cleaner" {
			return c.Client
		}
		return as(name)
	}
	return d
}

// makers makes tokens that tell for whom.
type makers struct{}

func (makers) LegacyToken(a *corev1.ServiceAccount, s *corev1.Secret) (string, error) {
	return fmt.Sprintf("%s:%s:%s", a.Name, a.UID, s.Name), nil
}

func tokenSecret(name, account string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Annotations: map[string]string{corev1.ServiceAccountNameKey: account}},
		Type:       corev1.SecretTypeServiceAccountToken,
	}
}

func TestTokenSecretsAreFilledAndGoWithTheirAccount(t *testing.T) {
	c := controllertest.New(t)
	account := controllertest.Create(c, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "app"}, Secrets: []corev1.ObjectReference{{Name: "one"}, {Name: "other"}}})
	c.Run(TokenControllers(deps(c), Config{Tokens: makers{}})...)
	controllertest.Create(c, tokenSecret("one", "app"))
	controllertest.Create(c, tokenSecret("two", "app"))
	controllertest.Create(c, tokenSecret("lost", "nobody"))
	get := func(name string) *corev1.Secret {
		s, _ := controllertest.Get[*corev1.Secret](c, "ns", name)
		return s
	}
	whole := func(name string) func() bool {
		return func() bool {
			s := get(name)
			return s != nil && string(s.Data["token"]) == "app:"+string(account.UID)+":"+name && string(s.Data["namespace"]) == "ns" &&
				string(s.Data["ca.crt"]) == string(c.Deps().RootCA) && s.Annotations[corev1.ServiceAccountUIDKey] == string(account.UID)
		}
	}
	c.Eventually("one is filled", whole("one"))
	c.Eventually("two is filled", whole("two"))
	c.Eventually("the token of nobody is gone", func() bool { return get("lost") == nil })
	controllertest.Modify(c, "ns", "two", func(s *corev1.Secret) { s.Data["ca.crt"] = []byte("forged"); delete(s.Data, "namespace") })
	c.Eventually("two is filled again", whole("two"))

	controllertest.Delete[*corev1.Secret](c, "ns", "one", metav1.DeleteOptions{})
	c.Eventually("the account forgets its secret", func() bool {
		a, _ := controllertest.Get[*corev1.ServiceAccount](c, "ns", "app")
		return len(a.Secrets) == 1 && a.Secrets[0].Name == "other"
	})
	controllertest.Delete[*corev1.ServiceAccount](c, "ns", "app", metav1.DeleteOptions{})
	c.Eventually("the token goes with its account", func() bool { return get("two") == nil })
}

func TestUseOfTokensIsTracked(t *testing.T) {
	c := controllertest.New(t)
	c.Run(tracking(deps(c)))
	since := func() string {
		m, _ := controllertest.Get[*corev1.ConfigMap](c, "kube-system", trackingName)
		if m == nil {
			return ""
		}
		return m.Data["since"]
	}
	c.Eventually("the date is there", func() bool { return since() == "2026-01-02" })
	controllertest.Modify(c, "kube-system", trackingName, func(m *corev1.ConfigMap) { m.Data["since"] = "never" })
	c.Eventually("the date is there again", func() bool { return since() == "2026-01-02" })

	s := controllertest.Create(c, tokenSecret("one", "app"))
	note := TrackUse(func() *client.Client { return c.Client }, c.Clock, slog.New(slog.NewTextHandler(io.Discard, nil)))
	note(t.Context(), s)
	s, _ = controllertest.Get[*corev1.Secret](c, "ns", "one")
	if s.Labels[auth.LastUsedLabel] != "2026-01-02" {
		t.Errorf("labels %v", s.Labels)
	}
	before := c.Revision()
	note(t.Context(), s)
	if c.Revision() != before {
		t.Error("a second use on the same day was written")
	}
}

func TestLegacyNext(t *testing.T) {
	const period = 10 * 24 * time.Hour
	now := time.Date(2026, 5, 20, 12, 0, 0, 0, time.UTC)
	tracked, _ := trackedFrom("2026-05-01")
	account := &corev1.ServiceAccount{Secrets: []corev1.ObjectReference{{Name: "tok"}}}
	tests := []struct {
		name    string
		created time.Time
		labels  map[string]string
		account *corev1.ServiceAccount
		mounted bool
		now     time.Time
		want    legacyStep
	}{
		{"never used", now.AddDate(-1, 0, 0), nil, account, false, now, legacyMark},
		{"used lately", now.AddDate(-1, 0, 0), map[string]string{auth.LastUsedLabel: "2026-05-10"}, account, false, now, legacyKeep},
		{"used long ago", now.AddDate(-1, 0, 0), map[string]string{auth.LastUsedLabel: "2026-05-09"}, account, false, now, legacyMark},
		{"used on no day", now.AddDate(-1, 0, 0), map[string]string{auth.LastUsedLabel: "x"}, account, false, now, legacyKeep},
		{"young", now.AddDate(0, 0, -9), nil, account, false, now, legacyKeep},
		{"not tracked for long", now.AddDate(-1, 0, 0), nil, account, false, time.Date(2026, 5, 11, 0, 0, 0, 0, time.UTC), legacyKeep},
		{"made by hand", now.AddDate(-1, 0, 0), nil, &corev1.ServiceAccount{}, false, now, legacyKeep},
		{"nobody's", now.AddDate(-1, 0, 0), nil, nil, false, now, legacyKeep},
		{"mounted", now.AddDate(-1, 0, 0), nil, account, true, now, legacyKeep},
		{"marked lately", now.AddDate(-1, 0, 0), map[string]string{auth.InvalidSinceLabel: "2026-05-12"}, account, false, now, legacyKeep},
		{"marked long ago", now.AddDate(-1, 0, 0), map[string]string{auth.InvalidSinceLabel: "2026-05-09"}, account, false, now, legacyDelete},
		{"marked with nonsense", now.AddDate(-1, 0, 0), map[string]string{auth.InvalidSinceLabel: "x"}, account, false, now, legacyMark},
	}
	for _, test := range tests {
		s := tokenSecret("tok", "app")
		s.CreationTimestamp, s.Labels = metav1.NewTime(test.created), test.labels
		if got := legacyNext(s, test.account, func() bool { return test.mounted }, test.now, tracked, period); got != test.want {
			t.Errorf("%s: %v, expected %v", test.name, got, test.want)
		}
	}
}

func TestUnusedTokensAreMarkedAndDeleted(t *testing.T) {
	c := controllertest.New(t)
	account := controllertest.Create(c, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "app"}, Secrets: []corev1.ObjectReference{{Name: "one"}}})
	controllertest.Create(c, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: trackingName}, Data: map[string]string{"since": "2025-01-01"}})
	s := tokenSecret("one", "app")
	s.Annotations[corev1.ServiceAccountUIDKey] = string(account.UID)
	controllertest.Create(c, s)
	start := c.Clock.Now()
	c.Clock.SetTime(start.Add(2 * time.Hour))
	c.Run(legacyCleaner(deps(c), time.Hour))
	get := func() *corev1.Secret {
		s, _ := controllertest.Get[*corev1.Secret](c, "ns", "one")
		return s
	}
	c.Eventually("the token is marked", func() bool { return get().Labels[auth.InvalidSinceLabel] == "2026-01-02" })
	c.Clock.SetTime(start.AddDate(0, 0, 2))
	controllertest.Modify(c, "ns", "one", func(s *corev1.Secret) { s.Annotations["look"] = "again" })
	c.Eventually("the token is gone", func() bool { return get() == nil })
}

func bootstrapSecret(id string, more map[string]string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-" + id}, Type: corev1.SecretTypeBootstrapToken, Data: map[string][]byte{
		"token-id": []byte(id), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-signing": []byte("true"),
	}}
	for key, value := range more {
		s.Data[key] = []byte(value)
	}
	return s
}

func TestSignature(t *testing.T) {
	got, err := sign("Hello from the other side. I must have called a thousand times.", "joshua", "my voice is my passcode")
	if want := "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"; err != nil || got != want {
		t.Errorf("%s %v", got, err)
	}
}

func TestSigned(t *testing.T) {
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	data := map[string]string{"kubeconfig": "x", "jws-kubeconfig-gone00": "y", "more": "z"}
	tokens := []*corev1.Secret{
		bootstrapSecret("good00", nil), bootstrapSecret("good01", map[string]string{"expiration": "2026-05-01T00:00:01Z"}),
		bootstrapSecret("old000", map[string]string{"expiration": "2026-05-01T00:00:00Z"}), bootstrapSecret("bad000", map[string]string{"expiration": "soon"}),
		bootstrapSecret("not000", map[string]string{"usage-bootstrap-signing": "false"}), bootstrapSecret("other0", map[string]string{"token-id": "x"}),
		bootstrapSecret("none00", map[string]string{"token-secret": ""}), bootstrapSecret("LONG00", nil),
	}
	got, err := signed(data, tokens, now)
	if keys := slices.Sorted(maps.Keys(got)); err != nil || !slices.Equal(keys, []string{"jws-kubeconfig-good00", "jws-kubeconfig-good01", "kubeconfig", "more"}) {
		t.Errorf("%v %v", keys, err)
	}
	if again, _ := signed(got, tokens, now); !maps.Equal(again, got) {
		t.Error("a second time differs")
	}
	if got, _ := signed(map[string]string{"jws-kubeconfig-a": "b"}, tokens, now); len(got) != 1 {
		t.Errorf("without content: %v", got)
	}
}

func TestClusterInfoIsSignedAndTokensExpire(t *testing.T) {
	c := controllertest.New(t)
	c.Run(bootstrapSigner(deps(c)), bootstrapCleaner(deps(c)))
	controllertest.Create(c, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-public", Name: "cluster-info"}, Data: map[string]string{"kubeconfig": "x"}})
	controllertest.Create(c, bootstrapSecret("good00", nil))
	controllertest.Create(c, bootstrapSecret("soon00", map[string]string{"expiration": c.Clock.Now().Add(time.Hour).Format(time.RFC3339)}))
	controllertest.Create(c, bootstrapSecret("old000", map[string]string{"expiration": "2020-01-01T00:00:00Z"}))
	keys := func() string {
		m, _ := controllertest.Get[*corev1.ConfigMap](c, "kube-public", "cluster-info")
		return strings.Join(slices.Sorted(maps.Keys(m.Data)), " ")
	}
	c.Eventually("cluster-info is signed", func() bool { return keys() == "jws-kubeconfig-good00 jws-kubeconfig-soon00 kubeconfig" })
	c.Eventually("the old token is gone", func() bool {
		_, ok := controllertest.Get[*corev1.Secret](c, "kube-system", "bootstrap-token-old000")
		return !ok
	})
	controllertest.Delete[*corev1.Secret](c, "kube-system", "bootstrap-token-good00", metav1.DeleteOptions{})
	c.Eventually("its signature goes", func() bool { return keys() == "jws-kubeconfig-soon00 kubeconfig" })
}

func TestTrustIsPublishedAndJoined(t *testing.T) {
	c := controllertest.New(t)
	now := c.Clock.Now()
	one, err := pki.Ensure(t.TempDir(), pki.Options{Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	two, err := pki.Ensure(t.TempDir(), pki.Options{Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	old, err := pki.Ensure(t.TempDir(), pki.Options{Clock: func() time.Time { return now.AddDate(-20, 0, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	headers := auth.DefaultProxyHeaders()
	own := Trust{ClientCA: one.CA.PEM(), ProxyCA: one.ProxyCA.PEM(), ProxyNames: []string{"front-proxy-client"}, User: headers.User, UID: headers.UID, Group: headers.Group, ExtraPrefixes: headers.ExtraPrefixes}
	c.Run(TokenControllers(deps(c), Config{Trust: func() Trust { return own }})...)
	get := func() map[string]string {
		m, _ := controllertest.Get[*corev1.ConfigMap](c, "kube-system", trustName)
		if m == nil {
			return nil
		}
		return m.Data
	}
	want := map[string]string{
		"client-ca-file": string(one.CA.PEM()), "requestheader-client-ca-file": string(one.ProxyCA.PEM()),
		"requestheader-allowed-names": `["front-proxy-client"]`, "requestheader-username-headers": `["X-Remote-User"]`, "requestheader-uid-headers": `["X-Remote-Uid"]`,
		"requestheader-group-headers": `["X-Remote-Group"]`, "requestheader-extra-headers-prefix": `["X-Remote-Extra-"]`,
	}
	c.Eventually("it is published", func() bool { return maps.Equal(get(), want) })
	controllertest.Modify(c, "kube-system", trustName, func(m *corev1.ConfigMap) {
		m.Data = map[string]string{"client-ca-file": string(two.CA.PEM()) + string(old.CA.PEM()), "requestheader-allowed-names": `["other"]`, "mine": "x"}
	})
	want["client-ca-file"] = string(two.CA.PEM()) + string(one.CA.PEM())
	want["requestheader-allowed-names"] = `["other","front-proxy-client"]`
	c.Eventually("it is joined", func() bool { return maps.Equal(get(), want) })
	if _, err := trustData(map[string]string{"requestheader-group-headers": "{"}, own, now); err == nil {
		t.Error("nonsense was read")
	}
	if !tooLarge(apierrors.NewRequestEntityTooLargeError("x")) || tooLarge(context.Canceled) {
		t.Error("tooLarge")
	}
}

func TestJoinObjects(t *testing.T) {
	list := JoinObjects("https://192.0.2.1:6443", []byte("pem"))
	info, ok := list[0].(*corev1.ConfigMap)
	if !ok || len(list) != 6 {
		t.Fatalf("%v", list)
	}
	conf, err := clientcmd.Load([]byte(info.Data["kubeconfig"]))
	if err != nil || conf.Clusters[""].Server != "https://192.0.2.1:6443" || string(conf.Clusters[""].CertificateAuthorityData) != "pem" {
		t.Errorf("%+v %v", conf, err)
	}
}
