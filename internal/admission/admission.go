package admission

import (
	"context"
	"errors"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/monohull/monohull/internal/api"
)

// Operation is what is being done to the object.
type Operation string

// The operations a plugin sees. Connect is a request that opens a stream.
const (
	Create  Operation = "CREATE"
	Update  Operation = "UPDATE"
	Delete  Operation = "DELETE"
	Connect Operation = "CONNECT"
)

// Attributes describe one request. The pipeline fills them, and takes a value
// of its own for each attempt at a write.
type Attributes struct {
	User user.Info
	// Kind is the resource of the request: pods for pods/binding.
	Kind      *api.Kind
	Namespace string
	// Name is as the request or the object has it.
	Name string
	// Generated says that Name was made of metadata.generateName.
	Generated   bool
	Subresource string
	Operation   Operation
	// Object is what is written, nil for a deletion and a connection. For a
	// subresource with a body of its own type it is that body: a Binding, an
	// Eviction, a TokenRequest, a Scale.
	Object api.Object
	// Old is what is there; nil for a creation.
	Old api.Object
	// Requested is the resource in the version the client used.
	Requested schema.GroupVersionResource
	// Options are the request's CreateOptions, UpdateOptions, PatchOptions as
	// UpdateOptions, or DeleteOptions; of a connection, its own (PodExecOptions).
	Options runtime.Object
	DryRun  bool
	// Warn, where set, takes messages for the user.
	Warn func(string)
	// Audit, where set, takes annotations of the audit event.
	Audit func(key, value string)
	// Outcome, where set, is told once whether the object was stored.
	Outcome *Outcome

	mutating bool
}

// Outcome gathers who wants to know how a write ended.
type Outcome struct{ then []func(stored bool) }

// Then asks for f to be called at the end of the write.
func (o *Outcome) Then(f func(stored bool)) { o.then = append(o.then, f) }

// Tell calls them all. stored is true only where the caches have the object:
// a write that may have happened has not.
func (o *Outcome) Tell(stored bool) {
	if o == nil {
		return
	}
	for _, f := range o.then {
		f(stored)
	}
	o.then = nil
}

// Plugin is one step. Errors are apierrors.APIStatus.
type Plugin struct {
	Name     string
	Mutate   func(ctx context.Context, a *Attributes) error
	Validate func(ctx context.Context, a *Attributes) error
}

// Mutate runs the first pass of a chain, in which objects are changed.
func Mutate(ctx context.Context, chain []Plugin, a *Attributes) error {
	a.mutating = true
	defer func() { a.mutating = false }()
	for i := range chain {
		if f := chain[i].Mutate; f != nil {
			if err := f(ctx, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// Validate runs the second pass, on the object as it will be stored.
func Validate(ctx context.Context, chain []Plugin, a *Attributes) error {
	for i := range chain {
		if f := chain[i].Validate; f != nil {
			if err := f(ctx, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// is tells whether the request is for a resource.
func (a *Attributes) is(group, plural string) bool {
	return a.Kind.Plural == plural && a.Kind.GVK.Group == group
}

// writes tells whether the request is one of the operations, without a
// subresource.
func (a *Attributes) writes(ops ...Operation) bool {
	return a.Subresource == "" && a.does(ops...)
}

func (a *Attributes) does(ops ...Operation) bool {
	for _, o := range ops {
		if a.Operation == o {
			return true
		}
	}
	return false
}

// namespace is that of the request; a namespace is in itself.
func (a *Attributes) namespace() string {
	if a.is("", "namespaces") {
		if a.Name == "" && a.Object != nil {
			return a.Object.GetName()
		}
		return a.Name
	}
	return a.Namespace
}

func (a *Attributes) warn(m string) {
	if a.Warn != nil {
		a.Warn(m)
	}
}

func (a *Attributes) audit(key, value string) {
	if a.Audit != nil {
		a.Audit(key, value)
	}
}

// newPod returns the pod that is being created, or nil.
func newPod(a *Attributes) *corev1.Pod {
	if !a.writes(Create) {
		return nil
	}
	return podOf(a)
}

// writtenPod returns the pod that is being created or changed, not through a
// subresource, or nil.
func writtenPod(a *Attributes) *corev1.Pod {
	if !a.writes(Create, Update) {
		return nil
	}
	return podOf(a)
}

func podOf(a *Attributes) *corev1.Pod {
	pod, _ := a.Object.(*corev1.Pod)
	return pod
}

// forbidden refuses the request. While an object's name is still to be made,
// its base stands for it.
func forbidden(a *Attributes, err error) error {
	if apierrors.IsForbidden(err) {
		return err
	}
	name := a.Name
	if a.mutating && a.Generated {
		name = a.Object.GetGenerateName()
	}
	if name == "" && a.Object != nil {
		name = a.Object.GetName()
	}
	if name == "" && a.Object != nil {
		name = a.Object.GetGenerateName()
	}
	if name == "" {
		name = "Unknown"
	}
	return apierrors.NewForbidden(a.Kind.GroupResource(), name, err)
}

// failed is an error that upstream's plugins do not class: clients see 500 and
// the text as it is.
func failed(err error) error {
	var st apierrors.APIStatus
	if errors.As(err, &st) {
		return err
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonUnknown, Message: err.Error(),
	}}
}
