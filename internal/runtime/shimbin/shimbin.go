// Package shimbin carries the pod shim inside the binary and lays it out on disk.
//
// The shim is a module of its own, since it needs cgo; shim/build.sh builds it into
// bin/, from where it is embedded. A tree in which that has not been done still
// compiles and says so when a runtime starts. Touches only the directory it is given.
package shimbin

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:generate ../../../shim/build.sh

//go:embed all:bin
var files embed.FS

// ErrMissing says that the shim was not built before this binary was.
var ErrMissing = errors.New("the pod shim is not part of this build: run shim/build.sh (needs gcc and libseccomp-dev) and build again")

// Install writes the shim into dir, named by its content so that running pods keep
// theirs through an upgrade, and returns its path.
func Install(dir string) (string, error) {
	body, err := files.ReadFile("bin/shim")
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrMissing
	} else if err != nil {
		return "", fmt.Errorf("read embedded shim: %w", err)
	}
	sum := sha256.Sum256(body)
	// A directory per version: libcontainer seals the binary through an overlay of
	// the directory it lies in.
	dir = filepath.Join(dir, hex.EncodeToString(sum[:8]))
	path := filepath.Join(dir, "monohull-shim")
	if info, err := os.Stat(path); err == nil && info.Size() == int64(len(body)) {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("install shim: %w", err)
	}
	tmp, err := os.CreateTemp(dir, "shim-*")
	if err != nil {
		return "", fmt.Errorf("install shim: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(body)
	err = errors.Join(err, tmp.Chmod(0o755), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return "", fmt.Errorf("install shim: %w", err)
	}
	return path, nil
}
