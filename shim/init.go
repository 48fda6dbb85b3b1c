package main

import (
	"os"

	_ "github.com/opencontainers/cgroups/devices" // device rules, of either generation
	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // joins namespaces before the Go runtime starts
)

// The container's init has joined its namespaces in C before Go starts; it must
// go on from an init function, before anything else of this program runs.
func init() {
	if len(os.Args) > 1 && os.Args[1] == "init" {
		libcontainer.Init()
	}
}
