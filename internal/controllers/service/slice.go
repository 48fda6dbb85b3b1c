package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

// slicer writes the EndpointSlices of Services that select pods.
type slicer struct {
	services client.Kind[*corev1.Service]
	pods     client.Kind[*corev1.Pod]
	nodes    client.Kind[*corev1.Node]
	slices   client.Kind[*discoveryv1.EndpointSlice]
	triggers *triggers
	recorder controllers.Recorder
}

func sliceController(deps controllers.Deps) *controllers.Controller {
	c := deps.Client("endpointslice-controller")
	r := &slicer{
		services: client.Of[*corev1.Service](c), pods: client.Of[*corev1.Pod](c), nodes: client.Of[*corev1.Node](c),
		slices: client.Of[*discoveryv1.EndpointSlice](c), triggers: newTriggers(),
		recorder: deps.Recorder("endpoint-slice-controller", c),
	}
	return &controllers.Controller{
		Name: "endpointslice-controller", Client: c, Workers: workers, Reconcile: r.reconcile,
		Inputs: []controllers.Input{
			controllers.On[*corev1.Service](nil),
			controllers.OnKind(api.For[*corev1.Pod](c.Table()), podKeys(r.services)),
			controllers.On(r.nodeKeys),
			controllers.On(func(old, cur *discoveryv1.EndpointSlice) []controllers.Key {
				return sliceKeys(old, cur, sliceManager)
			}),
		},
		Outputs: []controllers.Output{{Kind: api.For[*discoveryv1.EndpointSlice]}},
	}
}

// sliceKeys names the Services of slices of one manager: of both states where
// they differ.
func sliceKeys(old, cur *discoveryv1.EndpointSlice, manager string) []controllers.Key {
	var keys []controllers.Key
	for _, s := range []*discoveryv1.EndpointSlice{old, cur} {
		if s == nil || s.Labels[discoveryv1.LabelManagedBy] != manager || s.Labels[discoveryv1.LabelServiceName] == "" {
			continue
		}
		k := controllers.Key{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
		if len(keys) == 0 || keys[0] != k {
			keys = append(keys, k)
		}
	}
	return keys
}

// nodeKeys: a node that appears, or changes its zone, concerns the Services of
// its pods.
func (r *slicer) nodeKeys(old, cur *corev1.Node) []controllers.Key {
	const zone = corev1.LabelTopologyZone
	if old != nil && old.Labels[zone] == cur.Labels[zone] {
		return nil
	}
	var keys []controllers.Key
	seen := map[controllers.Key]bool{}
	for _, p := range r.pods.ByIndex(client.ByNode, cur.Name) {
		for _, s := range r.services.List(p.Namespace, nil) {
			k := controllers.KeyOf(s)
			if !seen[k] && selects(s, p) {
				seen[k] = true
				keys = append(keys, k)
			}
		}
	}
	return keys
}

func selects(s *corev1.Service, p *corev1.Pod) bool {
	if len(s.Spec.Selector) == 0 {
		return false
	}
	for k, v := range s.Spec.Selector {
		if got, ok := p.Labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func (r *slicer) reconcile(ctx context.Context, key controllers.Key) (time.Duration, error) {
	if !ours(key) {
		return 0, nil
	}
	s, ok := r.services.Get(key.Namespace, key.Name)
	if !ok {
		r.triggers.forget(key.Namespace, key.Name)
		return 0, nil // its slices go with their owner
	}
	if s.Spec.Type == corev1.ServiceTypeExternalName || s.Spec.Selector == nil {
		return 0, nil
	}
	pods := selectedPods(r.pods, s)
	at := r.triggers.at(s, pods)
	byFamily := map[discoveryv1.AddressType][]*discoveryv1.EndpointSlice{}
	for _, e := range r.slices.ByIndex(client.ByService, key.Namespace+"/"+key.Name) {
		if e.Labels[discoveryv1.LabelManagedBy] == sliceManager && e.DeletionTimestamp == nil {
			byFamily[e.AddressType] = append(byFamily[e.AddressType], e)
		}
	}
	labels := sliceLabels(s)
	var todo plan
	for _, family := range familiesOf(s) {
		p := planFamily(byFamily[family], groupsOf(s, pods, family, r.zone), maxEndpointsPerSlice,
			func(e *discoveryv1.EndpointSlice) bool { return ownedBy(e, s) },
			func(ports []discoveryv1.EndpointPort) *discoveryv1.EndpointSlice {
				return emptySlice(s, family, ports)
			},
			func(e *discoveryv1.EndpointSlice) bool { return !equal(e.Labels, labels) },
			func(e *discoveryv1.EndpointSlice) { e.Labels = maps.Clone(labels) },
		)
		delete(byFamily, family)
		todo.create, todo.update, todo.remove = append(todo.create, p.create...), append(todo.update, p.update...), append(todo.remove, p.remove...)
	}
	for _, left := range byFamily { // of families the Service no longer has
		todo.remove = append(todo.remove, left...)
	}
	if s.DeletionTimestamp != nil {
		todo.create = nil // the collector is about to take them all
	}
	for _, e := range append(todo.create, todo.update...) {
		mark(&e.ObjectMeta, corev1.EndpointsLastChangeTriggerTime, stamp(at))
	}
	if err := carryOut(ctx, r.slices, todo); err != nil {
		r.recorder.Event(ctx, s, corev1.EventTypeWarning, "FailedToUpdateEndpointSlices",
			fmt.Sprintf("Error updating Endpoint Slices for Service %s/%s: %v", s.Namespace, s.Name, err))
		return 0, err
	}
	return 0, nil
}

func (r *slicer) zone(node string) (string, bool) {
	if node == "" {
		return "", false
	}
	n, ok := r.nodes.Get("", node)
	if !ok {
		return "", false
	}
	return n.Labels[corev1.LabelTopologyZone], true
}

// carryOut writes what was planned: what is added first, so that nobody is
// left out in between.
func carryOut(ctx context.Context, kind client.Kind[*discoveryv1.EndpointSlice], p plan) error {
	var errs []error
	for _, e := range p.create {
		_, err := kind.Create(ctx, e.DeepCopy()) // slices of one plan share ports
		switch {
		case controllers.NamespaceEnds(err):
			return nil
		case err != nil:
			errs = append(errs, fmt.Errorf("creating an EndpointSlice: %w", err))
		}
	}
	for _, e := range p.update {
		if _, err := kind.Update(ctx, e.DeepCopy()); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("updating EndpointSlice %s: %w", e.Name, err))
		}
	}
	for _, e := range p.remove {
		if err := kind.Delete(ctx, e.Namespace, e.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &e.UID}}); err != nil && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("deleting EndpointSlice %s: %w", e.Name, err))
		}
	}
	return errors.Join(errs...)
}
