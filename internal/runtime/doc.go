// Package runtime is the node's container runtime: pods' sandboxes, containers and
// images, as the Kubernetes CRI names them.
//
// It is called in-process by the kubelet, by direct method calls, and serves the
// same methods over gRPC for those who want a socket. Every pod has one small
// helper process, the shim, that is the parent of its containers and outlives this
// process: see package protocol for what the two say to each other. All state is on
// disk below Config.DataDir:
//
//	bin/<version>/monohull-shim   the helper, written out by content
//	netns/<sandbox>               the pod's network namespace, a bind mount
//	images/                       see package image
//	sandboxes/<id>/               sandbox.json, shim.sock, hosts, resolv.conf, shm, ipc, uts …
//	containers/<id>/              container.json, config.json, exit.json, rootfs, upper, work
//
// After a kill of this process a new one reads the records, connects to the shims
// and goes on where the old one was. After a reboot no shim answers, and everything
// is reported as ended.
//
// It may touch its data directory, mounts and namespaces below it, control groups
// below the parents it is given, and registries. Network addresses are somebody
// else's: see NetworkPlugin.
//
// Rooms: spec decides (pure), image, rootfs, netns and cgroup do, shimbin and
// protocol belong to the helper. Files here are verbs of the CRI.
//
// Lock order: sandbox.op, then container.op (held through an operation), then
// Runtime.mu, then sandbox.mu or container.mu, then broadcaster.mu. Only op locks are
// held across I/O.
//
// Tests run real containers and need root, gcc and libseccomp's header to build the
// helper; they fail, and say so, where those are missing.
package runtime
