package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"slices"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
)

// says tells whether errs are at these paths and no others, in any order.
func says(t *testing.T, what string, errs field.ErrorList, paths ...string) {
	t.Helper()
	var got []string
	for _, e := range errs {
		got = append(got, e.Field)
	}
	slices.Sort(got)
	slices.Sort(paths)
	if !slices.Equal(slices.Compact(got), paths) {
		t.Errorf("%s: errors at %q, want them at %q: %v", what, got, paths, errs)
	}
}

func newRequest(t *testing.T) (c *request, cert []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "me"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	own, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c = &request{ObjectMeta: metav1.ObjectMeta{Name: "node:csr-1", ResourceVersion: "1"}, Spec: certificatesv1.CertificateSigningRequestSpec{
		Request: pem.EncodeToMemory(&pem.Block{Type: requestBlock, Bytes: der}), SignerName: "example.com/signer", Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth}}}
	return c, pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: own})
}

func TestRequests(t *testing.T) {
	k := requestRow()
	for what, c := range map[string]struct {
		change func(*request)
		paths  []string
	}{
		"as it is":      {func(*request) {}, nil},
		"garbage":       {func(c *request) { c.Spec.Request = []byte("x") }, []string{"spec.request"}},
		"too short":     {func(c *request) { c.Spec.ExpirationSeconds = new(int32(599)) }, []string{"spec.expirationSeconds"}},
		"no usage":      {func(c *request) { c.Spec.Usages = nil }, []string{"spec.usages"}},
		"unknown usage": {func(c *request) { c.Spec.Usages = append(c.Spec.Usages, "fun") }, []string{"spec.usages[1]"}},
		"a usage twice": {func(c *request) { c.Spec.Usages = append(c.Spec.Usages, c.Spec.Usages[0]) }, []string{"spec.usages[1]"}},
		"no signer":     {func(c *request) { c.Spec.SignerName = "" }, []string{"spec.signerName"}},
		"legacy signer": {func(c *request) { c.Spec.SignerName = legacySigner }, []string{"spec.signerName"}},
		"a bad name":    {func(c *request) { c.Name = "a/b" }, []string{"metadata.name"}},
	} {
		o, _ := newRequest(t)
		c.change(o)
		says(t, what, k.Validate(o), c.paths...)
	}
}

func TestSignerNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"example.com/a": true, "kubernetes.io/kube-apiserver-client": true, "example.com/ns.name": true,
		"example/a": false, "example.com": false, "example.com/a/b": false, "Example.com/a": false, "example.com/A": false, "example..com/a": false, "example.com/": false,
	} {
		if errs := ValidateSignerName(name, specPath); (len(errs) == 0) != ok {
			t.Errorf("%s: %v", name, errs)
		}
	}
}

func TestRequesterIsStamped(t *testing.T) {
	c, _ := newRequest(t)
	c.Spec.Username, c.Spec.Groups, c.Spec.Extra = "admin", []string{"system:masters"}, map[string]certificatesv1.ExtraValue{"a": {"b"}}
	u := &user.DefaultInfo{Name: "me", UID: "1", Groups: []string{"g"}, Extra: map[string][]string{"k": {"v"}}}
	requestRow().Stamp(c, u)
	s := c.Spec
	if s.Username != "me" || s.UID != "1" || !slices.Equal(s.Groups, u.Groups) || len(s.Extra) != 1 || s.Extra["k"][0] != "v" {
		t.Errorf("stamped as %+v", s)
	}
}

func TestWhoMayWriteWhat(t *testing.T) {
	k := requestRow()
	old, cert := newRequest(t)
	approved := condition{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(1, 0), LastUpdateTime: metav1.Unix(1, 0)}
	denied, failed := approved, approved
	denied.Type, failed.Type = certificatesv1.CertificateDenied, certificatesv1.CertificateFailed
	with := func(cert []byte, conditions ...condition) *request {
		c := old.DeepCopy()
		c.Status.Certificate, c.Status.Conditions = cert, conditions
		return c
	}
	const certificate, conditions = "status.certificate", "status.conditions"
	for _, c := range []struct {
		what             string
		new, old         *request
		main, stat, part []string
	}{
		{"approving", with(nil, approved), old, []string{conditions}, []string{conditions}, nil},
		{"issuing", with(cert, approved), with(nil, approved), []string{certificate}, nil, []string{certificate}},
		{"issuing again", with(append(slices.Clone(cert), cert...), approved), with(cert, approved), []string{certificate}, []string{certificate}, []string{certificate}},
		{"issuing garbage", with([]byte("x")), old, []string{certificate}, []string{certificate}, []string{certificate}},
		{"failing", with(nil, failed), old, nil, nil, nil},
		{"taking a failure back", old, with(nil, failed), []string{conditions}, []string{conditions}, []string{conditions}},
		{"both", with(nil, approved, denied), with(nil, approved), []string{conditions}, []string{conditions}, []string{conditions}},
		{"a doubtful approval", with(nil, condition{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionFalse}), old,
			[]string{conditions, conditions + "[0].status"}, []string{conditions, conditions + "[0].status"}, []string{conditions + "[0].status"}},
	} {
		says(t, c.what+" through the request", k.ValidateUpdate(c.new, c.old), c.main...)
		says(t, c.what+" through status", k.ValidateStatus(c.new, c.old), c.stat...)
		says(t, c.what+" through approval", k.Parts["approval"].Validate(c.new, c.old), c.part...)
	}
	c := with(cert, approved)
	c.Spec.SignerName = "other.example.com/x"
	k.Parts["approval"].Settle(c, old)
	if c.Spec.SignerName != old.Spec.SignerName || c.Status.Certificate != nil || len(c.Status.Conditions) != 1 {
		t.Errorf("approval wrote %+v %+v", c.Spec, c.Status)
	}
	lost := with(nil, condition{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue})
	if k.PrepareStatus(lost, with(nil, approved)); lost.Status.Conditions[0] != approved {
		t.Errorf("a write of status made the approval %+v", lost.Status.Conditions[0])
	}
}

func TestConditionsAreStamped(t *testing.T) {
	was, now := metav1.Unix(1, 0), time.Unix(2, 0)
	old, c := &request{}, &request{}
	old.Status.Conditions = []condition{{Type: "A", Status: "True", LastTransitionTime: was}}
	c.Status.Conditions = []condition{{Type: "A", Status: "True"}, {Type: "B", Status: "True"}, {Type: "C", LastUpdateTime: was, LastTransitionTime: was}}
	StampConditions(c, old, now)
	for i, want := range []condition{{LastUpdateTime: metav1.NewTime(now), LastTransitionTime: was}, {LastUpdateTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now)},
		{LastUpdateTime: was, LastTransitionTime: was}} {
		if got := c.Status.Conditions[i]; !got.LastUpdateTime.Equal(&want.LastUpdateTime) || !got.LastTransitionTime.Equal(&want.LastTransitionTime) {
			t.Errorf("condition %d: updated %v, changed %v", i, got.LastUpdateTime, got.LastTransitionTime)
		}
	}
}
