// Package service tells who stands behind a Service: Endpoints and
// EndpointSlices from the pods that a Service selects, and EndpointSlices from
// the Endpoints that somebody made by hand.
//
// address.go, subset.go, slice_build.go, slice_plan.go and mirror_build.go
// decide and are pure. A pod that is no longer to serve leaves both kinds of
// object in the turn after its change; nothing is batched or delayed.
//
// The room reads Services, Pods, Nodes, Endpoints and EndpointSlices. It writes
// the last two, and events. The Service kubernetes in default is the API
// server's own and not touched here. Tests: tables for decisions; loops over
// controllertest.
package service
