// Package static reads pods from files and from a URL, for a kubelet that runs them
// without an API server.
//
// A pod of a file NAME becomes NAME-<node>, with a UID that is a hash of what was read
// and where: another text is another pod. It is bound to the node, tolerates what
// befalls nodes where it came of a file, and carries upstream's annotations
// config.hash, config.source and config.seen. One that names things of the API
// (secrets, claims, service accounts …) is refused: it could not run without one.
//
// Decode is pure. Source looks at a directory when inotify tells of a change and every
// so often; a file that cannot be read leaves the others alone, and is told once.
package static
