// Package rbac holds the rows of the rbac.authorization.k8s.io group: roles and their bindings.
//
// Everything here is pure; tests are tables beside each kind.
package rbac
