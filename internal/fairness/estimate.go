package fairness

import (
	"math"
	"strconv"
	"time"
)

// What requests cost, upstream's figures.
const (
	maxListSeats   = 100
	maxWriteSeats  = 10
	bytesPerSeat   = 100_000
	streamedBytes  = 1_000_000 // most that a list from the cache holds at once
	maxObjectBytes = 1_500_000
	watchesPerSeat = 10
	eventWork      = 5 * time.Millisecond // of a seat, to tell watchesPerSeat watchers
	seatsPercent   = 0.15                 // most of a level's seats that one request takes
)

// work is what a request will cost: seats while it is served, and further ones
// for a while after it, for what it leaves others to do.
type work struct {
	initial, final int
	after          time.Duration
}

// seats is how many are held at most; a request holds as many from its start.
func (w work) seats() int { return max(w.initial, w.final) }

// total is the work in seat seconds if the first part lasts as long as expected.
func (w work) total() float64 {
	return float64(w.initial)*expectedService.Seconds() + float64(w.final)*w.after.Seconds()
}

// Size is what is known of a kind's objects.
type Size struct {
	Objects int
	Bytes   int64 // of an object on the average; 0 not known
}

// mostSeats is the most that one request of a level may take: 0, no bound of
// its own.
func mostSeats(nominal, handSize int) int {
	if handSize <= 0 {
		return 0
	}
	return max(1, min(int(math.Ceil(float64(nominal)*seatsPercent)), nominal/handSize))
}

func bound(most, limit int) int {
	if most == 0 || most > limit {
		return limit
	}
	return most
}

// listWork is the cost of a list, or of the beginning of a watch. known is
// false for kinds that are not ours.
func listWork(r *Request, size Size, known bool, most int) work {
	most = bound(most, maxListSeats)
	if !known {
		return work{initial: 1}
	}
	rv := r.Query.Get("resourceVersion")
	if r.Verb == "watch" && rv != "" && rv != "0" && !isTrue(r.Query.Get("sendInitialEvents")) {
		return work{initial: 1} // there is nothing to begin with
	}
	objects := int64(size.Objects)
	if v := r.Query.Get("limit"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return work{initial: most} // it will be refused
		}
		if n > 0 && n < objects {
			objects = n
		}
	}
	if r.Name != "" {
		objects = 1
	}
	each := size.Bytes
	if each <= 0 && size.Objects > 0 {
		each = maxObjectBytes
	}
	// All lists but those of the past come from the cache.
	bytes := objects * each
	if r.Verb == "watch" || r.Query.Get("resourceVersionMatch") != "Exact" {
		bytes = min(bytes, streamedBytes)
	}
	seats := int((bytes + bytesPerSeat - 1) / bytesPerSeat)
	return work{initial: min(max(seats, 1), most)}
}

func isTrue(v string) bool { return v == "true" || v == "1" }

// writeWork is the cost of a change that a number of watches will be told of.
func writeWork(watches, most int) work {
	w := work{initial: 1}
	if watches < watchesPerSeat {
		return w
	}
	w.final = (watches + watchesPerSeat - 1) / watchesPerSeat
	total := time.Duration(w.final) * eventWork
	// a wide request would keep many others out: make it longer instead
	w.final = min(w.final, bound(most, maxWriteSeats))
	w.after = total / time.Duration(w.final)
	return w
}
