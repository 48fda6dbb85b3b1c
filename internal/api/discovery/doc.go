// Package discovery holds the rows of the discovery.k8s.io group: endpoint slices.
//
// Everything here is pure; tests are tables beside each kind.
package discovery
