package auth

import (
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestReviewToken(t *testing.T) {
	w, key := newWorld(), ecKey(t)
	a := newAuthenticator(t, w, key, nil)
	token := issue(t, newIssuer(t, w, key, nil), authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}}).Response.Status.Token
	review := func(token string, audiences ...string) *authenticationv1.TokenReview {
		out, err := a.ReviewToken(t.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if s := review(token, "vault", "db").Status; !s.Authenticated || s.User.Username != "system:serviceaccount:n:app" || !slices.Equal(s.Audiences, []string{"vault"}) || s.Error != "" {
		t.Errorf("%+v", s)
	}
	if s := review(token).Status; s.Authenticated || !strings.Contains(s.Error, "is invalid for the target audiences") || s.User.Username != "" {
		t.Errorf("%+v", s)
	}
	if s := review("x").Status; s.Authenticated || s.Error != "invalid bearer token" {
		t.Errorf("%+v", s)
	}
	if _, err := a.ReviewToken(t.Context(), &authenticationv1.TokenReview{}); !apierrors.IsBadRequest(err) {
		t.Error(err)
	}
}

func TestReviewAccess(t *testing.T) {
	p := newPolicy(clusterRole("r", may("get", "core", "pods"), visit("get", "/x")), bindCluster("b", "r", userSubject("ann")))
	rbac := NewRBAC(p)
	pods := &authorizationv1.ResourceAttributes{Verb: "get", Resource: "pods", Namespace: "n"}
	path := &authorizationv1.NonResourceAttributes{Verb: "get", Path: "/x"}
	out, err := ReviewAccess(t.Context(), rbac, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "ann", ResourceAttributes: pods}})
	if err != nil || !out.Status.Allowed || out.Status.Denied || !strings.HasPrefix(out.Status.Reason, "RBAC: allowed by") {
		t.Errorf("%+v %v", out, err)
	}
	self, err := ReviewSelfAccess(t.Context(), rbac, person("ben"), &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{NonResourceAttributes: path}})
	if err != nil || self.Status.Allowed {
		t.Errorf("%+v %v", self, err)
	}
	if local, err := ReviewLocalAccess(t.Context(), rbac, "n", &authorizationv1.LocalSubjectAccessReview{ObjectMeta: metav1.ObjectMeta{Namespace: "n"}, Spec: authorizationv1.SubjectAccessReviewSpec{User: "ann", ResourceAttributes: pods}}); err != nil || !local.Status.Allowed {
		t.Errorf("%+v %v", local, err)
	}
	for name, spec := range map[string]authorizationv1.SubjectAccessReviewSpec{
		"nothing asked": {User: "ann"}, "nobody": {ResourceAttributes: pods}, "both": {User: "ann", ResourceAttributes: pods, NonResourceAttributes: path},
		"empty selector": {User: "ann", ResourceAttributes: &authorizationv1.ResourceAttributes{FieldSelector: &authorizationv1.FieldSelectorAttributes{}}},
	} {
		if _, err := ReviewAccess(t.Context(), rbac, &authorizationv1.SubjectAccessReview{Spec: spec}); !apierrors.IsInvalid(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := *pods
	bad.LabelSelector = &authorizationv1.LabelSelectorAttributes{RawSelector: "a=="}
	bad.FieldSelector = &authorizationv1.FieldSelectorAttributes{Requirements: []metav1.FieldSelectorRequirement{{Key: "a", Operator: "New", Values: []string{"x"}}, {Key: "b", Operator: metav1.FieldSelectorOpIn, Values: []string{"x"}}}}
	bad.LabelSelector.RawSelector = "a in"
	out, err = ReviewAccess(t.Context(), rbac, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "ann", ResourceAttributes: &bad}})
	if want := "spec.resourceAttributes.fieldSelector partially ignored due to parse error; spec.resourceAttributes.labelSelector ignored due to parse error"; err != nil || out.Status.EvaluationError != want {
		t.Errorf("%+v %v", out, err)
	}
	rules, err := ReviewSelfRules(t.Context(), rbac, person("ann"), &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "n"}})
	if err != nil || len(rules.Status.ResourceRules) != 1 || len(rules.Status.NonResourceRules) != 1 {
		t.Errorf("%+v %v", rules, err)
	}
}
