// Package events writes events about pods and the node, and keeps them few.
//
// What repeats raises a count on the event there is. Of messages that differ while
// all else is the same, ten in ten minutes stand alone and the rest share one event.
// An object that says too much is not heard for a while. All memory is bounded, and
// nobody who reports an event waits. Tested on a writer that only remembers.
package events

import (
	"container/list"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The bounds, as client-go's.
const (
	maxQueue      = 1000
	maxRemembered = 4096
	maxSimilar    = 10
	similarWindow = 10 * time.Minute
	burst         = 25
	refill        = 5 * time.Minute // per event
	maxMessage    = 1024
)

// Writer stores events.
type Writer interface {
	Create(ctx context.Context, e *corev1.Event) (*corev1.Event, error)
	Patch(ctx context.Context, namespace, name, subresource string, pt types.PatchType, patch []byte) (*corev1.Event, error)
}

// Recorder takes events and writes them in its own time.
type Recorder struct {
	w         Writer
	component string
	host      string
	log       *slog.Logger
	queue     chan report

	// Only Run touches these.
	seen    map[seenKey]*list.Element
	order   *list.List // of *seenEvent, the one used last in front
	similar map[similarKey]*similarState
	spam    map[types.UID]*bucket
	stamp   int64
}

type report struct {
	ref                   corev1.ObjectReference
	kind, reason, message string
	at                    time.Time
}

type seenKey struct {
	similarKey
	message string
}

type similarKey struct {
	uid                  types.UID
	ns, name, path       string
	objKind, typ, reason string
}

type seenEvent struct {
	key   seenKey
	name  string
	ns    string
	count int32
}

type similarState struct {
	messages map[string]bool
	last     time.Time
}

type bucket struct {
	tokens float64
	at     time.Time
}

// New makes a recorder for a component of a host.
func New(w Writer, component, host string, log *slog.Logger) *Recorder {
	return &Recorder{w: w, component: component, host: host, log: log, queue: make(chan report, maxQueue),
		seen: map[seenKey]*list.Element{}, order: list.New(), similar: map[similarKey]*similarState{}, spam: map[types.UID]*bucket{}}
}

// Event reports something about an object. It never waits: where too much is
// reported, events are lost.
func (r *Recorder) Event(ref corev1.ObjectReference, eventType, reason, message string) {
	select {
	case r.queue <- report{ref, eventType, reason, message, time.Now()}:
	default:
	}
}

// Eventf is Event with a format.
func (r *Recorder) Eventf(ref corev1.ObjectReference, eventType, reason, format string, args ...any) {
	r.Event(ref, eventType, reason, fmt.Sprintf(format, args...))
}

// Run writes events until ctx ends.
func (r *Recorder) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case rep := <-r.queue:
			r.write(ctx, rep)
		}
	}
}

func (r *Recorder) write(ctx context.Context, rep report) {
	if !r.allow(rep) {
		return
	}
	key := similarKey{rep.ref.UID, rep.ref.Namespace, rep.ref.Name, rep.ref.FieldPath, rep.ref.Kind, rep.kind, rep.reason}
	message := rep.message
	sk := seenKey{key, message}
	if r.tooMany(key, rep) {
		message = "(combined from similar events): " + message
		sk.message = "" // all of them are one
	}
	if len(message) > maxMessage {
		message = message[:maxMessage]
	}
	if el, ok := r.seen[sk]; ok {
		r.order.MoveToFront(el)
		e := el.Value.(*seenEvent)
		patch := map[string]any{"count": e.count + 1, "lastTimestamp": metav1.NewTime(rep.at)}
		if sk.message == "" {
			patch["message"] = message
		}
		body, err := json.Marshal(patch)
		if err != nil {
			r.log.Error("events: an event cannot be encoded", "error", err)
			return
		}
		_, err = r.w.Patch(ctx, e.ns, e.name, "", types.MergePatchType, body)
		if err == nil {
			e.count++
			return
		}
		if !apierrors.IsNotFound(err) {
			r.failed(ctx, rep, err)
			return
		}
		r.order.Remove(el)
		delete(r.seen, sk)
	}
	r.create(ctx, rep, sk, message)
}

func (r *Recorder) create(ctx context.Context, rep report, sk seenKey, message string) {
	ns := rep.ref.Namespace
	if ns == "" {
		ns = metav1.NamespaceDefault
	}
	t := metav1.NewTime(rep.at)
	// Two events of one moment still have two names.
	r.stamp = max(r.stamp+1, rep.at.UnixNano())
	e := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("%s.%x", clipName(rep.ref.Name), r.stamp)},
		InvolvedObject: rep.ref, Reason: rep.reason, Message: message, Type: rep.kind,
		FirstTimestamp: t, LastTimestamp: t, Count: 1,
		Source:              corev1.EventSource{Component: r.component, Host: r.host},
		ReportingController: r.component, ReportingInstance: r.host,
	}
	name := e.Name
	_, err := r.w.Create(ctx, e)
	if err != nil {
		r.failed(ctx, rep, err)
		return
	}
	r.seen[sk] = r.order.PushFront(&seenEvent{key: sk, name: name, ns: ns, count: 1})
	for r.order.Len() > maxRemembered {
		old := r.order.Back()
		delete(r.seen, old.Value.(*seenEvent).key)
		r.order.Remove(old)
	}
}

func (r *Recorder) failed(ctx context.Context, rep report, err error) {
	// A namespace that is going away takes no events; that is no news.
	if ctx.Err() == nil && !apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		r.log.Warn("events: an event was not written", "reason", rep.reason, "object", rep.ref.Namespace+"/"+rep.ref.Name, "error", err)
	}
}

// tooMany tells whether an event's message is one of too many that differ.
func (r *Recorder) tooMany(key similarKey, rep report) bool {
	s := r.similar[key]
	if s == nil || rep.at.Sub(s.last) > similarWindow {
		if len(r.similar) >= maxRemembered {
			clear(r.similar)
		}
		s = &similarState{messages: map[string]bool{}}
		r.similar[key] = s
	}
	s.last = rep.at
	if s.messages[rep.message] {
		return false
	}
	if len(s.messages) >= maxSimilar {
		return true
	}
	s.messages[rep.message] = true
	return false
}

// allow tells whether an object may still report.
func (r *Recorder) allow(rep report) bool {
	b := r.spam[rep.ref.UID]
	if b == nil {
		if len(r.spam) >= maxRemembered {
			clear(r.spam)
		}
		b = &bucket{tokens: burst, at: rep.at}
		r.spam[rep.ref.UID] = b
	}
	b.tokens = min(burst, b.tokens+rep.at.Sub(b.at).Seconds()/refill.Seconds())
	b.at = rep.at
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func clipName(s string) string {
	return strings.TrimRight(s[:min(len(s), 230)], "-.")
}

// PodRef refers to a pod, or to a container of it by a field path.
func PodRef(pod *corev1.Pod, fieldPath string) corev1.ObjectReference {
	return corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
		ResourceVersion: pod.ResourceVersion, FieldPath: fieldPath}
}

// NodeRef refers to a node; its UID is its name, as upstream's.
func NodeRef(name string) corev1.ObjectReference {
	return corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: name, UID: types.UID(name)}
}
