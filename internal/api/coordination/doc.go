// Package coordination holds the rows of the coordination.k8s.io group: leases.
//
// Everything here is pure; tests are tables beside each kind.
package coordination
