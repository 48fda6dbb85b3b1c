package auth

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

// ProxyHeaders are the headers in which a front proxy says for whom it speaks. Of several names for the user or its
// uid the first that is in the request counts; groups and extras are gathered from all.
type ProxyHeaders struct {
	User, UID, Group []string
	ExtraPrefixes    []string
}

// DefaultProxyHeaders are the names everybody uses.
func DefaultProxyHeaders() ProxyHeaders {
	return ProxyHeaders{
		User:          []string{"X-Remote-User"},
		UID:           []string{"X-Remote-Uid"},
		Group:         []string{"X-Remote-Group"},
		ExtraPrefixes: []string{"X-Remote-Extra-"},
	}
}

// complete brings the names to the form that parsed requests have.
func (p *ProxyHeaders) complete() error {
	if len(p.User) == 0 {
		*p = DefaultProxyHeaders()
	}
	for _, names := range []*[]string{&p.User, &p.UID, &p.Group, &p.ExtraPrefixes} {
		*names = slices.Clone(*names)
		for i, name := range *names {
			trimmed := strings.TrimSpace(name)
			if trimmed == "" {
				return fmt.Errorf("empty header %q", name)
			}
			(*names)[i] = http.CanonicalHeaderKey(trimmed)
		}
	}
	return nil
}

// user reads for whom the proxy speaks: nil if it does not say.
func (p *ProxyHeaders) user(headers http.Header) user.Info {
	first := func(names []string) string {
		for _, name := range names {
			if value := headers.Get(name); value != "" {
				return value
			}
		}
		return ""
	}
	info := &user.DefaultInfo{Name: first(p.User)}
	if info.Name == "" {
		return nil
	}
	info.UID = first(p.UID)
	for _, name := range p.Group {
		for _, group := range headers[name] {
			if group != "" {
				info.Groups = append(info.Groups, group)
			}
		}
	}
	info.Extra = map[string][]string{}
	for _, prefix := range p.ExtraPrefixes {
		for header, values := range headers {
			if hasPrefixFold(header, prefix) {
				key := unescapeKey(header[len(prefix):])
				info.Extra[key] = append(info.Extra[key], values...)
			}
		}
	}
	return authenticated(info)
}

// clear takes the headers from a request, whoever sent them: nothing behind may trust them again. The usual names go
// too, since something behind may know only those.
func (p *ProxyHeaders) clear(headers http.Header) {
	usual := DefaultProxyHeaders()
	for header := range headers {
		if p.owns(header) || usual.owns(header) {
			delete(headers, header)
		}
	}
}

func (p *ProxyHeaders) owns(header string) bool {
	return has(p.User, header) || has(p.UID, header) || has(p.Group, header) ||
		slices.ContainsFunc(p.ExtraPrefixes, func(prefix string) bool { return hasPrefixFold(header, prefix) })
}

// proxied authenticates by the word of a front proxy, which shows itself by its certificate.
func (a *Authenticator) proxied(req *http.Request) (*authenticator.Response, bool, error) {
	if a.proxies == nil {
		return nil, false, nil
	}
	// Without a user there is nothing to say, and ordinary client certificates, which the proxies' authority did
	// not sign, are spared a failing verification.
	info := a.config.ProxyHeaders.user(req.Header)
	if info == nil {
		return nil, false, nil
	}
	known, err := a.proxies.verify(req)
	if err != nil || known == nil {
		return nil, false, err
	}
	if name := req.TLS.PeerCertificates[0].Subject.CommonName; len(a.config.ProxyNames) > 0 && !has(a.config.ProxyNames, name) {
		return nil, false, fmt.Errorf("x509: subject with cn=%s is not in the allowed list", name)
	}
	resp, ok := a.forAnyAudience(req.Context(), info)
	return resp, ok, nil
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// unescapeKey reads the key of an extra from the end of a header's name: lower case, and percent-encoded where
// a header's name cannot hold it.
func unescapeKey(s string) string {
	s = strings.ToLower(s)
	if key, err := url.PathUnescape(s); err == nil {
		return key
	}
	return s
}
