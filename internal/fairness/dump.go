package fairness

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DebugPath is where the dumps are served.
const DebugPath = "/debug/api_priority_and_fairness/"

// ServeHTTP answers the three dumps below DebugPath, in upstream's columns.
func (f *Fairness) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	dump := map[string]func(io.Writer, bool){
		"dump_priority_levels": f.dumpLevels, "dump_queues": f.dumpQueues, "dump_requests": f.dumpRequests,
	}[strings.TrimPrefix(req.URL.Path, DebugPath)]
	if dump == nil {
		http.NotFound(w, req)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	tabs := tabwriter.NewWriter(w, 8, 0, 1, ' ', 0)
	dump(tabs, req.URL.Query().Get("includeRequestDetails") != "")
	_ = tabs.Flush() // the client has gone
}

func row(w io.Writer, columns ...any) {
	for i, c := range columns {
		if i > 0 {
			fmt.Fprint(w, ",\t")
		}
		fmt.Fprint(w, c)
	}
	fmt.Fprintln(w)
}

// each calls fn for every level in the order of names, with its lock held.
func (f *Fairness) each(fn func(*state, *level)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(f.levels)) {
		st := f.levels[name]
		st.level.mu.Lock()
		fn(st, st.level)
		st.level.mu.Unlock()
	}
}

func (f *Fairness) dumpLevels(w io.Writer, _ bool) {
	row(w, "PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests", "DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests")
	f.each(func(st *state, l *level) {
		active := 0
		for _, q := range l.queues {
			if q.waiting.n > 0 {
				active++
			}
		}
		row(w, l.name, active, l.idleLocked(), st.quiescing, l.waiting, l.executing, l.dispatched, l.rejected, 0, l.cancelled)
	})
}

func (f *Fairness) dumpQueues(w io.Writer, _ bool) {
	row(w, "PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR", "InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum")
	f.each(func(_ *state, l *level) {
		for i, q := range l.queues {
			initial := 0
			for t := q.waiting.first; t != nil; t = t.next {
				initial += t.work.initial
			}
			row(w, l.name, i, q.waiting.n, q.executing.n, q.inUse, seatSeconds(q.next), initial, q.waitSeats, seatSeconds(q.waitWork))
		}
	})
}

func seatSeconds(v float64) string { return strconv.FormatFloat(v, 'f', 8, 64) + "ss" }

func (f *Fairness) dumpRequests(w io.Writer, details bool) {
	head := []any{"PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher", "ArriveTime", "InitialSeats", "FinalSeats", "AdditionalLatency", "StartTime"}
	if details {
		head = append(head, "UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource")
	}
	row(w, head...)
	f.each(func(_ *state, l *level) {
		one := func(queue, index int, t *Ticket) {
			line := []any{l.name, t.schema.name, queue, index, t.flow, t.arrived.UTC().Format(time.RFC3339Nano), t.work.initial, t.work.final, t.work.after, t.started.UTC().Format(time.RFC3339Nano)}
			if details {
				r := &t.req
				line = append(line, r.User.GetName(), r.Verb, r.Path, r.Namespace, r.Name, metav1.GroupVersion{Group: r.Group, Version: r.Version}.String(), r.Plural, r.Subresource)
			}
			row(w, line...)
		}
		for i, q := range l.queues {
			n := 0
			for t := q.waiting.first; t != nil; t = t.next {
				one(i, n, t)
				n++
			}
			for t := q.executing.first; t != nil; t = t.next {
				one(i, -1, t)
			}
		}
		for t := l.free.first; t != nil; t = t.next {
			one(-1, -1, t)
		}
	})
}
