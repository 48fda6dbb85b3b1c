package kubectl

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/kubernetes/scheme"
)

// FuzzLocate wants of any message and manifest no more than lines that the
// manifest has.
func FuzzLocate(f *testing.F) {
	for _, message := range []string{
		`Service in version "v1" cannot be handled as a Service: strict decoding error: unknown field "spec.ports[1].nodeport"`,
		`The Service "web" is invalid: spec.ports[-1].port: Invalid value: 80: no`,
		"The Service \"web\" is invalid: \n* spec.ports[99999999999999999999].port: Required value\n* spec[].x[: Forbidden: no\n* spec..ports: Too long: no",
		`; spec.clusterip: expected an object, found "x"`, `no matches for kind "Deploymnet" in version "apps/v1"`, `unknown field "]["`, `unknown field "[a.b"`,
	} {
		f.Add(message, []byte(manifest))
	}
	for _, m := range []string{
		"a: &a [1]\nspec: *a\n", "items: [1, [2], {a: b}]\nkind: List\n", "kind: List\nitems: {a: b}\n", "- 1\n- 2\n", "spec: !!binary x\n---\n...\n---\n&x y: *x\n", "\x00", "? [a]\n: b\n",
	} {
		f.Add(`unknown field "spec.ports[-1].a", unknown field "items[0]", unknown field "0"`, []byte(m))
	}
	known := scheme.Scheme.AllKnownTypes()
	f.Fuzz(func(t *testing.T, message string, doc []byte) {
		file := filepath.Join(t.TempDir(), "m.yaml")
		if err := os.WriteFile(file, doc, 0o600); err != nil {
			t.Fatal(err)
		}
		list := complaints(message)
		if len(list) > maxLocatedFields {
			t.Errorf("%d complaints", len(list))
		}
		lines := 1
		for _, b := range doc {
			if b == '\n' || b == '\r' {
				lines++
			}
		}
		for _, d := range documents(file) {
			for _, c := range list {
				if line, ok := c.in(d); ok && (line < 1 || line > lines) {
					t.Errorf("%s is at line %d of %d", c.path, line, lines)
				}
			}
		}
		meantKinds(message, known)
	})
}
