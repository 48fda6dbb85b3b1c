package record

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

// queued is how many events may wait for the writer.
const queued = 1000

// Sink takes events from any number of recorders and writes them.
type Sink struct {
	clock clock.PassiveClock
	log   *slog.Logger
	queue chan work
	last  atomic.Int64 // nanoseconds in the name given last: each name is new
}

type work struct {
	client *client.Client
	event  *corev1.Event
}

// New makes a sink; Run writes what it is given.
func New(c clock.PassiveClock, log *slog.Logger) *Sink {
	return &Sink{clock: c, log: log, queue: make(chan work, queued)}
}

// Recorder records for one component. The client's user writes the events.
func (s *Sink) Recorder(component string, c *client.Client) controllers.Recorder {
	return s.RecorderFor(corev1.EventSource{Component: component}, c)
}

// RecorderFor is Recorder for components that say on which host they run.
func (s *Sink) RecorderFor(source corev1.EventSource, c *client.Client) controllers.Recorder {
	return &recorder{sink: s, source: source, client: c}
}

type recorder struct {
	sink   *Sink
	source corev1.EventSource
	client *client.Client
}

// Event implements controllers.Recorder.
func (r *recorder) Event(_ context.Context, obj api.Object, eventType, reason, message string) {
	e := build(r.client.Table(), r.source, obj, eventType, reason, message, r.sink.clock.Now(), r.sink.stamp())
	if e == nil {
		return
	}
	select {
	case r.sink.queue <- work{r.client, e}:
	default: // full: an event is worth less than the component's time
	}
}

// stamp is the time in nanoseconds, and never the same twice.
func (s *Sink) stamp() int64 {
	for {
		last := s.last.Load()
		next := max(s.clock.Now().UnixNano(), last+1)
		if s.last.CompareAndSwap(last, next) {
			return next
		}
	}
}

// Run writes events until ctx ends.
func (s *Sink) Run(ctx context.Context) error {
	c := newCorrelator()
	for {
		select {
		case <-ctx.Done():
			return nil
		case w := <-s.queue:
			if err := s.write(ctx, c, w); err != nil && ctx.Err() == nil {
				s.log.Debug("record: an event could not be written; it is dropped",
					"namespace", w.event.Namespace, "about", w.event.InvolvedObject.Name, "reason", w.event.Reason, "error", err)
			}
		}
	}
}

func (s *Sink) write(ctx context.Context, c *correlator, w work) error {
	v := c.judge(w.event, s.clock.Now())
	if v.drop {
		return nil
	}
	events := client.Of[*corev1.Event](w.client)
	if v.series.name != "" {
		_, err := events.Patch(ctx, w.event.Namespace, v.series.name, "", mergePatch, countUp(v.series.count+1, w.event))
		if err == nil {
			v.series.count++
			return nil
		}
		if !apierrors.IsNotFound(err) {
			return err
		}
		// it has expired: begin anew
	}
	if _, err := events.Create(ctx, w.event.DeepCopy()); err != nil {
		return err
	}
	v.series.name, v.series.count, v.series.first = w.event.Name, w.event.Count, w.event.FirstTimestamp
	return nil
}

// Reference says which object is meant, as events and endpoints do. It is nil
// for an object of no kind in the table.
func Reference(t *api.Table, obj api.Object) *corev1.ObjectReference {
	k := kindOf(t, obj)
	if k == nil {
		return nil
	}
	return &corev1.ObjectReference{
		Kind: k.GVK.Kind, APIVersion: k.GVK.GroupVersion().String(),
		Namespace: obj.GetNamespace(), Name: obj.GetName(), UID: obj.GetUID(), ResourceVersion: obj.GetResourceVersion(),
	}
}

func eventName(about string, nanos int64) string {
	const most = 253 - 17 // a dot and sixteen digits follow
	if len(about) > most {
		about = about[:most]
	}
	return fmt.Sprintf("%s.%x", about, nanos)
}
