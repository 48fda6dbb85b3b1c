// Package apps holds the rows of the apps group: the workloads that keep pods
// running, and the revisions of their templates.
//
// Everything here is pure; tests are tables beside each kind.
package apps
