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
// Rooms: podmachine decides (pure), criconfig translates (pure), volumes, probes,
// logs, events and machine do. Here are the workers, the actions (a file each) and
// the node. It touches its directory, the runtime through the interfaces of
// runtime.go, and the machine through Host.
//
// Lock order: Kubelet.admitMu or Kubelet.weightMu, then Kubelet.mu, then worker.mu.
// None is held across I/O, but for weightMu across one write to a control group.
//
// Tests use a fake runtime and host, a writer in memory, and synctest.
package kubelet
