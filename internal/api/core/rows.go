package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
)

// Rows lists the kinds of the core group in the order discovery shows them.
func Rows() []*api.Kind {
	return []*api.Kind{
		componentStatusRow(), configMapRow(), endpointsRow(), eventRow(), limitRangeRow(), namespaceRow(), nodeRow(),
		persistentVolumeClaimRow(), persistentVolumeRow(), podRow(), podTemplateRow(), replicationControllerRow(),
		resourceQuotaRow(), secretRow(), serviceAccountRow(), serviceRow(),
	}
}

func gvk(kind string) schema.GroupVersionKind { return corev1.SchemeGroupVersion.WithKind(kind) }
