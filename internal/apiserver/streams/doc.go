// Package streams serves what flows between a client and a running pod: exec,
// attach, port-forward and logs.
//
// The API server calls it after it has authenticated, authorized and found the
// pod; what happens inside the container is the Backend's. The package speaks
// both transports that clients have: SPDY/3.1 (channel.k8s.io up to
// v4.channel.k8s.io, portforward.k8s.io) and WebSocket (channel.k8s.io, v4 and
// v5, their base64 variants, and SPDY tunnelled through WebSocket for
// port-forward). It touches the request's connection and nothing else.
//
// Refusals are Status objects in JSON, written before the connection is
// upgraded; what fails later travels on the session's error stream. When the
// client goes away the context of the backend's call ends.
//
// Tests drive it over a loopback server with client-go's executors and dialers
// and a fake Backend.
package streams
