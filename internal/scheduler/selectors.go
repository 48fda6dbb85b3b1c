package scheduler

import (
	"reflect"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
)

// selectors finds what groups a pod: the services that select it and the
// workload that controls it.
type selectors struct {
	services client.Kind[*corev1.Service]
	owners   map[string]func(namespace, name string) labels.Selector // by kind
}

func newSelectors(c *client.Client) *selectors {
	s := &selectors{services: client.Of[*corev1.Service](c), owners: map[string]func(string, string) labels.Selector{}}
	owner(s, c, "ReplicationController", func(o *corev1.ReplicationController) labels.Selector {
		if o.Spec.Selector == nil {
			return nil
		}
		return labels.SelectorFromSet(o.Spec.Selector)
	})
	owner(s, c, "ReplicaSet", func(o *appsv1.ReplicaSet) labels.Selector { return selectorOf(o.Spec.Selector) })
	owner(s, c, "StatefulSet", func(o *appsv1.StatefulSet) labels.Selector { return selectorOf(o.Spec.Selector) })
	return s
}

// owner adds a kind of owner if the table serves it.
func owner[T api.Object](s *selectors, c *client.Client, kind string, selector func(T) labels.Selector) {
	var zero T
	for _, k := range c.Table().Kinds() {
		if k.GoType != reflect.TypeOf(zero) {
			continue
		}
		objects := client.Of[T](c)
		s.owners[kind] = func(namespace, name string) labels.Selector {
			if o, ok := objects.Get(namespace, name); ok {
				return selector(o)
			}
			return nil
		}
	}
}

func (s *selectors) of(p *corev1.Pod) labels.Selector {
	set := labels.Set{}
	for _, svc := range s.services.List(p.Namespace, nil) {
		if len(svc.Spec.Selector) > 0 && labels.SelectorFromSet(svc.Spec.Selector).Matches(labels.Set(p.Labels)) {
			set = labels.Merge(set, svc.Spec.Selector)
		}
	}
	sel := labels.NewSelector()
	if len(set) > 0 {
		sel = labels.SelectorFromSet(set)
	}
	if c := metav1.GetControllerOfNoCopy(p); c != nil && s.owners[c.Kind] != nil {
		if theirs := s.owners[c.Kind](p.Namespace, c.Name); theirs != nil {
			if r, ok := theirs.Requirements(); ok {
				sel = sel.Add(r...)
			}
		}
	}
	return sel
}
