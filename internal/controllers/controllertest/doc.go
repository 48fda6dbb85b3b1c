// Package controllertest runs control loops in tests: over a store in memory,
// the real caches, the real engine, and a small writer in the place of the
// pipeline.
//
// The writer does what controllers lean on: names, uids, defaults, generations,
// preconditions, finalizers, grace, patches; it neither validates nor asks who
// may. Time is a fake clock that only tests move. Nothing sleeps: Eventually
// waits for changes in the caches.
package controllertest
