package oracle

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"runtime/debug"
	"slices"
	"sort"
	"strings"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/monohull/monohull/internal/api"
)

// Case is one thing to compare: a new object, or a change of an old one.
type Case struct {
	New, Old any          // documents; Old is nil for a create
	Version  *api.Version // the version New is written in, where not the kind's own
}

// Difference is one way in which the sides disagree.
type Difference struct {
	Kind   string
	Phase  string   // defaults, create, update, status …
	Theirs []string // what only upstream says
	Ours   []string // what only we say
}

// index is the part of an error's path that does not tell errors apart.
var index = regexp.MustCompile(`\[[^\]]*\]`)

// Signature names the difference apart from its object.
func (d Difference) Signature() string {
	cut := func(list []string) []string {
		var out []string
		for _, s := range list {
			if len(s) > 200 {
				s = s[:200]
			}
			out = append(out, index.ReplaceAllString(s, "[]"))
		}
		sort.Strings(out)
		return slices.Compact(out)
	}
	return fmt.Sprintf("%s %s: theirs %q ours %q", d.Kind, d.Phase, cut(d.Theirs), cut(d.Ours))
}

// Judge compares one kind.
type Judge struct {
	Kind *api.Kind
	Up   *Resource
	Name string

	valid  int // creates that both sides took
	writes int
	panics int            // of upstream's: such an object is not compared
	used   map[string]int // accepted differences that occurred
}

// generateName names an object as both sides do before anything is judged.
func generateName(o api.Object) {
	const maxBase = 58
	if base := o.GetGenerateName(); o.GetName() == "" && base != "" {
		o.SetName(base[:min(len(base), maxBase)] + "x2b4c")
	}
}

// Check compares everything the case shows. valid tells whether both sides took
// the object as a new one.
func (j *Judge) Check(c Case) (out []Difference, valid bool) {
	if c.Version != nil {
		return j.accept(j.CheckVersion(c.Version, c.New)), false
	}
	phase := "decode"
	defer func() {
		if p := recover(); p != nil {
			stack := string(debug.Stack())
			if theirs(stack) {
				j.panics++
				out, valid = nil, false
				return
			}
			out = append(out, Difference{j.Name, phase + " panic", nil, []string{fmt.Sprint(p), where(stack)}})
		}
	}()
	ours, ok := j.decode(c.New)
	if !ok {
		return nil, false
	}
	add := func(d ...Difference) { out = append(out, j.accept(d)...) }
	var old api.Object
	if c.Old != nil {
		if old, ok = j.decode(c.Old); !ok {
			return nil, false
		}
		generateName(old)
		// the request names the object: neither side lets it differ
		ours.SetName(old.GetName())
		ours.SetNamespace(old.GetNamespace())
		j.defaults(old)
		j.mark(old)
		j.settled(old)
		if old, ok = j.stored(old); !ok {
			return nil, false
		}
		j.mark(old)
		j.mark(ours)
	}
	if c.Old == nil {
		generateName(ours)
	}
	phase = "defaults"
	theirs := ours.DeepCopyObject()
	j.Up.Scheme.Default(theirs)
	j.defaults(ours)
	in := j.Up.internal(theirs)
	theirs = j.Up.external(in, j.Kind.GVK)
	if d := j.objects("defaults", theirs, ours); d != nil {
		add(*d)
		in = j.Up.internal(ours)
	}
	again := ours.DeepCopyObject().(api.Object)
	j.defaults(again)
	if d := j.objects("defaults again", ours, again); d != nil {
		add(*d)
	}
	if c.Old != nil {
		for _, sub := range j.subs() {
			phase = sub.phase
			add(j.change(sub, ours.DeepCopyObject().(api.Object), old.DeepCopyObject().(api.Object))...)
		}
		return out, false
	}
	phase = "table"
	add(j.table(in, ours)...)
	phase = "fields"
	add(j.fields(in, ours)...)
	phase = "scale"
	add(j.scale(in, ours)...)
	phase = "create"
	j.writes++
	mine := ourCreate(j.Kind, ours.DeepCopyObject().(api.Object))
	was := j.Up.create(in, j.Kind.GVK, j.allocated(mine.obj))
	d, valid := j.outcomes("create", was, mine)
	add(d...)
	if valid {
		j.valid++
	}
	return out, valid
}

// change compares an update, through the resource or a subresource.
func (j *Judge) change(sub part, obj, old api.Object) []Difference {
	in, inOld := j.Up.internal(obj), j.Up.internal(old)
	before := old.DeepCopyObject()
	mine, ok := ourUpdate(j.Kind, sub.name, obj, old)
	if !ok {
		return nil // TestFacts tells
	}
	j.writes++
	var out []Difference
	if !equality.Semantic.DeepEqual(before, runtime.Object(old)) {
		out = append(out, Difference{j.Name, sub.phase + " wrote the old object", nil, nil})
	}
	was := j.Up.update(sub.store, sub.name, in, inOld, j.Kind.GVK, j.allocated(mine.obj))
	d, _ := j.outcomes(sub.phase, was, mine)
	return append(out, d...)
}

// outcomes compares what a write came to.
func (j *Judge) outcomes(phase string, theirs, ours outcome) (out []Difference, valid bool) {
	a, b := texts(theirs.errs), texts(ours.errs)
	valid = len(a)+len(b) == 0
	if !slices.Equal(a, b) {
		out = append(out, Difference{j.Name, phase, minus(a, b), minus(b, a)})
	}
	if valid {
		if w, v := sorted(theirs.warnings), sorted(ours.warnings); !slices.Equal(w, v) {
			out = append(out, Difference{j.Name, phase + " warnings", minus(w, v), minus(v, w)})
		}
	}
	if len(a) > 0 && len(b) > 0 {
		return out, false // nobody sees what became of an object that is refused
	}
	steady(theirs.obj)
	steady(ours.obj)
	ours.obj.GetObjectKind().SetGroupVersionKind(j.Kind.GVK)
	if d := j.objects(phase+" prepare", theirs.obj, ours.obj); d != nil {
		out = append(out, *d)
	}
	return out, valid
}

// objects compares two objects of the kind's own type.
func (j *Judge) objects(phase string, theirs, ours runtime.Object) *Difference {
	if equality.Semantic.DeepEqual(theirs, ours) {
		return nil
	}
	if strings.HasPrefix(phase, "defaults") {
		// times that one side defaults and the other fills in later
		theirs, ours = theirs.DeepCopyObject(), ours.DeepCopyObject()
		steady(theirs)
		steady(ours)
		if equality.Semantic.DeepEqual(theirs, ours) {
			return nil
		}
	}
	var a, b []string
	for _, line := range strings.Split(diff.Diff(theirs, ours), "\n") {
		line = strings.ReplaceAll(line, "\u00a0", " ")
		switch {
		case strings.HasPrefix(line, "- "):
			a = append(a, strings.Join(strings.Fields(line[2:]), " "))
		case strings.HasPrefix(line, "+ "):
			b = append(b, strings.Join(strings.Fields(line[2:]), " "))
		}
	}
	d := &Difference{j.Name, phase, minus(a, b), minus(b, a)}
	if d.Theirs == nil && d.Ours == nil {
		d.Theirs, d.Ours = a, b
	}
	return d
}

// table compares the cells that kubectl prints.
func (j *Judge) table(in runtime.Object, ours api.Object) []Difference {
	if j.Kind.Row == nil {
		return nil
	}
	conv, ok := j.Up.Storage.(rest.TableConvertor)
	if !ok {
		return nil
	}
	var a, b []string
	for range 3 { // ages may differ by a tick
		a, b = nil, nil
		t, err := conv.ConvertToTable(j.Up.context(accessor(in), "get", ""), in, &metav1.TableOptions{})
		if err != nil {
			return nil
		}
		for i, c := range t.Rows[0].Cells {
			a = append(a, cell(t.ColumnDefinitions, i, c))
		}
		for i, c := range j.Kind.Row(ours, time.Now()) {
			b = append(b, cell(j.Kind.Columns, i, c))
		}
		if slices.Equal(a, b) {
			return nil
		}
	}
	return []Difference{{j.Name, "table", minus(a, b), minus(b, a)}}
}

// scale compares what the scale subresource shows.
func (j *Judge) scale(in runtime.Object, ours api.Object) []Difference {
	r := j.Up
	getter, ok := r.Subs["scale"].(rest.Getter)
	if !ok || j.Kind.Scale == nil {
		return nil // TestFacts tells
	}
	r.held.obj = in
	defer func() { r.held.obj = nil }()
	m := accessor(in)
	theirs, err := getter.Get(r.context(m, "get", "scale"), m.GetName(), &metav1.GetOptions{})
	if err != nil {
		return nil // a name or a selector that is refused
	}
	shown, err := r.Scheme.ConvertToVersion(theirs, autoscalingv1.SchemeGroupVersion)
	if err != nil {
		return nil
	}
	replicas, have, selector := j.Kind.Scale.Get(ours)
	mine := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: ours.GetName(), Namespace: ours.GetNamespace(), UID: ours.GetUID(),
			ResourceVersion: ours.GetResourceVersion(), CreationTimestamp: ours.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: replicas},
		Status: autoscalingv1.ScaleStatus{Replicas: have, Selector: selector},
	}
	mine.SetGroupVersionKind(shown.GetObjectKind().GroupVersionKind())
	if d := j.objects("scale", shown, mine); d != nil {
		return []Difference{*d}
	}
	return nil
}

func cell(columns []metav1.TableColumnDefinition, i int, v any) string {
	name := fmt.Sprint(i)
	if i < len(columns) {
		name = columns[i].Name
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%s: %v", name, err)
	}
	return name + ": " + string(text)
}

// fields compares the values of field selectors.
func (j *Judge) fields(in runtime.Object, ours api.Object) []Difference {
	_, set, err := j.Up.Store.PredicateFunc(labels.Everything(), fields.Everything()).GetAttrs(in)
	if err != nil {
		return nil
	}
	for _, name := range j.Kind.FieldNames {
		if _, ok := set[name]; !ok {
			set[name] = "" // a label that may be asked for, and matches nothing
		}
	}
	var a, b []string
	for name, v := range set {
		if _, _, err := j.Up.Scheme.ConvertFieldLabel(j.Kind.GVK, name, v); err == nil {
			a = append(a, name+"="+v)
		}
	}
	b = append(b, "metadata.name="+ours.GetName())
	if j.Kind.Namespaced {
		b = append(b, "metadata.namespace="+ours.GetNamespace())
	}
	for _, name := range j.Kind.FieldNames {
		b = append(b, name+"="+j.Kind.Fields(ours, name))
	}
	a, b = sorted(a), sorted(b)
	if slices.Equal(a, b) {
		return nil
	}
	return []Difference{{j.Name, "field selectors", minus(a, b), minus(b, a)}}
}

func (j *Judge) decode(doc any) (api.Object, bool) {
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil, false
	}
	o := j.Kind.New()
	if err := api.DecodeJSON(raw, o); err != nil {
		return nil, false
	}
	if !j.Kind.Namespaced {
		o.SetNamespace("")
	}
	o.GetObjectKind().SetGroupVersionKind(j.Kind.GVK)
	return o, true
}

// settled takes from an object what a server with the default features would
// not have stored. What upstream keeps of a feature that was on before is so not
// compared.
func (j *Judge) settled(o api.Object) {
	k := j.Kind
	from := o.DeepCopyObject().(api.Object)
	if k.HasStatus && !k.StatusOnCreate {
		k.ClearStatus(o)
	}
	if k.PrepareCreate != nil {
		k.PrepareCreate(o)
	}
	if !k.HasStatus || k.StatusOnCreate {
		return
	}
	if k.Date != nil {
		k.Date(o, nil, time.Now())
	}
	k.CopySpec(from, o)
	was := o.DeepCopyObject().(api.Object)
	k.ClearStatus(was)
	if k.PrepareStatus != nil {
		k.PrepareStatus(from, was)
	}
	if k.Date != nil {
		k.Date(from, was, time.Now())
	}
	k.CopyStatus(o, from)
}

// stored gives an object as it comes back from the store.
func (j *Judge) stored(o api.Object) (api.Object, bool) {
	raw, err := j.Kind.EncodeStored(o)
	if err != nil {
		return o, true // kept as JSON
	}
	out, _, err := j.Kind.DecodeStored(raw, 1)
	if err != nil {
		return nil, false
	}
	out.GetObjectKind().SetGroupVersionKind(j.Kind.GVK)
	return out, true
}

func (j *Judge) defaults(o api.Object) {
	if j.Kind.Default != nil {
		j.Kind.Default(o)
	}
	o.GetObjectKind().SetGroupVersionKind(j.Kind.GVK)
}

// texts gives the errors as they are compared: type, path and detail, each once.
func texts(l field.ErrorList) []string {
	var out []string
	for _, e := range l {
		detail, _, _ := strings.Cut(e.Detail, "\n")
		out = append(out, fmt.Sprintf("%s %s: %s", e.Type, e.Field, detail))
	}
	sort.Strings(out)
	return slices.Compact(out)
}

func minus(a, b []string) (out []string) {
	for _, s := range a {
		if !slices.Contains(b, s) {
			out = append(out, s)
		}
	}
	return out
}

// steady removes times that the clock of the run put there.
func steady(o runtime.Object) { clearTimes(reflect.ValueOf(o).Elem()) }

// theirs tells whether a panic began in upstream's code.
func theirs(stack string) bool {
	_, after, ok := strings.Cut(stack, "panic(")
	return ok && !strings.Contains(firstFrames(after, 3), "github.com/monohull/monohull/internal/")
}

func where(stack string) string {
	_, after, _ := strings.Cut(stack, "panic(")
	return firstFrames(after, 3)
}

func firstFrames(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[min(2, len(lines)):min(2+2*n, len(lines))], " ")
}
