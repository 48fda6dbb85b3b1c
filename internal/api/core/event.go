package core

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
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
		Validate: func(e *corev1.Event) field.ErrorList {
			return append(validateEvent(e), meta.ValidateObjectMeta(&e.ObjectMeta, true, meta.PathSegment)...)
		},
		ValidateUpdate: func(e, old *corev1.Event) field.ErrorList {
			return append(validateEvent(e), meta.ValidateObjectMetaUpdate(&e.ObjectMeta, &old.ObjectMeta)...)
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
			"reportingComponent":             func(e *corev1.Event) string { return e.ReportingController },
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
		Row: eventCells,
	})
}

func validateEvent(e *corev1.Event) field.ErrorList {
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
		r.RequiredIf(e.ReportingController == "", field.NewPath("reportingComponent"))
		r.Add(meta.QualifiedName(e.ReportingController, field.NewPath("reportingComponent")))
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
