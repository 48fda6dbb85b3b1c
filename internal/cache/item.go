package cache

import (
	"encoding/json"
	"sync/atomic"

	"github.com/monohull/monohull/internal/api"
)

// maxKeptProto is the size up to which an object's protobuf message is kept
// beside the object. Larger ones are few or mostly payload, which would be in
// memory twice: they are encoded when asked for.
const maxKeptProto = 8 << 10

// maxHotJSONBytes bounds the JSON encodings kept with items, over all kinds.
// Beyond it encodings are made anew for each reader.
const maxHotJSONBytes = 48 << 20

var hotJSON atomic.Int64

// Item is an object as of one revision, with its encodings. It never changes.
type Item struct {
	Kind *api.Kind
	Key  string // Kind.Key(namespace, name)
	Obj  api.Object
	Rev  int64

	// sealed is how the store said the value is encrypted, for Set.Stale.
	sealed  uint64
	raw     []byte // protobuf message without the resource version, or nil
	size    int    // of that message
	json    atomic.Pointer[[]byte]
	retired atomic.Bool // encodings are no longer kept
}

// NewItem wraps an object that is in no cache and has its resource version set.
// raw is its protobuf message without the version, or nil. Its encodings are
// not kept.
func NewItem(k *api.Kind, obj api.Object, rev int64, raw []byte) *Item {
	it := newItem(k, obj, rev, raw)
	it.retired.Store(true)
	return it
}

func newItem(k *api.Kind, obj api.Object, rev int64, raw []byte) *Item {
	it := &Item{Kind: k, Key: k.Key(obj.GetNamespace(), obj.GetName()), Obj: obj, Rev: rev, size: len(raw)}
	if len(raw) <= maxKeptProto {
		it.raw = raw
	}
	return it
}

// Proto is the object's protobuf message in two parts to be joined.
func (i *Item) Proto() (message, revision []byte) {
	if message = i.raw; message == nil {
		message, _ = api.Message(i.Obj) // nil where the kind has none
	}
	return message, api.RevisionField(i.Rev)
}

// JSON is the object's JSON without kind and apiVersion, as it stands in a
// list. It must not be written to.
func (i *Item) JSON() ([]byte, error) {
	if b := i.json.Load(); b != nil {
		return *b, nil
	}
	b, err := json.Marshal(i.Obj)
	if err != nil {
		return nil, err
	}
	if !i.retired.Load() && hotJSON.Load() < maxHotJSONBytes && i.json.CompareAndSwap(nil, &b) {
		hotJSON.Add(int64(len(b)))
		if i.retired.Load() { // meanwhile
			i.drop()
		}
	}
	return b, nil
}

// retire gives the item's encoding back to the common bound, and keeps none
// from now on. Readers that still hold the item may go on using it.
func (i *Item) retire() {
	i.retired.Store(true)
	i.drop()
}

func (i *Item) drop() {
	if b := i.json.Swap(nil); b != nil {
		hotJSON.Add(-int64(len(*b)))
	}
}
