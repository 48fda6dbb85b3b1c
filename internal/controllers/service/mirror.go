package service

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

// mirrorer copies Endpoints made by hand into EndpointSlices, which is what
// proxies read.
type mirrorer struct {
	services  client.Kind[*corev1.Service]
	endpoints client.Kind[*corev1.Endpoints]
	slices    client.Kind[*discoveryv1.EndpointSlice]
	recorder  controllers.Recorder
}

func mirrorController(deps controllers.Deps) *controllers.Controller {
	c := deps.Client("endpointslicemirroring-controller")
	r := &mirrorer{
		services: client.Of[*corev1.Service](c), endpoints: client.Of[*corev1.Endpoints](c), slices: client.Of[*discoveryv1.EndpointSlice](c),
		recorder: deps.Recorder("endpoint-slice-mirroring-controller", c),
	}
	return &controllers.Controller{
		Name: "endpointslicemirroring-controller", Client: c, Workers: workers, Reconcile: r.reconcile,
		Inputs: []controllers.Input{
			controllers.On[*corev1.Service](nil),
			controllers.On(func(old, cur *corev1.Endpoints) []controllers.Key {
				if !mirrored(cur) && (old == nil || !mirrored(old)) {
					return nil
				}
				return []controllers.Key{controllers.KeyOf(cur)}
			}),
			controllers.On(func(old, cur *discoveryv1.EndpointSlice) []controllers.Key {
				return sliceKeys(old, cur, mirrorManager)
			}),
		},
		Outputs: []controllers.Output{{Kind: api.For[*discoveryv1.EndpointSlice]}},
	}
}

func (r *mirrorer) reconcile(ctx context.Context, key controllers.Key) (time.Duration, error) {
	if !ours(key) {
		return 0, nil
	}
	byFamily := map[discoveryv1.AddressType][]*discoveryv1.EndpointSlice{}
	for _, s := range r.slices.ByIndex(client.ByService, key.Namespace+"/"+key.Name) {
		if s.Labels[discoveryv1.LabelManagedBy] == mirrorManager && s.DeletionTimestamp == nil {
			byFamily[s.AddressType] = append(byFamily[s.AddressType], s)
		}
	}
	var groups map[discoveryv1.AddressType]map[string]*portGroup
	e, wanted := r.endpoints.Get(key.Namespace, key.Name)
	svc, hasService := r.services.Get(key.Namespace, key.Name)
	if wanted = wanted && mirrored(e) && hasService && svc.Spec.Selector == nil; wanted {
		var invalid, over int
		groups, invalid, over = mirrorGroups(e)
		if invalid > 0 {
			r.recorder.Event(ctx, e, corev1.EventTypeWarning, "InvalidIPAddress", fmt.Sprintf("Skipped %d invalid IP addresses when mirroring to EndpointSlices", invalid))
		}
		if over > 0 {
			r.recorder.Event(ctx, e, corev1.EventTypeWarning, "TooManyAddressesToMirror",
				fmt.Sprintf("A max of %d addresses can be mirrored to EndpointSlices per Endpoints subset. %d addresses were skipped", maxMirrored, over+invalid))
		}
	}
	var todo plan
	for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		if groups[family] == nil {
			continue
		}
		labels, annotations := mirrorLabels(e), mirrorAnnotations(e)
		p := planFamily(byFamily[family], groups[family], maxMirrored,
			func(s *discoveryv1.EndpointSlice) bool {
				return len(s.OwnerReferences) > 0 && s.OwnerReferences[0].UID == e.UID
			},
			func(ports []discoveryv1.EndpointPort) *discoveryv1.EndpointSlice {
				return mirrorSlice(e, family, ports)
			},
			func(s *discoveryv1.EndpointSlice) bool {
				return !equal(s.Labels, labels) || !equal(s.Annotations, annotations)
			},
			func(s *discoveryv1.EndpointSlice) {
				s.Labels, s.Annotations = maps.Clone(labels), maps.Clone(annotations)
			},
		)
		delete(byFamily, family)
		todo.create, todo.update, todo.remove = append(todo.create, p.create...), append(todo.update, p.update...), append(todo.remove, p.remove...)
	}
	for _, left := range byFamily {
		todo.remove = append(todo.remove, left...)
	}
	if err := carryOut(ctx, r.slices, todo); err != nil {
		if e != nil {
			r.recorder.Event(ctx, e, corev1.EventTypeWarning, "FailedToUpdateEndpointSlices",
				fmt.Sprintf("Error updating Endpoint Slices for Endpoints %s/%s: %v", key.Namespace, key.Name, err))
		}
		return 0, err
	}
	return 0, nil
}
