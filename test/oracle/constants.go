package oracle

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/monohull/monohull/internal/api/all"
)

// constants reads the values of the API's string types, and the keys of its
// labels and annotations, out of the source of k8s.io/api: a Go type does not
// know its constants.
func constants() (map[reflect.Type][]string, []string, error) {
	byName := map[string][]string{}
	var keys []string
	for _, module := range []string{"k8s.io/api", "k8s.io/apiextensions-apiserver"} {
		dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil {
			return nil, nil, fmt.Errorf("finding the source of %s: %w", module, err)
		}
		root := strings.TrimSpace(string(dir))
		var files []string
		for _, depth := range []string{"*/*/*.go", "pkg/apis/*/*/*.go"} {
			found, err := filepath.Glob(filepath.Join(root, depth))
			if err != nil {
				return nil, nil, err
			}
			files = append(files, found...)
		}
		for _, f := range files {
			base := filepath.Base(f)
			if strings.HasSuffix(base, "_test.go") || strings.HasPrefix(base, "generated") || strings.HasPrefix(base, "zz_") || base == "types_swagger_doc_generated.go" {
				continue
			}
			tree, err := parser.ParseFile(token.NewFileSet(), f, nil, parser.SkipObjectResolution)
			if err != nil {
				return nil, nil, fmt.Errorf("reading %s: %w", f, err)
			}
			rel, _ := filepath.Rel(root, filepath.Dir(f))
			for _, d := range tree.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.CONST {
					continue
				}
				for _, s := range g.Specs {
					v := s.(*ast.ValueSpec)
					typ, _ := v.Type.(*ast.Ident)
					for _, x := range v.Values {
						lit, ok := x.(*ast.BasicLit)
						if !ok || lit.Kind != token.STRING {
							continue
						}
						text, err := strconv.Unquote(lit.Value)
						if err != nil {
							continue
						}
						switch {
						case typ != nil && typ.Name != "string":
							name := module + "/" + rel + "." + typ.Name
							byName[name] = append(byName[name], text)
						case strings.Contains(text, ".io/") && !strings.Contains(text, " "):
							keys = append(keys, text)
						}
					}
				}
			}
		}
	}
	slices.Sort(keys)
	keys = append(slices.Compact(keys), "seccomp.security.alpha.kubernetes.io/pod", "scheduler.alpha.kubernetes.io/critical-pod", "a", "b", "example.com/x")
	out := map[reflect.Type][]string{}
	for _, k := range all.Table().Kinds() {
		visitTypes(k.GoType, map[reflect.Type]bool{}, func(t reflect.Type) {
			if l := byName[t.PkgPath()+"."+t.Name()]; len(l) > 0 {
				slices.Sort(l)
				out[t] = slices.Compact(l)
			}
		})
	}
	return out, keys, nil
}

// visitTypes visits the types an object is made of.
func visitTypes(t reflect.Type, seen map[reflect.Type]bool, visit func(reflect.Type)) {
	if seen[t] {
		return
	}
	seen[t] = true
	visit(t)
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		visitTypes(t.Elem(), seen, visit)
	case reflect.Map:
		visitTypes(t.Key(), seen, visit)
		visitTypes(t.Elem(), seen, visit)
	case reflect.Struct:
		for i := range t.NumField() {
			visitTypes(t.Field(i).Type, seen, visit)
		}
	}
}
