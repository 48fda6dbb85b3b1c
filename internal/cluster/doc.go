// Package cluster composes the parts to a running Monohull. It is the only
// package that imports all of them: what depends on what, and in which order
// things start, can be read in run.go alone.
//
// Starting is a list: certificates and store, caches, API, bootstrap objects,
// controllers and scheduler, node. Stopping is the context: every part's Run
// returns after its children, the store closes last. Containers go on.
package cluster
