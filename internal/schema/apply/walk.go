package apply

import (
	"reflect"
	"slices"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// walker compares two structs by a plan.
type walker struct {
	stack []node
	slab  []node
	key   keyWriter
	// odd is set where only the long road knows what to do: items of a list with
	// one key, or none.
	odd bool
}

// maxKeysByEye is how many items are looked through for a key without a map.
const maxKeysByEye = 16

// delta is what differs in one value: what was changed or came, and what went.
type delta struct {
	changed    bool // the value itself is a field, and changed
	came, went []node
}

func (d delta) none() bool { return !d.changed && len(d.came) == 0 && len(d.went) == 0 }

// take moves the nodes above from off the stack.
func (w *walker) take(from int) []node {
	n := len(w.stack) - from
	if n == 0 {
		return nil
	}
	if len(w.slab) < n {
		w.slab = make([]node, max(64, n))
	}
	out := w.slab[:n:n]
	w.slab = w.slab[n:]
	copy(out, w.stack[from:])
	w.stack = w.stack[:from]
	return out
}

// deref follows pointers; ok is false for null.
func deref(v reflect.Value) (reflect.Value, bool) {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return v, false
		}
		v = v.Elem()
	}
	return v, true
}

func (f *planField) of(v reflect.Value) (reflect.Value, bool) {
	var x reflect.Value
	if f.inline != nil {
		x = v.FieldByIndex(f.inline)
	} else {
		x = v.Field(f.index)
	}
	return x, f.omits == nil || !f.omits(x)
}

// full lists all fields below a value that is there.
func (w *walker) full(p *plan, v reflect.Value) []node {
	if p.shape == leaf {
		return nil
	}
	v, ok := deref(v)
	if !ok {
		return nil
	}
	from := len(w.stack)
	switch p.shape {
	case object:
		for i := range p.fields {
			f := &p.fields[i]
			if x, there := f.of(v); there {
				kids := w.full(f.plan, x)
				w.stack = append(w.stack, node{key: f.name, own: true, kids: kids})
			}
		}
	case dict:
		for _, k := range sortedKeys(v) {
			kids := w.full(p.elem, v.MapIndex(reflect.ValueOf(k).Convert(p.typ.Key())))
			w.stack = append(w.stack, node{key: "f:" + k, own: true, kids: kids})
		}
	case setList:
		for i := range v.Len() {
			w.stack = append(w.stack, node{key: w.valueKey(v.Index(i)), own: true})
		}
		w.sort(from)
	case keyList:
		for i := range v.Len() {
			item := v.Index(i)
			key := w.itemKey(p, item)
			kids := w.full(p.elem, item)
			w.stack = append(w.stack, node{key: key, own: true, kids: kids})
		}
		w.sort(from)
	}
	return w.take(from)
}

// sort orders what a list put on the stack.
func (w *walker) sort(from int) {
	s := w.stack[from:]
	for i := 1; i < len(s); i++ {
		c := compare(s[i-1].key, s[i].key)
		if c == 0 {
			w.odd = true
		}
		if c > 0 {
			slices.SortStableFunc(s, func(a, b node) int {
				c := compare(a.key, b.key)
				if c == 0 {
					w.odd = true
				}
				return c
			})
			return
		}
	}
}

// diff compares two values that are both there.
func (w *walker) diff(p *plan, l, r reflect.Value) delta {
	var lok, rok bool
	if p.shape == leaf {
		l, lok = deref(l)
		r, rok = deref(r)
		switch {
		case !lok && !rok:
			return delta{}
		case lok && rok && p.equal(l, r):
			return delta{}
		}
		return delta{changed: true}
	}
	l, lok = deref(l)
	r, rok = deref(r)
	if p.shape != object {
		lok, rok = lok && !l.IsNil(), rok && !r.IsNil()
		if lok && rok && l.Pointer() == r.Pointer() && l.Len() == r.Len() {
			return delta{}
		}
	}
	if !lok && !rok {
		return delta{}
	}
	var d delta
	var empty bool
	switch p.shape {
	case object:
		d, empty = w.diffObject(p, l, r, lok, rok)
	case dict:
		d = w.diffDict(p, l, r, lok, rok)
		empty = (!lok || l.Len() == 0) && (!rok || r.Len() == 0)
	default:
		d = w.diffList(p, l, r, lok, rok)
		empty = (!lok || l.Len() == 0) && (!rok || r.Len() == 0)
	}
	if empty && lok != rok {
		d.changed = true // null is not the same as empty
	}
	return d
}

func (w *walker) diffObject(p *plan, l, r reflect.Value, lok, rok bool) (d delta, empty bool) {
	empty = true
	var came, went []node // on the side: the stack serves what is below
	for i := range p.fields {
		f := &p.fields[i]
		var x, y reflect.Value
		var hasX, hasY bool
		if lok {
			x, hasX = f.of(l)
		}
		if rok {
			y, hasY = f.of(r)
		}
		switch {
		case hasX && hasY:
			empty = false
			if b := w.diff(f.plan, x, y); !b.none() {
				came, went = b.put(f.name, came, went)
			}
		case hasY:
			empty = false
			came = append(came, node{key: f.name, own: true, kids: w.full(f.plan, y)})
		case hasX:
			empty = false
			went = append(went, node{key: f.name, own: true, kids: w.full(f.plan, x)})
		}
	}
	return delta{came: came, went: went}, empty
}

// put adds the delta of a value below to those of its parent.
func (d delta) put(key string, came, went []node) (_, _ []node) {
	if d.changed || len(d.came) > 0 {
		came = append(came, node{key: key, own: d.changed, kids: d.came})
	}
	if len(d.went) > 0 {
		went = append(went, node{key: key, kids: d.went})
	}
	return came, went
}

func (w *walker) diffDict(p *plan, l, r reflect.Value, lok, rok bool) delta {
	var came, went []node
	var have, want []string
	if lok {
		have = sortedKeys(l)
	}
	if rok {
		want = sortedKeys(r)
	}
	at := func(m reflect.Value, k string) reflect.Value {
		return m.MapIndex(reflect.ValueOf(k).Convert(p.typ.Key()))
	}
	i, j := 0, 0
	for i < len(have) || j < len(want) {
		switch {
		case j == len(want) || i < len(have) && have[i] < want[j]:
			went = append(went, node{key: "f:" + have[i], own: true, kids: w.full(p.elem, at(l, have[i]))})
			i++
		case i == len(have) || want[j] < have[i]:
			came = append(came, node{key: "f:" + want[j], own: true, kids: w.full(p.elem, at(r, want[j]))})
			j++
		default:
			if d := w.diff(p.elem, at(l, have[i]), at(r, want[j])); !d.none() {
				came, went = d.put("f:"+have[i], came, went)
			}
			i, j = i+1, j+1
		}
	}
	return delta{came: came, went: went}
}

func (w *walker) diffList(p *plan, l, r reflect.Value, lok, rok bool) delta {
	n, m := 0, 0
	if lok {
		n = l.Len()
	}
	if rok {
		m = r.Len()
	}
	var came, went []node
	if n == m && w.aligned(p, l, r, n) {
		if p.shape == setList {
			return delta{}
		}
		for i := range n {
			if d := w.diff(p.elem, l.Index(i), r.Index(i)); !d.none() {
				came, went = d.put(w.itemKey(p, r.Index(i)), came, went)
			}
		}
		return delta{came: w.sorted(came), went: w.sorted(went)}
	}
	where := make(map[string]int, n)
	for i := range n {
		k := w.anyKey(p, l.Index(i))
		if _, twice := where[k]; twice {
			w.odd = true
		}
		where[k] = i
	}
	seen := make(map[string]bool, m)
	for i := range m {
		item := r.Index(i)
		k := w.anyKey(p, item)
		if seen[k] {
			w.odd = true
		}
		seen[k] = true
		at, both := where[k]
		switch {
		case !both && p.shape == setList:
			came = append(came, node{key: k, own: true})
		case !both:
			came = append(came, node{key: k, own: true, kids: w.full(p.elem, item)})
		case p.shape == keyList:
			if d := w.diff(p.elem, l.Index(at), item); !d.none() {
				came, went = d.put(k, came, went)
			}
		}
	}
	for i := range n {
		if k := w.anyKey(p, l.Index(i)); !seen[k] {
			gone := node{key: k, own: true}
			if p.shape == keyList {
				gone.kids = w.full(p.elem, l.Index(i))
			}
			went = append(went, gone)
		}
	}
	return delta{came: w.sorted(came), went: w.sorted(went)}
}

func (w *walker) sorted(s []node) []node {
	if len(s) > 1 {
		slices.SortStableFunc(s, func(a, b node) int { return compare(a.key, b.key) })
	}
	return s
}

// aligned tells whether two lists have the same items in the same places by
// their keys, each once.
func (w *walker) aligned(p *plan, l, r reflect.Value, n int) bool {
	if n > maxKeysByEye {
		return false
	}
	for i := range n {
		if !p.same(l.Index(i), r.Index(i)) || !p.plain(r.Index(i)) {
			return false
		}
		for j := range i {
			if p.same(r.Index(i), r.Index(j)) {
				w.odd = true
				return false
			}
		}
	}
	return true
}

// plain tells whether an item says all its keys.
func (p *plan) plain(item reflect.Value) bool {
	for i := range p.keys {
		if k := &p.keys[i]; k.omits != nil && k.omits(k.of(item)) {
			return false
		}
	}
	return true
}

// same tells whether two items have the same key.
func (p *plan) same(a, b reflect.Value) bool {
	if p.shape == setList {
		if a.Kind() != reflect.String {
			return a.Int() == b.Int()
		}
		return a.String() == b.String()
	}
	for i := range p.keys {
		k := &p.keys[i]
		x, y := k.of(a), k.of(b)
		if k.pointer {
			if x.IsNil() || y.IsNil() {
				if x.IsNil() != y.IsNil() {
					return false
				}
				continue
			}
			x, y = x.Elem(), y.Elem()
		}
		if k.kind == reflect.String {
			if x.String() != y.String() {
				return false
			}
		} else if x.Int() != y.Int() {
			return false
		}
	}
	return true
}

func (w *walker) anyKey(p *plan, item reflect.Value) string {
	if p.shape == setList {
		return w.valueKey(item)
	}
	return w.itemKey(p, item)
}

func (w *walker) valueKey(v reflect.Value) string {
	w.key.buf = append(w.key.buf[:0], "v:"...)
	if v.Kind() != reflect.String {
		w.key.number(v.Int())
		return string(w.key.buf)
	}
	s := v.String()
	if w.key.text(s) {
		return string(w.key.buf)
	}
	out, err := fieldpath.SerializePathElement(fieldpath.ValueElement(value.NewValueInterface(s)))
	if err != nil {
		w.odd = true
	}
	return out
}

// itemKey is the path element of a list's item.
func (w *walker) itemKey(p *plan, item reflect.Value) string {
	b := &w.key
	b.begin()
	certain := true
	for i := range p.keys {
		k := &p.keys[i]
		v := k.of(item)
		if k.omits != nil && k.omits(v) {
			if k.missing != "" {
				b.name(k.name)
				b.buf = append(b.buf, k.missing...)
			}
			continue
		}
		b.name(k.name)
		if k.pointer {
			if v.IsNil() {
				b.buf = append(b.buf, "null"...)
				continue
			}
			v = v.Elem()
		}
		if k.kind == reflect.String {
			certain = b.text(v.String()) && certain
		} else {
			b.number(v.Int())
		}
	}
	if !b.some {
		w.odd = true
		return "k:{}"
	}
	if !certain {
		return w.slowKey(p, item)
	}
	b.buf = append(b.buf, '}')
	return string(b.buf)
}

// slowKey is itemKey for values that need escapes.
func (w *walker) slowKey(p *plan, item reflect.Value) string {
	var fields []value.Field
	for i := range p.keys {
		k := &p.keys[i]
		v := k.of(item)
		var x any
		switch {
		case k.omits != nil && k.omits(v):
			if k.missing == "" {
				continue
			}
			x = strings.Trim(k.missing, `"`)
			if k.missing[0] != '"' {
				w.odd = true
			}
		case k.pointer && v.IsNil():
		case k.kind == reflect.String:
			if k.pointer {
				v = v.Elem()
			}
			x = v.String()
		default:
			if k.pointer {
				v = v.Elem()
			}
			x = v.Int()
		}
		fields = append(fields, value.Field{Name: k.name, Value: value.NewValueInterface(x)})
	}
	out, err := fieldpath.SerializePathElement(fieldpath.KeyElement(fields...))
	if err != nil {
		w.odd = true
	}
	return out
}

func sortedKeys(m reflect.Value) []string {
	n := m.Len()
	if n == 0 {
		return nil
	}
	out := make([]string, 0, n)
	if s, ok := stringMap(m); ok {
		for k := range s {
			out = append(out, k)
		}
	} else {
		for it := m.MapRange(); it.Next(); {
			out = append(out, it.Key().String())
		}
	}
	slices.Sort(out)
	return out
}

// stringMap is a plain map of strings without reflection.
func stringMap(m reflect.Value) (map[string]string, bool) {
	if m.Type() != reflect.TypeFor[map[string]string]() {
		return nil, false
	}
	return m.Interface().(map[string]string), true
}
