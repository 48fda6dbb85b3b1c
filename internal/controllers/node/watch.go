package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
	"github.com/monohull/monohull/internal/controllers/podstate"
)

// health is the controller that finds silent nodes.
type health struct {
	deps     controllers.Deps
	c        *client.Client
	nodes    client.Kind[*corev1.Node]
	pods     client.Kind[*corev1.Pod]
	leases   client.Kind[*coordinationv1.Lease]
	recorder controllers.Recorder

	mu       sync.Mutex
	observed map[string]observation // by name
	known    map[string]*corev1.Node
}

func newHealth(deps controllers.Deps) *health {
	c := deps.Client("node-controller")
	return &health{
		deps: deps, c: c, nodes: client.Of[*corev1.Node](c), pods: client.Of[*corev1.Pod](c), leases: client.Of[*coordinationv1.Lease](c),
		recorder: deps.Recorder("node-controller", c), observed: map[string]observation{}, known: map[string]*corev1.Node{},
	}
}

func (h *health) controller() *controllers.Controller {
	return &controllers.Controller{
		Name: "node-lifecycle-controller", Client: h.c, Workers: 4, Reconcile: h.reconcile,
		Inputs: []controllers.Input{
			controllers.On[*corev1.Node](nil),
			controllers.On(func(_, cur *coordinationv1.Lease) []controllers.Key {
				if cur.Namespace != corev1.NamespaceNodeLease {
					return nil
				}
				return []controllers.Key{{Name: cur.Name}}
			}),
			controllers.OnKind(api.For[*corev1.Pod](h.c.Table()), h.podKeys),
		},
		Outputs: []controllers.Output{
			{Kind: api.For[*corev1.Node], Field: "status.conditions"},
			{Kind: api.For[*corev1.Node], Field: "spec.taints"},
			{Kind: api.For[*corev1.Pod], Field: "status.conditions"},
		},
	}
}

// podKeys: a pod that claims to be ready on a node nobody hears of.
func (h *health) podKeys(e cache.Event) []controllers.Key {
	p := e.Item.Obj.(*corev1.Pod)
	if e.Deleted || p.Spec.NodeName == "" || !podstate.Ready(p) {
		return nil
	}
	if n, ok := h.nodes.Get("", p.Spec.NodeName); !ok || readiness(n) != corev1.ConditionUnknown {
		return nil
	}
	return []controllers.Key{{Name: p.Spec.NodeName}}
}

func (h *health) reconcile(ctx context.Context, key controllers.Key) (time.Duration, error) {
	n, ok := h.nodes.Get("", key.Name)
	if !ok {
		if was := h.forget(key.Name); was != nil {
			h.event(ctx, was, "RemovingNode", "Removing Node "+key.Name+" from Controller")
		}
		return 0, nil
	}
	lease, _ := h.leases.Get(corev1.NamespaceNodeLease, key.Name)
	now := h.deps.Clock.Now()
	o, isNew := h.observe(n, lease, now)
	if isNew {
		h.event(ctx, n, "RegisteredNode", "Registered Node "+key.Name+" in Controller")
	}
	again := o.left(now)
	if again <= 0 {
		again = 0
		if readiness(n) != corev1.ConditionUnknown {
			wasReady := readiness(n) == corev1.ConditionTrue
			cur, err := h.nodes.Modify(ctx, "", key.Name, "status", func(m *corev1.Node) error {
				if m.UID == n.UID {
					markUnknown(m, now)
				}
				return nil
			})
			if err != nil && !apierrors.IsNotFound(err) {
				return 0, fmt.Errorf("writing the conditions: %w", err)
			}
			if err != nil {
				return 0, nil
			}
			n = cur
			if wasReady {
				h.recorder.Event(ctx, n, corev1.EventTypeNormal, "NodeNotReady", "Node "+n.Name+" status is now: NodeNotReady")
			}
		}
	} else {
		again += time.Millisecond // surely after
	}
	if err := h.taint(ctx, n, now); err != nil {
		return 0, err
	}
	if readiness(n) == corev1.ConditionUnknown {
		if err := h.markPods(ctx, n, now); err != nil {
			return 0, err
		}
	}
	return again, nil
}

func (h *health) observe(n *corev1.Node, lease *coordinationv1.Lease, now time.Time) (o observation, isNew bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var old *observation
	if was := h.known[n.Name]; was != nil && was.UID == n.UID {
		v := h.observed[n.Name]
		old = &v
	}
	o = observe(old, n, lease, now)
	h.observed[n.Name], h.known[n.Name] = o, n
	return o, old == nil
}

func (h *health) forget(name string) *corev1.Node {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.known[name]
	delete(h.known, name)
	delete(h.observed, name)
	return was
}

// hearAll counts every node as heard of now: after all were silent at once it
// was more likely us than them.
func (h *health) hearAll(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, o := range h.observed {
		o.heard = now
		h.observed[name] = o
	}
}

func (h *health) taint(ctx context.Context, n *corev1.Node, now time.Time) error {
	at := metav1.NewTime(now)
	if _, changed := scheduleTaints(n, at); !changed {
		return nil
	}
	_, err := h.nodes.Modify(ctx, "", n.Name, "", func(m *corev1.Node) error {
		if taints, changed := scheduleTaints(m, at); changed {
			m.Spec.Taints = taints
		}
		return nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("writing the taints: %w", err)
	}
	return nil
}

// markPods says of the pods of a silent node that they are not ready, so that
// no traffic goes there.
func (h *health) markPods(ctx context.Context, n *corev1.Node, now time.Time) error {
	for _, p := range h.pods.ByIndex(client.ByNode, n.Name) {
		if !podstate.Ready(p) {
			continue
		}
		_, err := h.pods.Modify(ctx, p.Namespace, p.Name, "status", func(m *corev1.Pod) error {
			c := podstate.Condition(&m.Status, corev1.PodReady)
			if m.UID == p.UID && c != nil && c.Status == corev1.ConditionTrue {
				c.Status, c.LastTransitionTime = corev1.ConditionFalse, metav1.NewTime(now)
			}
			return nil
		})
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return fmt.Errorf("marking pod %s/%s not ready: %w", p.Namespace, p.Name, err)
		default:
			h.recorder.Event(ctx, p, corev1.EventTypeWarning, "NodeNotReady", "Node is not ready")
		}
	}
	return nil
}

func (h *health) event(ctx context.Context, n *corev1.Node, reason, message string) {
	h.recorder.Event(ctx, n, corev1.EventTypeNormal, reason, "Node "+n.Name+" event: "+message)
}
