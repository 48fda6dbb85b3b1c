package apiserver

import (
	"bytes"
	"fmt"
	"sync"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	goyaml "sigs.k8s.io/yaml/goyaml.v2"
)

// boundCopies bounds what the copy operations of one JSON patch may add up to,
// as upstream does: each can double a document.
var boundCopies = sync.OnceFunc(func() { jsonpatch.AccumulatedCopySizeLimit = maxBodyBytes })

// expandsTooFar refuses a YAML document whose aliases make more of it than a
// body may be. The decoder itself bounds how many nodes they make, but not how
// long these are.
func expandsTooFar(doc []byte) error {
	if bytes.IndexByte(doc, '*') < 0 || bytes.IndexByte(doc, '&') < 0 {
		return nil // no aliases
	}
	var v any
	if err := goyaml.Unmarshal(doc, &v); err != nil {
		return fmt.Errorf("yaml: %w", err)
	}
	if left := measure(v, maxBodyBytes); left < 0 {
		return fmt.Errorf("yaml: the document's aliases make more than %d bytes of it", maxBodyBytes)
	}
	return nil
}

// measure takes the least size of a value as JSON from what is left, and stops
// below zero.
func measure(v any, left int) int {
	switch v := v.(type) {
	case string:
		return left - len(v) - 2
	case []any:
		left -= 2
		for _, x := range v {
			if left = measure(x, left) - 1; left < 0 {
				return left
			}
		}
	case map[any]any:
		left -= 2
		for k, x := range v {
			if left = measure(x, measure(k, left)) - 2; left < 0 {
				return left
			}
		}
	default:
		left--
	}
	return left
}
