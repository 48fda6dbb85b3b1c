// Package networking holds the rows of the networking.k8s.io group: ingresses
// and their classes, network policies, and the addresses and ranges that
// services are given theirs from.
//
// Everything here is pure; tests are tables beside each kind.
package networking
