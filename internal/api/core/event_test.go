package core

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
)

func newEvent() *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: "n", ResourceVersion: "1"}, EventTime: metav1.NewMicroTime(time.Unix(1, 0)),
		ReportingController: "example.com/c", ReportingInstance: "i", Action: "Do", Reason: "Why", Note: "text", Type: "Normal",
		Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: "n", Name: "p"}, Related: &corev1.ObjectReference{Name: "r"},
		Series: &eventsv1.EventSeries{Count: 2, LastObservedTime: metav1.NewMicroTime(time.Unix(2, 0))},
	}
}

func TestEventsOfBothGroupsAreOne(t *testing.T) {
	v := eventRow().Versions[0]
	e := newEvent()
	e.DeprecatedCount, e.DeprecatedSource.Host = 3, "h"
	e.DeprecatedFirstTimestamp, e.DeprecatedLastTimestamp = metav1.Unix(1, 0), metav1.Unix(2, 0)
	o, err := v.ToKind(e)
	if err != nil {
		t.Fatal(err)
	}
	c := o.(*corev1.Event)
	if c.Message != "text" || c.InvolvedObject.Name != "p" || c.Count != 3 || c.Source.Host != "h" || c.FirstTimestamp != e.DeprecatedFirstTimestamp || c.LastTimestamp != e.DeprecatedLastTimestamp {
		t.Errorf("converted to %+v", c)
	}
	c.Series.Count, c.Related.Name = 9, "other"
	if e.Series.Count != 2 || e.Related.Name != "r" {
		t.Error("the conversion shares memory with its argument")
	}
	o, _ = v.ToKind(e)
	if back, _ := v.FromKind(o); !equality.Semantic.DeepEqual(back, api.Object(e)) {
		t.Errorf("there and back: %+v", back)
	}
}

func TestEventsOfTheNewGroupAreJudgedStrictly(t *testing.T) {
	v := eventRow().Versions[0]
	kind := func(change func(*eventsv1.Event)) api.Object {
		e := newEvent()
		change(e)
		o, err := v.ToKind(e)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	for path, change := range map[string]func(*eventsv1.Event){
		"eventTime":           func(e *eventsv1.Event) { e.EventTime = metav1.MicroTime{} },
		"type":                func(e *eventsv1.Event) { e.Type = "Odd" },
		"firstTimestamp":      func(e *eventsv1.Event) { e.DeprecatedFirstTimestamp = metav1.Unix(1, 0) },
		"count":               func(e *eventsv1.Event) { e.DeprecatedCount = 1 },
		"source":              func(e *eventsv1.Event) { e.DeprecatedSource.Host = "h" },
		"series.count":        func(e *eventsv1.Event) { e.Series.Count = 1 },
		"metadata.name":       func(e *eventsv1.Event) { e.Name = "A" },
		"reportingController": func(e *eventsv1.Event) { e.ReportingController = "a b" },
	} {
		errs := v.Validate(kind(change))
		if len(errs) != 1 || errs[0].Field != path {
			t.Errorf("%s: %v", path, errs)
		}
		if path == "eventTime" || path == "type" || path == "count" || path == "source" {
			if errs := eventRow().Validate(kind(change)); len(errs) != 0 {
				t.Errorf("%s, in the old group: %v", path, errs)
			}
		}
	}
	old := kind(func(*eventsv1.Event) {})
	if errs := v.ValidateUpdate(kind(func(e *eventsv1.Event) { e.Series.Count = 5 }), old); len(errs) != 0 {
		t.Errorf("a longer series: %v", errs)
	}
	errs := v.ValidateUpdate(kind(func(e *eventsv1.Event) {
		e.Note, e.Regarding.Name, e.EventTime = "other", "q", metav1.NewMicroTime(time.Unix(5, 0))
	}), old)
	var paths []string
	for _, e := range errs {
		paths = append(paths, e.Field)
	}
	if slices.Sort(paths); !slices.Equal(paths, []string{"eventTime", "involvedObject", "message"}) {
		t.Errorf("an event that became another: %v", errs)
	}
}
