// Package workload keeps as many pods as were asked for: ReplicaSets and
// ReplicationControllers, which count pods, and Deployments, which move from
// one ReplicaSet to the next.
//
// ReplicaSets and ReplicationControllers are one controller over two kinds;
// their decisions are in replica_*.go. Deployment decisions are in
// rollout_*.go. Those files are pure: objects in, decisions out, the time
// passed as an argument. claim.go decides for all of them who owns what.
//
// The room reads Deployments, ReplicaSets, ReplicationControllers and Pods. It
// writes those, and events. Tests: tables for decisions; loops over
// controllertest.
package workload
