package apply

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/monohull/monohull/internal/api"
)

// updateLong is the library's own update.
func (m *Manager) updateLong(t target, manager string, now time.Time, live, obj api.Object) {
	f, err := m.long(t)
	if err != nil {
		obj.SetManagedFields(nil)
		return
	}
	s, err := m.speak(t, live, obj)
	if err != nil {
		obj.SetManagedFields(nil)
		return
	}
	known := timesOf(s.live, s.obj)
	out, err := f.Update(s.live, s.obj, manager)
	if err != nil {
		obj.SetManagedFields(nil)
		return
	}
	obj.SetManagedFields(stamp(out.(metav1.Object).GetManagedFields(), known, now))
}

// spoken is a write in the terms of the library.
type spoken struct{ live, obj api.Object }

// speak gives both objects their kind; the library converts them to the
// version of the write itself.
func (m *Manager) speak(t target, live, obj api.Object) (spoken, error) {
	gvk, typ := t.gvk, t.typ
	if t.kind != nil {
		gvk, typ = t.kind.GVK, t.kind.GoType
	}
	l, err := structured(live, gvk, typ)
	if err != nil {
		return spoken{}, err
	}
	o, err := structured(obj, gvk, typ)
	if err != nil {
		return spoken{}, err
	}
	if o == obj {
		o = obj.DeepCopyObject().(api.Object) // the library takes its fields away
	}
	return spoken{l, o}, nil
}

// timesOf are the times that were there before, by identity: the library keeps
// the pointers, and makes new ones only for what it stamps by its own clock.
func timesOf(objs ...api.Object) map[*metav1.Time]bool {
	out := map[*metav1.Time]bool{}
	for _, o := range objs {
		for _, e := range o.GetManagedFields() {
			if e.Time != nil {
				out[e.Time] = true
			}
		}
	}
	return out
}

// stamp puts now where the library put the time of its clock.
func stamp(entries []metav1.ManagedFieldsEntry, known map[*metav1.Time]bool, now time.Time) []metav1.ManagedFieldsEntry {
	at := metav1.NewTime(now.UTC().Truncate(time.Second))
	for i := range entries {
		if t := entries[i].Time; t != nil && !known[t] {
			entries[i].Time = &at
		}
	}
	order(entries)
	return entries
}

// Patch is a server-side apply.
type Patch struct {
	Document []byte // YAML or JSON
	Force    bool
	// Strict, where set, judges what a strict reader finds wrong with the
	// document: keys that are there twice.
	Strict func(error) error
}

// Apply merges a document into live, or makes an object of it where that is
// nil. What it returns is a new object of the kind's own version with its
// managed fields, yet without defaults for what the document took away.
// Errors are apierrors.APIStatus.
func (m *Manager) Apply(w Write, live api.Object, p Patch) (api.Object, error) {
	if live == nil {
		live = w.Kind.New()
	}
	return m.apply(w.target(), w.Manager, w.Now, live, p)
}

func (m *Manager) apply(t target, manager string, now time.Time, live api.Object, p Patch) (api.Object, error) {
	doc := &unstructured.Unstructured{Object: map[string]any{}}
	if err := yaml.Unmarshal(p.Document, &doc.Object); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	// the road from here reads quantities of any length, at any cost
	raw, err := doc.MarshalJSON()
	if err == nil {
		err = api.CheckQuantities(raw, live)
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	f, err := m.long(t)
	if err != nil {
		return nil, statusOf(err)
	}
	s, err := m.speak(t, live, live)
	if err != nil {
		return nil, statusOf(err)
	}
	known := timesOf(s.live)
	out, err := f.Apply(s.live, doc, manager, p.Force)
	if err != nil {
		return nil, statusOf(err)
	}
	if p.Strict != nil {
		if err := yaml.UnmarshalStrict(p.Document, &map[string]any{}); err != nil {
			if err := p.Strict(err); err != nil {
				return nil, err
			}
		}
	}
	obj, ok := out.(api.Object)
	if !ok {
		return nil, statusOf(fmt.Errorf("apply: %T is no API object", out))
	}
	if obj == s.live || obj == live {
		obj = obj.DeepCopyObject().(api.Object)
	}
	obj.SetManagedFields(stamp(obj.GetManagedFields(), known, now))
	return obj, nil
}

// statusOf makes an API error of any, as upstream does of one that is none.
func statusOf(err error) error {
	var st apierrors.APIStatus
	if errors.As(err, &st) {
		return err
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonUnknown, Message: err.Error(),
	}}
}
