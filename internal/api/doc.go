// Package api is the table of kinds: what the cluster knows of each kind of
// object, as values.
//
// A kind is one Go type, the wire type of k8s.io/api in its stored version,
// with the functions that make it behave: defaults, preparation, validation,
// printed columns, selectable fields. There are no internal types. Everything
// that serves objects (pipeline, cache, HTTP, discovery, client) is generic
// over this table; adding a kind adds a row in its group's folder, and nothing
// elsewhere.
//
// The functions of a row are pure: they see the object, never the cluster, the
// clock or the network. What needs the cluster (allocation of addresses, quota,
// existence of a namespace) is the pipeline's.
//
// Tests: tables beside each kind; test/oracle compares with upstream.
package api
