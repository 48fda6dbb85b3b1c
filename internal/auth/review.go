package auth

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// The reviews are the questions of this package as API objects. Each function gives the answer to a POST and leaves
// the object it is given as it is.

// ReviewToken answers a TokenReview.
func (a *Authenticator) ReviewToken(ctx context.Context, review *authenticationv1.TokenReview) (*authenticationv1.TokenReview, error) {
	if review.Spec.Token == "" {
		return nil, apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	audiences := authenticator.Audiences(review.Spec.Audiences)
	if len(audiences) == 0 {
		audiences = a.audiences
	}
	if len(audiences) > 0 {
		ctx = authenticator.WithAudiences(ctx, audiences)
	}
	req := (&http.Request{Header: http.Header{"Authorization": {"Bearer " + review.Spec.Token}}}).WithContext(ctx)
	out := review.DeepCopy()
	resp, ok, err := a.bearer.AuthenticateRequest(req)
	out.Status = authenticationv1.TokenReviewStatus{Authenticated: ok}
	if err != nil {
		out.Status.Error = err.Error()
	}
	if ok && len(audiences) > 0 && len(audiences.Intersect(resp.Audiences)) == 0 {
		return nil, apierrors.NewInternalError(fmt.Errorf("error validating audiences"))
	}
	if ok {
		out.Status.User = userInfo(resp.User)
		out.Status.Audiences = resp.Audiences
	}
	return out, nil
}

// ReviewSelf answers a SelfSubjectReview: who the server takes the sender for.
func ReviewSelf(u user.Info, now time.Time) *authenticationv1.SelfSubjectReview {
	return &authenticationv1.SelfSubjectReview{
		ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(now)},
		Status:     authenticationv1.SelfSubjectReviewStatus{UserInfo: userInfo(u)},
	}
}

func userInfo(u user.Info) authenticationv1.UserInfo {
	out := authenticationv1.UserInfo{
		Username: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(),
		Extra: make(map[string]authenticationv1.ExtraValue, len(u.GetExtra())),
	}
	for key, values := range u.GetExtra() {
		out.Extra[key] = values
	}
	return out
}

// ReviewAccess answers a SubjectAccessReview.
func ReviewAccess(ctx context.Context, a authorizer.Authorizer, review *authorizationv1.SubjectAccessReview) (*authorizationv1.SubjectAccessReview, error) {
	errs := append(validateAccessSpec(&review.Spec), validateReviewMeta(review.ObjectMeta, "must be empty")...)
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(authorizationv1.SchemeGroupVersion.WithKind("SubjectAccessReview").GroupKind(), "", errs)
	}
	out := review.DeepCopy()
	out.Status = access(ctx, a, specUser(&review.Spec), review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
	return out, nil
}

// ReviewLocalAccess answers a LocalSubjectAccessReview posted to the namespace.
func ReviewLocalAccess(ctx context.Context, a authorizer.Authorizer, namespace string, review *authorizationv1.LocalSubjectAccessReview) (*authorizationv1.LocalSubjectAccessReview, error) {
	meta := review.ObjectMeta
	meta.Namespace = ""
	errs := append(validateAccessSpec(&review.Spec), validateReviewMeta(meta, "must be empty except for namespace")...)
	if r := review.Spec.ResourceAttributes; r != nil && r.Namespace != review.Namespace {
		errs = append(errs, field.Invalid(field.NewPath("spec.resourceAttributes.namespace"), r.Namespace, "must match metadata.namespace"))
	}
	if n := review.Spec.NonResourceAttributes; n != nil {
		errs = append(errs, field.Invalid(field.NewPath("spec.nonResourceAttributes"), n, "disallowed on this kind of request"))
	}
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(authorizationv1.SchemeGroupVersion.WithKind("LocalSubjectAccessReview").GroupKind(), "", errs)
	}
	if namespace != review.Namespace {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("spec.resourceAttributes.namespace must match namespace: %v", namespace))
	}
	out := review.DeepCopy()
	out.Status = access(ctx, a, specUser(&review.Spec), review.Spec.ResourceAttributes, nil)
	return out, nil
}

// ReviewSelfAccess answers a SelfSubjectAccessReview of the user.
func ReviewSelfAccess(ctx context.Context, a authorizer.Authorizer, u user.Info, review *authorizationv1.SelfSubjectAccessReview) (*authorizationv1.SelfSubjectAccessReview, error) {
	errs := append(validateAttributes(review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes), validateReviewMeta(review.ObjectMeta, "must be empty")...)
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview").GroupKind(), "", errs)
	}
	out := review.DeepCopy()
	out.Status = access(ctx, a, u, review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
	return out, nil
}

// ReviewSelfRules answers a SelfSubjectRulesReview of the user.
func ReviewSelfRules(ctx context.Context, a authorizer.RuleResolver, u user.Info, review *authorizationv1.SelfSubjectRulesReview) (*authorizationv1.SelfSubjectRulesReview, error) {
	if review.Spec.Namespace == "" {
		return nil, apierrors.NewBadRequest("no namespace on request")
	}
	resources, paths, incomplete, err := a.RulesFor(ctx, u, review.Spec.Namespace)
	out := &authorizationv1.SelfSubjectRulesReview{Status: authorizationv1.SubjectRulesReviewStatus{
		ResourceRules:    make([]authorizationv1.ResourceRule, 0, len(resources)),
		NonResourceRules: make([]authorizationv1.NonResourceRule, 0, len(paths)),
		Incomplete:       incomplete,
	}}
	for _, r := range resources {
		out.Status.ResourceRules = append(out.Status.ResourceRules, authorizationv1.ResourceRule{
			Verbs: r.GetVerbs(), APIGroups: r.GetAPIGroups(), Resources: r.GetResources(), ResourceNames: r.GetResourceNames(),
		})
	}
	for _, r := range paths {
		out.Status.NonResourceRules = append(out.Status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: r.GetVerbs(), NonResourceURLs: r.GetNonResourceURLs()})
	}
	if err != nil {
		out.Status.EvaluationError = err.Error()
	}
	return out, nil
}

func specUser(spec *authorizationv1.SubjectAccessReviewSpec) user.Info {
	u := &user.DefaultInfo{Name: spec.User, UID: spec.UID, Groups: spec.Groups}
	if spec.Extra != nil {
		u.Extra = map[string][]string{}
		for key, values := range spec.Extra {
			u.Extra[key] = values
		}
	}
	return u
}

func access(ctx context.Context, a authorizer.Authorizer, u user.Info, r *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	var attrs authorizer.AttributesRecord
	if r != nil {
		attrs = resourceAttributes(u, r)
	} else {
		attrs = authorizer.AttributesRecord{User: u, Verb: n.Verb, Path: n.Path}
	}
	decision, reason, err := a.Authorize(ctx, attrs)
	var problems []string
	if err != nil {
		problems = append(problems, err.Error())
	}
	ignored := func(what string, err error, some bool) {
		switch {
		case err == nil:
		case some:
			problems = append(problems, "spec.resourceAttributes."+what+" partially ignored due to parse error")
		default:
			problems = append(problems, "spec.resourceAttributes."+what+" ignored due to parse error")
		}
	}
	ignored("fieldSelector", attrs.FieldSelectorParsingErr, len(attrs.FieldSelectorRequirements) > 0)
	ignored("labelSelector", attrs.LabelSelectorParsingErr, len(attrs.LabelSelectorRequirements) > 0)
	return authorizationv1.SubjectAccessReviewStatus{
		Allowed:         decision == authorizer.DecisionAllow,
		Denied:          decision == authorizer.DecisionDeny,
		Reason:          reason,
		EvaluationError: strings.Join(problems, "; "),
	}
}

func validateReviewMeta(meta metav1.ObjectMeta, message string) field.ErrorList {
	meta.ManagedFields = nil
	if equality.Semantic.DeepEqual(meta, metav1.ObjectMeta{}) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata"), meta, message)}
}

func validateAccessSpec(spec *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	errs := validateAttributes(spec.ResourceAttributes, spec.NonResourceAttributes)
	if spec.User == "" && len(spec.Groups) == 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "user"), spec.User, "at least one of user or group must be specified"))
	}
	return errs
}

func validateAttributes(r *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes) field.ErrorList {
	var errs field.ErrorList
	spec := field.NewPath("spec")
	if r != nil && n != nil {
		errs = append(errs, field.Invalid(spec.Child("nonResourceAttributes"), n, "cannot be specified in combination with resourceAttributes"))
	}
	if r == nil && n == nil {
		errs = append(errs, field.Invalid(spec.Child("resourceAttributes"), n, "exactly one of nonResourceAttributes or resourceAttributes must be specified"))
	}
	if r == nil {
		return errs
	}
	// An operator that a newer client knows and this server does not is left to be ignored.
	if s := r.FieldSelector; s != nil {
		path := spec.Child("resourceAttributes", "fieldSelector")
		errs = append(errs, validateSelectorForm(path, s.RawSelector, len(s.Requirements))...)
		for i, requirement := range s.Requirements {
			errs = append(errs, metav1validation.ValidateFieldSelectorRequirement(requirement,
				metav1validation.FieldSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}, path.Child("requirements").Index(i))...)
		}
	}
	if s := r.LabelSelector; s != nil {
		path := spec.Child("resourceAttributes", "labelSelector")
		errs = append(errs, validateSelectorForm(path, s.RawSelector, len(s.Requirements))...)
		for i, requirement := range s.Requirements {
			errs = append(errs, metav1validation.ValidateLabelSelectorRequirement(requirement,
				metav1validation.LabelSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}, path.Child("requirements").Index(i))...)
		}
	}
	return errs
}

func validateSelectorForm(path *field.Path, raw string, requirements int) field.ErrorList {
	switch {
	case raw != "" && requirements > 0:
		return field.ErrorList{field.Invalid(path.Child("rawSelector"), raw, "may not specified at the same time as requirements")}
	case raw == "" && requirements == 0:
		return field.ErrorList{field.Required(path.Child("requirements"), fmt.Sprintf("when %s is specified, requirements or rawSelector is required", path))}
	}
	return nil
}
