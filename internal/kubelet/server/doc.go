// Package server is the kubelet's HTTPS API, upstream's of port 10250: what the API
// server, metrics pipelines and administrators ask a node.
//
// Every request is authenticated (a client certificate, or a token that a
// TokenReview knows) and authorized by access to the node's subresources proxy, log,
// metrics, stats, pods, healthz, configz, checkpoint: authorize.go has the table.
// Both questions go out through the interfaces of deps.go. Reviewed asks an API server
// over them and keeps answers for the times the configuration names; a kubelet in one
// process with the API server is answered by that directly.
//
// It reads the kubelet through Node, measures through Stats, and hands upgraded
// connections to Streams; it writes nothing but what runs through exec.
//
// Tested with handlers alone; nothing listens but httptest on loopback.
package server
