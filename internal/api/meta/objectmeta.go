package meta

import (
	"context"
	"strings"

	"k8s.io/apimachinery/pkg/api/operation"
	"k8s.io/apimachinery/pkg/api/validate"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// IsNegative and IsImmutable are the wordings shared by all kinds.
const (
	IsNegative  = apivalidation.IsNegativeErrorMsg
	IsImmutable = apivalidation.FieldImmutableErrorMsg
)

// NameRule says what is wrong with a name; prefix is true for generateName.
type NameRule = apivalidation.ValidateNameFunc

// The rules that names of objects follow.
var (
	DNSSubdomain   NameRule = apivalidation.NameIsDNSSubdomain
	DNSLabel       NameRule = apivalidation.NameIsDNSLabel
	Namespace      NameRule = apivalidation.ValidateNamespaceName
	ServiceAccount NameRule = apivalidation.ValidateServiceAccountName

	// PathSegment is for names that only have to fit a URL.
	PathSegment NameRule = segment
)

var metadata = field.NewPath("metadata")

// ValidateObjectMeta judges the metadata of a new object.
func ValidateObjectMeta(m *metav1.ObjectMeta, namespaced bool, name NameRule) field.ErrorList {
	errs := apivalidation.ValidateObjectMeta(m, namespaced, name, metadata)
	return append(errs, finalizers(m.Finalizers)...)
}

// ValidateObjectMetaLongName is ValidateObjectMeta for the kinds whose name is
// judged by its declared format, a DNS subdomain: a base for generated names is
// then judged only by what it is made into.
func ValidateObjectMetaLongName(m *metav1.ObjectMeta, namespaced bool) field.ErrorList {
	name := func(p *field.Path, name string) field.ErrorList {
		return validate.LongName(context.Background(), operation.Operation{}, p, &name, nil)
	}
	return append(apivalidation.ValidateObjectMetaWithOpts(m, namespaced, name, metadata), finalizers(m.Finalizers)...)
}

// ValidateObjectMetaUpdate judges a change of metadata: name, namespace, uid,
// creation and deletion do not change, generation does not fall.
func ValidateObjectMetaUpdate(m, old *metav1.ObjectMeta) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(m, old, metadata)
	return append(errs, finalizers(m.Finalizers)...)
}

func finalizers(names []string) field.ErrorList {
	var errs field.ErrorList
	for i, f := range names {
		errs = append(errs, standardFinalizer(f, metadata.Child("finalizers").Index(i))...)
	}
	return errs
}

// FinalizerName judges the name of one finalizer, of metadata or of a namespace.
func FinalizerName(name string, p *field.Path) field.ErrorList {
	return append(apivalidation.ValidateFinalizerName(name, p), standardFinalizer(name, p)...)
}

// standardFinalizer refuses a name without a domain that is not Kubernetes' own.
func standardFinalizer(name string, p *field.Path) field.ErrorList {
	if strings.Contains(name, "/") {
		return nil
	}
	switch name {
	case "kubernetes", metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents:
		return nil
	}
	return field.ErrorList{field.Invalid(p, name, "name is neither a standard finalizer name nor is it fully qualified")}
}

// Immutable judges a field that may not change.
func Immutable(v, old any, p *field.Path) field.ErrorList {
	return apivalidation.ValidateImmutableField(v, old, p)
}

// Labels judges labels, or a selector that is a plain map.
func Labels(l map[string]string, p *field.Path) field.ErrorList {
	return metavalidation.ValidateLabels(l, p)
}

// LabelName judges a label's key.
func LabelName(key string, p *field.Path) field.ErrorList {
	return metavalidation.ValidateLabelName(key, p)
}

// Annotations judges annotations: their keys and their total size.
func Annotations(a map[string]string, p *field.Path) field.ErrorList {
	return apivalidation.ValidateAnnotations(a, p)
}

// Selector judges a label selector; nil is valid.
func Selector(s *metav1.LabelSelector, p *field.Path) field.ErrorList {
	return metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, p)
}

// RequiredSelector judges a selector that must be set and not be empty, and
// returns it compiled, nil where it does not compile.
func RequiredSelector(s *metav1.LabelSelector, p *field.Path) (labels.Selector, field.ErrorList) {
	var r Report
	if s == nil {
		r.Required(p, "")
	} else {
		r.Add(Selector(s, p))
		if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
			r.Invalid(p, s, "empty selector is invalid for deployment")
		}
	}
	compiled, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		r.Invalid(p, s, "invalid label selector")
		return nil, r.Errs
	}
	return compiled, r.Errs
}

func format(p *field.Path, v, origin string, msgs []string) field.ErrorList {
	var errs field.ErrorList
	for _, m := range msgs {
		errs = append(errs, field.Invalid(p, v, m).WithOrigin(origin))
	}
	return errs
}

// Label1123 judges a DNS label.
func Label1123(v string, p *field.Path) field.ErrorList {
	return format(p, v, "format=k8s-short-name", validation.IsDNS1123Label(v))
}

// Subdomain1123 judges a DNS subdomain.
func Subdomain1123(v string, p *field.Path) field.ErrorList {
	return format(p, v, "format=k8s-long-name", validation.IsDNS1123Subdomain(v))
}

// QualifiedName judges an optionally prefixed name.
func QualifiedName(v string, p *field.Path) field.ErrorList {
	return format(p, v, "format=qualified-name", validation.IsQualifiedName(v))
}

// Named reports what rule finds wrong with a reference to an object.
func (r *Report) Named(p *field.Path, name string, rule NameRule) {
	r.InvalidAll(p, name, rule(name, false))
}

// IP judges an address in a field that began before addresses were strict;
// an address the old object had already may stay as it is.
func IP(p *field.Path, v string, old []string) field.ErrorList {
	return validation.IsValidIPForLegacyField(p, v, true, old)
}

// CIDR is IP for networks.
func CIDR(p *field.Path, v string, old []string) field.ErrorList {
	return validation.IsValidCIDRForLegacyField(p, v, true, old)
}
