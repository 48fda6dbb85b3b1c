package hint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Bounds on how much of a wrong value and of its place is shown, in bytes.
const (
	maxShown = 40
	maxPlace = 1000
)

// Bounds on the quantities that are read, in bytes: whole, and from the exponent
// on.
const (
	maxQuantity = 100
	maxExponent = 6
)

// Misfit finds the first value of a JSON document that does not fit type t, and
// says where it is, what was expected and what was found; "" where all fits.
func Misfit(t reflect.Type, doc []byte) string {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return ""
	}
	return misfit(t, "", v, 0)
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

func misfit(t reflect.Type, at string, v any, depth int) string {
	if v == nil || depth > 64 {
		return ""
	}
	t = indirect(t)
	if reflect.PointerTo(t).Implements(unmarshaler) {
		return special(t, at, v)
	}
	switch t.Kind() {
	case reflect.Struct:
		m, ok := v.(map[string]any)
		if !ok {
			return wrong(at, "an object", v)
		}
		known := fields(t)
		for _, name := range sortedKeys(m) {
			if f, ok := known[name]; ok {
				if s := misfit(f, join(at, name), m[name], depth+1); s != "" {
					return s
				}
			}
		}
	case reflect.Map:
		m, ok := v.(map[string]any)
		if !ok {
			return wrong(at, "an object", v)
		}
		for _, name := range sortedKeys(m) {
			if s := misfit(t.Elem(), join(at, name), m[name], depth+1); s != "" {
				return s
			}
		}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			if _, ok := v.(string); !ok {
				return wrong(at, "a base64 string", v)
			}
			return ""
		}
		list, ok := v.([]any)
		if !ok {
			return wrong(at, "a list", v)
		}
		for i, e := range list {
			if s := misfit(t.Elem(), at+"["+strconv.Itoa(i)+"]", e, depth+1); s != "" {
				return s
			}
		}
	case reflect.String:
		if _, ok := v.(string); !ok {
			return wrong(at, "a string", v)
		}
	case reflect.Bool:
		if _, ok := v.(bool); !ok {
			return wrong(at, "true or false", v)
		}
	case reflect.Int32, reflect.Int64, reflect.Int:
		return integer(t, at, v)
	case reflect.Float32, reflect.Float64:
		if _, ok := v.(json.Number); !ok {
			return wrong(at, "a number", v)
		}
	}
	return ""
}

func integer(t reflect.Type, at string, v any) string {
	n, ok := v.(json.Number)
	if !ok {
		return wrong(at, "an integer", v)
	}
	_, err := strconv.ParseInt(n.String(), 10, t.Bits())
	switch {
	case err == nil:
		return ""
	case errors.Is(err, strconv.ErrRange):
		return wrong(at, fmt.Sprintf("an integer of %d bits", t.Bits()), v)
	}
	return wrong(at, "an integer", v)
}

// special judges the types that read JSON by themselves.
func special(t reflect.Type, at string, v any) string {
	raw, err := json.Marshal(v)
	if err != nil || !immense(t, raw) && json.Unmarshal(raw, reflect.New(t).Interface()) == nil {
		return ""
	}
	what := ""
	switch t {
	case reflect.TypeFor[resource.Quantity]():
		what = "a quantity such as 500m or 1Gi"
	case reflect.TypeFor[intstr.IntOrString]():
		what = "an integer or a string"
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime]():
		what = "a time such as " + time.Date(2006, 1, 2, 15, 4, 5, 0, time.UTC).Format(time.RFC3339)
	case reflect.TypeFor[metav1.Duration]():
		what = "a duration such as 1m30s"
	default:
		return ""
	}
	return wrong(at, what, v)
}

// immense tells of a quantity that takes minutes to read: it does not fit.
func immense(t reflect.Type, raw []byte) bool {
	if t != reflect.TypeFor[resource.Quantity]() {
		return false
	}
	exponent := bytes.LastIndexAny(raw, "eE")
	return len(raw) > maxQuantity || exponent >= 0 && len(raw)-exponent > maxExponent
}

func wrong(at, want string, v any) string {
	switch {
	case at == "":
		at = "the document"
	case len(at) > maxPlace:
		return "" // longer than anyone reads
	}
	return fmt.Sprintf("%s: expected %s, found %s", at, want, found(v))
}

func found(v any) string {
	switch x := v.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case bool:
		return strconv.FormatBool(x)
	case json.Number:
		return "the number " + cut(x.String())
	case string:
		return "the string " + strconv.Quote(cut(x))
	}
	return fmt.Sprint(v)
}

func cut(s string) string {
	if len(s) <= maxShown {
		return s
	}
	end := maxShown
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

func sortedKeys(m map[string]any) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
