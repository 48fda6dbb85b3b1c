package apiserver

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/pprof"
	"sort"
	"strings"

	"github.com/monohull/monohull/internal/auth"
	"github.com/monohull/monohull/internal/version"
)

// servePath answers what is no resource.
func (s *Server) servePath(w http.ResponseWriter, req *http.Request, info *requestInfo) {
	p := info.path
	switch {
	case p == "/" || p == "":
		s.respondJSON(w, req, http.StatusOK, map[string]any{"paths": s.paths()})
	case p == "/version" || p == "/version/":
		s.respondJSON(w, req, http.StatusOK, version.Info())
	case underPath(p, "/healthz"), underPath(p, "/livez"), underPath(p, "/readyz"):
		s.health(w, req, p)
	case p == "/metrics" && s.Metrics != nil:
		s.Metrics.ServeHTTP(w, req)
	case p == auth.DiscoveryPath && len(s.OIDCDiscovery) > 0:
		s.document(w, "application/json", s.OIDCDiscovery)
	case p == auth.KeysPath && len(s.OIDCKeys) > 0:
		s.document(w, "application/jwk-set+json", s.OIDCKeys)
	case underPath(p, "/debug/pprof"):
		profile(w, req, strings.TrimPrefix(strings.TrimPrefix(p, "/debug/pprof"), "/"))
	case underPath(p, "/openapi"):
		s.openapi.ServeHTTP(w, req)
	case (underPath(p, "/api") || underPath(p, "/apis")) && s.discovery.serve(s, w, req, p):
	default:
		http.NotFound(w, req)
	}
}

// profile serves Go's profiles of this process to those who may read the path,
// as upstream's servers do.
func profile(w http.ResponseWriter, req *http.Request, name string) {
	switch name {
	case "cmdline":
		pprof.Cmdline(w, req)
	case "profile":
		pprof.Profile(w, req)
	case "symbol":
		pprof.Symbol(w, req)
	case "trace":
		pprof.Trace(w, req)
	default:
		pprof.Index(w, req)
	}
}

func underPath(p, root string) bool { return p == root || strings.HasPrefix(p, root+"/") }

func (s *Server) document(w http.ResponseWriter, media string, body []byte) {
	w.Header().Set("Content-Type", media)
	w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", auth.DiscoveryMaxAgeSeconds))
	_, _ = w.Write(body)
}

func (s *Server) paths() []string {
	s.discovery.once.Do(s.discovery.build)
	out := []string{"/.well-known/openid-configuration", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"}
	for p := range s.discovery.docs {
		out = append(out, p)
	}
	for _, c := range s.Checks {
		for _, root := range []string{"/healthz", "/livez", "/readyz"} {
			out = append(out, root+"/"+c.Name)
		}
	}
	sort.Strings(out)
	return out
}

// health answers /healthz, /livez and /readyz, whole or for one check.
func (s *Server) health(w http.ResponseWriter, req *http.Request, path string) {
	_, root, _ := strings.Cut(path, "/")
	root, only, single := strings.Cut(root, "/")
	skip := map[string]bool{}
	for _, name := range req.URL.Query()["exclude"] {
		skip[name] = true
	}
	var b strings.Builder
	failed, found := false, false
	for _, c := range s.Checks {
		if c.ReadyOnly && root != "readyz" || single && only != "" && c.Name != only {
			continue
		}
		found = true
		if skip[c.Name] {
			fmt.Fprintf(&b, "[+]%s excluded: ok\n", c.Name)
			continue
		}
		if err := c.Probe(req.Context()); err != nil {
			failed = true
			s.Logger.Debug("apiserver: a health check fails", "check", c.Name, "error", err)
			fmt.Fprintf(&b, "[-]%s failed: reason withheld\n", c.Name)
			continue
		}
		fmt.Fprintf(&b, "[+]%s ok\n", c.Name)
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache, private")
	switch {
	case single && only != "" && !found:
		http.NotFound(w, req)
	case failed:
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, "%s%s check failed\n", b.String(), root)
	case req.URL.Query().Has("verbose"):
		fmt.Fprintf(w, "%s%s check passed\n", b.String(), root)
	default:
		fmt.Fprint(w, "ok")
	}
}

func base64Std(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
