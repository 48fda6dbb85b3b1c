// Package admission is the ordered chain every write passes, after it is known
// who asks and before the object is stored. Mutate may change the new object,
// Validate may only refuse. The chain is the list in Chain; its order is
// upstream's.
//
// Plugins read the caches; they hold no state and start nothing.
package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
)

// Operation is what is being done to the object.
type Operation string

// The operations a plugin sees.
const (
	Create Operation = "CREATE"
	Update Operation = "UPDATE"
	Delete Operation = "DELETE"
)

// Attributes describe one write.
type Attributes struct {
	User        user.Info
	Kind        *api.Kind
	Namespace   string
	Name        string
	Subresource string
	Operation   Operation
	Object      api.Object // nil for a deletion
	Old         api.Object // nil for a creation
	Warn        func(string)
}

// Plugin is one step. Errors are apierrors.APIStatus.
type Plugin struct {
	Name     string
	Mutate   func(ctx context.Context, a *Attributes) error
	Validate func(ctx context.Context, a *Attributes) error
}

// Chain makes the default chain. c reads the caches.
func Chain(c *client.Client) []Plugin {
	namespaces := client.Of[*corev1.Namespace](c)
	accounts := client.Of[*corev1.ServiceAccount](c)
	classes := client.Of[*schedulingv1.PriorityClass](c)
	return []Plugin{
		namespaceLifecycle(namespaces),
		serviceAccount(accounts),
		priority(classes),
		defaultTolerationSeconds(),
	}
}

// newPod returns the pod that is being created, or nil.
func newPod(a *Attributes) *corev1.Pod {
	if a.Operation != Create || a.Subresource != "" {
		return nil
	}
	pod, _ := a.Object.(*corev1.Pod)
	return pod
}
