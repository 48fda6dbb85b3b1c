package controllers

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// play runs a controller whose Reconcile is turn, in time that does not pass
// by itself, and returns when its turns began.
func play(t *testing.T, add func(func(Key)), turn func(n int) (time.Duration, error), until time.Duration) []time.Duration {
	var began []time.Duration
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), until)
		defer cancel()
		start := time.Now()
		c := &Controller{
			Name: "test",
			Background: func(_ context.Context, f func(Key)) error {
				add(f)
				return nil
			},
			Reconcile: func(context.Context, Key) (time.Duration, error) {
				began = append(began, time.Since(start))
				return turn(len(began))
			},
		}
		if err := Run(ctx, slog.New(slog.NewTextHandler(io.Discard, nil)), []*Controller{c}); err != nil {
			t.Error(err)
		}
	})
	return began
}

func TestFailuresBackOffAndWishesAreKept(t *testing.T) {
	got := play(t, func(add func(Key)) { add(Key{Name: "a"}) }, func(n int) (time.Duration, error) {
		switch n {
		case 1, 2:
			return 0, errors.New("not yet")
		case 3:
			return time.Second, nil
		}
		return 0, nil
	}, time.Minute)
	want := []time.Duration{0, 5 * time.Millisecond, 15 * time.Millisecond, 1015 * time.Millisecond}
	if !slices.Equal(got, want) {
		t.Errorf("turns at %v, want %v", got, want)
	}
}

func TestALongTurnIsFollowedByRest(t *testing.T) {
	k := Key{Name: "a"}
	var again func(Key)
	got := play(t, func(add func(Key)) { again = add; add(k) }, func(n int) (time.Duration, error) {
		if n < 3 {
			again(k) // changes come while it runs
			again(k)
			<-time.After(map[int]time.Duration{1: time.Millisecond, 2: 3 * time.Millisecond}[n])
		}
		return 0, nil
	}, time.Minute)
	want := []time.Duration{0, time.Millisecond, 16 * time.Millisecond}
	if !slices.Equal(got, want) {
		t.Errorf("turns at %v, want %v", got, want)
	}
}
