// Package openapi describes the table of kinds to clients: OpenAPI v3, one
// document per group and version, and OpenAPI v2, one for all.
//
// kubectl reads them to explain fields, to find merge keys and to learn that
// the server validates fields itself. They are made from the Go types of
// k8s.io/api, by reflection: names and types from struct tags, words from the
// SwaggerDoc methods, and a table here (marks.go, enums.go) for what upstream
// writes in comments that do not survive compilation.
//
// Nothing is made before somebody asks, and what was made is kept compressed.
// The package is pure but for that cache and ServeHTTP.
//
// Tests load the documents with kubectl's and client-go's own readers, and
// compare golden schemas.
package openapi
