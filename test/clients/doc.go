// Package clients proves that programs made for upstream Kubernetes cannot tell
// Monohull's API from it: Helm as a library, and the official JavaScript client.
//
// The tests run on one throw-away cluster in a network namespace that has no way
// out. The test binary makes the namespace, fetches what needs a network (npm's
// packages, the test images), and runs itself again inside; so every connection
// of a client under test stays there. They need root, node and npm.
package clients
