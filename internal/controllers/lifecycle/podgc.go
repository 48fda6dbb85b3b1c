package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
	"github.com/monohull/monohull/internal/controllers/podstate"
)

// podSweep is how often pods are looked over: most of what is looked for comes
// to be by time alone.
const podSweep = 20 * time.Second

// podRemover removes pods that nobody else will.
type podRemover struct {
	deps    controllers.Deps
	pods    client.Kind[*corev1.Pod]
	nodes   client.Kind[*corev1.Node]
	missing map[string]time.Time // only one worker uses it
}

func podCollector(deps controllers.Deps) *controllers.Controller {
	c := deps.Client("pod-garbage-collector")
	r := &podRemover{deps: deps, pods: client.Of[*corev1.Pod](c), nodes: client.Of[*corev1.Node](c), missing: map[string]time.Time{}}
	all := controllers.Key{Name: "pods"}
	return &controllers.Controller{
		Name: "pod-garbage-collector-controller", Client: c, Workers: 1,
		Reconcile: func(ctx context.Context, _ controllers.Key) (time.Duration, error) {
			return podSweep, r.sweep(ctx)
		},
		Background: func(_ context.Context, add func(controllers.Key)) error {
			add(all)
			return nil
		},
		Outputs: []controllers.Output{{Kind: api.For[*corev1.Pod]}, {Kind: api.For[*corev1.Pod], Field: "status.phase"}},
	}
}

func (r *podRemover) sweep(ctx context.Context) error {
	node := func(name string) *corev1.Node {
		n, _ := r.nodes.Get("", name)
		return n
	}
	now := r.deps.Clock.Now()
	var errs []error
	for _, d := range doomedPods(r.pods.List("", nil), node, r.missing, maxTerminated, now) {
		if err := r.remove(ctx, d, now); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("removing pod %s/%s: %w", d.pod.Namespace, d.pod.Name, err))
		}
	}
	return errors.Join(errs...)
}

// remove marks a pod failed, for its kubelet never will, and deletes it without
// grace.
func (r *podRemover) remove(ctx context.Context, d doomed, now time.Time) error {
	p := d.pod
	if !podstate.Terminal(p) {
		status := map[string]any{"phase": corev1.PodFailed}
		if d.orphaned {
			s := p.Status.DeepCopy()
			podstate.SetCondition(s, corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, ObservedGeneration: p.Generation,
				Reason: "DeletionByPodGC", Message: "PodGC: node no longer exists",
			}, metav1.NewTime(now))
			status["conditions"] = []corev1.PodCondition{*podstate.Condition(s, corev1.DisruptionTarget)}
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.UID}, "status": status})
		if err != nil {
			return err
		}
		if _, err := r.pods.Patch(ctx, p.Namespace, p.Name, "status", types.StrategicMergePatchType, patch); err != nil {
			return err
		}
	}
	zero := int64(0)
	return r.pods.Delete(ctx, p.Namespace, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &p.UID}})
}
