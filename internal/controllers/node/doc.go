// Package node watches over nodes: whether they are alive, what they may take,
// and what becomes of their pods. It also gives them their pod addresses.
//
// health.go, taint.go, zone.go, toleration.go and cidr.go decide and are pure.
// What is remembered between turns (when a node was last heard of, by this
// machine's clock; since when a pod is unwelcome) is rebuilt after a restart,
// in favour of the node and the pod.
//
// The room reads Nodes, Leases and Pods. It writes the conditions, taints and
// ranges of nodes and the conditions of pods, deletes pods, and writes events.
// Tests: tables for decisions; loops over controllertest.
package node
