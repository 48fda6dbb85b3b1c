package apply

import (
	"cmp"
	"strconv"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// node is one path element of a set of fields, with what is below it.
type node struct {
	key  string // as FieldsV1 writes it: f:spec, k:{"name":"c"}, v:"x", i:0
	own  bool   // the field itself is in the set
	kids []node // in the order of path elements, without duplicates
}

// rank orders the sorts of path elements.
func rank(key string) int {
	switch key[0] {
	case 'f':
		return 0
	case 'k':
		return 1
	case 'v':
		return 2
	}
	return 3
}

// compare orders path elements as fieldpath does.
func compare(a, b string) int {
	if a == b {
		return 0
	}
	ra, rb := rank(a), rank(b)
	if ra != rb {
		return ra - rb
	}
	if ra == 0 {
		return strings.Compare(a, b)
	}
	if c, ok := compareItems(a, b); ok {
		return c
	}
	x, errA := fieldpath.DeserializePathElement(a)
	y, errB := fieldpath.DeserializePathElement(b)
	if errA != nil || errB != nil {
		return strings.Compare(a, b)
	}
	return x.Compare(y)
}

// compareItems orders two keys or values of list items where they are written
// plainly: fields in the order of their names, strings without escapes, and
// integers. ok is false where they are not.
func compareItems(a, b string) (c int, ok bool) {
	a, b = a[2:], b[2:]
	for len(a) > 0 && len(b) > 0 {
		if a[0] != b[0] && !isValue(a) && !isValue(b) {
			return 0, false
		}
		switch a[0] {
		case '{', ',', ':', '}':
			if a[0] == b[0] {
				a, b = a[1:], b[1:]
				continue
			}
			return 0, false // of different lengths
		}
		x, restA, okA := token(a)
		y, restB, okB := token(b)
		if !okA || !okB {
			return 0, false
		}
		if x != y {
			name := strings.HasPrefix(restA, ":") || strings.HasPrefix(restB, ":")
			switch textA, textB := x[0] == '"', y[0] == '"'; {
			case textA && textB:
				return strings.Compare(x[1:len(x)-1], y[1:len(y)-1]), true
			case name:
				return 0, false
			case textA:
				return 1, true
			case textB:
				return -1, true
			}
			m, errX := strconv.ParseInt(x, 10, 64)
			n, errY := strconv.ParseInt(y, 10, 64)
			return cmp.Compare(m, n), errX == nil && errY == nil
		}
		a, b = restA, restB
	}
	return 0, false
}

// isValue tells whether s begins with a string or a number.
func isValue(s string) bool { return s[0] == '"' || s[0] == '-' || s[0] >= '0' && s[0] <= '9' }

// token cuts a string or an integer off the front.
func token(s string) (word, rest string, ok bool) {
	if s[0] == '"' {
		end := strings.IndexByte(s[1:], '"')
		if end < 0 || strings.IndexByte(s[1:end+1], '\\') >= 0 {
			return "", "", false
		}
		return s[:end+2], s[end+2:], true
	}
	i := 0
	for i < len(s) && (s[i] == '-' || s[i] >= '0' && s[i] <= '9') {
		i++
	}
	if i == 0 || i > 15 || i < len(s) && s[i] != ',' && s[i] != '}' {
		return "", "", false
	}
	return s[:i], s[i:], true
}

// mayHold tells whether a written set may have fields of kids, looking for the
// names alone: what it says no to need not be read.
func mayHold(raw string, kids []node) bool {
	for i := range kids {
		n := &kids[i]
		if n.key == "f:metadata" && !n.own {
			if mayHold(raw, n.kids) {
				return true
			}
			continue
		}
		if rank(n.key) != 0 || strings.ContainsAny(n.key, "\"\\") || strings.Contains(raw, n.key) {
			return true
		}
	}
	return false
}

// subtract takes the members of del out of kids, which it does not change. The
// second result tells whether there were any.
func subtract(kids, del []node) ([]node, bool) {
	var out []node
	changed := false
	j := 0
	for i := range kids {
		n := kids[i]
		for j < len(del) && del[j].key != n.key && compare(del[j].key, n.key) < 0 {
			j++
		}
		if j < len(del) && del[j].key == n.key {
			d := del[j]
			rest, fewer := n.kids, false
			if len(n.kids) > 0 && len(d.kids) > 0 {
				rest, fewer = subtract(n.kids, d.kids)
			}
			if fewer || n.own && d.own {
				if !changed {
					changed = true
					out = append(make([]node, 0, len(kids)), kids[:i]...)
				}
				n.own, n.kids = n.own && !d.own, rest
				if !n.own && len(n.kids) == 0 {
					continue
				}
			}
		}
		if changed {
			out = append(out, n)
		}
	}
	if !changed {
		return kids, false
	}
	return out, true
}

// union is the members of both, changing neither. The second result tells
// whether b added any.
func union(a, b []node) ([]node, bool) {
	switch {
	case len(b) == 0:
		return a, false
	case len(a) == 0:
		return b, true
	}
	out := make([]node, 0, len(a)+len(b))
	grown := false
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch c := compare(a[i].key, b[j].key); {
		case c < 0:
			out = append(out, a[i])
			i++
		case c > 0:
			out = append(out, b[j])
			grown = true
			j++
		default:
			n := a[i]
			kids, more := union(n.kids, b[j].kids)
			if b[j].own && !n.own {
				n.own, more = true, true
			}
			n.kids = kids
			grown = grown || more
			out = append(out, n)
			i, j = i+1, j+1
		}
	}
	out = append(out, a[i:]...)
	if j < len(b) {
		out, grown = append(out, b[j:]...), true
	}
	return out, grown
}

// encode writes a set as FieldsV1, byte by byte as fieldpath does.
func encode(buf []byte, kids []node) []byte {
	buf = append(buf, '{')
	return appendKids(buf, kids)
}

func appendKids(buf []byte, kids []node) []byte {
	for i := range kids {
		n := &kids[i]
		if buf[len(buf)-1] != '{' {
			buf = append(buf, ',')
		}
		buf = appendQuoted(buf, n.key)
		buf = append(buf, ':', '{')
		if len(n.kids) == 0 {
			buf = append(buf, '}')
			continue
		}
		if n.own {
			buf = append(buf, `".":{}`...)
		}
		buf = appendKids(buf, n.kids)
	}
	return append(buf, '}')
}

const hexDigits = "0123456789abcdef"

// appendQuoted writes a JSON string as fieldpath's writer does: no HTML
// escapes, and bytes above ASCII as they are.
func appendQuoted(buf []byte, s string) []byte {
	buf = append(buf, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		buf = append(buf, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			buf = append(buf, '\\', c)
		case '\n':
			buf = append(buf, '\\', 'n')
		case '\r':
			buf = append(buf, '\\', 'r')
		case '\t':
			buf = append(buf, '\\', 't')
		default:
			buf = append(buf, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	buf = append(buf, s[from:]...)
	return append(buf, '"')
}

// maxDepth bounds the nesting of sets that the short road reads.
const maxDepth = 64

// parser reads FieldsV1 as encode writes it. Anything else is no error but not
// its business: ok is false.
type parser struct {
	s     string
	i     int
	stack []node
	slab  []node
}

// parse reads a set. The nodes alias s.
func parse(s string) (kids []node, ok bool) {
	// what it holds cannot be more than the colons that follow names
	p := parser{s: s, stack: make([]node, 0, 32), slab: make([]node, 0, strings.Count(s, `":{`))}
	kids, own, ok := p.object(0)
	return kids, ok && !own && p.i == len(s)
}

func (p *parser) object(depth int) (kids []node, own, ok bool) {
	if depth > maxDepth || !p.take('{') {
		return nil, false, false
	}
	if p.take('}') {
		return nil, true, true
	}
	from := len(p.stack)
	for {
		key, ok := p.quoted()
		if !ok || !p.take(':') {
			return nil, false, false
		}
		below, mine, ok := p.object(depth + 1)
		if !ok {
			return nil, false, false
		}
		if key == "." {
			if own || len(below) > 0 || len(p.stack) > from {
				return nil, false, false
			}
			own = true
		} else {
			if len(key) < 2 || key[1] != ':' || !strings.ContainsRune("fkvi", rune(key[0])) {
				return nil, false, false
			}
			if n := len(p.stack); n > from && compare(p.stack[n-1].key, key) >= 0 {
				return nil, false, false
			}
			p.stack = append(p.stack, node{key: key, own: mine, kids: below})
		}
		if p.take(',') {
			continue
		}
		if !p.take('}') || len(p.stack) == from {
			return nil, false, false
		}
		at := len(p.slab)
		p.slab = append(p.slab, p.stack[from:]...)
		kids = p.slab[at:len(p.slab):len(p.slab)]
		p.stack = p.stack[:from]
		return kids, own, true
	}
}

func (p *parser) take(c byte) bool {
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

func (p *parser) quoted() (string, bool) {
	if !p.take('"') {
		return "", false
	}
	end := strings.IndexByte(p.s[p.i:], '"')
	if end < 0 {
		return "", false
	}
	if word := p.s[p.i : p.i+end]; strings.IndexByte(word, '\\') < 0 {
		p.i += end + 1
		return word, true
	}
	out := make([]byte, 0, end+24)
	for p.i < len(p.s) {
		c := p.s[p.i]
		p.i++
		switch c {
		case '"':
			return string(out), true
		case '\\':
			if p.i == len(p.s) {
				return "", false
			}
			switch e := p.s[p.i]; e {
			case '"', '\\', '/':
				out = append(out, e)
			case 'n':
				out = append(out, '\n')
			case 'r':
				out = append(out, '\r')
			case 't':
				out = append(out, '\t')
			default:
				return "", false // what is left is rare enough for the long road
			}
			p.i++
		default:
			out = append(out, c)
		}
	}
	return "", false
}

// keyWriter builds the path elements of list items.
type keyWriter struct {
	buf  []byte
	some bool
}

func (w *keyWriter) begin() {
	w.buf, w.some = append(w.buf[:0], `k:{`...), false
}

func (w *keyWriter) name(s string) {
	if w.some {
		w.buf = append(w.buf, ',')
	}
	w.some = true
	w.buf = append(append(append(w.buf, '"'), s...), `":`...)
}

// text writes a value, and tells whether its encoding is certain.
func (w *keyWriter) text(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c >= 0x7f, c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	w.buf = append(append(append(w.buf, '"'), s...), '"')
	return true
}

func (w *keyWriter) number(n int64) { w.buf = strconv.AppendInt(w.buf, n, 10) }
