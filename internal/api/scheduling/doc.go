// Package scheduling holds the rows of the scheduling.k8s.io group: priority classes.
//
// Everything here is pure; tests are tables beside each kind.
package scheduling
