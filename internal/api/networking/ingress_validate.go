package networking

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/monohull/monohull/internal/api/meta"
)

// What a matched path may not contain, or end with.
var (
	badPathParts = []string{"//", "/./", "/../", "%2f", "%2F"}
	badPathEnds  = []string{"/..", "/."}
)

// ingressAllowance is what an old ingress has that new ones may not have.
type ingressAllowance struct {
	secretName   bool // spec.tls[].secretName that no secret could have
	wildcardRule bool // rules of wildcard hosts that are not valid
}

func allowanceOf(old *networkingv1.Ingress) ingressAllowance {
	var a ingressAllowance
	for _, t := range old.Spec.TLS {
		a.secretName = a.secretName || t.SecretName != "" && len(meta.DNSSubdomain(t.SecretName, false)) > 0
	}
	for i := range old.Spec.Rules {
		rule := &old.Spec.Rules[i]
		if strings.Contains(rule.Host, "*") {
			var r meta.Report
			ruleValue(&r, rule, nil)
			a.wildcardRule = a.wildcardRule || len(r.Errs) > 0
		}
	}
	return a
}

func validateIngress(in *networkingv1.Ingress, allow ingressAllowance) field.ErrorList {
	r := &meta.Report{Errs: meta.ValidateObjectMeta(&in.ObjectMeta, true, meta.DNSSubdomain)}
	s, p := &in.Spec, specPath
	if len(s.Rules) == 0 && s.DefaultBackend == nil {
		r.Invalid(p, s.Rules, "either `defaultBackend` or `rules` must be specified")
	}
	if s.DefaultBackend != nil {
		backend(r, s.DefaultBackend, p.Child("defaultBackend"))
	}
	for i := range s.Rules {
		rule, at := &s.Rules[i], p.Child("rules").Index(i)
		wildcard := strings.Contains(rule.Host, "*")
		if rule.Host != "" {
			notAddress(r, at.Child("host"), rule.Host)
			host(r, at.Child("host"), rule.Host)
		}
		if !wildcard || !allow.wildcardRule {
			ruleValue(r, rule, at)
		}
	}
	for i, t := range s.TLS {
		at := p.Child("tls").Index(i)
		for j, h := range t.Hosts {
			host(r, at.Child("hosts").Index(j), h)
		}
		if t.SecretName != "" && !allow.secretName {
			r.Named(at.Child("secretName"), t.SecretName, meta.DNSSubdomain)
		}
	}
	if s.IngressClassName != nil {
		r.Named(p.Child("ingressClassName"), *s.IngressClassName, meta.DNSSubdomain)
	}
	return r.Errs
}

func notAddress(r *meta.Report, p *field.Path, v string) {
	if netutils.ParseIPSloppy(v) != nil {
		r.Invalid(p, v, "must be a DNS name, not an IP address")
	}
}

func host(r *meta.Report, p *field.Path, v string) {
	if strings.Contains(v, "*") {
		r.InvalidAll(p, v, validation.IsWildcardDNS1123Subdomain(v))
	} else {
		r.InvalidAll(p, v, validation.IsDNS1123Subdomain(v))
	}
}

func ruleValue(r *meta.Report, rule *networkingv1.IngressRule, p *field.Path) {
	if rule.HTTP == nil {
		return
	}
	paths := p.Child("http", "paths")
	r.RequiredIf(len(rule.HTTP.Paths) == 0, paths)
	for i := range rule.HTTP.Paths {
		httpPath(r, &rule.HTTP.Paths[i], paths.Index(i))
	}
}

func httpPath(r *meta.Report, path *networkingv1.HTTPIngressPath, p *field.Path) {
	if path.PathType == nil {
		r.Required(p.Child("pathType"), "pathType must be specified")
		return
	}
	at, v := p.Child("path"), path.Path
	absolute := strings.HasPrefix(v, "/")
	switch *path.PathType {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		if !absolute {
			r.Invalid(at, v, "must be an absolute path")
		}
		for _, part := range badPathParts {
			if strings.Contains(v, part) {
				r.Invalid(at, v, fmt.Sprintf("must not contain '%s'", part))
			}
		}
		for _, end := range badPathEnds {
			if strings.HasSuffix(v, end) {
				r.Invalid(at, v, fmt.Sprintf("cannot end with '%s'", end))
			}
		}
	case networkingv1.PathTypeImplementationSpecific:
		if v != "" && !absolute {
			r.Invalid(at, v, "must be an absolute path")
		}
	default:
		meta.Among(r, p.Child("pathType"), *path.PathType, networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix)
	}
	backend(r, &path.Backend, p.Child("backend"))
}

func backend(r *meta.Report, b *networkingv1.IngressBackend, p *field.Path) {
	switch {
	case b.Resource != nil && b.Service != nil:
		r.Invalid(p, "", "cannot set both resource and service backends")
	case b.Resource != nil:
		localReference(r, b.Resource, p.Child("resource"))
	case b.Service != nil:
		at, port := p.Child("service"), &b.Service.Port
		if b.Service.Name == "" {
			r.Required(at.Child("name"), "")
		} else {
			r.Named(at.Child("name"), b.Service.Name, meta.DNSLabel)
		}
		switch {
		case port.Name != "" && port.Number != 0:
			r.Invalid(p, "", "cannot set both port name & port number")
		case port.Name != "":
			r.InvalidAll(at.Child("port", "name"), port.Name, validation.IsValidPortName(port.Name))
		case port.Number != 0:
			r.InvalidAll(at.Child("port", "number"), port.Number, validation.IsValidPortNum(int(port.Number)))
		default:
			r.Required(p, "port name or number is required")
		}
	default:
		r.Invalid(p, "", "resource or service backend is required")
	}
}

func localReference(r *meta.Report, ref *corev1.TypedLocalObjectReference, p *field.Path) {
	if ref.APIGroup != nil {
		r.InvalidAll(p.Child("apiGroup"), *ref.APIGroup, validation.IsDNS1123Subdomain(*ref.APIGroup))
	}
	requiredSegment(r, p.Child("kind"), ref.Kind)
	requiredSegment(r, p.Child("name"), ref.Name)
}
