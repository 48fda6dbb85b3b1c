package legacy

import (
	"fmt"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
)

// old is a version before it is bound to its kind.
type old struct {
	of  schema.GroupVersionKind // the kind it is a version of
	ver *api.Version
	// derive makes ver of what the kind has already, in its place.
	derive func(*api.Kind) *api.Version
}

// Attach gives the kinds their old versions. It panics where a version's kind
// is missing.
func Attach(kinds []*api.Kind) {
	for _, o := range versions() {
		i := slices.IndexFunc(kinds, func(k *api.Kind) bool { return k.GVK == o.of })
		if i < 0 {
			panic(fmt.Sprintf("legacy: there is no kind %v to be an old version of", o.of))
		}
		k := kinds[i]
		if o.derive != nil {
			o.ver = o.derive(k)
		}
		o.ver.Kind, o.ver.Plural = k, k.Plural
		k.Versions = append(k.Versions, o.ver)
	}
}

// versions lists all of them.
func versions() []old {
	return slices.Concat(workloads(), ingresses(), policies(), autoscalers(), roles(), slicesAndEvents(), certificates(), webhooks(), definitions(), fairness(), renamed())
}

// spec is an old version as its author writes it: V is the old type, T that of
// today. Both agree in their JSON but for what toKind and fromKind mend.
type spec[V, T api.Object] struct {
	gvk        schema.GroupVersionKind
	of         schema.GroupVersionKind
	list       runtime.Object
	defaults   func(V)
	toKind     func(from V, to T)
	fromKind   func(from T, to V)
	warnings   func(V) []string
	deprecated int // minor versions of Kubernetes v1; 0 means as the type says
	removed    int
}

func version[V, T api.Object](s spec[V, T]) old {
	return old{of: s.of, ver: api.Also(api.VersionSpec[V, T]{
		GVK: s.gvk, List: s.list, Default: s.defaults, Warnings: s.warnings, Old: true,
		Deprecated: deprecation(s.gvk, s.of, s.deprecated, s.removed, fresh[V]()),
		ToKind: func(from V) (T, error) {
			to := fresh[T]()
			if err := api.CopyJSON(from, to); err != nil {
				return to, err
			}
			to.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
			if s.toKind != nil {
				s.toKind(from, to)
			}
			return to, nil
		},
		FromKind: func(from T) (V, error) {
			to := fresh[V]()
			if err := api.CopyJSON(from, to); err != nil {
				return to, err
			}
			if s.fromKind != nil {
				s.fromKind(from, to)
			}
			return to, nil
		},
	})}
}

func fresh[T any]() T { return reflect.New(reflect.TypeFor[T]().Elem()).Interface().(T) }

// deprecation is upstream's warning for the version.
func deprecation(gvk, of schema.GroupVersionKind, deprecated, removed int, obj any) string {
	if l, ok := obj.(interface{ APILifecycleDeprecated() (int, int) }); ok && deprecated == 0 {
		_, deprecated = l.APILifecycleDeprecated()
	}
	if l, ok := obj.(interface{ APILifecycleRemoved() (int, int) }); ok && removed == 0 {
		_, removed = l.APILifecycleRemoved()
	}
	return fmt.Sprintf("%s %s is deprecated in v1.%d+, unavailable in v1.%d+; use %s %s", gvk.GroupVersion(), gvk.Kind, deprecated, removed, of.GroupVersion(), of.Kind)
}
