// Package apiextensions holds the row of apiextensions.k8s.io:
// CustomResourceDefinition. It judges definitions; serving what they define,
// and the conditions that tell how far that is, are others' work.
//
// Pure. What a schema may say is judged by upstream's own library, on its own
// form of the object, so that every error has the path and words that clients
// know. Tests are tables; test/oracle compares with upstream.
package apiextensions
