package kubelet

import (
	"context"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/kubelet/static"
)

const (
	// mirrorEvery is the safety net under the news of pods.
	mirrorEvery = time.Minute
	// mirrorRetry is the pause after a mirror could not be written.
	mirrorRetry = time.Second
)

func fullName(pod *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
}

// statics are the static pods this node is to run. Kubelet.mu guards the maps.
type statics struct {
	bySource map[string][]*corev1.Pod
	awaited  int           // sources that have said nothing yet
	known    chan struct{} // closed when all have
	news     chan struct{} // holds one
}

func newStatics(sources int) *statics {
	s := &statics{bySource: map[string][]*corev1.Pod{}, awaited: sources, known: make(chan struct{}), news: make(chan struct{}, 1)}
	if sources == 0 {
		close(s.known)
	}
	return s
}

// wantedLocked are the static pods by name; where two sources name one, files win.
func (s *statics) wantedLocked() map[types.NamespacedName]*corev1.Pod {
	out := map[types.NamespacedName]*corev1.Pod{}
	for _, source := range []string{static.FromHTTP, static.FromFile} {
		for _, p := range s.bySource[source] {
			out[fullName(p)] = p
		}
	}
	return out
}

func (s *statics) poke() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// staticSource is where static pods come from; nil for none.
func (k *Kubelet) staticSource(ctx context.Context) *static.Source {
	c := k.opts.Kubelet
	if c.StaticPodPath == "" && c.StaticPodURL == "" {
		return nil
	}
	return static.New(static.Config{
		Path: c.StaticPodPath, FileEvery: c.FileCheckFrequency.Duration, URL: c.StaticPodURL, URLHeader: http.Header(c.StaticPodURLHeader),
		HTTPEvery: c.HTTPCheckFrequency.Duration, Decoder: static.Decoder{Node: k.cfg.NodeName, Kind: api.For[*corev1.Pod](k.deps.Client.Table())},
		Logger: k.log, Now: k.cfg.Now,
	}, func(source string, pods []*corev1.Pod) { k.setStatic(ctx, source, pods) })
}

// setStatic takes all static pods of a source.
func (k *Kubelet) setStatic(ctx context.Context, source string, pods []*corev1.Pod) {
	k.mu.Lock()
	if _, heard := k.static.bySource[source]; !heard {
		if k.static.awaited--; k.static.awaited == 0 {
			close(k.static.known)
		}
	}
	if pods == nil {
		pods = []*corev1.Pod{}
	}
	k.static.bySource[source] = pods
	k.syncStaticLocked(ctx)
	k.mu.Unlock()
	k.static.poke()
}

// syncStaticLocked ends the workers of static pods that are no longer wanted, and
// begins those of new ones. A pod that took another's place begins when that is gone.
func (k *Kubelet) syncStaticLocked(ctx context.Context) {
	wanted := k.static.wantedLocked()
	busy := map[types.NamespacedName]bool{}
	for uid, w := range k.workers {
		if !w.static {
			continue
		}
		name := types.NamespacedName{Namespace: w.namespace, Name: w.name}
		busy[name] = true
		if p := wanted[name]; p == nil || p.UID != uid {
			w.setGone(nil)
		}
	}
	for name, p := range wanted {
		if !busy[name] && k.workers[p.UID] == nil && ctx.Err() == nil {
			k.newWorkerLocked(ctx, p)
		}
	}
}

// isStaticLocked tells whether a UID is a static pod's that is to run.
func (k *Kubelet) isStaticLocked(uid types.UID) bool {
	for _, l := range k.static.bySource {
		for _, p := range l {
			if p.UID == uid {
				return true
			}
		}
	}
	return false
}

// mirrorChanged tells the worker of a static pod of news of its mirror.
func (k *Kubelet) mirrorChanged(mirror *corev1.Pod) {
	k.static.poke()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.workers {
		if w.static && w.namespace == mirror.Namespace && w.name == mirror.Name {
			w.rouse()
		}
	}
}

// keepMirrors keeps the pictures of static pods in the API: one for each, as it is
// now, and none of a pod that has ended.
func (k *Kubelet) keepMirrors(ctx context.Context) error {
	select {
	case <-k.ready: // before, there is no node that could own them
	case <-ctx.Done():
		return nil
	}
	failed := false
	for {
		wait := mirrorEvery
		err := k.syncMirrors(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if !failed {
				k.log.Warn("kubelet: a static pod's mirror was not written; it is tried again", "error", err)
			}
			wait = mirrorRetry
		}
		failed = err != nil
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-k.static.news:
		case <-t.C:
		}
		t.Stop()
	}
}

func (k *Kubelet) syncMirrors(ctx context.Context) error {
	select {
	case <-k.static.known: // else what is not wanted is not known
	default:
		return nil
	}
	k.mu.Lock()
	wanted := k.static.wantedLocked()
	running := map[types.NamespacedName]bool{}
	for _, w := range k.workers {
		if w.static {
			running[types.NamespacedName{Namespace: w.namespace, Name: w.name}] = true
		}
	}
	k.mu.Unlock()
	for _, m := range k.pods.ByIndex(client.ByNode, k.cfg.NodeName) {
		name := fullName(m)
		if !static.IsMirror(m) {
			continue
		}
		p := wanted[name]
		if p == nil && running[name] || p != nil && static.IsMirrorOf(m, p) && m.DeletionTimestamp == nil {
			continue
		}
		if err := k.deleteMirror(ctx, m); err != nil {
			return err
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	node, ok := k.nodes.Get("", k.cfg.NodeName)
	if !ok {
		return fmt.Errorf("the node is not registered yet")
	}
	var firstErr error
	for name, p := range wanted {
		if there, ok := k.pods.Get(name.Namespace, name.Name); ok {
			if !static.IsMirror(there) && firstErr == nil {
				firstErr = fmt.Errorf("pod %s is in the API already, and is no mirror", name)
			}
			continue
		}
		if _, err := k.pods.Create(ctx, static.Mirror(p, node)); err != nil && !apierrors.IsAlreadyExists(err) && firstErr == nil {
			firstErr = fmt.Errorf("create the mirror of %s: %w", name, err)
		}
	}
	return firstErr
}

func (k *Kubelet) deleteMirror(ctx context.Context, m *corev1.Pod) error {
	zero := int64(0)
	err := k.pods.Delete(ctx, m.Namespace, m.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &m.UID}})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete the mirror %s/%s: %w", m.Namespace, m.Name, err)
	}
	return nil
}

// runtimeUID is the UID by which the runtime knows a pod of the API: a mirror stands
// for a pod of another.
func runtimeUID(p *corev1.Pod) types.UID {
	if static.IsMirror(p) {
		return types.UID(p.Annotations[static.AnnotationMirror])
	}
	return p.UID
}
