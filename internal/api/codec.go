package api

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
)

// Magic begins every protobuf encoded object, in the store and on the wire.
var Magic = []byte{'k', '8', 's', 0}

// message is what every built-in type can do. Their protobuf code is generated
// upstream and comes with k8s.io/api.
type message interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
	Size() int
}

// EncodeStored gives the bytes the store keeps: upstream's envelope around the
// protobuf message, without a resource version. It clears the version of obj.
func (k *Kind) EncodeStored(obj Object) ([]byte, error) {
	obj.SetResourceVersion("")
	m, ok := obj.(message)
	if !ok {
		return nil, fmt.Errorf("api: %v has no protobuf encoding", k.GVK)
	}
	raw, err := m.Marshal()
	if err != nil {
		return nil, fmt.Errorf("api: encoding %v: %w", k.GVK, err)
	}
	return Envelope(k.GVK.GroupVersion().String(), k.GVK.Kind, raw), nil
}

// Message is the protobuf message of an object without its resource version,
// whose every part but that version belongs to others: obj is not written to.
func Message(obj Object) ([]byte, error) {
	c := reflect.New(reflect.TypeOf(obj).Elem())
	c.Elem().Set(reflect.ValueOf(obj).Elem())
	bare := c.Interface().(Object)
	bare.SetResourceVersion("")
	m, ok := bare.(message)
	if !ok {
		return nil, fmt.Errorf("api: %T has no protobuf encoding", obj)
	}
	return m.Marshal()
}

// Envelope wraps message parts as upstream's runtime.Unknown, magic included.
// The parts are joined.
func Envelope(apiVersion, kind string, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	head, tail := EnvelopeAround(apiVersion, kind, n)
	out := make([]byte, 0, len(head)+n+len(tail))
	out = append(out, head...)
	for _, p := range parts {
		out = append(out, p...)
	}
	return append(out, tail...)
}

// EnvelopeAround is what stands before and after a message of n bytes.
func EnvelopeAround(apiVersion, kind string, n int) (head, tail []byte) {
	head = make([]byte, 0, len(apiVersion)+len(kind)+32)
	head = append(head, Magic...)
	tm := len(apiVersion) + len(kind) + 2 + uvarintLen(len(apiVersion)) + uvarintLen(len(kind))
	head = append(head, 0x0a) // typeMeta
	head = binary.AppendUvarint(head, uint64(tm))
	head = appendString(head, 0x0a, apiVersion)
	head = appendString(head, 0x12, kind)
	head = append(head, 0x12) // raw
	head = binary.AppendUvarint(head, uint64(n))
	return head, []byte{0x1a, 0, 0x22, 0} // contentEncoding, contentType: empty
}

// RevisionField is a protobuf fragment that sets metadata.resourceVersion of
// any built-in object when appended to its message: decoders merge repeated
// occurrences of the embedded metadata.
func RevisionField(rev int64) []byte {
	v := strconv.FormatInt(rev, 10)
	out := make([]byte, 0, len(v)+4)
	out = append(out, 0x0a, byte(len(v)+2), 0x32, byte(len(v)))
	return append(out, v...)
}

// DecodeStored reads what EncodeStored wrote, or JSON. It returns the object
// without type meta, at revision rev, and its bare protobuf message (nil where
// the value was JSON), which aliases value.
func (k *Kind) DecodeStored(value []byte, rev int64) (Object, []byte, error) {
	obj := k.New()
	var raw []byte
	if bytes.HasPrefix(value, Magic) {
		var env runtime.Unknown
		if err := env.Unmarshal(value[len(Magic):]); err != nil {
			return nil, nil, fmt.Errorf("api: decoding stored %v: %w", k.GVK, err)
		}
		if v := k.storedIn(env.APIVersion); v != nil {
			return k.decodeOther(v, env.Raw, rev)
		}
		raw = Raw(value)
		m, ok := obj.(message)
		if !ok {
			return nil, nil, fmt.Errorf("api: %v has no protobuf encoding", k.GVK)
		}
		if err := m.Unmarshal(raw); err != nil {
			return nil, nil, fmt.Errorf("api: decoding stored %v: %w", k.GVK, err)
		}
	} else if err := DecodeJSON(value, obj); err != nil {
		return nil, nil, fmt.Errorf("api: decoding stored %v: %w", k.GVK, err)
	}
	raw, err := k.restore(obj, raw)
	if err != nil {
		return nil, nil, err
	}
	obj.GetObjectKind().SetGroupVersionKind(noKind)
	obj.SetResourceVersion(strconv.FormatInt(rev, 10))
	return obj, raw, nil
}

// restore completes an object that was read. raw is its message, made anew
// where it does not say as much as the object does now.
func (k *Kind) restore(obj Object, raw []byte) ([]byte, error) {
	if k.Restore == nil {
		return raw, nil
	}
	m, ok := obj.(message)
	if !ok || raw == nil {
		k.Restore(obj)
		return raw, nil
	}
	size := m.Size()
	k.Restore(obj)
	if m.Size() == size {
		return raw, nil
	}
	raw, err := m.Marshal()
	if err != nil {
		return nil, fmt.Errorf("api: encoding stored %v anew: %w", k.GVK, err)
	}
	return raw, nil
}

// storedIn finds the other version that a stored value is in: a cluster that
// was upstream's may have stored a kind in an older one.
func (k *Kind) storedIn(apiVersion string) *Version {
	for _, v := range k.Versions {
		if v.GVK.GroupVersion().String() == apiVersion {
			return v
		}
	}
	return nil
}

func (k *Kind) decodeOther(v *Version, raw []byte, rev int64) (Object, []byte, error) {
	old := v.New()
	m, ok := old.(message)
	if !ok {
		return nil, nil, fmt.Errorf("api: %v has no protobuf encoding", v.GVK)
	}
	if err := m.Unmarshal(raw); err != nil {
		return nil, nil, fmt.Errorf("api: decoding stored %v: %w", v.GVK, err)
	}
	obj, err := v.Convert(old)
	if err != nil {
		return nil, nil, fmt.Errorf("api: decoding stored %v: %w", v.GVK, err)
	}
	if k.Restore != nil {
		k.Restore(obj)
	}
	// serves protobuf clients as if it had been stored in the kind's own version
	if raw, err = obj.(message).Marshal(); err != nil {
		return nil, nil, fmt.Errorf("api: decoding stored %v: %w", v.GVK, err)
	}
	obj.GetObjectKind().SetGroupVersionKind(noKind)
	obj.SetResourceVersion(strconv.FormatInt(rev, 10))
	return obj, raw, nil
}

// Raw is the bare message inside an envelope, aliasing it; nil where the value
// is no envelope.
func Raw(value []byte) []byte {
	raw, err := rawField(value)
	if err != nil {
		return nil
	}
	return raw
}

var noKind schema.GroupVersionKind

var errNoEnvelope = errors.New("api: not a protobuf envelope")

func rawField(value []byte) ([]byte, error) {
	if !bytes.HasPrefix(value, Magic) {
		return nil, errNoEnvelope
	}
	for b := value[len(Magic):]; len(b) > 0; {
		tag := b[0]
		n, w := binary.Uvarint(b[1:])
		if tag&7 != 2 || w <= 0 || uint64(len(b)-1-w) < n {
			return nil, errNoEnvelope
		}
		body := b[1+w : 1+w+int(n)]
		if tag>>3 == 2 {
			return body, nil
		}
		b = b[1+w+int(n):]
	}
	return nil, errNoEnvelope
}

func appendString(out []byte, tag byte, s string) []byte {
	out = append(out, tag)
	out = binary.AppendUvarint(out, uint64(len(s)))
	return append(out, s...)
}

func uvarintLen(n int) int {
	l := 1
	for ; n >= 0x80; n >>= 7 {
		l++
	}
	return l
}

// DecodeJSON reads JSON as Kubernetes does: field names are matched with case,
// integers stay integers.
func DecodeJSON(data []byte, into any) error {
	if err := CheckQuantities(data, into); err != nil {
		return err
	}
	return kjson.UnmarshalCaseSensitivePreserveInts(data, into)
}

// DecodeJSONStrict is DecodeJSON that also tells of unknown and duplicate
// fields, each an error with its path.
func DecodeJSONStrict(data []byte, into any) (strict []error, err error) {
	if err := CheckQuantities(data, into); err != nil {
		return nil, err
	}
	return kjson.UnmarshalStrict(data, into)
}

// EncodeJSON writes an object as JSON.
func EncodeJSON(v any) ([]byte, error) { return json.Marshal(v) }
