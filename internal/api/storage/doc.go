// Package storage holds the rows of the storage.k8s.io group: classes of
// volumes, drivers and what they say of nodes and capacity, and attachments.
//
// Everything here is pure; tests are tables beside each kind.
package storage
