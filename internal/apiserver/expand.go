package apiserver

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"

	"go.yaml.in/yaml/v3"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
)

// boundCopies bounds what the copy operations of one JSON patch may add up to,
// as upstream does: each can double a document.
var boundCopies = sync.OnceFunc(func() { jsonpatch.AccumulatedCopySizeLimit = maxBodyBytes })

// expandsTooFar refuses a YAML document whose aliases make more of it than a
// body may be. The decoder itself bounds how many nodes they make, but not how
// long these are. Nothing is expanded to find out.
func expandsTooFar(doc []byte) error {
	if bytes.IndexByte(doc, '*') < 0 || bytes.IndexByte(doc, '&') < 0 {
		return nil // no aliases
	}
	var root yaml.Node
	if yaml.Unmarshal(doc, &root) != nil {
		return nil // the decoder says what is wrong with it
	}
	if e := (expansion{}); e.of(&root) > maxBodyBytes {
		return fmt.Errorf("yaml: the document's aliases make more than %d bytes of it", maxBodyBytes)
	}
	return nil
}

// expansion is the size of nodes with their aliases written out, as JSON at
// least, saturating above the bound. A node that is being measured is zero: one
// that contains itself is for the decoder to refuse.
type expansion map[*yaml.Node]int

func (e expansion) of(n *yaml.Node) int {
	if size, ok := e[n]; ok {
		return size
	}
	e[n] = 0
	size := 2
	if n.Kind == yaml.AliasNode {
		size = e.of(n.Alias)
	} else {
		size += len(n.Value)
		for _, c := range n.Content {
			if size = min(size+1+e.of(c), 2*maxBodyBytes); size > maxBodyBytes {
				break
			}
		}
	}
	e[n] = size
	return size
}

// maxNesting is how deep messages may lie in each other; JSON is read as deep.
// Their decoders call themselves for each level, and a stack has an end that
// the process does not survive.
const maxNesting = 10000

// nestsTooDeep tells whether a protobuf message of any type has messages in
// messages beyond the bound. Whatever reads as a message is taken for one:
// text hardly does so, and never so deep.
func nestsTooDeep(raw []byte) bool {
	if len(raw) < 2*maxNesting { // a level takes two bytes at least
		return false
	}
	var ends []int // of the messages that at lies in
	end, at := len(raw), 0
	for {
		for at == end {
			if len(ends) == 0 {
				return false
			}
			end, ends = ends[len(ends)-1], ends[:len(ends)-1]
		}
		size, inner, ok := fieldAt(raw[at:end])
		switch {
		case !ok: // no message after all
			at = end
		case inner > 0:
			if ends = append(ends, end); len(ends) > maxNesting {
				return true
			}
			end = at + size
			at = end - inner
		default:
			at += size
		}
	}
}

// fieldAt measures the field that b begins with, and of what may be a message
// the inside.
func fieldAt(b []byte) (size, inner int, ok bool) {
	tag, n := binary.Uvarint(b)
	if n <= 0 || tag>>3 == 0 {
		return 0, 0, false
	}
	switch tag & 7 {
	case 0:
		_, m := binary.Uvarint(b[n:])
		return n + m, 0, m > 0
	case 1:
		return n + 8, 0, len(b) >= n+8
	case 5:
		return n + 4, 0, len(b) >= n+4
	case 2:
		l, m := binary.Uvarint(b[n:])
		if m <= 0 || l > uint64(len(b)-n-m) {
			return 0, 0, false
		}
		return n + m + int(l), int(l), true
	}
	return 0, 0, false
}
