// Command monohull-shim is the helper that stays with a pod.
//
// One binary has three lives, told apart by its arguments:
//
//	monohull-shim shim ID   parent of every container of one sandbox; its working
//	                        directory is the sandbox's, descriptor 3 its listener
//	monohull-shim init      libcontainer's container init (see init.go)
//	/pause                  PID 1 of a shared PID namespace (see pause.go)
//
// The shim is started by the runtime in a session of its own and survives it. It
// is a child subreaper, so that no process of the pod escapes it; it never ends
// before its containers. It owns their pipes and terminals, writes their logs in
// the CRI format, serves exec and attach, and leaves an exit file for each on disk.
// It knows nothing of images, networks or Kubernetes objects: it is given OCI
// runtime specs. The conversation is described in package protocol.
//
// It must stay small, since there is one per pod: few imports, a tight collector,
// no buffers kept while nothing happens.
//
// Lock order: server.mu, then container.mu. Neither is held while a process starts
// or a client is written to.
//
// Tested from internal/runtime, with real containers.
package main
