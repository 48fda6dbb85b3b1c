package admission

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	psa "k8s.io/pod-security-admission/api"
)

// securityConfig is pod-security.admission.config.k8s.io/v1
// PodSecurityConfiguration.
type securityConfig struct {
	typed
	Defaults struct {
		Enforce        string `json:"enforce,omitempty"`
		EnforceVersion string `json:"enforce-version,omitempty"`
		Audit          string `json:"audit,omitempty"`
		AuditVersion   string `json:"audit-version,omitempty"`
		Warn           string `json:"warn,omitempty"`
		WarnVersion    string `json:"warn-version,omitempty"`
	} `json:"defaults"`
	Exemptions struct {
		Usernames      []string `json:"usernames,omitempty"`
		Namespaces     []string `json:"namespaces,omitempty"`
		RuntimeClasses []string `json:"runtimeClasses,omitempty"`
	} `json:"exemptions"`
}

func readSecurityConfig(data []byte) (securityConfig, psa.Policy, error) {
	var cfg securityConfig
	if len(data) > 0 {
		const group = "pod-security.admission.config.k8s.io/"
		if err := cfg.decode(data, "PodSecurityConfiguration", []string{group + "v1", group + "v1beta1", group + "v1alpha1"}, &cfg); err != nil {
			return cfg, psa.Policy{}, err
		}
	}
	var p psa.Policy
	var errs field.ErrorList
	d := &cfg.Defaults
	level := func(value *string, into *psa.Level, name string) {
		*value = cmp.Or(*value, string(psa.LevelPrivileged))
		var err error
		if *into, err = psa.ParseLevel(*value); err != nil {
			errs = append(errs, field.Invalid(field.NewPath("defaults", name), *value, err.Error()))
		}
	}
	version := func(value *string, into *psa.Version, name string) {
		*value = cmp.Or(*value, psa.VersionLatest)
		var err error
		if *into, err = psa.ParseVersion(*value); err != nil {
			errs = append(errs, field.Invalid(field.NewPath("defaults", name), *value, err.Error()))
		}
	}
	level(&d.Enforce, &p.Enforce.Level, "enforce")
	version(&d.EnforceVersion, &p.Enforce.Version, "enforce-version")
	level(&d.Warn, &p.Warn.Level, "warn")
	version(&d.WarnVersion, &p.Warn.Version, "warn-version")
	level(&d.Audit, &p.Audit.Level, "audit")
	version(&d.AuditVersion, &p.Audit.Version, "audit-version")
	exempt := func(list []string, name string, judge func(string) []string) {
		for i, v := range list {
			path := field.NewPath("exemptions", name).Index(i)
			if msgs := judge(v); len(msgs) > 0 {
				errs = append(errs, field.Invalid(path, v, strings.Join(msgs, ", ")))
			} else if slices.Contains(list[:i], v) {
				errs = append(errs, field.Duplicate(path, v))
			}
		}
	}
	e := cfg.Exemptions
	exempt(e.Namespaces, "namespaces", func(v string) []string { return validation.ValidateNamespaceName(v, false) })
	exempt(e.RuntimeClasses, "runtimeClasses", func(v string) []string { return validation.NameIsDNSSubdomain(v, false) })
	exempt(e.Usernames, "usernames", func(v string) []string {
		if v == "" {
			return []string{"username must not be empty"}
		}
		return nil
	})
	return cfg, p, errs.ToAggregate()
}
