package record

import (
	"encoding/json"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/monohull/monohull/internal/api"
)

const mergePatch = types.MergePatchType

func kindOf(t *api.Table, obj api.Object) *api.Kind {
	typ := reflect.TypeOf(obj)
	for _, k := range t.Kinds() {
		if k.GoType == typ {
			return k
		}
	}
	return nil
}

// build makes the event object. Events about objects without a namespace lie
// in default.
func build(t *api.Table, source corev1.EventSource, obj api.Object, eventType, reason, message string, now time.Time, stamp int64) *corev1.Event {
	ref := Reference(t, obj)
	if ref == nil {
		return nil
	}
	ns := ref.Namespace
	if ns == "" {
		ns = metav1.NamespaceDefault
	}
	at := metav1.NewTime(now)
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: eventName(ref.Name, stamp), Namespace: ns},
		InvolvedObject: *ref, Reason: reason, Message: truncate(message), Type: eventType,
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
		Source: source, ReportingController: source.Component, ReportingInstance: source.Host,
	}
}

// countUp is the patch that makes one more of an event.
func countUp(count int32, e *corev1.Event) []byte {
	b, err := json.Marshal(map[string]any{"count": count, "lastTimestamp": e.LastTimestamp, "message": e.Message})
	if err != nil {
		panic(err) // three plain values
	}
	return b
}
