// Package admissiontest is a cluster for tests of what admission needs the
// pipeline for: a store in memory, the real caches, pipeline and chain. Its
// table has every kind that admission looks at, also those that no row
// describes yet, with nothing but a name.
package admissiontest
