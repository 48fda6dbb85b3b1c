package admissionregistration

import (
	"fmt"
	"net/url"
	"strings"

	v1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/meta"
)

// clientConfig judges where a webhook is.
func clientConfig(r *meta.Report, c *v1.WebhookClientConfig, p *field.Path) {
	switch {
	case (c.URL == nil) == (c.Service == nil):
		r.Required(p, "exactly one of url or service is required")
	case c.URL != nil:
		hookURL(r, *c.URL, p.Child("url"))
	default:
		hookService(r, c.Service, p.Child("service"))
	}
}

func hookURL(r *meta.Report, text string, p *field.Path) {
	const form = "; desired format: https://host[/path]"
	u, err := url.Parse(text)
	if err != nil {
		r.Required(p, "url must be a valid URL: "+err.Error()+form)
		return
	}
	if u.Scheme != "https" {
		r.Invalid(p, u.Scheme, "'https' is the only allowed URL scheme"+form)
	}
	if u.Host == "" {
		r.Invalid(p, u.Host, "host must be specified"+form)
	}
	if u.User != nil {
		r.Invalid(p, u.User.String(), "user information is not permitted in the URL")
	}
	if u.Fragment != "" {
		r.Invalid(p, u.Fragment, "fragments are not permitted in the URL")
	}
	if u.RawQuery != "" {
		r.Invalid(p, u.RawQuery, "query parameters are not permitted in the URL")
	}
}

func hookService(r *meta.Report, s *v1.ServiceReference, p *field.Path) {
	r.RequiredIf(s.Name == "", p.Child("name"))
	r.RequiredIf(s.Namespace == "", p.Child("namespace"))
	port := int32(0)
	if s.Port != nil {
		port = *s.Port
	}
	if errs := validation.IsValidPortNum(int(port)); errs != nil {
		r.Invalid(p.Child("port"), port, "port is not valid: "+strings.Join(errs, ", "))
	}
	if s.Path == nil || *s.Path == "" || *s.Path == "/" {
		return
	}
	path, p := *s.Path, p.Child("path")
	if path == "//" {
		r.Invalid(p, path, "segment[0] may not be empty")
		return
	}
	if !strings.HasPrefix(path, "/") {
		r.Invalid(p, path, "must start with a '/'")
	}
	for i, segment := range strings.Split(strings.TrimSuffix(path[1:], "/"), "/") {
		if segment == "" {
			r.Invalid(p, path, fmt.Sprintf("segment[%d] may not be empty", i))
			continue
		}
		for _, why := range validation.IsDNS1123Subdomain(segment) {
			r.Invalid(p, path, fmt.Sprintf("segment[%d]: %v", i, why))
		}
	}
}
