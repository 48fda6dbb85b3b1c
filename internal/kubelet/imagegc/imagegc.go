// Package imagegc decides which images a node no longer needs.
//
// Images that a container uses, or the runtime pins, stay. The others go when they
// were not used for MaxAge, and the longest unused of them when their disk is fuller
// than High percent, until it is down to Low; none before it is MinAge old.
//
// Pure: no goroutine, clock, I/O or logger. Tested by tables.
package imagegc

import (
	"slices"
	"strings"
	"time"
)

// Policy is when images go.
type Policy struct {
	High, Low      int // percent of the disk
	MinAge, MaxAge time.Duration
}

// Image is one of the runtime's.
type Image struct {
	ID     string
	Size   int64
	Pinned bool
	Used   bool // by a container, or mounted into one
}

// record is what is remembered of an image.
type record struct {
	found, used time.Time
}

// Memory remembers when images were found and last used. The zero value is empty;
// its owner is one goroutine.
type Memory struct {
	records map[string]record
	began   time.Time
}

// Note takes the images there are now.
func (m *Memory) Note(images []Image, now time.Time) {
	if m.began.IsZero() {
		m.began = now
	}
	next := map[string]record{}
	for _, img := range images {
		r, known := m.records[img.ID]
		if !known {
			r.found = now
		}
		if img.Used {
			r.used = now
		}
		next[img.ID] = r
	}
	m.records = next
}

// order lists what may go, the longest unused first.
func (m *Memory) order(images []Image) []Image {
	var out []Image
	for _, img := range images {
		if !img.Used && !img.Pinned {
			out = append(out, img)
		}
	}
	slices.SortStableFunc(out, func(a, b Image) int {
		x, y := m.records[a.ID], m.records[b.ID]
		if c := x.used.Compare(y.used); c != 0 {
			return c
		}
		if c := x.found.Compare(y.found); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// Aged lists the images that were not used for too long. They were noted before.
func (m *Memory) Aged(p Policy, images []Image, now time.Time) []Image {
	// A memory that began later than that knows nothing of the time before.
	if p.MaxAge == 0 || now.Sub(m.began) <= p.MaxAge {
		return nil
	}
	var out []Image
	for _, img := range m.order(images) {
		if now.Sub(m.records[img.ID].used) > p.MaxAge {
			out = append(out, img)
		}
	}
	return out
}

// Spare lists images that may go to free space, in that order. Who removes them
// stops when enough is free.
func (m *Memory) Spare(p Policy, images []Image, now time.Time) []Image {
	var out []Image
	for _, img := range m.order(images) {
		if now.Sub(m.records[img.ID].found) >= p.MinAge {
			out = append(out, img)
		}
	}
	return out
}

// Excess is how many bytes to free on a disk, and how full it is in percent.
func (p Policy) Excess(capacity, available int64) (bytes int64, percent int) {
	if capacity <= 0 {
		return 0, 0
	}
	available = min(available, capacity)
	percent = 100 - int(float64(available)/float64(capacity)*100)
	if percent < p.High {
		return 0, percent
	}
	return capacity/100*int64(100-p.Low) - available, percent
}
