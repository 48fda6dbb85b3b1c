package policy

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
)

// Rows lists the kinds of the group in the order discovery shows them.
func Rows() []*api.Kind { return []*api.Kind{podDisruptionBudgetRow()} }

func gvk(kind string) schema.GroupVersionKind { return policyv1.SchemeGroupVersion.WithKind(kind) }
