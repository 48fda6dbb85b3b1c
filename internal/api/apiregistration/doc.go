// Package apiregistration holds the row of apiregistration.k8s.io: APIService,
// one for every served group and version, whether this server's own or another
// server's behind a Service.
//
// Pure; tests are tables. Keeping the objects of the local groups, and asking
// remote servers whether they are there, is a controller's.
package apiregistration
