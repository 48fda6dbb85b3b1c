package fairness

import (
	"slices"
	"sync/atomic"

	"k8s.io/apiserver/pkg/authentication/user"
)

// Inflight bounds requests by two plain numbers, where fairness is off.
type Inflight struct {
	readLimit, writeLimit int64 // 0: none
	reads, writes         atomic.Int64
}

// NewInflight bounds reading and changing requests; 0 is no bound.
func NewInflight(reads, writes int) *Inflight {
	return &Inflight{readLimit: int64(reads), writeLimit: int64(writes)}
}

// Begin counts a request in, and gives what counts it out; false if there are
// too many. Administrators are always let in.
func (i *Inflight) Begin(r *Request) (end func(), ok bool) {
	n, limit := &i.reads, i.readLimit
	if Mutating(r.Verb) {
		n, limit = &i.writes, i.writeLimit
	}
	if limit == 0 {
		return func() {}, true
	}
	if n.Add(1) > limit {
		n.Add(-1)
		return func() {}, slices.Contains(r.User.GetGroups(), user.SystemPrivilegedGroup)
	}
	return func() { n.Add(-1) }, true
}

// Mutating tells whether requests of a verb count as changes.
func Mutating(verb string) bool { return verb != "get" && verb != "list" && verb != "watch" }
