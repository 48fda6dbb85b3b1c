package oracle

import (
	"reflect"
	"slices"
)

const maxShrink = 1500 // checks spent on making one case small

// Shrink makes a case small that shows the difference with this signature.
func (j *Judge) Shrink(c Case, signature string) Case {
	budget := maxShrink
	wasValid := false
	if c.Old != nil {
		_, wasValid = j.Check(Case{New: c.Old})
	}
	shows := func(c Case) bool {
		budget--
		if wasValid {
			if _, valid := j.Check(Case{New: c.Old}); !valid {
				return false
			}
		}
		found, _ := j.Check(c)
		return slices.ContainsFunc(found, func(d Difference) bool { return d.Signature() == signature })
	}
	for changed := true; changed && budget > 0; {
		changed = false
		for _, path := range paths(c.New, nil) {
			if budget <= 0 {
				break
			}
			for _, both := range []bool{true, false} {
				if both && c.Old == nil {
					continue
				}
				next := Case{without(c.New, path), c.Old, c.Version}
				if both {
					next.Old = without(c.Old, path)
				}
				if !reflect.DeepEqual(next, c) && shows(next) {
					c, changed = next, true
					break
				}
			}
		}
		if c.Old == nil {
			continue
		}
		for _, path := range paths(c.Old, nil) {
			next := Case{c.New, without(c.Old, path), c.Version}
			if budget > 0 && !reflect.DeepEqual(next, c) && shows(next) {
				c, changed = next, true
			}
		}
	}
	return c
}

// paths lists the places in a document, the outer ones first.
func paths(v any, at []any) (out [][]any) {
	add := func(k, x any) {
		p := append(slices.Clone(at), k)
		out = append(out, p)
		out = append(out, paths(x, p)...)
	}
	switch v := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			if len(at) > 0 || (k != "kind" && k != "apiVersion") {
				add(k, v[k])
			}
		}
	case []any:
		for i := len(v) - 1; i >= 0; i-- {
			add(i, v[i])
		}
	}
	return out
}

// without copies a document, leaving out one place.
func without(v any, path []any) any {
	v = clone(v)
	if len(path) == 0 {
		return v
	}
	switch k := path[0].(type) {
	case string:
		m, ok := v.(map[string]any)
		if !ok {
			return v
		}
		if _, ok := m[k]; !ok {
			return v
		}
		if len(path) == 1 {
			delete(m, k)
		} else {
			m[k] = without(m[k], path[1:])
		}
	case int:
		l, ok := v.([]any)
		if !ok || k >= len(l) {
			return v
		}
		if len(path) == 1 {
			return append(l[:k:k], l[k+1:]...)
		}
		l[k] = without(l[k], path[1:])
	}
	return v
}
