package apiserver

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
)

// A list of many objects is written piece by piece from where its objects'
// encodings are, rather than joined in memory first: for thousands of objects
// the joining costs more than all else.

// minStreamed is from how many objects a list is written in pieces.
const minStreamed = 100

// streamable tells whether a list can be written so: whole objects in their
// own version, in a form they are kept in.
func (v view) streamable(items []*cache.Item) bool {
	return len(items) >= minStreamed && v.as == "" && v.own() && !v.gzip && (v.media == typeProtobuf || v.media == typeJSON && !v.pretty)
}

var listBuffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 32<<10) }}

// streamList writes a list; its length is known before.
func streamList(w http.ResponseWriter, k *api.Kind, items []*cache.Item, m listMeta, v view) error {
	gvk := k.GVK.GroupVersion().WithKind(k.GVK.Kind + "List")
	meta := &metav1.ListMeta{ResourceVersion: strconv.FormatInt(m.rev, 10), Continue: m.cont, RemainingItemCount: m.remaining}
	var head, tail []byte
	var pieces [][]byte // of each item: what comes before it, and its parts
	if v.media == typeProtobuf {
		encoded, err := meta.Marshal()
		if err != nil {
			return err
		}
		first := binary.AppendUvarint([]byte{0x0a}, uint64(len(encoded)))
		first = append(first, encoded...)
		n := len(first)
		// the keys of all items share one array: it does not grow after this
		keys := make([]byte, 0, len(items)*(1+binary.MaxVarintLen32))
		pieces = make([][]byte, 0, 3*len(items))
		for _, it := range items {
			msg, rev := it.Proto()
			at := len(keys)
			keys = binary.AppendUvarint(append(keys, 0x12), uint64(len(msg)+len(rev)))
			pieces = append(pieces, keys[at:len(keys):len(keys)], msg, rev)
			n += len(keys) - at + len(msg) + len(rev)
		}
		head, tail = api.EnvelopeAround(gvk.GroupVersion().String(), gvk.Kind, n)
		head = append(head, first...)
	} else {
		encoded, err := json.Marshal(meta)
		if err != nil {
			return err
		}
		head = append(append([]byte(typeHeader(gvk)+`"metadata":`), encoded...), `,"items":[`...)
		tail = []byte("]}\n")
		comma := []byte{','}
		pieces = make([][]byte, 0, 2*len(items))
		for i, it := range items {
			body, err := it.JSON()
			if err != nil {
				return err
			}
			if i > 0 {
				pieces = append(pieces, comma)
			}
			pieces = append(pieces, body)
		}
	}
	size := len(head) + len(tail)
	for _, p := range pieces {
		size += len(p)
	}
	h := w.Header()
	h.Set("Content-Type", v.media)
	h.Set("Content-Length", strconv.Itoa(size))
	w.WriteHeader(http.StatusOK)
	buf := listBuffers.Get().(*bufio.Writer)
	defer listBuffers.Put(buf)
	buf.Reset(w)
	defer buf.Reset(nil)
	// a client that has gone is told nothing: errors stay in the buffer
	_, _ = buf.Write(head)
	for _, p := range pieces {
		if _, err := buf.Write(p); err != nil {
			return nil
		}
	}
	_, _ = buf.Write(tail)
	_ = buf.Flush()
	return nil
}
