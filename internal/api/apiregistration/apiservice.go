package apiregistration

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

// Rows lists the kinds of the group in the order discovery shows them.
func Rows() []*api.Kind { return []*api.Kind{apiServiceRow()} }

const (
	defaultPort        = int32(443)
	maxGroupPriority   = 20000
	maxVersionPriority = 1000
)

var (
	metadataPath = field.NewPath("metadata")
	specPath     = field.NewPath("spec")
	statusPath   = field.NewPath("status")
)

func apiServiceRow() *api.Kind {
	type kind = apiregistrationv1.APIService
	return api.Define(api.Spec[*kind]{
		GVK: apiregistrationv1.SchemeGroupVersion.WithKind("APIService"), Plural: "apiservices", Singular: "apiservice",
		Categories: []string{"api-extensions"},
		Prefix:     "apiregistration.k8s.io/apiservices",
		List:       &apiregistrationv1.APIServiceList{},
		Default: func(s *kind) {
			if ref := s.Spec.Service; ref != nil && ref.Port == nil {
				port := defaultPort
				ref.Port = &port
			}
		},
		PrepareCreate: func(s *kind) {
			if s.Spec.Service == nil {
				s.Status.Conditions = append(s.Status.Conditions, localCondition(s.CreationTimestamp))
			}
		},
		PrepareStatus: func(s, old *kind) {
			s.Labels, s.Annotations = old.Labels, old.Annotations
			s.Finalizers, s.OwnerReferences = old.Finalizers, old.OwnerReferences
		},
		Fields:   map[string]func(*kind) string{"metadata.namespace": func(*kind) string { return "" }},
		Validate: validate,
		ValidateUpdate: func(s, old *kind) field.ErrorList {
			return append(validateMetaUpdate(&s.ObjectMeta, &old.ObjectMeta), validate(s)...)
		},
		ValidateStatus: func(s, old *kind) field.ErrorList {
			r := meta.Report{Errs: validateMetaUpdate(&s.ObjectMeta, &old.ObjectMeta)}
			for i, c := range s.Status.Conditions {
				meta.Among(&r, statusPath.Child("conditions").Index(i).Child("status"), c.Status,
					apiregistrationv1.ConditionTrue, apiregistrationv1.ConditionFalse, apiregistrationv1.ConditionUnknown)
			}
			return r.Errs
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Service", "The reference to the service that hosts this API endpoint."),
			meta.Text("Available", "Whether this service is available."),
			meta.AgeColumn,
		},
		Row: func(s *kind, now time.Time) []any {
			service := "Local"
			if ref := s.Spec.Service; ref != nil {
				service = ref.Namespace + "/" + ref.Name
			}
			return []any{s.Name, service, availableCell(s.Status.Conditions), meta.Age(s.CreationTimestamp, now)}
		},
	})
}

func validateMetaUpdate(m, old *metav1.ObjectMeta) field.ErrorList {
	return apivalidation.ValidateObjectMetaUpdate(m, old, metadataPath)
}

// localCondition is that of a group this server serves itself: there as soon as
// it is registered.
func localCondition(since metav1.Time) apiregistrationv1.APIServiceCondition {
	return apiregistrationv1.APIServiceCondition{
		Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue, LastTransitionTime: since,
		Reason: "Local", Message: "Local APIServices are always available",
	}
}

func availableCell(list []apiregistrationv1.APIServiceCondition) string {
	for _, c := range list {
		if c.Type != apiregistrationv1.Available {
			continue
		}
		if c.Status != apiregistrationv1.ConditionTrue && c.Reason != "" {
			return fmt.Sprintf("%s (%s)", c.Status, c.Reason)
		}
		return string(c.Status)
	}
	return string(apiregistrationv1.ConditionUnknown)
}

func validate(s *apiregistrationv1.APIService) field.ErrorList {
	want := s.Spec.Version + "." + s.Spec.Group
	named := func(name string, _ bool) []string {
		if why := content.IsPathSegmentName(name); len(why) > 0 {
			return why
		}
		if name != want {
			return []string{fmt.Sprintf("must be `spec.version+\".\"+spec.group`: %q", want)}
		}
		return nil
	}
	r := meta.Report{Errs: apivalidation.ValidateObjectMeta(&s.ObjectMeta, false, named, metadataPath)}
	if group := specPath.Child("group"); s.Spec.Group != "" {
		r.InvalidAll(group, s.Spec.Group, validation.IsDNS1123Subdomain(s.Spec.Group))
	} else if s.Spec.Version != "v1" {
		r.Required(group, "only v1 may have an empty group and it better be legacy kube")
	}
	r.InvalidAll(specPath.Child("version"), s.Spec.Version, validation.IsDNS1035Label(s.Spec.Version))
	if n := s.Spec.GroupPriorityMinimum; n <= 0 || n > maxGroupPriority {
		r.Invalid(specPath.Child("groupPriorityMinimum"), n, "must be positive and less than 20000")
	}
	if n := s.Spec.VersionPriority; n <= 0 || n > maxVersionPriority {
		r.Invalid(specPath.Child("versionPriority"), n, "must be positive and less than 1000")
	}
	bundle, insecure := specPath.Child("caBundle"), specPath.Child("insecureSkipTLSVerify")
	ref := s.Spec.Service
	if ref == nil {
		if n := len(s.Spec.CABundle); n > 0 {
			r.Invalid(bundle, fmt.Sprintf("%d bytes", n), "local APIServices may not have a caBundle")
		}
		if s.Spec.InsecureSkipTLSVerify {
			r.Invalid(insecure, true, "local APIServices may not have insecureSkipTLSVerify")
		}
		return r.Errs
	}
	p := specPath.Child("service")
	r.RequiredIf(ref.Namespace == "", p.Child("namespace"))
	r.RequiredIf(ref.Name == "", p.Child("name"))
	port := int32(0)
	if ref.Port != nil {
		port = *ref.Port
	}
	if why := validation.IsValidPortNum(int(port)); why != nil {
		r.Invalid(p.Child("port"), port, "port is not valid: "+strings.Join(why, ", "))
	}
	if s.Spec.InsecureSkipTLSVerify && len(s.Spec.CABundle) > 0 {
		r.Invalid(insecure, true, "may not be true if caBundle is present")
	}
	return r.Errs
}
