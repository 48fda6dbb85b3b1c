package all

import (
	"bytes"
	"encoding/binary"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
)

// FuzzDecodeStored reads values that no store should hold as each of some
// kinds. What can be read can be written and read again.
func FuzzDecodeStored(f *testing.F) {
	table := Table()
	kinds := []*api.Kind{api.For[*corev1.Pod](table), api.For[*corev1.ConfigMap](table), api.For[*corev1.Service](table), api.For[*corev1.Node](table)}
	for i, k := range kinds {
		o := k.New()
		o.SetName("n")
		o.SetLabels(map[string]string{"a": "b"})
		o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "m", FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:x":{}}`)}}})
		value, err := k.EncodeStored(o)
		if err != nil {
			f.Fatal(err)
		}
		for _, v := range [][]byte{
			value, value[:len(value)/2], append(bytes.Clone(value), value[4:]...), append(bytes.Clone(api.Magic), 0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
			binary.AppendUvarint(append(bytes.Clone(api.Magic), 0x12), 1<<63), api.Magic, nil, []byte(`{"metadata":{"name":"n","labels":{"a":"b"}}}`), []byte(`null`), []byte(`[`),
			api.Envelope("v0", "Nothing", []byte{0x0a, 0x00}), append(bytes.Clone(value), api.RevisionField(7)...),
		} {
			f.Add(uint8(i), v)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, value []byte) {
		k := kinds[int(which)%len(kinds)]
		obj, _, err := k.DecodeStored(value, 7)
		if err != nil {
			return
		}
		if obj.GetResourceVersion() != "7" {
			t.Errorf("the resource version is %q", obj.GetResourceVersion())
		}
		again, err := k.EncodeStored(obj)
		if err != nil {
			return // a string that is not UTF-8, which JSON may hold and a message may not
		}
		second, raw, err := k.DecodeStored(again, 7)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		third, err := k.EncodeStored(second)
		if err != nil || !bytes.Equal(third, again) || !bytes.Equal(raw, api.Raw(again)) {
			t.Errorf("another encoding of the same: %v\n%q\n%q", err, again, third)
		}
	})
}
