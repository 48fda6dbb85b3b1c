package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
)

// Rows lists the kinds of the group in the order discovery shows them.
func Rows() []*api.Kind {
	return []*api.Kind{controllerRevisionRow(), daemonSetRow(), deploymentRow(), replicaSetRow(), statefulSetRow()}
}

func gvk(kind string) schema.GroupVersionKind { return appsv1.SchemeGroupVersion.WithKind(kind) }
