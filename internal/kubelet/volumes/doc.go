// Package volumes makes, refreshes and removes the volumes of pods on this node.
//
//	<dir>/pods/<uid>/volumes/kubernetes.io~<type>/<name>      as upstream lays them out
//	<dir>/pods/<uid>/volume-subpaths/<volume>/<container>/<i>  bind mounts of subpaths
//
// Files of config maps, secrets, tokens and the downward API are replaced all at
// once: a new directory is filled, then the symlink ..data is renamed onto it. What
// is secret lies in tmpfs. Mount, Refresh and Unmount are idempotent, and Unmount
// clears what an earlier process left.
//
// It touches its directory, mounts in it, and host paths a pod names. What a file
// holds is decided in payload.go, which is pure. Tests use a mounter that only
// remembers.
package volumes
