// Package certificates holds the rows of the certificates.k8s.io group:
// requests to sign certificates.
//
// Everything here is pure; tests are tables beside each kind.
package certificates
