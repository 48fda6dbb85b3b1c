package oracle

import (
	"io"
	"os"
	"testing"

	"k8s.io/klog/v2"
)

// TestMain silences upstream's log: it complains of its own disagreements
// between two ways of validating.
func TestMain(m *testing.M) {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	os.Exit(m.Run())
}
