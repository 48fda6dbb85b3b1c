package autoscaling

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
)

// Rows lists the kinds of the group in the order discovery shows them.
func Rows() []*api.Kind { return []*api.Kind{horizontalPodAutoscalerRow()} }

func gvk(kind string) schema.GroupVersionKind { return autoscalingv2.SchemeGroupVersion.WithKind(kind) }
