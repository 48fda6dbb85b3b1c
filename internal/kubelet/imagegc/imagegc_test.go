package imagegc

import (
	"testing"
	"time"
)

func TestWhatGoesAndWhatStays(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	p := Policy{High: 85, Low: 80, MinAge: 2 * time.Minute, MaxAge: time.Hour}
	var m Memory
	old := []Image{{ID: "used", Used: true}, {ID: "once", Used: true}, {ID: "never"}, {ID: "pinned", Pinned: true}}
	m.Note(old, now)
	now = now.Add(10 * time.Minute)
	images := []Image{{ID: "used", Used: true}, {ID: "once"}, {ID: "never"}, {ID: "pinned", Pinned: true}, {ID: "fresh"}}
	m.Note(images, now)
	ids := func(l []Image) (out string) {
		for _, i := range l {
			out += i.ID + " "
		}
		return out
	}
	if got := ids(m.Spare(p, images, now)); got != "never once " {
		t.Errorf("spare: %s", got)
	}
	if got := ids(m.Aged(p, images, now)); got != "" {
		t.Errorf("aged at once: %s", got)
	}
	now = now.Add(time.Hour)
	m.Note(images, now)
	if got := ids(m.Aged(p, images, now)); got != "never fresh once " {
		t.Errorf("aged: %s", got)
	}
}

func TestADiskIsFreedDownToTheLowMark(t *testing.T) {
	p := Policy{High: 85, Low: 80}
	for _, tc := range []struct {
		available, want int64
		percent         int
	}{{500, 0, 50}, {150, 50, 85}, {10, 190, 99}, {2000, 0, 0}} {
		got, percent := p.Excess(1000, tc.available)
		if got != tc.want || percent != tc.percent {
			t.Errorf("%d available: free %d at %d%%, want %d at %d%%", tc.available, got, percent, tc.want, tc.percent)
		}
	}
	if got, _ := p.Excess(0, 0); got != 0 {
		t.Error("a disk of nothing")
	}
}
