package record

import (
	"container/list"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Bounds and rates, client-go's.
const (
	maxRemembered    = 4096              // objects, groups and series kept, each
	similarMax       = 10                // events of a group that are written one by one
	similarInterval  = 10 * time.Minute  // a group is forgotten after
	burst            = 25                // events per source and object at once
	refill           = 300 * time.Second // time to gain one more
	combinedPrefix   = "(combined from similar events): "
	maxMessageBytes  = 1024
	maxGroupMessages = similarMax
)

// lru is a bounded map that forgets the least recently used.
type lru[V any] struct {
	byKey map[string]*list.Element
	order *list.List
}

type lruEntry[V any] struct {
	key string
	val V
}

func newLRU[V any]() *lru[V] {
	return &lru[V]{byKey: map[string]*list.Element{}, order: list.New()}
}

// at returns the value of a key, made by fresh where there is none.
func (l *lru[V]) at(key string, fresh func() V) V {
	if e := l.byKey[key]; e != nil {
		l.order.MoveToFront(e)
		return e.Value.(*lruEntry[V]).val
	}
	v := fresh()
	l.byKey[key] = l.order.PushFront(&lruEntry[V]{key, v})
	if l.order.Len() > maxRemembered {
		last := l.order.Back()
		l.order.Remove(last)
		delete(l.byKey, last.Value.(*lruEntry[V]).key)
	}
	return v
}

type bucket struct {
	tokens float64
	last   time.Time
}

type group struct {
	messages map[string]bool
	last     time.Time
}

// series is an event that was written and may be counted up.
type series struct {
	name  string
	count int32
	first metav1.Time
}

// correlator decides what becomes of each event. It has no clock and does no
// I/O; one goroutine uses it.
type correlator struct {
	buckets *lru[*bucket]
	groups  *lru[*group]
	series  *lru[*series]
}

func newCorrelator() *correlator {
	return &correlator{newLRU[*bucket](), newLRU[*group](), newLRU[*series]()}
}

// verdict of one event.
type verdict struct {
	drop   bool
	series *series // with a name: count that one up; else the event is new
}

// judge may alter the event's message.
func (c *correlator) judge(e *corev1.Event, now time.Time) verdict {
	o := e.InvolvedObject
	object := strings.Join([]string{e.Source.Component, e.Source.Host, o.Kind, o.Namespace, o.Name, string(o.UID), o.APIVersion}, "\x00")
	b := c.buckets.at(object, func() *bucket { return &bucket{tokens: burst, last: now} })
	b.tokens = min(burst, b.tokens+float64(now.Sub(b.last))/float64(refill))
	b.last = now
	if b.tokens < 1 {
		return verdict{drop: true}
	}
	b.tokens--

	kind := strings.Join([]string{object, o.FieldPath, e.Type, e.Reason, e.ReportingController, e.ReportingInstance}, "\x00")
	g := c.groups.at(kind, func() *group { return &group{messages: map[string]bool{}} })
	if now.Sub(g.last) > similarInterval {
		clear(g.messages)
	}
	g.last = now
	id := kind + "\x00" + e.Message
	if !g.messages[e.Message] && len(g.messages) >= maxGroupMessages-1 {
		e.Message = truncate(combinedPrefix + e.Message)
		id = kind // all that is combined counts as one
	} else {
		g.messages[e.Message] = true
	}
	return verdict{series: c.series.at(id, func() *series { return &series{} })}
}

func truncate(s string) string {
	if len(s) <= maxMessageBytes {
		return s
	}
	return strings.ToValidUTF8(s[:maxMessageBytes], "")
}
