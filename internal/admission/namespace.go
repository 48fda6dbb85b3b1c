package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/client"
)

// immortal namespaces cannot be deleted.
var immortal = map[string]bool{
	metav1.NamespaceDefault: true, metav1.NamespaceSystem: true, metav1.NamespacePublic: true,
}

// namespaceLifecycle refuses objects in namespaces that do not exist or are
// going, and the deletion of the immortal ones.
func namespaceLifecycle(namespaces client.Kind[*corev1.Namespace]) Plugin {
	judge := func(_ context.Context, a *Attributes) error {
		if !a.Kind.Namespaced {
			if a.Operation == Delete && a.Kind.Plural == "namespaces" && immortal[a.Name] {
				return apierrors.NewForbidden(a.Kind.GroupResource(), a.Name, fmt.Errorf("this namespace may not be deleted"))
			}
			return nil
		}
		if a.Operation != Create {
			return nil
		}
		ns, ok := namespaces.Get("", a.Namespace)
		if !ok {
			return apierrors.NewNotFound(corev1.Resource("namespaces"), a.Namespace)
		}
		if ns.Status.Phase != corev1.NamespaceTerminating {
			return nil
		}
		err := apierrors.NewForbidden(a.Kind.GroupResource(), a.Name, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", a.Namespace))
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
			Type: corev1.NamespaceTerminatingCause, Message: fmt.Sprintf("namespace %s is being terminated", a.Namespace), Field: "metadata.namespace",
		})
		return err
	}
	// before the other plugins miss what such a namespace lacks, and again for
	// deletions, which nothing mutates
	return Plugin{Name: "NamespaceLifecycle", Mutate: judge, Validate: judge}
}
