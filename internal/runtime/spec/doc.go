// Package spec decides what a container's OCI runtime spec says: the pod's and the
// container's CRI configuration, the image's configuration and a few facts about
// the machine go in, a spec comes out.
//
// It is pure: no file, no clock, no process. What must be looked up in the root
// filesystem or on the host (users, devices, mount sources) is handed in. The
// results follow containerd's CRI plugin, which is what Kubernetes' users know.
// Tested by tables.
package spec
