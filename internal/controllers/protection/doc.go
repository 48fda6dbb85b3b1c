// Package protection keeps storage objects that are in use from being removed:
// claims while pods mount them, volumes while they are bound, volume
// attributes classes while claims or volumes name them. Admission puts a
// finalizer on each; this room puts it on those that lack it, and takes it off
// one that is being deleted once nothing uses it.
//
// decide.go is pure. The room reads pods, claims, volumes and classes, and
// writes the finalizers of the last three. Tests: tables for the decisions,
// loops over admissiontest.
package protection
