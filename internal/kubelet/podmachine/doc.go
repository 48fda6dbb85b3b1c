// Package podmachine decides what a pod on this node needs next, and what its
// status is.
//
//	        volumes       sandbox        init containers,      containers
//	new ──▶ mounted ──▶  there  ──▶  one after another ──▶  and ephemerals ──▶ running
//	 │                                                                            │
//	 │ rejected           deleted, finished, past its deadline, gone from the API │
//	 ▼                                                                            ▼
//	Failed        containers killed, then sidecars in reverse order ◀───────── stopping
//	                 ──▶ sandbox stopped ──▶ volumes unmounted ──▶ object deleted
//	                 ──▶ containers, sandboxes, directories removed ──▶ over
//
// Step looks at the pod, at what was observed of it, and at the time, and says
// which actions are due, what status the pod has, and when to look again. It is
// pure, and level triggered: called again with the same world it says the same,
// less what is under way. Whoever calls it performs the actions, each idempotent,
// and notes in Observed what is under way (Busy) and how it went.
//
// No goroutine, clock, I/O or logger here. Tested by tables.
package podmachine
