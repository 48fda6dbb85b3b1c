// Package kubelet runs the pods that are bound to this node, and keeps the Node
// object and its lease.
//
// One worker per pod owns all that is known of it. Whatever happens (an object
// changes, the runtime has news, a probe's result turns, an action ends) only wakes
// the worker; it looks anew, asks podmachine.Step what is due, writes the status
// where it differs, and begins the actions. Actions run beside the worker and report
// back to it; one per thing at a time.
//
// "This process ends" and "this pod stops" are different things: the context of Run
// is the former. When it ends nothing is killed; the next process finds sandboxes
// and containers by their labels and goes on. What belongs to pods the API no longer
// knows is stopped and removed.
//
// Rooms: podmachine, eviction and imagegc decide (pure), criconfig translates (pure),
// config reads, static reads pods of files, stats measures, server is the API of port
// 10250; volumes, probes, logs, events and machine do. Here are the workers, the
// actions (a file each), the node, and the loops that keep it in order: pressure
// (evictions), images and logs (collect.go), mirrors of static pods.
//
// What a pod was given of resources that may change is kept in its status: a worker
// sees its pod with that (allocate.go), and the API's object beside it. It touches its directory, the runtime through the interfaces of
// runtime.go, and the machine through Host.
//
// Lock order: Kubelet.admitMu or Kubelet.weightMu, then Kubelet.mu, then worker.mu or
// Kubelet.probeMu. None is held across I/O, but for weightMu across one write to a
// control group. Kubelet.collectMu is held through a collection of images, and alone.
//
// Tests use a fake runtime and host, a writer in memory, and synctest.
package kubelet
