package image

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// Normalise completes a name as Docker does: nginx becomes
// docker.io/library/nginx:latest. A name with a digest loses its tag.
func Normalise(name string) (string, error) {
	ref, err := reference.ParseDockerRef(name)
	if err != nil {
		return "", fmt.Errorf("parse image reference %q: %w", name, err)
	}
	return ref.String(), nil
}

// repository is the part of a normalised name before tag and digest.
func repository(name string) string {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return ref.Name()
}

// isID reports whether ref can only be an image id, whole or abbreviated.
func isID(ref string) bool {
	hex, ok := strings.CutPrefix(ref, "sha256:")
	if !ok && len(ref) != 64 {
		return false
	}
	for _, c := range hex {
		if !strings.ContainsRune("0123456789abcdef", c) {
			return false
		}
	}
	return hex != ""
}
