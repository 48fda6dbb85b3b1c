// Package node holds the rows of the node.k8s.io group: runtime classes.
//
// Everything here is pure; tests are tables beside each kind.
package node
