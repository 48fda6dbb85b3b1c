// Package apps holds the rows of the apps group: deployments and replica sets.
//
// Everything here is pure; tests are tables beside each kind.
package apps
