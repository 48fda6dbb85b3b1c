// Package meta is what every kind shares: the rules of object metadata, and
// small helpers that rows are built from (columns, ages, selectors).
//
// Pure; tests are tables.
package meta
