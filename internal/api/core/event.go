package core

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

// The bounds of events that carry eventTime.
const (
	maxEventField   = 128
	maxEventMessage = 1024
)

func eventRow() *api.Kind {
	source := func(e *corev1.Event) string {
		if e.Source.Component != "" {
			return e.Source.Component
		}
		return e.ReportingController
	}
	return api.Define(api.Spec[*corev1.Event]{
		GVK: gvk("Event"), Plural: "events", Singular: "event", ShortNames: []string{"ev"},
		Namespaced: true, CreateOnUpdate: true, UnconditionalUpdate: true,
		List: &corev1.EventList{},
		// The metadata of events is judged loosely, and only where all else is well.
		Validate: func(e *corev1.Event) field.ErrorList {
			if errs := validateEvent(e, reportingComponent); len(errs) > 0 {
				return errs
			}
			return meta.Common(e, true)
		},
		ValidateUpdate: func(e, old *corev1.Event) field.ErrorList {
			return append(validateEvent(e, reportingComponent), meta.CommonUpdate(e, old, true)...)
		},
		Fields: map[string]func(*corev1.Event) string{
			"involvedObject.kind":            func(e *corev1.Event) string { return e.InvolvedObject.Kind },
			"involvedObject.namespace":       func(e *corev1.Event) string { return e.InvolvedObject.Namespace },
			"involvedObject.name":            func(e *corev1.Event) string { return e.InvolvedObject.Name },
			"involvedObject.uid":             func(e *corev1.Event) string { return string(e.InvolvedObject.UID) },
			"involvedObject.apiVersion":      func(e *corev1.Event) string { return e.InvolvedObject.APIVersion },
			"involvedObject.resourceVersion": func(e *corev1.Event) string { return e.InvolvedObject.ResourceVersion },
			"involvedObject.fieldPath":       func(e *corev1.Event) string { return e.InvolvedObject.FieldPath },
			"reason":                         func(e *corev1.Event) string { return e.Reason },
			reportingComponent:               func(e *corev1.Event) string { return e.ReportingController },
			"source":                         source,
			"type":                           func(e *corev1.Event) string { return e.Type },
		},
		Columns: []metav1.TableColumnDefinition{
			meta.Text("Last Seen", "The time at which the most recent occurrence of this event was recorded."),
			meta.Text("Type", "Type of this event (Normal, Warning), new types could be added in the future"),
			meta.Text("Reason", "A short, machine understandable string that gives the reason for the transition."),
			meta.Text("Object", "The object that this event is about."),
			meta.Wide("Subobject", "The part of the object that this event is about."),
			meta.Wide("Source", "The component reporting this event."),
			meta.Text("Message", "A human-readable description of the status of this operation."),
			meta.Wide("First Seen", "The time at which the event was first recorded."),
			meta.Wide("Count", "The number of times this event has occurred."),
			{Name: "Name", Type: "string", Format: "name", Priority: 1, Description: meta.NameColumn.Description},
		},
		Row:      eventCells,
		Versions: []*api.Version{eventsV1()},
	})
}

// eventsV1 serves events in the group made for them. What is written there is
// judged more strictly: it must be complete, the fields of old clients stay
// unset, and only the series may change.
func eventsV1() *api.Version {
	return api.Also(api.VersionSpec[*eventsv1.Event, *corev1.Event]{
		GVK:  eventsv1.SchemeGroupVersion.WithKind("Event"),
		List: &eventsv1.EventList{},
		ToKind: func(e *eventsv1.Event) (*corev1.Event, error) {
			e = e.DeepCopy()
			return &corev1.Event{
				ObjectMeta: e.ObjectMeta, InvolvedObject: e.Regarding, Reason: e.Reason, Message: e.Note, Source: e.DeprecatedSource,
				FirstTimestamp: e.DeprecatedFirstTimestamp, LastTimestamp: e.DeprecatedLastTimestamp, Count: e.DeprecatedCount,
				Type: e.Type, EventTime: e.EventTime, Series: (*corev1.EventSeries)(e.Series), Action: e.Action, Related: e.Related,
				ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
			}, nil
		},
		FromKind: func(e *corev1.Event) (*eventsv1.Event, error) {
			e = e.DeepCopy()
			return &eventsv1.Event{
				ObjectMeta: e.ObjectMeta, Regarding: e.InvolvedObject, Reason: e.Reason, Note: e.Message, DeprecatedSource: e.Source,
				DeprecatedFirstTimestamp: e.FirstTimestamp, DeprecatedLastTimestamp: e.LastTimestamp, DeprecatedCount: e.Count,
				Type: e.Type, EventTime: e.EventTime, Series: (*eventsv1.EventSeries)(e.Series), Action: e.Action, Related: e.Related,
				ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
			}, nil
		},
		Validate:       validateStrictEvent,
		ValidateUpdate: validateStrictEventUpdate,
		Fields: map[string]string{
			"metadata.name":             "metadata.name",
			"metadata.namespace":        "metadata.namespace",
			"reason":                    "reason",
			"regarding.kind":            "involvedObject.kind",
			"regarding.namespace":       "involvedObject.namespace",
			"regarding.name":            "involvedObject.name",
			"regarding.uid":             "involvedObject.uid",
			"regarding.apiVersion":      "involvedObject.apiVersion",
			"regarding.resourceVersion": "involvedObject.resourceVersion",
			"regarding.fieldPath":       "involvedObject.fieldPath",
			"reportingController":       "reportingComponent",
			"type":                      "type",
		},
	})
}

// reportingComponent is what the core group calls the reporting controller.
const reportingComponent = "reportingComponent"

func validateStrictEvent(e *corev1.Event) field.ErrorList {
	r := meta.Report{Errs: validateEvent(e, "reportingController")}
	r.Add(meta.ValidateObjectMeta(&e.ObjectMeta, true, meta.DNSSubdomain))
	r.Add(eventSeries(e.Series))
	r.RequiredIf(e.EventTime.IsZero(), field.NewPath("eventTime"))
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		r.Invalid(field.NewPath("type"), "", fmt.Sprintf("has invalid value: %v", e.Type))
	}
	unset := func(name string, ok bool) {
		if !ok {
			r.Invalid(field.NewPath(name), "", "needs to be unset")
		}
	}
	unset("firstTimestamp", e.FirstTimestamp.IsZero())
	unset("lastTimestamp", e.LastTimestamp.IsZero())
	unset("count", e.Count == 0)
	unset("source", e.Source == corev1.EventSource{})
	return r.Errs
}

func validateStrictEventUpdate(e, old *corev1.Event) field.ErrorList {
	r := meta.Report{Errs: validateEvent(e, "reportingController")}
	r.Add(meta.ValidateObjectMetaUpdate(&e.ObjectMeta, &old.ObjectMeta))
	if !reflect.DeepEqual(e.Series, old.Series) {
		r.Add(eventSeries(e.Series))
	}
	same := func(name string, v, was any) { r.Add(meta.Immutable(v, was, field.NewPath(name))) }
	same("involvedObject", e.InvolvedObject, old.InvolvedObject)
	same("reason", e.Reason, old.Reason)
	same("message", e.Message, old.Message)
	same("source", e.Source, old.Source)
	same("firstTimestamp", e.FirstTimestamp, old.FirstTimestamp)
	same("lastTimestamp", e.LastTimestamp, old.LastTimestamp)
	same("count", e.Count, old.Count)
	same("type", e.Type, old.Type)
	// Microseconds are all that encodings of the time keep.
	if !e.EventTime.Truncate(time.Microsecond).Equal(old.EventTime.Truncate(time.Microsecond)) {
		same("eventTime", e.EventTime, old.EventTime)
	}
	same("action", e.Action, old.Action)
	same("related", e.Related, old.Related)
	same("reportingController", e.ReportingController, old.ReportingController)
	same("reportingInstance", e.ReportingInstance, old.ReportingInstance)
	return r.Errs
}

func eventSeries(s *corev1.EventSeries) field.ErrorList {
	var r meta.Report
	if s == nil {
		return nil
	}
	if s.Count < 2 {
		r.Invalid(field.NewPath("series.count"), "", "should be at least 2")
	}
	r.RequiredIf(s.LastObservedTime.IsZero(), field.NewPath("series.lastObservedTime"))
	return r.Errs
}

// validateEvent judges what holds in all versions; controller is the version's
// name of the reporting controller.
func validateEvent(e *corev1.Event, controller string) field.ErrorList {
	var r meta.Report
	object := field.NewPath("involvedObject", "namespace")
	const mismatch = "does not match event.namespace"
	cluster, ns := e.InvolvedObject.Namespace == "", e.Namespace
	if e.EventTime.IsZero() {
		ok := ns == e.InvolvedObject.Namespace
		if cluster {
			ok = ns == metav1.NamespaceNone || ns == metav1.NamespaceDefault
		}
		if !ok {
			r.Invalid(object, e.InvolvedObject.Namespace, mismatch)
		}
	} else {
		if cluster && ns != metav1.NamespaceDefault && ns != metav1.NamespaceSystem {
			r.Invalid(object, e.InvolvedObject.Namespace, mismatch)
		}
		r.RequiredIf(e.ReportingController == "", field.NewPath(controller))
		r.Add(meta.QualifiedName(e.ReportingController, field.NewPath(controller)))
		bounded := func(name, v string) {
			r.RequiredIf(v == "", field.NewPath(name))
			if len(v) > maxEventField {
				r.Invalid(field.NewPath(name), "", fmt.Sprintf("can have at most %v characters", maxEventField))
			}
		}
		bounded("reportingInstance", e.ReportingInstance)
		bounded("action", e.Action)
		bounded("reason", e.Reason)
		if len(e.Message) > maxEventMessage {
			r.Invalid(field.NewPath("message"), "", fmt.Sprintf("can have at most %v characters", maxEventMessage))
		}
	}
	r.InvalidAll(field.NewPath("namespace"), ns, validation.IsDNS1123Subdomain(ns))
	return r.Errs
}

func eventCells(e *corev1.Event, now time.Time) []any {
	first := meta.Age(e.FirstTimestamp, now)
	if e.FirstTimestamp.IsZero() {
		first = meta.AgeMicro(e.EventTime, now)
	}
	last, count := meta.Age(e.LastTimestamp, now), e.Count
	if e.LastTimestamp.IsZero() {
		last = first
	}
	if e.Series != nil {
		last, count = meta.AgeMicro(e.Series.LastObservedTime, now), e.Series.Count
	} else if count == 0 {
		count = 1
	}
	object := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name != "" {
		object += "/" + e.InvolvedObject.Name
	}
	source, instance := e.Source.Component, e.Source.Host
	setDefault(&source, e.ReportingController)
	setDefault(&instance, e.ReportingInstance)
	if instance != "" {
		source += ", " + instance
	}
	return []any{last, e.Type, e.Reason, object, e.InvolvedObject.FieldPath, source, strings.TrimSpace(e.Message), first, int64(count), e.Name}
}
