// Package flowcontrol holds the rows of the flowcontrol.apiserver.k8s.io group:
// flow schemas and priority levels, and the objects of both that every cluster
// begins with.
//
// Everything here is pure; tests are tables beside each kind.
package flowcontrol
