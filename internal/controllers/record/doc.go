// Package record writes events: what a component did to an object, and why.
//
// Recording never blocks and never fails. Events go through a bounded queue to
// one writer. Repeats of an event raise its count instead of making another;
// many events that differ only in their message become one that stands for
// them; and an object about which a component has too much to say is muted by
// a token bucket. The numbers are client-go's. All memory is bounded: each
// table forgets what was least recently used.
//
// It may read and write Event objects, nothing else. Tests: the pure
// correlator by tables, the sink over controllertest.
package record
