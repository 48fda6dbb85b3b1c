// Package core holds the rows of the core group: pods, services, nodes and
// what surrounds them, one file per kind.
//
// The pod specification, which the workload kinds embed as a template, is
// split by subject into pod_*.go; DefaultPodSpec, ValidatePodTemplateSpec and
// PodTemplateWarnings are its doors for the other groups.
//
// Everything here is pure: the object in, a verdict or a table cell out. Tests
// are tables beside each file.
package core
