package workload

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

// strays knows the objects of a kind that nobody controls, by namespace. Few
// objects are strays, so an owner looks at these instead of at everything. It
// is a hint: what it names is looked up again.
type strays[T api.Object] struct {
	kind  client.Kind[T]
	mu    sync.Mutex
	names map[string]map[string]bool // nil for a namespace not looked at yet
}

func newStrays[T api.Object](k client.Kind[T]) *strays[T] {
	return &strays[T]{kind: k, names: map[string]map[string]bool{}}
}

// note takes a changed object into account.
func (s *strays[T]) note(o T, deleted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ns := s.names[o.GetNamespace()]
	if ns == nil {
		return // the first look will find it
	}
	if deleted || metav1.GetControllerOfNoCopy(o) != nil {
		delete(ns, o.GetName())
		return
	}
	ns[o.GetName()] = true
}

// in lists the strays of a namespace.
func (s *strays[T]) in(namespace string) []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := s.names[namespace]
	if names == nil {
		names = map[string]bool{}
		for _, o := range s.kind.List(namespace, nil) {
			if metav1.GetControllerOfNoCopy(o) == nil {
				names[o.GetName()] = true
			}
		}
		s.names[namespace] = names
	}
	var out []T
	for name := range names {
		o, ok := s.kind.Get(namespace, name)
		if !ok || metav1.GetControllerOfNoCopy(o) != nil {
			delete(names, name)
			continue
		}
		out = append(out, o)
	}
	return out
}

// endOfNamespaces is the input that lets go of namespaces that are gone.
func (s *strays[T]) endOfNamespaces(c *client.Client) controllers.Input {
	return controllers.OnKind(api.For[*corev1.Namespace](c.Table()), func(e cache.Event) []controllers.Key {
		if e.Deleted {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.names, e.Item.Obj.GetName())
		}
		return nil
	})
}

// candidates lists what an owner controls and what it could adopt.
func (s *strays[T]) candidates(owner api.Object) []T {
	return append(s.kind.ByIndex(client.ByOwner, string(owner.GetUID())), s.in(owner.GetNamespace())...)
}

// settle adopts and releases, and returns all that is the owner's then. An
// object that is gone, or is somebody else's by now, is not an error.
func (s *strays[T]) settle(ctx context.Context, owner api.Object, gvk schema.GroupVersionKind, sel labels.Selector, candidates []T) ([]T, error) {
	c := claim(owner, sel, candidates)
	out := c.kept
	var errs []error
	for _, o := range c.adopt {
		got, err := s.kind.Patch(ctx, o.GetNamespace(), o.GetName(), "", types.StrategicMergePatchType, adoptPatch(owner, gvk, o.GetUID()))
		switch {
		case err == nil:
			out = append(out, got)
		case !passed(err):
			errs = append(errs, fmt.Errorf("adopting %s: %w", o.GetName(), err))
		}
	}
	for _, o := range c.release {
		_, err := s.kind.Patch(ctx, o.GetNamespace(), o.GetName(), "", types.StrategicMergePatchType, releasePatch(owner, o.GetUID()))
		if err != nil && !passed(err) {
			errs = append(errs, fmt.Errorf("releasing %s: %w", o.GetName(), err))
		}
	}
	return out, errors.Join(errs...)
}

// passed: the object the patch was meant for is not there any more.
func passed(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsInvalid(err) || apierrors.IsConflict(err)
}
