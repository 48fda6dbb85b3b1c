package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Bounds on quantities: to read one such as 1e-99999999 takes minutes, to write
// another one more.
const (
	maxExponentDigits = 3
	maxQuantityBytes  = 1000
	// maxQuantityDepth is where JSON is refused for its depth.
	maxQuantityDepth = 10000
)

// CheckQuantities refuses JSON, to be read into into, in which a quantity has an
// exponent or a length that no resource has.
func CheckQuantities(data []byte, into any) error {
	if !mayBeImmense(data) {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return (&quantityCheck{d: d, fields: map[reflect.Type]map[string]reflect.Type{}}).value(reflect.TypeOf(into), "", 0)
}

// mayBeImmense tells cheaply of nearly every document that there is none: no
// number in it is very long, or has an exponent of many digits.
func mayBeImmense(data []byte) bool {
	run, exponent := 0, -1 // bytes of what looks like a number; digits of its exponent
	for i, c := range data {
		switch {
		case c == '\\' && escapesNumeral(data[i+1:]):
			return true
		case c >= '0' && c <= '9':
			run++
			if exponent >= 0 {
				exponent++
			}
		case (c == 'e' || c == 'E') && run > 0:
			run, exponent = run+1, 0
		case (c == '+' || c == '-' || c == '.') && (run > 0 || exponent == 0):
			run++
		default:
			run, exponent = 0, -1
		}
		if exponent > maxExponentDigits || run > maxQuantityBytes {
			return true
		}
	}
	return false
}

// escapesNumeral tells whether an escape, after its backslash, is of a byte that
// numbers are made of.
func escapesNumeral(b []byte) bool {
	if len(b) < 5 || string(b[:3]) != "u00" {
		return false
	}
	n, err := strconv.ParseUint(string(b[3:5]), 16, 8)
	return err == nil && strings.IndexByte("0123456789eE+-.", byte(n)) >= 0
}

// quantityCheck reads JSON token by token: of a key that is there twice, both
// values would be read.
type quantityCheck struct {
	d      *json.Decoder
	fields map[reflect.Type]map[string]reflect.Type
}

// value reads one value, which is to become one of type t; nil where that is
// not known. What is wrong with the JSON is for its reader to say.
func (c *quantityCheck) value(t reflect.Type, at string, depth int) error {
	if depth > maxQuantityDepth {
		return nil
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	token, err := c.d.Token()
	if err != nil {
		return nil
	}
	switch v := token.(type) {
	case json.Delim:
		for c.d.More() {
			elem, name := reflect.Type(nil), "[]"
			if v == '{' {
				key, err := c.d.Token()
				if err != nil {
					return nil
				}
				name, _ = key.(string)
				elem = c.below(t, name)
				name = "." + name
			} else if t != nil && t.Kind() == reflect.Slice {
				elem = t.Elem()
			}
			if elem != nil {
				name = at + name // else nobody asks where it is
			}
			if err := c.value(elem, name, depth+1); err != nil {
				return err
			}
		}
		_, _ = c.d.Token()
	case string:
		return immense(t, at, v)
	case json.Number:
		return immense(t, at, v.String())
	}
	return nil
}

// below is the type of a field.
func (c *quantityCheck) below(t reflect.Type, name string) reflect.Type {
	switch {
	case t == nil:
		return nil
	case t.Kind() == reflect.Map:
		return t.Elem()
	case t.Kind() != reflect.Struct:
		return nil
	}
	if c.fields[t] == nil {
		c.fields[t] = jsonFields(t)
	}
	return c.fields[t][name]
}

func jsonFields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" && f.Anonymous && f.Type.Kind() == reflect.Struct {
			for n, in := range jsonFields(f.Type) {
				out[n] = in
			}
		} else if name != "" && name != "-" {
			out[name] = f.Type
		}
	}
	return out
}

func immense(t reflect.Type, at, v string) error {
	if t != reflect.TypeFor[resource.Quantity]() {
		return nil
	}
	if len(v) > maxQuantityBytes {
		return fmt.Errorf("%s: a quantity of %d bytes: %w", strings.TrimPrefix(at, "."), len(v), resource.ErrNumeric)
	}
	i := strings.LastIndexAny(v, "eE")
	if i < 0 {
		return nil
	}
	digits := strings.TrimLeft(strings.TrimLeft(v[i+1:], "+-"), "0")
	if len(digits) <= maxExponentDigits || strings.Trim(digits, "0123456789") != "" {
		return nil
	}
	return fmt.Errorf("%s: the exponent of the quantity is out of range: %w", strings.TrimPrefix(at, "."), resource.ErrNumeric)
}
