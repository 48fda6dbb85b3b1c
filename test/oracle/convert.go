package oracle

import (
	"encoding/json"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
)

// CheckVersion compares the conversion of a document of a version, both ways,
// with the defaults the version has. Upstream must still have the version.
func (j *Judge) CheckVersion(v *api.Version, doc any) (out []Difference) {
	phase := "conversion of " + v.GVK.GroupVersion().String()
	defer func() {
		if p := recover(); p != nil {
			out = append(out, Difference{j.Name, phase + " panic", nil, []string{fmt.Sprint(p)}})
		}
	}()
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil
	}
	o := v.New()
	if api.DecodeJSON(raw, o) != nil {
		return nil
	}
	o.GetObjectKind().SetGroupVersionKind(v.GVK)
	up := o.DeepCopyObject()
	j.Up.Scheme.Default(up)
	in, err := j.Up.Scheme.ConvertToVersion(up, schema.GroupVersion{Group: v.GVK.Group, Version: runtime.APIVersionInternal})
	if err != nil {
		return nil
	}
	theirs, err := j.Up.Scheme.ConvertToVersion(in.DeepCopyObject(), j.Kind.GVK.GroupVersion())
	if err != nil {
		return nil
	}
	// what is stored is defaulted again whenever it is read, and shown as read
	j.Up.Scheme.Default(theirs)
	theirs.GetObjectKind().SetGroupVersionKind(j.Kind.GVK)
	in = j.Up.internal(theirs)
	ours, err := v.Convert(o)
	if err != nil {
		return []Difference{{j.Name, phase, nil, []string{"is refused: " + err.Error()}}}
	}
	j.defaults(ours)
	if d := j.objects(phase+" to "+j.Kind.GVK.Version, theirs, ours); d != nil {
		out = append(out, *d)
	}
	j.writes++
	shown, err := j.Up.Scheme.ConvertToVersion(in, v.GVK.GroupVersion())
	if err != nil {
		return out
	}
	mine, err := v.Show(ours)
	if err != nil {
		return append(out, Difference{j.Name, phase + " back", nil, []string{err.Error()}})
	}
	shown.GetObjectKind().SetGroupVersionKind(v.GVK)
	mine.GetObjectKind().SetGroupVersionKind(v.GVK)
	if d := j.objects(phase+" back", shown, mine); d != nil {
		out = append(out, *d)
	}
	return out
}

// versions are those of a kind that upstream's scheme has, under the same type.
func (j *Judge) versions() []*api.Version {
	var out []*api.Version
	for _, v := range j.Kind.Versions {
		if o, err := j.Up.Scheme.New(v.GVK); err == nil && reflect.TypeOf(o) == v.GoType {
			out = append(out, v)
		}
	}
	return out
}

// showIn writes a document of the kind in another version, by our conversion.
func (j *Judge) showIn(v *api.Version, doc any) (any, bool) {
	o, ok := j.decode(doc)
	if !ok {
		return nil, false
	}
	j.defaults(o)
	shown, err := v.Show(o)
	if err != nil {
		return nil, false
	}
	raw, err := json.Marshal(shown)
	if err != nil {
		return nil, false
	}
	var out any
	err = json.Unmarshal(raw, &out)
	return out, err == nil
}
