package node

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

// allocator gives nodes the ranges that their pods' addresses come from. What
// is taken is read off the nodes, so there is no state to lose; one worker
// makes sure that no range is given twice.
type allocator struct {
	nodes    client.Kind[*corev1.Node]
	recorder controllers.Recorder
	ranges   []blocks
	next     []int // where to look on: a range that became free rests for a while
}

func ipam(deps controllers.Deps) *controllers.Controller {
	c := deps.Client("node-controller")
	r := &allocator{nodes: client.Of[*corev1.Node](c), recorder: deps.Recorder("cidrAllocator", c), next: make([]int, len(deps.ClusterCIDRs))}
	for _, p := range deps.ClusterCIDRs {
		r.ranges = append(r.ranges, blocksOf(p))
	}
	return &controllers.Controller{
		Name: "node-ipam-controller", Client: c, Workers: 1, Reconcile: r.reconcile,
		Inputs: []controllers.Input{controllers.OnKind(api.For[*corev1.Node](c.Table()), func(e cache.Event) []controllers.Key {
			if !e.Deleted {
				return without(e.Item.Obj.(*corev1.Node))
			}
			return without(r.nodes.List("", nil)...) // its range may be what they lacked
		})},
		Outputs: []controllers.Output{{Kind: api.For[*corev1.Node], Field: "spec.podCIDRs", Exclusive: true}},
	}
}

// without names the nodes that have no range and need one.
func without(nodes ...*corev1.Node) []controllers.Key {
	var keys []controllers.Key
	for _, n := range nodes {
		if n.Spec.PodCIDR == "" && n.DeletionTimestamp == nil {
			keys = append(keys, controllers.KeyOf(n))
		}
	}
	return keys
}

func (r *allocator) reconcile(ctx context.Context, key controllers.Key) (time.Duration, error) {
	n, ok := r.nodes.Get("", key.Name)
	if !ok || n.Spec.PodCIDR != "" || n.DeletionTimestamp != nil {
		return 0, nil
	}
	var used []netip.Prefix
	for _, o := range r.nodes.List("", nil) {
		for _, s := range o.Spec.PodCIDRs {
			if p, err := netip.ParsePrefix(s); err == nil {
				used = append(used, p)
			}
		}
	}
	var give []string
	next := append([]int(nil), r.next...)
	for i, b := range r.ranges {
		p, at, ok := b.free(used, r.next[i])
		if !ok {
			r.recorder.Event(ctx, n, corev1.EventTypeNormal, "CIDRNotAvailable", "Node "+n.Name+" status is now: CIDRNotAvailable")
			return 0, fmt.Errorf("no range is left for node %s in %s: %d nodes have one", n.Name, b.base, len(used))
		}
		give, next[i] = append(give, p.String()), at
	}
	_, err := r.nodes.Modify(ctx, "", key.Name, "", func(m *corev1.Node) error {
		if m.UID == n.UID && m.Spec.PodCIDR == "" {
			m.Spec.PodCIDR, m.Spec.PodCIDRs = give[0], give
		}
		return nil
	})
	switch {
	case apierrors.IsNotFound(err):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("writing the range: %w", err)
	}
	r.next = next
	return 0, nil
}
