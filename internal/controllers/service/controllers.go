package service

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
	"github.com/monohull/monohull/internal/controllers/podstate"
)

// workers of each controller here.
const workers = 5

// Controllers are the control loops of this area.
func Controllers(deps controllers.Deps) []*controllers.Controller {
	return []*controllers.Controller{endpointsController(deps), sliceController(deps), mirrorController(deps)}
}

// ours tells the API server's own Service from the others.
func ours(k controllers.Key) bool {
	return k != controllers.Key{Namespace: "default", Name: "kubernetes"}
}

// podKeys makes the function that names the Services a changed pod is of
// interest to.
func podKeys(services client.Kind[*corev1.Service]) func(cache.Event) []controllers.Key {
	return func(e cache.Event) []controllers.Key {
		pod := e.Item.Obj.(*corev1.Pod)
		var old *corev1.Pod
		if e.Prev != nil {
			old = e.Prev.Obj.(*corev1.Pod)
		}
		if old != nil && !e.Deleted && !servesDifferently(old, pod) {
			return nil
		}
		if len(pod.Status.PodIPs) == 0 && (old == nil || len(old.Status.PodIPs) == 0) {
			return nil // without an address it is behind no Service
		}
		var keys []controllers.Key
		for _, s := range services.List(pod.Namespace, nil) {
			if len(s.Spec.Selector) == 0 {
				continue
			}
			sel := labels.SelectorFromValidatedSet(s.Spec.Selector)
			if sel.Matches(labels.Set(pod.Labels)) || (old != nil && sel.Matches(labels.Set(old.Labels))) {
				keys = append(keys, controllers.KeyOf(s))
			}
		}
		return keys
	}
}

// servesDifferently tells whether a change of a pod can show in endpoints.
func servesDifferently(a, b *corev1.Pod) bool {
	return a.UID != b.UID || podstate.Ready(a) != podstate.Ready(b) || podstate.Terminal(a) != podstate.Terminal(b) ||
		(a.DeletionTimestamp == nil) != (b.DeletionTimestamp == nil) ||
		!slices.Equal(a.Status.PodIPs, b.Status.PodIPs) || a.Spec.NodeName != b.Spec.NodeName ||
		a.Spec.Hostname != b.Spec.Hostname || a.Spec.Subdomain != b.Spec.Subdomain ||
		!labels.Equals(a.Labels, b.Labels)
}

// selectedPods lists the pods of a Service.
func selectedPods(pods client.Kind[*corev1.Pod], s *corev1.Service) []*corev1.Pod {
	return pods.List(s.Namespace, labels.SelectorFromValidatedSet(s.Spec.Selector))
}

func equal(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }
