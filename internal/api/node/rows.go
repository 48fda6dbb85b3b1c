package node

import (
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
)

// Rows lists the kinds of the group in the order discovery shows them.
func Rows() []*api.Kind { return []*api.Kind{runtimeClassRow()} }

func gvk(kind string) schema.GroupVersionKind { return nodev1.SchemeGroupVersion.WithKind(kind) }
