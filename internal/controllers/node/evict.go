package node

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
	"github.com/monohull/monohull/internal/controllers/podstate"
)

const evictWorkers = 8

// evictor deletes pods that do not tolerate what drives them away.
type evictor struct {
	deps     controllers.Deps
	pods     client.Kind[*corev1.Pod]
	nodes    client.Kind[*corev1.Node]
	recorder controllers.Recorder

	mu    sync.Mutex
	since map[controllers.Key]unwelcome
}

// unwelcome: a pod's deletion is scheduled, counted from a time on.
type unwelcome struct {
	uid types.UID
	at  time.Time
}

func taintEviction(deps controllers.Deps) *controllers.Controller {
	c := deps.Client("node-controller")
	r := &evictor{
		deps: deps, pods: client.Of[*corev1.Pod](c), nodes: client.Of[*corev1.Node](c),
		recorder: deps.Recorder("taint-eviction-controller", c), since: map[controllers.Key]unwelcome{},
	}
	return &controllers.Controller{
		Name: "taint-eviction-controller", Client: c, Workers: evictWorkers, Reconcile: r.reconcile,
		Inputs: []controllers.Input{
			controllers.On(func(old, cur *corev1.Node) []controllers.Key {
				taints := executing(cur)
				if old == nil && len(taints) == 0 || old != nil && equality.Semantic.DeepEqual(executing(old), taints) {
					return nil
				}
				var keys []controllers.Key
				for _, p := range r.pods.ByIndex(client.ByNode, cur.Name) {
					keys = append(keys, controllers.KeyOf(p))
				}
				return keys
			}),
			controllers.On(func(old, cur *corev1.Pod) []controllers.Key {
				if cur.Spec.NodeName == "" {
					return nil
				}
				if old != nil && old.UID == cur.UID && old.Spec.NodeName == cur.Spec.NodeName && slices.EqualFunc(old.Spec.Tolerations, cur.Spec.Tolerations,
					func(a, b corev1.Toleration) bool { return equality.Semantic.DeepEqual(a, b) }) {
					return nil
				}
				if n, ok := r.nodes.Get("", cur.Spec.NodeName); !ok || len(executing(n)) == 0 {
					return nil
				}
				return []controllers.Key{controllers.KeyOf(cur)}
			}),
		},
		Outputs: []controllers.Output{{Kind: api.For[*corev1.Pod]}, {Kind: api.For[*corev1.Pod], Field: "status.conditions"}},
	}
}

func (r *evictor) reconcile(ctx context.Context, key controllers.Key) (time.Duration, error) {
	p, ok := r.pods.Get(key.Namespace, key.Name)
	if !ok || p.DeletionTimestamp != nil || p.Spec.NodeName == "" {
		r.drop(key)
		return 0, nil
	}
	n, ok := r.nodes.Get("", p.Spec.NodeName)
	var taints []corev1.Taint
	if ok {
		taints = executing(n)
	}
	d, forever := tolerance(taints, p.Spec.Tolerations)
	if forever {
		if r.drop(key) {
			r.recorder.Event(ctx, p, corev1.EventTypeNormal, "TaintManagerEviction", "Cancelling deletion of Pod "+key.Namespace+"/"+key.Name)
		}
		return 0, nil
	}
	now := r.deps.Clock.Now()
	if left := r.schedule(key, p, taints, now).Add(d).Sub(now); d > 0 && left > 0 {
		return left, nil
	}
	if err := r.evict(ctx, p, now); err != nil {
		return 0, err
	}
	r.drop(key)
	return 0, nil
}

// schedule notes that a pod is to go, and returns since when it is unwelcome.
func (r *evictor) schedule(key controllers.Key, p *corev1.Pod, taints []corev1.Taint, now time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	u, ok := r.since[key]
	if !ok || u.uid != p.UID {
		u = unwelcome{p.UID, unwelcomeSince(taints, p, now)}
		r.since[key] = u
	}
	return u.at
}

func (r *evictor) drop(key controllers.Key) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, was := r.since[key]
	delete(r.since, key)
	return was
}

func (r *evictor) evict(ctx context.Context, p *corev1.Pod, now time.Time) error {
	r.recorder.Event(ctx, p, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod "+p.Namespace+"/"+p.Name)
	s := p.Status.DeepCopy()
	changed := podstate.SetCondition(s, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, ObservedGeneration: p.Generation,
		Reason: "DeletionByTaintManager", Message: "Taint manager: deleting due to NoExecute taint",
	}, metav1.NewTime(now))
	if changed {
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"uid": p.UID},
			"status":   map[string]any{"conditions": []corev1.PodCondition{*podstate.Condition(s, corev1.DisruptionTarget)}},
		})
		if err != nil {
			return err
		}
		_, err = r.pods.Patch(ctx, p.Namespace, p.Name, "status", types.StrategicMergePatchType, patch)
		switch {
		case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
			return nil
		case err != nil:
			return fmt.Errorf("marking pod %s/%s: %w", p.Namespace, p.Name, err)
		}
	}
	err := r.pods.Delete(ctx, p.Namespace, p.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}})
	if err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	return nil
}
