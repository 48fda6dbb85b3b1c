package admission

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/client"
)

// immortal tells whether a namespace cannot be deleted.
func immortal(name string) bool {
	return name == metav1.NamespaceDefault || name == metav1.NamespaceSystem || name == metav1.NamespacePublic
}

// namespaceLifecycle refuses writes to namespaces that do not exist, new
// objects in those that are going, and the deletion of the immortal ones.
func namespaceLifecycle(d Deps) Plugin {
	namespaces := client.Of[*corev1.Namespace](d.Client)
	judge := func(_ context.Context, a *Attributes) error {
		if a.is("", "namespaces") {
			if a.Operation == Delete && immortal(a.Name) {
				return apierrors.NewForbidden(a.Kind.GroupResource(), a.Name, errors.New("this namespace may not be deleted"))
			}
			return nil
		}
		if !a.Kind.Namespaced || !a.does(Create, Update) {
			return nil
		}
		ns, ok := namespaces.Get("", a.Namespace)
		if !ok {
			return apierrors.NewNotFound(corev1.Resource("namespaces"), a.Namespace)
		}
		if a.Operation != Create || ns.Status.Phase != corev1.NamespaceTerminating {
			return nil
		}
		err := forbidden(a, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", a.Namespace))
		var st *apierrors.StatusError
		if errors.As(err, &st) {
			st.ErrStatus.Details.Causes = append(st.ErrStatus.Details.Causes, metav1.StatusCause{
				Type: corev1.NamespaceTerminatingCause, Message: fmt.Sprintf("namespace %s is being terminated", a.Namespace), Field: "metadata.namespace",
			})
		}
		return err
	}
	return Plugin{Mutate: judge, Validate: func(ctx context.Context, a *Attributes) error {
		// once more for a namespace that went while others looked
		if a.Operation == Update {
			return nil
		}
		return judge(ctx, a)
	}}
}

// namespaceExists refuses requests in namespaces that do not exist.
func namespaceExists(d Deps) Plugin {
	namespaces := client.Of[*corev1.Namespace](d.Client)
	return Plugin{Validate: func(_ context.Context, a *Attributes) error {
		if !a.Kind.Namespaced || a.Operation == Connect {
			return nil
		}
		if _, ok := namespaces.Get("", a.Namespace); !ok {
			return apierrors.NewNotFound(corev1.Resource("namespaces"), a.Namespace)
		}
		return nil
	}}
}

// namespaceAutoProvision makes the namespace that an object is created in.
func namespaceAutoProvision(d Deps) Plugin {
	namespaces := client.Of[*corev1.Namespace](d.Client)
	return Plugin{Mutate: func(ctx context.Context, a *Attributes) error {
		if a.Operation != Create || a.DryRun || !a.Kind.Namespaced {
			return nil
		}
		if _, ok := namespaces.Get("", a.Namespace); ok {
			return nil
		}
		w, err := d.writer()
		if err != nil {
			return forbidden(a, err)
		}
		_, err = client.Of[*corev1.Namespace](w).Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: a.Namespace}})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return forbidden(a, err)
		}
		return nil
	}}
}

// writer is the client to write with.
func (d Deps) writer() (*client.Client, error) {
	if d.Writer != nil {
		if w := d.Writer(); w != nil && w.Writer() != nil {
			return w, nil
		}
	}
	return nil, errors.New("the server cannot write yet")
}

func alwaysAdmit(Deps) Plugin { return Plugin{} }

func alwaysDeny(Deps) Plugin {
	deny := func(_ context.Context, a *Attributes) error {
		return forbidden(a, errors.New("admission control is denying all modifications"))
	}
	return Plugin{Mutate: deny, Validate: deny}
}
