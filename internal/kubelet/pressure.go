package kubelet

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/monohull/monohull/internal/kubelet/events"
	"github.com/monohull/monohull/internal/kubelet/eviction"
	"github.com/monohull/monohull/internal/kubelet/podmachine"
)

const (
	// pressureEvery is the time between looks at what the node has left, upstream's.
	pressureEvery = 10 * time.Second
	// leaveTimeout bounds the wait for an evicted pod to be gone before the next look.
	leaveTimeout = 30 * time.Second
	leavePoll    = time.Second
)

// pressure is what the node runs short of.
type pressure struct {
	state atomic.Pointer[eviction.State]
}

func (p *pressure) get() *eviction.State {
	if s := p.state.Load(); s != nil {
		return s
	}
	return &eviction.State{}
}

// keepPressure looks at what the node has left, and evicts pods where it is too little.
func (k *Kubelet) keepPressure(ctx context.Context) error {
	failed := false
	for {
		evicted, err := k.relieve(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !failed {
			k.log.Warn("kubelet: what the node has left could not be measured; it is tried again", "error", err)
		}
		failed = err != nil
		if len(evicted) > 0 {
			k.awaitGone(ctx, evicted)
			continue
		}
		pause(ctx, pressureEvery)
	}
}

// relieve takes one look, and evicts where that is due.
func (k *Kubelet) relieve(ctx context.Context) ([]types.UID, error) {
	cfg := &k.opts.Eviction
	sum, err := k.stats.Summary(ctx, 0)
	if err != nil {
		return nil, err
	}
	was := k.pressure.get()
	seen := eviction.Observe(sum)
	state, need := cfg.Step(*was, seen, k.cfg.Now())
	k.pressure.state.Store(&state)
	if !slices.Equal(was.Conditions, state.Conditions) {
		k.log.Info("kubelet: the node's pressure changed", "conditions", state.Conditions)
		k.pokeNode()
	}
	usage, imageFs := eviction.UsageOf(sum), k.imagesApart(sum)
	pods := k.admittedPods()
	if cfg.LocalStorage {
		if over := eviction.Over(pods, usage, imageFs); len(over) > 0 {
			return k.evictAll(over), nil
		}
	}
	if need == nil {
		return nil, nil
	}
	k.rec.Event(events.NodeRef(k.cfg.NodeName), corev1.EventTypeWarning, "EvictionThresholdMet", "Attempting to reclaim "+string(need.Resource))
	if need.Threshold.Signal != eviction.MemoryAvailable && need.Threshold.Signal != eviction.AllocatableMemoryAvailable && need.Threshold.Signal != eviction.PIDAvailable {
		if k.reclaimDisk(ctx) {
			return nil, nil
		}
	}
	e := cfg.First(eviction.Rank(pods, usage, need.Threshold.Signal, imageFs), usage, need, seen)
	if e == nil {
		k.log.Warn("kubelet: the node is short of a resource, and no pod may be evicted for it", "resource", need.Resource)
		return nil, nil
	}
	k.metrics.evictions.WithLabelValues(string(need.Threshold.Signal)).Inc()
	return k.evictAll([]*eviction.Eviction{e}), nil
}

// imagesApart tells whether images are on a disk of their own.
func (k *Kubelet) imagesApart(s *statsapi.Summary) bool {
	if s.Node.Runtime == nil || s.Node.Runtime.ImageFs == nil || s.Node.Fs == nil {
		return false
	}
	a, b := s.Node.Runtime.ImageFs, s.Node.Fs
	return a.CapacityBytes != nil && b.CapacityBytes != nil && *a.CapacityBytes != *b.CapacityBytes
}

// reclaimDisk removes images nobody uses, and tells whether that was enough.
func (k *Kubelet) reclaimDisk(ctx context.Context) bool {
	if err := k.removeSpareImages(ctx); err != nil {
		k.log.Warn("kubelet: unused images were not removed", "error", err)
	}
	sum, err := k.stats.Summary(ctx, 0)
	return err == nil && k.opts.Eviction.Relieved(eviction.Observe(sum))
}

func (k *Kubelet) evictAll(l []*eviction.Eviction) []types.UID {
	var out []types.UID
	for _, e := range l {
		k.mu.Lock()
		w := k.workers[e.Pod.UID]
		k.mu.Unlock()
		if w == nil {
			continue
		}
		out = append(out, e.Pod.UID)
		w.event("", corev1.EventTypeWarning, eviction.Reason, e.Message)
		k.log.Info("kubelet: a pod is evicted", "namespace", e.Pod.Namespace, "pod", e.Pod.Name, "message", e.Message)
		v := &podmachine.Eviction{Message: e.Message, Grace: e.Grace}
		if e.Disruption {
			v.Condition = &corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonTerminationByKubelet,
				Message: e.Message, ObservedGeneration: e.Pod.Generation, LastTransitionTime: metav1.NewTime(k.cfg.Now()).Rfc3339Copy()}
		}
		w.post(func() {
			if w.obs.Evicted == nil {
				w.obs.Evicted = v
			}
		})
	}
	return out
}

// awaitGone waits until evicted pods have nothing that runs.
func (k *Kubelet) awaitGone(ctx context.Context, uids []types.UID) {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	for ctx.Err() == nil {
		pause(ctx, leavePoll)
		left := false
		k.mu.Lock()
		for _, uid := range uids {
			if w := k.workers[uid]; w != nil {
				w.mu.Lock()
				left = left || !podmachine.Terminal(w.latest.Status.Phase)
				w.mu.Unlock()
			}
		}
		k.mu.Unlock()
		if !left {
			return
		}
	}
}

// pokeNode has the node's status looked at at once.
func (k *Kubelet) pokeNode() {
	select {
	case k.nodeNews <- struct{}{}:
	default:
	}
}

var errNotStarted = errors.New("the kubelet has not started")
