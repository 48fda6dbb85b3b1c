package events

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

type fakeWriter struct {
	made    []*corev1.Event
	patched []map[string]any
}

func (f *fakeWriter) Create(_ context.Context, e *corev1.Event) (*corev1.Event, error) {
	f.made = append(f.made, e)
	return e, nil
}

func (f *fakeWriter) Patch(_ context.Context, _, _, _ string, _ types.PatchType, b []byte) (*corev1.Event, error) {
	m := map[string]any{}
	err := json.Unmarshal(b, &m)
	f.patched = append(f.patched, m)
	return nil, err
}

func TestRepeatsAreCountedAndFloodsStopped(t *testing.T) {
	f := &fakeWriter{}
	r := New(f, "kubelet", "n", slog.New(slog.DiscardHandler))
	ref := corev1.ObjectReference{Kind: "Pod", Namespace: "ns", Name: "p", UID: "u"}
	at := time.Unix(1000, 0)
	say := func(reason, message string) {
		r.write(context.Background(), report{ref, "Normal", reason, message, at})
	}
	say("A", "m")
	say("A", "m")
	say("A", "m")
	if len(f.made) != 1 || len(f.patched) != 2 || f.patched[1]["count"] != 3.0 {
		t.Fatalf("%v %v", f.made, f.patched)
	}
	for i := range 12 {
		say("B", fmt.Sprint(i))
	}
	if last := f.made[len(f.made)-1]; len(f.made) != 12 || !strings.HasPrefix(last.Message, "(combined from similar events): ") {
		t.Errorf("%d, last %q", len(f.made), last.Message)
	}
	for range 100 {
		say("C", "m")
	}
	if n := len(f.made) + len(f.patched); n != burst {
		t.Errorf("%d writes, want %d", n, burst)
	}
	at = at.Add(refill)
	say("D", "m")
	if n := len(f.made) + len(f.patched); n != burst+1 {
		t.Errorf("%d writes after a pause, want %d", n, burst+1)
	}
	names := map[string]bool{}
	for _, e := range f.made {
		if names[e.Name] {
			t.Errorf("name %s twice", e.Name)
		}
		names[e.Name] = true
	}
}
