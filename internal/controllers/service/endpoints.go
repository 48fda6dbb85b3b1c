package service

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

const overCapacity = "truncated"

// endpointer writes Endpoints objects.
type endpointer struct {
	services  client.Kind[*corev1.Service]
	pods      client.Kind[*corev1.Pod]
	endpoints client.Kind[*corev1.Endpoints]
	triggers  *triggers
	recorder  controllers.Recorder
}

func endpointsController(deps controllers.Deps) *controllers.Controller {
	c := deps.Client("endpoint-controller")
	r := &endpointer{
		services: client.Of[*corev1.Service](c), pods: client.Of[*corev1.Pod](c), endpoints: client.Of[*corev1.Endpoints](c),
		triggers: newTriggers(), recorder: deps.Recorder(endpointsManager, c),
	}
	return &controllers.Controller{
		Name: "endpoint-controller", Client: c, Workers: workers, Reconcile: r.reconcile,
		Inputs: []controllers.Input{
			controllers.On[*corev1.Service](nil),
			controllers.OnKind(api.For[*corev1.Pod](c.Table()), podKeys(r.services)),
			controllers.On(func(_, cur *corev1.Endpoints) []controllers.Key {
				// Endpoints made by hand before their Service are left alone
				if _, ok := r.services.Get(cur.Namespace, cur.Name); !ok && cur.Labels[endpointsManagedBy] != endpointsManager {
					return nil
				}
				return []controllers.Key{controllers.KeyOf(cur)}
			}),
		},
		Outputs: []controllers.Output{{Kind: api.For[*corev1.Endpoints]}},
	}
}

func (r *endpointer) reconcile(ctx context.Context, key controllers.Key) (time.Duration, error) {
	if !ours(key) {
		return 0, nil
	}
	s, ok := r.services.Get(key.Namespace, key.Name)
	if !ok {
		r.triggers.forget(key.Namespace, key.Name)
		if _, ok := r.endpoints.Get(key.Namespace, key.Name); !ok {
			return 0, nil
		}
		return 0, r.endpoints.Delete(ctx, key.Namespace, key.Name, metav1.DeleteOptions{})
	}
	if s.Spec.Type == corev1.ServiceTypeExternalName || s.Spec.Selector == nil {
		return 0, nil
	}
	pods := selectedPods(r.pods, s)
	at := r.triggers.at(s, pods)
	subsets := pack(entries(s, pods))
	cut := truncate(subsets)
	labels := endpointsLabels(s)
	cur, exists := r.endpoints.Get(key.Namespace, key.Name)
	// packed again, for another's order of the same content is no difference
	if exists && equal(pack(entriesOf(cur.Subsets)), pack(entriesOf(subsets))) && equal(cur.Labels, labels) && (cur.Annotations[corev1.EndpointsOverCapacity] == overCapacity) == cut {
		return 0, nil
	}
	set := func(e *corev1.Endpoints) error {
		built := (&corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Subsets: subsets}).DeepCopy()
		e.Subsets, e.Labels = built.Subsets, built.Labels
		mark(&e.ObjectMeta, corev1.EndpointsLastChangeTriggerTime, stamp(at))
		over := ""
		if cut {
			over = overCapacity
		}
		mark(&e.ObjectMeta, corev1.EndpointsOverCapacity, over)
		return nil
	}
	if exists {
		if _, err := r.endpoints.Modify(ctx, key.Namespace, key.Name, "", set); err != nil {
			r.recorder.Event(ctx, cur, corev1.EventTypeWarning, "FailedToUpdateEndpoint", fmt.Sprintf("Failed to update endpoint %s/%s: %v", key.Namespace, key.Name, err))
			return 0, fmt.Errorf("updating the endpoints: %w", err)
		}
		return 0, nil
	}
	e := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	if err := set(e); err != nil {
		return 0, err
	}
	_, err := r.endpoints.Create(ctx, e)
	switch {
	case controllers.NamespaceEnds(err):
		return 0, nil
	case err != nil:
		about := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
		r.recorder.Event(ctx, about, corev1.EventTypeWarning, "FailedToCreateEndpoint", fmt.Sprintf("Failed to create endpoint for service %s/%s: %v", key.Namespace, key.Name, err))
		return 0, fmt.Errorf("creating the endpoints: %w", err)
	}
	return 0, nil
}

// stamp is a time as the trigger annotation has it; "" for none.
func stamp(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339Nano)
}

// mark sets an annotation, or takes it away where the value is empty.
func mark(m *metav1.ObjectMeta, name, value string) {
	if value == "" {
		delete(m.Annotations, name)
		return
	}
	if m.Annotations == nil {
		m.Annotations = map[string]string{}
	}
	m.Annotations[name] = value
}
