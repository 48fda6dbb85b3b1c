// Package version says which Kubernetes this is.
package version

import (
	"fmt"
	"runtime"

	apiversion "k8s.io/apimachinery/pkg/version"
)

// The API level served, and our own release. Commit and Date are set by the
// linker.
var (
	Kubernetes = "v1.36.3"
	Release    = "0.1.0"
	Commit     = ""
	Date       = "1970-01-01T00:00:00Z"
)

// GitVersion is how the server, the node and kubectl name their version.
func GitVersion() string { return fmt.Sprintf("%s+monohull-%s", Kubernetes, Release) }

// Info is the answer of /version.
func Info() apiversion.Info {
	return apiversion.Info{
		Major: "1", Minor: "36", EmulationMajor: "1", EmulationMinor: "36", MinCompatibilityMajor: "1", MinCompatibilityMinor: "35",
		GitVersion: GitVersion(), GitCommit: Commit, GitTreeState: "clean", BuildDate: Date,
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
}
