package hint

import (
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"
)

const (
	// maxDepth bounds the search for the place of a field.
	maxDepth = 8
	// maxTypes bounds the types it looks at.
	maxTypes = 2000
	// nearBy is how many steps below its parent a field is rather looked for
	// than anywhere else.
	nearBy = 3
	// maxWord bounds the words that are compared letter by letter, in bytes.
	maxWord = 100
)

// Unknown guesses what was meant by the field at path, which a document of type
// t does not have. The path is as strict decoding names it, such as
// "spec.ports[0].nodeport". It returns "" where no guess is good.
func Unknown(t reflect.Type, path string) string {
	steps := split(path)
	if len(steps) == 0 {
		return ""
	}
	parent, at, ok := descend(t, steps[:len(steps)-1])
	if !ok {
		return ""
	}
	name := steps[len(steps)-1]
	if near := Nearest(name, fieldNames(parent)); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	below, anywhere := find(parent, at, name), find(t, "", name)
	if below == "" || len(split(below)) > len(steps)-1+nearBy && anywhere != "" {
		below = anywhere
	}
	if below == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", below)
}

// split takes "spec.ports[0].nodeport" apart; indices become "[]".
func split(path string) []string {
	var out []string
	for part := range strings.SplitSeq(path, ".") {
		name, index, _ := strings.Cut(part, "[")
		if name != "" {
			out = append(out, name)
		}
		for range strings.Count(index, "]") {
			out = append(out, "[]")
		}
	}
	return out
}

// descend follows steps from a type; at is the way in a form for people.
func descend(t reflect.Type, steps []string) (end reflect.Type, at string, ok bool) {
	for _, s := range steps {
		t = indirect(t)
		switch {
		case s == "[]" && t.Kind() == reflect.Slice:
			t, at = t.Elem(), at+"[]"
		case t.Kind() == reflect.Map:
			t, at = t.Elem(), join(at, s)
		case t.Kind() == reflect.Struct:
			f, found := fields(t)[s]
			if !found {
				return nil, "", false
			}
			t, at = f, join(at, s)
		default:
			return nil, "", false
		}
	}
	t = indirect(t)
	return t, at, t.Kind() == reflect.Struct
}

func indirect(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

// fields are the JSON fields of a struct, those of inlined ones included.
func fields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name == "" && (f.Anonymous || strings.Contains(opts, "inline")):
			if in := indirect(f.Type); in.Kind() == reflect.Struct {
				for n, ft := range fields(in) {
					out[n] = ft
				}
			}
		case name != "":
			out[name] = f.Type
		default:
			out[f.Name] = f.Type
		}
	}
	return out
}

func fieldNames(t reflect.Type) []string {
	var out []string
	for n := range fields(t) {
		out = append(out, n)
	}
	return out
}

// Nearest is the one name that word is a misspelling of, or "".
func Nearest(word string, names []string) string {
	best, bestAt, tied := "", allowed(word)+1, false
	if len(word) > maxWord {
		return ""
	}
	for _, n := range names {
		d := 0
		if !strings.EqualFold(n, word) {
			d = 1 + distance(strings.ToLower(word), strings.ToLower(n))
			if d-1 > allowed(word) {
				continue
			}
		}
		switch {
		case d < bestAt || best == "":
			best, bestAt, tied = n, d, false
		case d == bestAt:
			tied = true
		}
	}
	if tied {
		return ""
	}
	return best
}

// allowed is how many letters of a word may be wrong.
func allowed(word string) int {
	switch n := utf8.RuneCountInString(word); {
	case n <= 3:
		return 0
	case n <= 5:
		return 1
	case n <= 9:
		return 2
	default:
		return 3
	}
}

// distance counts the letters to insert, drop, change or swap between two words.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range y {
		rows[0][j+1] = j + 1
	}
	for i := range x {
		for j := range y {
			cost := 1
			if x[i] == y[j] {
				cost = 0
			}
			d := min(rows[i][j+1]+1, rows[i+1][j]+1, rows[i][j]+cost)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				d = min(d, rows[i-1][j-1]+1)
			}
			rows[i+1][j+1] = d
		}
	}
	return rows[len(x)][len(y)]
}

// find looks for a field of that name below a type, the shallowest first; "" if
// there is none, or several as shallow.
func find(t reflect.Type, at, name string) string {
	type place struct {
		t    reflect.Type
		path string
	}
	level, seen := []place{{t, at}}, map[reflect.Type]bool{}
	for depth := 0; depth < maxDepth && len(level) > 0 && len(seen) < maxTypes; depth++ {
		var next []place
		found := ""
		for _, p := range level {
			in := indirect(p.t)
			for in.Kind() == reflect.Slice {
				in, p.path = indirect(in.Elem()), p.path+"[]"
			}
			if in.Kind() != reflect.Struct || seen[in] {
				continue
			}
			seen[in] = true
			for n, ft := range fields(in) {
				path := join(p.path, n)
				if n == "status" {
					continue // no manifest's
				}
				if strings.EqualFold(n, name) {
					if found != "" {
						return ""
					}
					found = path
				}
				if n != "managedFields" {
					next = append(next, place{ft, path})
				}
			}
		}
		if found != "" {
			return found
		}
		level = next
	}
	return ""
}
