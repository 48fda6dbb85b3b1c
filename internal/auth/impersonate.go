package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Impersonation reads as whom a request wants to be treated: nil if as its sender. The user is as the headers have
// it, with no group added.
func Impersonation(headers http.Header) (*user.DefaultInfo, error) {
	wanted := &user.DefaultInfo{
		Name:   headers.Get(authenticationv1.ImpersonateUserHeader),
		UID:    headers.Get(authenticationv1.ImpersonateUIDHeader),
		Groups: slices.Clone(headers[authenticationv1.ImpersonateGroupHeader]),
	}
	extras := 0
	for header, values := range headers {
		encoded, isExtra := strings.CutPrefix(header, authenticationv1.ImpersonateUserExtraHeaderPrefix)
		if !isExtra {
			continue
		}
		extras++
		if len(values) > 0 {
			if wanted.Extra == nil {
				wanted.Extra = map[string][]string{}
			}
			key := unescapeKey(encoded)
			wanted.Extra[key] = append(wanted.Extra[key], values...)
		}
	}
	switch {
	case wanted.Name != "":
		return wanted, nil
	case wanted.UID != "" || len(wanted.Groups) > 0 || extras > 0:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("requested %#v without impersonating a user name", wanted))
	}
	return nil, nil
}

// ClearImpersonation takes the headers from a request that was judged, so that nothing behind can tell.
func ClearImpersonation(headers http.Header) {
	for header := range headers {
		switch {
		case header == authenticationv1.ImpersonateUserHeader, header == authenticationv1.ImpersonateUIDHeader,
			header == authenticationv1.ImpersonateGroupHeader, strings.HasPrefix(header, authenticationv1.ImpersonateUserExtraHeaderPrefix):
			delete(headers, header)
		}
	}
}

// Impersonator judges impersonation. There are several ways to be allowed: the constrained ones (KEP-5284) let a
// sender be a user of one sort for one kind of request, by the verbs impersonate:<way> on the user and
// impersonate-on:<way>:<verb> on what is requested; the old one, by the verb impersonate, holds for all requests.
type Impersonator struct {
	Authorizer authorizer.Authorizer
}

// Impersonate gives the user to treat the request as, and the verb that allowed it if the way was a constrained
// one, for the audit event. The attributes are the request's, with its sender. The error is the client's answer: that
// of the narrowest way which could have served.
func (i Impersonator) Impersonate(ctx context.Context, wanted *user.DefaultInfo, attrs authorizer.Attributes) (user.Info, string, error) {
	if attrs.GetUser() == nil {
		return nil, "", errors.New("no User found in the context")
	}
	var answer error
	for _, way := range impersonationWays(wanted, attrs) {
		err := i.pass(ctx, way.gates)
		if err == nil {
			return way.as, way.constraint, nil
		}
		if answer == nil {
			answer = err
		}
	}
	return nil, "", answer
}

// pass asks the authorizer about every gate in turn.
func (i Impersonator) pass(ctx context.Context, gates []gate) error {
	for _, g := range gates {
		if g.wall != "" {
			return Forbidden(g.each[0], g.wall)
		}
		if g.all != nil && Check(ctx, i.Authorizer, g.all) == nil {
			continue
		}
		for _, attrs := range g.each {
			if err := Check(ctx, i.Authorizer, attrs); err != nil {
				return err
			}
		}
	}
	return nil
}
