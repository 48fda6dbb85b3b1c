package admissionregistration

import (
	"strings"

	v1 "k8s.io/api/admissionregistration/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
)

// Rows lists the kinds of the group in the order discovery shows them.
func Rows() []*api.Kind {
	return []*api.Kind{
		mutatingPolicyRow(), mutatingBindingRow(), mutatingWebhookRow(),
		validatingPolicyRow(), validatingBindingRow(), validatingWebhookRow(),
	}
}

func gvk(kind string) schema.GroupVersionKind { return v1.SchemeGroupVersion.WithKind(kind) }

// extensions is the category of all kinds that change what the API does.
var extensions = []string{"api-extensions"}

var (
	metadataPath = field.NewPath("metadata")
	specPath     = field.NewPath("spec")
	statusPath   = field.NewPath("status")
)

// validateMeta judges metadata more loosely than other groups do: a finalizer
// without a domain may have any name.
func validateMeta(m *metav1.ObjectMeta) field.ErrorList {
	return apivalidation.ValidateObjectMeta(m, false, apivalidation.NameIsDNSSubdomain, metadataPath)
}

// validateMetaUpdate judges a change of metadata, and validateStatusMeta one
// that comes with a status, where the name is not judged again.
func validateMetaUpdate(m, old *metav1.ObjectMeta) field.ErrorList {
	return append(validateMeta(m), validateStatusMeta(m, old)...)
}

func validateStatusMeta(m, old *metav1.ObjectMeta) field.ErrorList {
	return apivalidation.ValidateObjectMetaUpdate(m, old, metadataPath)
}

// staticSuffix ends the names of what a server reads from files.
const staticSuffix = ".static.k8s.io"

func nameWarnings(name string) []string {
	if !strings.HasSuffix(name, staticSuffix) {
		return nil
	}
	return []string{`metadata.name: names ending with "` + staticSuffix + `" are reserved for static manifest-based configurations and cannot be managed via the API`}
}
