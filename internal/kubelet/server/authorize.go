package server

import (
	"fmt"
	"net/http"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
	v1beta1 "k8s.io/kubelet/config/v1beta1"
)

// verbs of the API for methods; others have none.
var verbs = map[string]string{"POST": "create", "GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}

func below(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

// wanted lists the subresources of which one has to be allowed. The first are the
// fine ones; proxy allows what had no name of its own before.
func wanted(path string) []string {
	var out []string
	switch {
	case below(path, "/pods"), below(path, "/runningpods"):
		out = append(out, "pods")
	case below(path, "/healthz"):
		out = append(out, "healthz")
	case below(path, "/configz"):
		out = append(out, "configz")
	}
	switch {
	case below(path, "/stats"):
		return append(out, "stats")
	case below(path, "/metrics"):
		return append(out, "metrics")
	case below(path, "/logs"):
		return append(out, "log")
	case below(path, "/checkpoint"):
		return append(out, "checkpoint")
	case below(path, "/statusz"):
		return append(out, "statusz")
	case below(path, "/flagz"):
		return append(out, "configz")
	}
	return append(out, "proxy")
}

// guarded lets requests through to next that are someone's who may.
func (s *Server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, ok, err := s.deps.Authenticator.Authenticate(r)
		if err != nil {
			s.log.Info("kubelet: a request could not be authenticated", "path", r.URL.Path, "error", err)
		}
		if !ok && *s.cfg.Kubelet.Authentication.Anonymous.Enabled && r.Header.Get("Authorization") == "" {
			who, ok = &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}}, true
		}
		if !ok {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		if s.cfg.Kubelet.Authorization.Mode == v1beta1.KubeletAuthorizationModeAlwaysAllow {
			next.ServeHTTP(w, r)
			return
		}
		verb, subs := verbs[r.Method], wanted(r.URL.Path)
		for _, sub := range subs {
			allowed, _, err := s.deps.Authorizer.Authorize(r.Context(), who, Access{Verb: verb, Subresource: sub, Node: s.cfg.NodeName, Path: r.URL.Path})
			if err != nil {
				s.log.Error("kubelet: a request could not be authorized", "path", r.URL.Path, "user", who.GetName(), "error", err)
				http.Error(w, fmt.Sprintf("Authorization error (user=%s, verb=%s, resource=nodes, subresource=%s)", who.GetName(), verb, sub), http.StatusInternalServerError)
				return
			}
			if allowed {
				next.ServeHTTP(w, r)
				return
			}
		}
		http.Error(w, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v)", who.GetName(), verb, subs), http.StatusForbidden)
	})
}
