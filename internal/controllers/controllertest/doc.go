// Package controllertest runs control loops in tests: over a store in memory,
// the real caches, the real pipeline and the real engine.
//
// The test itself may do anything. A controller may do what the default policy
// gives the role of its name, and a test fails when it tries more. Admission
// is left out: namespaces need not exist. Time is a fake clock that only tests
// move. Nothing sleeps: Eventually waits for changes in the caches.
package controllertest
