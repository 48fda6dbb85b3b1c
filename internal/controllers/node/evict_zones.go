package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

// driver taints nodes that are not ready so that their pods are driven away:
// slowly, zone by zone, and not at all while everything seems down.
type driver struct {
	deps   controllers.Deps
	health *health
	nodes  client.Kind[*corev1.Node]
	// one worker uses these
	limiters map[string]*limiter
	wasDown  bool
}

func zones(deps controllers.Deps, h *health) *controllers.Controller {
	c := deps.Client("node-controller")
	d := &driver{deps: deps, health: h, nodes: client.Of[*corev1.Node](c), limiters: map[string]*limiter{}}
	all := []controllers.Key{{Name: "zones"}}
	return &controllers.Controller{
		Name: "node-eviction-controller", Client: c, Workers: 1,
		Inputs: []controllers.Input{controllers.OnKind(api.For[*corev1.Node](c.Table()), func(e cache.Event) []controllers.Key {
			cur := e.Item.Obj.(*corev1.Node)
			if e.Prev != nil && !e.Deleted {
				old := e.Prev.Obj.(*corev1.Node)
				if old.UID == cur.UID && readiness(old) == readiness(cur) && zoneOf(old) == zoneOf(cur) && len(old.Spec.Taints) == len(cur.Spec.Taints) {
					return nil
				}
			}
			return all
		})},
		Outputs:   []controllers.Output{{Kind: api.For[*corev1.Node], Field: "spec.taints"}},
		Reconcile: func(ctx context.Context, _ controllers.Key) (time.Duration, error) { return d.pass(ctx) },
	}
}

func (d *driver) pass(ctx context.Context) (time.Duration, error) {
	nodes := d.nodes.List("", nil)
	counts := countZones(nodes)
	down := allDown(counts)
	now := d.deps.Clock.Now()
	if d.wasDown && !down {
		d.health.hearAll(now)
	}
	d.wasDown = down
	for z := range d.limiters {
		if _, ok := counts[z]; !ok {
			delete(d.limiters, z)
		}
	}
	var errs []error
	var again time.Duration
	for _, n := range nodes {
		key := evictionTaint(n)
		if readiness(n) == "" {
			continue // not heard of yet
		}
		if down {
			key = ""
		}
		at := metav1.NewTime(now)
		if _, changed := executeTaints(n.Spec.Taints, key, at); !changed {
			continue
		}
		has := hasTaint(n.Spec.Taints, corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute) ||
			hasTaint(n.Spec.Taints, corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute)
		if key != "" && !has {
			z := zoneOf(n)
			if d.limiters[z] == nil {
				d.limiters[z] = &limiter{}
			}
			ok, wait := d.limiters[z].take(counts[z].rate(), now)
			if !ok {
				if wait > 0 && (again == 0 || wait < again) {
					again = wait
				}
				continue
			}
		}
		_, err := d.nodes.Modify(ctx, "", n.Name, "", func(m *corev1.Node) error {
			if m.UID == n.UID {
				m.Spec.Taints, _ = executeTaints(m.Spec.Taints, key, at)
			}
			return nil
		})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("tainting node %s: %w", n.Name, err))
		}
	}
	return again, errors.Join(errs...)
}
