package criconfig

import "strings"

// Expand replaces $(NAME) by the value of a variable; $$ stands for one $, and a
// reference nobody knows stays as it is.
func Expand(s string, values map[string]string) string {
	if !strings.Contains(s, "$") {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			out.WriteByte(s[i])
			continue
		}
		switch s[i+1] {
		case '$':
			out.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(s[i+2:], ')')
			if end < 0 {
				out.WriteString("$(")
				i++
				continue
			}
			name := s[i+2 : i+2+end]
			if v, ok := values[name]; ok {
				out.WriteString(v)
			} else {
				out.WriteString("$(" + name + ")")
			}
			i += 2 + end
		default:
			out.WriteByte('$')
			out.WriteByte(s[i+1])
			i++
		}
	}
	return out.String()
}

// ExpandAll expands each of a list.
func ExpandAll(list []string, values map[string]string) []string {
	var out []string
	for _, s := range list {
		out = append(out, Expand(s, values))
	}
	return out
}
