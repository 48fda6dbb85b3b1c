package oracle

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/monohull/monohull/internal/api"
)

// Pool is what values are drawn from: those the seeds have, by type and by the
// name of the field, and the constants of the API's packages.
type Pool struct {
	values  map[reflect.Type][]any // structs, lists and maps
	named   map[string][]any       // leaves, by field
	enums   map[reflect.Type][]string
	keys    []string // label and annotation keys
	strings []string
}

// readSeeds reads the documents of testdata, by kind as the tests name it.
func readSeeds(dir string) (map[string][]any, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	out := map[string][]any{}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		for i, text := range strings.Split(string(raw), "\n---\n") {
			var doc map[string]any
			if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
				return nil, fmt.Errorf("%s, document %d: %w", f, i, err)
			}
			if len(doc) == 0 {
				continue
			}
			group, _, ok := strings.Cut(fmt.Sprint(doc["apiVersion"]), "/")
			if !ok {
				group = ""
			}
			name := nameOf(group, fmt.Sprint(doc["kind"]))
			out[name] = append(out[name], any(doc))
		}
	}
	return out, nil
}

func nameOf(group, kind string) string {
	if group == "" {
		return kind
	}
	return strings.TrimSuffix(group, ".k8s.io") + "." + kind
}

// newPool harvests seeds and constants.
func newPool(table *api.Table, seeds map[string][]any) (*Pool, error) {
	p := &Pool{values: map[reflect.Type][]any{}, named: map[string][]any{}, strings: oddStrings}
	var err error
	if p.enums, p.keys, err = constants(); err != nil {
		return nil, err
	}
	for _, k := range table.Kinds() {
		for _, doc := range seeds[nameOf(k.GVK.Group, k.GVK.Kind)] {
			p.harvest(doc, k.GoType, "")
		}
	}
	return p, nil
}

const maxHarvest = 40 // values kept of one type or field

func (p *Pool) harvest(v any, t reflect.Type, name string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if isLeaf(t) {
		if l := p.named[name]; len(l) < maxHarvest && !slices.ContainsFunc(l, func(o any) bool { return reflect.DeepEqual(o, v) }) {
			p.named[name] = append(l, v)
		}
		return
	}
	if name != "" && name != "metadata" && len(p.values[t]) < maxHarvest {
		p.values[t] = append(p.values[t], clone(v))
	}
	switch v := v.(type) {
	case map[string]any:
		if t.Kind() == reflect.Map {
			for k, x := range v {
				p.named["key "+name] = append(p.named["key "+name], k)
				p.harvest(x, t.Elem(), name)
			}
			return
		}
		if t.Kind() != reflect.Struct {
			return
		}
		for _, f := range fieldsOf(t) {
			if x, ok := v[f.name]; ok {
				p.harvest(x, f.typ, f.name)
			}
		}
	case []any:
		if t.Kind() == reflect.Slice {
			for _, x := range v {
				p.harvest(x, t.Elem(), name)
			}
		}
	}
}

// key makes a key for a map field.
func (m *Mutator) key(name string) string {
	if l := m.pool.named["key "+name]; len(l) > 0 && m.r.IntN(2) == 0 {
		return l[m.r.IntN(len(l))].(string)
	}
	switch m.r.IntN(4) {
	case 0:
		return m.pool.strings[m.r.IntN(len(m.pool.strings))]
	case 1:
		return pick(m.r, "cpu", "memory", "a", "example.com/x", "hugepages-2Mi", "storage", "ephemeral-storage", "requests.cpu", "pods", "requests.example.com/x", "limits.memory")
	}
	return m.pool.keys[m.r.IntN(len(m.pool.keys))]
}

// leaf makes a value of a leaf type; was is the one it replaces.
func (m *Mutator) leaf(t reflect.Type, name string, was any) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if l := m.pool.named[name]; len(l) > 0 && m.r.IntN(5) < 2 {
		return clone(l[m.r.IntN(len(l))])
	}
	r := m.r
	switch t.Name() {
	case "Quantity":
		return pick(r, "0", "1", "-1", "100m", "1Gi", "1.5", "0.5m", "1n", "3e10", "9223372036854775807", "1Ei", "999999999999999999999", "5", "2Mi", "10", "500m")
	case "IntOrString":
		return pickAny(r, 0, 1, -1, 80, 70000, "10%", "0%", "100%", "101%", "-5%", "http", "", "x y", "50", "%", 2147483647)
	case "Time":
		return pickAny(r, nil, "2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "2020-06-01T10:00:00+02:00", "2021-01-01T00:00:00Z")
	case "MicroTime":
		return pickAny(r, nil, "2020-01-01T00:00:00.000001Z", "2030-01-01T00:00:00.000000Z", "2020-01-01T00:00:00.000000Z")
	case "Duration":
		return pick(r, "0s", "5s", "-1s", "1h", "100ms", "30s", "876000h")
	case "RawExtension", "JSON":
		return pickAny(r, map[string]any{}, map[string]any{"a": "b"}, map[string]any{"kind": "X", "apiVersion": "v1"}, map[string]any{"a": nil}, "x", 1)
	case "FieldsV1":
		return map[string]any{}
	}
	switch t.Kind() {
	case reflect.Bool:
		return r.IntN(2) == 0
	case reflect.Int32, reflect.Int64, reflect.Int, reflect.Uint32, reflect.Uint8, reflect.Uint64, reflect.Int16, reflect.Int8:
		return pickAny(r, 0, 1, -1, 2, 5, 10, 100, 80, 443, 70000, 65535, 255, 256, 420, 511, 512, 2147483647, -2147483648, 600, 86400, 30000, 1000, 1001, 10000000, 3)
	case reflect.Float64, reflect.Float32:
		return pickAny(r, 0, 1.5, -1)
	case reflect.Slice: // bytes
		return pick(r, "", base64.StdEncoding.EncodeToString([]byte("hi")), base64.StdEncoding.EncodeToString([]byte("{}")), base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 100))))
	case reflect.String:
		return m.text(t, name, was)
	}
	return nil
}

func (m *Mutator) text(t reflect.Type, name string, was any) any {
	if e := m.pool.enums[t]; len(e) > 0 && m.r.IntN(4) > 0 {
		return e[m.r.IntN(len(e))]
	}
	if s, ok := was.(string); ok && s != "" {
		switch m.r.IntN(12) {
		case 0:
			return strings.ToUpper(s)
		case 1:
			return s + "/"
		case 2:
			return s[:len(s)-1]
		case 3:
			return s + s
		case 4:
			return "-" + s
		case 5:
			return s + strings.Repeat("a", 254)
		case 6:
			return s + strings.Repeat("a", 58)
		}
	}
	if m.r.IntN(6) == 0 {
		return m.pool.keys[m.r.IntN(len(m.pool.keys))]
	}
	return m.pool.strings[m.r.IntN(len(m.pool.strings))]
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }
func pickAny(r *rand.Rand, of ...any) any { return of[r.IntN(len(of))] }

// oddStrings are good and bad values of every format the API has.
var oddStrings = []string{
	"", "a", "b", "abc", "x.y", "Bad_Name!", "a/b", "a.b/c", "../x", "/abs", "/abs/../x", "x y", " ", "1", "0", "-1", "70000", "127.0.0.1", "10.0.0.1", "010.0.0.1", "::1",
	"fe80::1", "fd00::1", "0.0.0.0", "::ffff:1.2.3.4", "10.0.0.0/8", "10.0.0.1/8", "fd00::/64", "1.2.3.4/33", "224.0.0.1", "169.254.1.1", "example.com", "*.example.com", "a.*.b", "EXAMPLE.com", "a.example.com.",
	"http", "https", "TCP", "UDP", "SCTP", "Always", "Never", "None", "OnFailure", "All", "*", "**", ".", "..", "a:b", "a=b", "a,b", "a b", "$(A)", "é", "\x00", "a\nb", "True", "Unknown", "kubernetes.io/x", "k8s.io/x",
	"1.5", "100m", "1Gi", "10%", "v1", "v1beta1", "apps/v1", "pods", "Pod", "Service", "nodes/status", "default", "kube-system", "system:masters", "system:x", "latest", "* * * * *", "@every 1h", "TZ=UTC * * * * *", "*/5 * * *",
	"Europe/Berlin", "Local", "UTC", "Mars/Phobos", "object.x", "object.spec.replicas <= 5", "true", "'a' + ", "self == oldSelf", "https://example.com/x", "http://user@example.com", "example.com?a=b#c", "sha256:abc",
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", strings.Repeat("a", 253), strings.Repeat("a", 254), strings.Repeat("a.", 130), strings.Repeat("x", 1100),
	"metadata.name", "spec.nodeName", "status.podIP", "metadata.labels", "metadata.annotations['a']", "limits.cpu", "requests.memory",
}
