// Package legacy serves the API versions that upstream has ceased to serve, so
// that a manifest of any age of Kubernetes can be applied: extensions/v1beta1,
// apps/v1beta1, batch/v2alpha1 and the like.
//
// Each is an api.Version of a kind of today: objects are decoded in their old
// shape, given the defaults of their time, and converted at the door; nothing
// old is stored. Every request in such a version earns the warning that
// upstream gave when it still served it, and where a field has moved the warning
// says where to. What the old version could not say is dropped from what it
// shows, as upstream did.
//
// Pure functions; tests are tables of manifests, and the oracle compares with
// upstream's conversions where these still exist.
package legacy
