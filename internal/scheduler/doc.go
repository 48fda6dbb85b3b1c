// Package scheduler assigns pods to nodes.
//
// The core is pure: a snapshot holds nodes and what runs on them, and decide
// says for one pod which node it goes to, or why to none, or which pods would
// have to go first. It has no clock and no I/O, and its only randomness is the
// generator it is given, so one seed and one history give one result.
//
// The snapshot is incremental: each change of a node or of a pod on it gives
// the node a new generation. Pods that are alike in all that matters for
// placement have one shape; a shape keeps what it computed for each node with
// the generation it was true for, so that the second pod of a shape looks anew
// only at the nodes that changed since the first.
//
//	resource.go node.go snapshot.go    what is known of nodes and pods
//	shape.go signature.go sync.go      pods alike, and their kept work
//	filter.go affinity.go spread.go    may this pod run there
//	score.go                           how well
//	decide.go preempt.go message.go    the decision, and its words
//	queue.go                           who is next, who waits for what
//
// Around it, scheduler.go, intake.go, bind.go and report.go have the effects:
// they follow pods, nodes, namespaces and services in the caches, bind through
// the client and write conditions and events. A decided pod is assumed on its
// node at once; binding goes on beside the next decisions and takes the
// assumption back where it fails.
//
// Lock order: Scheduler.mu guards snapshot and queue and is not held across a
// write. reports.mu is a leaf.
//
// Tests: tables of filters, scores and messages; properties over random
// clusters; the queue with times given; the loop with synctest over a store in
// memory.
package scheduler
