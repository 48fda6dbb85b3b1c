package kubectl

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"github.com/monohull/monohull/internal/schema/hint"
)

// Bounds on what is read to find the lines of an error's fields.
const (
	maxLocatedFiles  = 100
	maxLocatedBytes  = 4 << 20
	maxLocatedFields = 20
)

// complaint is a field of a manifest that the server did not like.
type complaint struct {
	kind, name string // of the object; "" where the message does not say
	path       string
}

var (
	handledAs    = regexp.MustCompile(`cannot be handled as an? (\w+): `)
	invalid      = regexp.MustCompile(`(?:The|the) (\w+) "([^"]*)" is invalid: `)
	unknownField = regexp.MustCompile(`unknown field "([^"]+)"`)
	wrongValue   = regexp.MustCompile(`; ([^\s;:]+): expected `)
	invalidField = regexp.MustCompile(`(?:^|[\s*] ?)([a-z]\w*(?:[.\[][^\s:]*)?): (?:Invalid value|Required value|Unsupported value|Forbidden|Duplicate value|Not found|Too long|Too many|Internal error)`)
)

// complaints reads what kubectl is about to say.
func complaints(message string) []complaint {
	var out []complaint
	var of complaint
	for line := range strings.SplitSeq(message, "\n") {
		if m := handledAs.FindStringSubmatch(line); m != nil {
			of = complaint{kind: m[1]}
		}
		if m := invalid.FindStringSubmatch(line); m != nil {
			of = complaint{kind: m[1], name: m[2]}
		}
		for _, re := range []*regexp.Regexp{unknownField, wrongValue, invalidField} {
			for _, m := range re.FindAllStringSubmatch(line, maxLocatedFields) {
				c := of
				c.path = m[1]
				if !slices.Contains(out, c) && len(out) < maxLocatedFields {
					out = append(out, c)
				}
			}
		}
	}
	return out
}

// locate finds the lines of what a message complains about in the manifests
// that the arguments name: "web.yaml:14: spec.ports[0].nodeport".
func locate(message string, args []string) []string {
	list := complaints(message)
	if len(list) == 0 {
		return nil
	}
	var out []string
	for _, file := range manifests(args) {
		docs := documents(file)
		for _, c := range list {
			for _, doc := range docs {
				if line, ok := c.in(doc); ok {
					out = append(out, fmt.Sprintf("%s:%d: %s", file, line, c.path))
				}
			}
		}
	}
	return out
}

// manifests are the files that -f and --filename name.
func manifests(args []string) []string {
	var named []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			i = len(args)
		case (a == "-f" || a == "--filename") && i+1 < len(args):
			i++
			named = append(named, args[i])
		case strings.HasPrefix(a, "--filename="):
			named = append(named, a[len("--filename="):])
		case strings.HasPrefix(a, "-f") && len(a) > 2:
			named = append(named, strings.TrimPrefix(a[2:], "="))
		}
	}
	var out []string
	for _, n := range named {
		for _, f := range strings.Split(n, ",") {
			st, err := os.Stat(f)
			switch {
			case err != nil: // "-", an address
			case st.IsDir():
				for _, ext := range []string{"*.yaml", "*.yml", "*.json"} {
					found, _ := filepath.Glob(filepath.Join(f, ext))
					out = append(out, found...)
				}
			default:
				out = append(out, f)
			}
		}
	}
	return out[:min(len(out), maxLocatedFiles)]
}

// documents parses the documents of a file, those in lists included; what
// cannot be parsed is left out.
func documents(file string) []*yaml.Node {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, maxLocatedBytes))
	if err != nil {
		return nil
	}
	d := yaml.NewDecoder(bytes.NewReader(body))
	var out []*yaml.Node
	for {
		var n yaml.Node
		if d.Decode(&n) != nil { // the end, or what nobody can read
			return out
		}
		if len(n.Content) == 0 {
			continue
		}
		doc := n.Content[0]
		if items, _ := field(doc, "items"); items != nil && strings.HasSuffix(text(doc, "kind"), "List") {
			out = append(out, items.Content...)
			continue
		}
		out = append(out, doc)
	}
}

// in finds the line of the complaint's field in a document; where the field is
// missing, that of what it is missing from.
func (c complaint) in(doc *yaml.Node) (line int, ok bool) {
	if c.kind != "" && text(doc, "kind") != c.kind {
		return 0, false
	}
	meta, _ := field(doc, "metadata")
	if c.name != "" && (meta == nil || text(meta, "name") != c.name) {
		return 0, false
	}
	at, line, found := doc, 0, false
	for _, step := range steps(c.path) {
		var key *yaml.Node
		if i, err := strconv.Atoi(step); err == nil && at.Kind == yaml.SequenceNode {
			if i < 0 || i >= len(at.Content) {
				break
			}
			at = at.Content[i]
			key = at
		} else {
			var value *yaml.Node
			if value, key = field(at, step); value == nil {
				break
			}
			at = value
		}
		line, found = key.Line, true
	}
	return line, found
}

// steps takes a field path apart: "spec.ports[0].nodePort", "data[a.b]".
func steps(path string) []string {
	var out []string
	for path != "" {
		if path[0] == '[' {
			end := strings.IndexByte(path, ']')
			if end < 0 {
				return out
			}
			out, path = append(out, path[1:end]), strings.TrimPrefix(path[end+1:], ".")
			continue
		}
		end := strings.IndexAny(path, ".[")
		if end < 0 {
			return append(out, path)
		}
		out = append(out, path[:end])
		path = strings.TrimPrefix(path[end:], ".")
	}
	return out
}

// field finds an entry of a mapping.
func field(n *yaml.Node, name string) (value, key *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1], n.Content[i]
		}
	}
	return nil, nil
}

func text(n *yaml.Node, name string) string {
	if v, _ := field(n, name); v != nil {
		return v.Value
	}
	return ""
}

var noMatch = regexp.MustCompile(`no matches for kind "(\w+)" in version "([^"]+)"`)

// meantKinds guesses the kinds that a message says there are not.
func meantKinds(message string, known map[schema.GroupVersionKind]reflect.Type) []string {
	var out []string
	for _, m := range noMatch.FindAllStringSubmatch(message, maxLocatedFields) {
		versions := map[string][]schema.GroupVersion{} // by kind
		for gvk := range known {
			if gvk.Version != runtime.APIVersionInternal {
				versions[gvk.Kind] = append(versions[gvk.Kind], gvk.GroupVersion())
			}
		}
		kind := m[1]
		if versions[kind] == nil {
			kind = hint.Nearest(kind, slices.Sorted(maps.Keys(versions)))
		}
		if kind == "" {
			continue
		}
		list := versions[kind]
		slices.SortFunc(list, func(a, b schema.GroupVersion) int {
			return cmp.Or(version.CompareKubeAwareVersionStrings(b.Version, a.Version), strings.Compare(a.Group, b.Group))
		})
		if guess := fmt.Sprintf("did you mean kind %q in version %q?", kind, list[0]); !slices.Contains(out, guess) {
			out = append(out, guess)
		}
	}
	return out
}
