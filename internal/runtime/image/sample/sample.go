// Package sample carries the image of the sample application, so that a cluster
// without a registry has something to run: monohull.io/hello:1.0, an HTTP server
// on port 8080.
//
// It touches nothing. The archive is built by test/images; see bin/README.md.
package sample

import "embed"

//go:generate go run ../../../../test/images -out bin hello

// Name is what the image is called.
const Name = "monohull.io/hello:1.0"

//go:embed all:bin
var files embed.FS

// Archive returns the image's archive, or nil if this build has none.
func Archive() []byte {
	body, err := files.ReadFile("bin/hello.tar")
	if err != nil {
		return nil
	}
	return body
}
