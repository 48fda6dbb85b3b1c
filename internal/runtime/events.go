package runtime

import (
	"context"
	"sync"
	"time"
)

// EventType says what happened.
type EventType string

const (
	ContainerCreated EventType = "ContainerCreated"
	ContainerStarted EventType = "ContainerStarted"
	ContainerExited  EventType = "ContainerExited"
	ContainerDeleted EventType = "ContainerDeleted"
	// SandboxDied: the pod's helper or its shared init ended without being asked to.
	SandboxDied EventType = "SandboxDied"
	// EventsLost: the subscriber fell behind and must look at everything anew.
	EventsLost EventType = "EventsLost"
)

// Event is one change in the runtime.
type Event struct {
	Type        EventType
	SandboxID   string
	ContainerID string // empty for events of a sandbox
	Time        time.Time
}

// maxPendingEvents bounds what a subscriber may leave unread.
const maxPendingEvents = 1024

// broadcaster hands events to subscribers, and never waits for one.
type broadcaster struct {
	mu   sync.Mutex
	subs map[*eventSub]struct{} // guarded by mu
}

type eventSub struct {
	ch   chan Event
	lost bool // told so, and cut off until it has read everything
}

func (b *broadcaster) send(ev Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for sub := range b.subs {
		switch {
		case sub.lost && len(sub.ch) > 0:
		case len(sub.ch) < cap(sub.ch)-1:
			sub.lost = false
			sub.ch <- ev
		default:
			sub.lost = true
			sub.ch <- Event{Type: EventsLost, Time: ev.Time}
		}
	}
}

// Events returns what happens from now until ctx ends, when the channel is closed.
// A subscriber that does not read loses events, which it is told.
func (r *Runtime) Events(ctx context.Context) <-chan Event {
	sub := &eventSub{ch: make(chan Event, maxPendingEvents)}
	b := &r.events
	b.mu.Lock()
	if b.subs == nil {
		b.subs = map[*eventSub]struct{}{}
	}
	b.subs[sub] = struct{}{}
	b.mu.Unlock()
	context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.subs, sub)
		close(sub.ch)
	})
	return sub.ch
}

func (r *Runtime) emit(t EventType, sandboxID, containerID string) {
	r.events.send(Event{Type: t, SandboxID: sandboxID, ContainerID: containerID, Time: time.Now()})
}
