package kubelet

import (
	"context"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/kubelet/criconfig"
	"github.com/monohull/monohull/internal/kubelet/static"
)

// relistEvery is the safety net under the runtime's events.
const relistEvery = 5 * time.Minute

// orphanRetry is the time between attempts to list what an earlier process left.
const orphanRetry = time.Second

// followPods hands the node's pods to their workers. Once those there were at the
// start are known, it adopts what no pod stands for.
func (k *Kubelet) followPods(ctx context.Context) error {
	// A node's pods are found by index, so that an empty cluster adopts as well.
	for _, p := range k.pods.ByIndex(client.ByNode, k.cfg.NodeName) {
		if !static.IsMirror(p) {
			k.podChanged(ctx, p)
		}
	}
	k.tasks.Go(func() {
		select {
		case <-k.static.known: // what is no orphan
			k.adoptOrphans(ctx)
		case <-ctx.Done():
		}
	})
	return k.pods.Follow(ctx, func(changes []client.Change[*corev1.Pod]) {
		for _, c := range changes {
			if c.Old != nil && c.Old.UID != c.New.UID {
				k.podGone(c.Old) // replaced by another of its name, in what was seen as one change
			}
			switch {
			case c.New.Spec.NodeName != k.cfg.NodeName:
			case static.IsMirror(c.New):
				k.mirrorChanged(c.New)
			case c.Deleted:
				k.podGone(c.New)
			default:
				k.podChanged(ctx, c.New)
			}
		}
	})
}

func (k *Kubelet) podChanged(ctx context.Context, pod *corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.workers[pod.UID]
	if w == nil {
		w = k.newWorkerLocked(ctx, pod)
	}
	w.setPod(pod)
}

func (k *Kubelet) newWorkerLocked(ctx context.Context, pod *corev1.Pod) *worker {
	w := newWorker(k, pod)
	k.workers[pod.UID] = w
	k.tasks.Go(func() {
		w.run(ctx)
		defer k.resizesAgain(w) // what it was given is free only now
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.workers[pod.UID] == w {
			delete(k.workers, pod.UID)
		}
		for id, x := range k.sandboxes {
			if x == w {
				delete(k.sandboxes, id)
			}
		}
		if w.static {
			k.syncStaticLocked(ctx) // another may have waited for its name
			k.static.poke()
		}
		k.forgetProbes(pod.UID)
	})
	return w
}

func (k *Kubelet) podGone(pod *corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if w := k.workers[pod.UID]; w != nil {
		w.setGone(pod)
	}
}

// adoptOrphans makes workers for what is left of pods the API does not know: they
// stop and remove it.
func (k *Kubelet) adoptOrphans(ctx context.Context) {
	for {
		err := k.orphans(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		k.log.Warn("kubelet: pods of an earlier run could not be listed; it is tried again", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(orphanRetry):
		}
	}
}

func (k *Kubelet) orphans(ctx context.Context) error {
	list, err := k.deps.Runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	found := map[types.UID]*corev1.Pod{}
	for _, sb := range list.GetItems() {
		uid := types.UID(sb.GetLabels()[criconfig.LabelPodUID])
		if uid == "" {
			continue // not ours
		}
		found[uid] = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid,
			Name: sb.GetLabels()[criconfig.LabelPodName], Namespace: sb.GetLabels()[criconfig.LabelPodNamespace]}}
	}
	dirs, err := os.ReadDir(filepath.Join(k.cfg.DataDir, "pods"))
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if uid := types.UID(d.Name()); found[uid] == nil {
			found[uid] = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid}}
		}
	}
	for uid, pod := range found {
		k.mu.Lock()
		if k.workers[uid] == nil && !k.isStaticLocked(uid) {
			// Bound between then and now? The API is asked last.
			if p, ok := k.pods.Get(pod.Namespace, pod.Name); !ok || p.UID != uid {
				k.log.Info("kubelet: a pod that is no longer in the API is cleaned up", "namespace", pod.Namespace, "pod", pod.Name, "uid", uid)
				k.newWorkerLocked(ctx, pod).setGone(pod)
			}
		}
		k.mu.Unlock()
	}
	return nil
}

// followSource wakes pods that show an object when it changes.
func followSource[T api.Object](ctx context.Context, k *Kubelet, kind client.Kind[T], name string) error {
	return kind.Follow(ctx, func(changes []client.Change[T]) {
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, c := range changes {
			for _, w := range k.workers {
				if w.namespace == c.New.GetNamespace() {
					w.sourceChanged(name, c.New.GetName())
				}
			}
		}
	})
}

// listen hands the runtime's news to workers.
func (k *Kubelet) listen(ctx context.Context, news <-chan Event) error {
	tick := time.NewTicker(relistEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			k.relistAll()
		case e, ok := <-news:
			if !ok {
				return nil
			}
			k.hear(e)
		}
	}
}

func (k *Kubelet) hear(e Event) {
	if e.Type == EventsLost {
		k.relistAll()
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if ch := k.ended[e.ContainerID]; ch != nil && e.Type == ContainerExited {
		close(ch)
		delete(k.ended, e.ContainerID)
	}
	if w := k.sandboxes[e.SandboxID]; w != nil {
		w.look()
	}
}

func (k *Kubelet) relistAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for uid, w := range k.workers {
		if p, ok := k.pods.Get(w.namespace, w.name); !w.static && (!ok || p.UID != uid) {
			w.setGone(nil)
		}
		w.look()
	}
	for id, ch := range k.ended { // whoever waits looks for itself
		close(ch)
		delete(k.ended, id)
	}
}

// endOf is closed when a container exits, or when that has to be looked at anew.
func (k *Kubelet) endOf(id string) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	ch := k.ended[id]
	if ch == nil {
		ch = make(chan struct{})
		k.ended[id] = ch
	}
	return ch
}
