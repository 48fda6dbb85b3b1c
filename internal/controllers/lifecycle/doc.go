// Package lifecycle ends what has ended: the content of namespaces that are
// being deleted, objects whose owners are gone, events after an hour, and pods
// that nobody is left to remove.
//
// The namespace controller and the garbage collector serve every kind of the
// table alike, through the caches and the pipeline; a kind that is added is
// served with it. Everything is driven by changes, nothing is swept, but for
// pods that need removal, which are looked for every twenty seconds as
// upstream does.
//
// garbage_decide.go, namespace_decide.go and podgc_decide.go are pure. The room
// may read and delete everything, and write owner references, finalizers and
// the status of namespaces. Tests: tables for decisions; loops over
// controllertest.
package lifecycle
