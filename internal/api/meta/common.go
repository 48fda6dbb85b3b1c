package meta

import (
	"time"

	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The writer of every kind judges metadata by these, beside what the kind says.
// A kind's own rules give the better messages and come first: a new object that
// they refuse is not judged again.

// Common judges the metadata of any new object.
func Common(m metav1.Object, namespaced bool) field.ErrorList {
	return apivalidation.ValidateObjectMetaAccessor(m, namespaced, segment, metadata)
}

// CommonUpdate judges the metadata of any changed object, through whatever
// subresource.
func CommonUpdate(m, old metav1.Object, namespaced bool) field.ErrorList {
	return append(Common(m, namespaced), apivalidation.ValidateObjectMetaAccessorUpdate(m, old, metadata)...)
}

// segment lets a name be any part of a path, and a base for generated names any
// beginning of one.
func segment(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}

// Moment is a time as the API keeps it, in whole seconds.
func Moment(now time.Time) metav1.Time { return metav1.NewTime(now.Truncate(time.Second)) }
