package record

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/controllers/controllertest"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func event(object, reason, message string) *corev1.Event {
	return &corev1.Event{
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "ns", Name: object}, Reason: reason, Message: message,
		Source: corev1.EventSource{Component: "test"},
	}
}

func TestAnObjectIsMutedAfterItsBurst(t *testing.T) {
	c := newCorrelator()
	passed := 0
	for i := range 40 {
		if !c.judge(event("a", fmt.Sprint("r", i), "m"), t0).drop {
			passed++
		}
	}
	if passed != burst {
		t.Errorf("%d events passed, want %d", passed, burst)
	}
	if c.judge(event("b", "r", "m"), t0).drop {
		t.Error("another object was muted too")
	}
	if c.judge(event("a", "later", "m"), t0.Add(refill)).drop || !c.judge(event("a", "later", "m"), t0.Add(refill)).drop {
		t.Error("one event should be gained in five minutes")
	}
}

func TestSimilarEventsAreCombined(t *testing.T) {
	c := newCorrelator()
	seen := map[*series]bool{}
	var last *corev1.Event
	for i := range 15 {
		last = event("a", "r", fmt.Sprint("message ", i))
		seen[c.judge(last, t0).series] = true
	}
	if len(seen) != 10 || last.Message != combinedPrefix+"message 14" {
		t.Errorf("%d series; the last says %q", len(seen), last.Message)
	}
}

func TestRepeatsAreCounted(t *testing.T) {
	c := controllertest.New(t)
	s := New(c.Clock, slog.New(slog.NewTextHandler(io.Discard, nil)))
	ctx, cancel := context.WithCancel(c.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer wg.Wait()
	defer cancel()
	node := controllertest.Create(c, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	r := s.Recorder("test", c.Client)
	for range 3 {
		r.Event(ctx, node, corev1.EventTypeNormal, "Said", "hello")
		c.Clock.SetTime(c.Clock.Now().Add(time.Minute))
	}
	r.Event(ctx, node, corev1.EventTypeWarning, "Other", strings.Repeat("x", 2000))
	c.Eventually("there is one event that counts three, and one of another reason", func() bool {
		list := controllertest.List[*corev1.Event](c, "default")
		if len(list) != 2 {
			return false
		}
		e := list[0]
		if e.Reason != "Said" {
			e = list[1]
		}
		return e.Count == 3 && e.LastTimestamp.Sub(e.FirstTimestamp.Time) == 2*time.Minute && e.InvolvedObject.Kind == "Node" && e.InvolvedObject.UID == node.UID
	})
}
