package clients

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// maxScript bounds the run of one script.
const maxScript = 3 * time.Minute

// TestJavaScript runs the scripts of node, each a client of its own.
func TestJavaScript(t *testing.T) {
	dir := os.Getenv(nodeVariable)
	scripts, err := filepath.Glob(filepath.Join(dir, "*.mjs"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no script in %s: %v", dir, err)
	}
	for _, script := range scripts {
		t.Run(filepath.Base(script), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), maxScript)
			defer cancel()
			cmd := exec.CommandContext(ctx, "node", script)
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}
