package apiserver

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/auth"
	"github.com/monohull/monohull/internal/schema/openapi"
)

// review is a kind that is only posted: a question, answered and not stored.
type review struct {
	gvk        schema.GroupVersionKind
	plural     string
	singular   string
	namespaced bool
	shorts     []string
	new        func() api.Object
	answer     func(c *call, o api.Object) (api.Object, error)
}

func (s *Server) reviewKinds() map[string]review {
	az, an := authorizationv1.SchemeGroupVersion, authenticationv1.SchemeGroupVersion
	out := map[string]review{}
	add := func(r review) { out[r.gvk.GroupVersion().String()+"/"+r.plural] = r }
	add(review{gvk: az.WithKind("SubjectAccessReview"), plural: "subjectaccessreviews", singular: "subjectaccessreview",
		new: func() api.Object { return &authorizationv1.SubjectAccessReview{} },
		answer: func(c *call, o api.Object) (api.Object, error) {
			return answered(auth.ReviewAccess(c.req.Context(), s.Authorizer, o.(*authorizationv1.SubjectAccessReview)))
		}})
	add(review{gvk: az.WithKind("SelfSubjectAccessReview"), plural: "selfsubjectaccessreviews", singular: "selfsubjectaccessreview",
		new: func() api.Object { return &authorizationv1.SelfSubjectAccessReview{} },
		answer: func(c *call, o api.Object) (api.Object, error) {
			return answered(auth.ReviewSelfAccess(c.req.Context(), s.Authorizer, c.user, o.(*authorizationv1.SelfSubjectAccessReview)))
		}})
	add(review{gvk: az.WithKind("LocalSubjectAccessReview"), plural: "localsubjectaccessreviews", singular: "localsubjectaccessreview", namespaced: true,
		new: func() api.Object { return &authorizationv1.LocalSubjectAccessReview{} },
		answer: func(c *call, o api.Object) (api.Object, error) {
			return answered(auth.ReviewLocalAccess(c.req.Context(), s.Authorizer, c.namespace, o.(*authorizationv1.LocalSubjectAccessReview)))
		}})
	add(review{gvk: az.WithKind("SelfSubjectRulesReview"), plural: "selfsubjectrulesreviews", singular: "selfsubjectrulesreview",
		new: func() api.Object { return &authorizationv1.SelfSubjectRulesReview{} },
		answer: func(c *call, o api.Object) (api.Object, error) {
			return answered(auth.ReviewSelfRules(c.req.Context(), s.Rules, c.user, o.(*authorizationv1.SelfSubjectRulesReview)))
		}})
	add(review{gvk: an.WithKind("TokenReview"), plural: "tokenreviews", singular: "tokenreview",
		new: func() api.Object { return &authenticationv1.TokenReview{} },
		answer: func(c *call, o api.Object) (api.Object, error) {
			return answered(s.Authenticator.ReviewToken(c.req.Context(), o.(*authenticationv1.TokenReview)))
		}})
	add(review{gvk: an.WithKind("SelfSubjectReview"), plural: "selfsubjectreviews", singular: "selfsubjectreview",
		new: func() api.Object { return &authenticationv1.SelfSubjectReview{} },
		answer: func(c *call, _ api.Object) (api.Object, error) {
			return auth.ReviewSelf(c.user, s.Clock.Now()), nil
		}})
	pods := s.Table.ByResource(corev1.SchemeGroupVersion.WithResource("pods"))
	add(review{gvk: corev1.SchemeGroupVersion.WithKind("Binding"), plural: "bindings", singular: "binding", namespaced: true,
		new: func() api.Object { return &corev1.Binding{} },
		answer: func(c *call, o api.Object) (api.Object, error) { // the older road to pods/binding
			c.kind, c.ver, c.name = pods, pods.Own(), o.GetName()
			r, err := c.request("binding")
			if err != nil {
				return nil, err
			}
			it, err := s.Writer.Create(c.req.Context(), r, o)
			if err != nil {
				return nil, err
			}
			return it.Obj, nil
		}})
	return out
}

func answered[T api.Object](o T, err error) (api.Object, error) {
	if err != nil {
		return nil, err
	}
	return o, nil
}

// review answers a posted question.
func (c *call) review(r review) error {
	gr := schema.GroupResource{Group: r.gvk.Group, Resource: r.plural}
	if c.verb != "create" || c.name != "" && c.namespace != c.name {
		return apierrors.NewMethodNotSupported(gr, c.verb)
	}
	if r.namespaced != (c.namespace != "") {
		return noResource()
	}
	if err := c.negotiate(false); err != nil {
		return err
	}
	obj := r.new()
	if err := c.body(r.gvk, obj); err != nil {
		return err
	}
	if ns := obj.GetNamespace(); ns != "" && ns != c.namespace {
		return apierrors.NewBadRequest(fmt.Sprintf("namespace mismatch: %q in the object, %q in the path", ns, c.namespace))
	}
	res, err := r.answer(c, obj)
	if err != nil {
		return err
	}
	body, err := objectBytes(res, r.gvk, c.view.media)
	if err != nil {
		return err
	}
	respond(c.w, c.view, http.StatusCreated, body)
	return nil
}

// virtual lists the review kinds for the OpenAPI documents.
func (s *Server) virtual() []openapi.Virtual {
	var out []openapi.Virtual
	for _, r := range s.reviews {
		out = append(out, openapi.Virtual{GVK: r.gvk, Plural: r.plural, Namespaced: r.namespaced, Type: r.new()})
	}
	slices.SortFunc(out, func(a, b openapi.Virtual) int { return strings.Compare(a.Plural, b.Plural) })
	return out
}
