package arch

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/monohull/monohull/"

// maxLines is how long a file may be that is no table.
const maxLines = 700

// layers lists who may import whom, from the top down. A room may import those
// of lower layers, never of its own or above; its own inner rooms always. The
// longest prefix counts.
var layers = [][]string{
	{"cmd/monohull"},
	{"internal/cluster", "internal/kubectl"},
	{"internal/apiserver", "internal/controllers", "internal/scheduler", "internal/kubelet", "internal/proxy", "internal/dns", "internal/runtime"},
	{"internal/network"},
	{"internal/pipeline"},
	{"internal/admission"},
	{"internal/client"},
	{"internal/fairness", "internal/audit"},
	{"internal/cache"},
	{"internal/schema", "internal/auth", "internal/pki"},
	{"internal/api", "internal/store", "internal/version", "internal/host"},
}

// excepted imports go against the layers, each for a reason.
var excepted = map[string]string{}

// foreign are the other implementation: its words and code are not ours.
var foreign = []string{"k8s.io/kubernetes", "k8s.io/apiserver/pkg/server", "k8s.io/apiextensions-apiserver/pkg/apiserver", "k8s.io/kube-aggregator/pkg/apiserver", "k8s.io/kube-aggregator/pkg/controllers", "k8s.io/kube-aggregator/pkg/registry"}

// pure are the packages and files that decide: no clock, no I/O, no goroutine,
// no logger. A name that ends in / is a package with all below it.
var pure = []string{
	"internal/api/",
	"internal/kubelet/podmachine/", "internal/kubelet/eviction/", "internal/kubelet/imagegc/",
	"internal/proxy/compile.go", "internal/proxy/diff.go",
	"internal/scheduler/decide.go", "internal/scheduler/filter.go", "internal/scheduler/score.go", "internal/scheduler/affinity.go",
	"internal/scheduler/spread.go", "internal/scheduler/resource.go", "internal/scheduler/preempt.go", "internal/scheduler/selectors.go",
	"internal/controllers/lifecycle/garbage_decide.go", "internal/controllers/lifecycle/namespace_decide.go", "internal/controllers/lifecycle/podgc_decide.go",
	"internal/controllers/node/evict_zones.go", "internal/controllers/node/zone.go", "internal/controllers/node/taint.go", "internal/controllers/node/health.go",
	"internal/controllers/service/slice_plan.go", "internal/controllers/service/slice_build.go", "internal/controllers/service/subset.go",
	"internal/controllers/workload/replica_decide.go", "internal/controllers/workload/replica_rank.go",
	"internal/controllers/workload/rollout_size.go", "internal/controllers/workload/rollout_status.go", "internal/controllers/workload/rollout_revision.go",
	"internal/controllers/podstate/",
	"internal/controllers/identity/bootstrap_decide.go", "internal/controllers/identity/legacy_decide.go", "internal/controllers/identity/trust_decide.go",
	"internal/controllers/certificates/signer.go", "internal/controllers/certificates/stale.go", "internal/controllers/protection/decide.go",
	"internal/auth/impersonate_ways.go", "internal/auth/reconcile.go", "internal/auth/node_terms.go",
	"internal/schema/hint/",
	"internal/fairness/classify.go", "internal/fairness/estimate.go", "internal/fairness/share.go", "internal/fairness/shuffle.go",
	"internal/controllers/fairness/decide.go",
}

// impure imports and calls do not occur in pure code. net/netip is a value type
// and may.
var (
	impureImports = []string{"os", "os/exec", "net", "net/http", "log", "log/slog", "sync", "sync/atomic", "math/rand", "math/rand/v2", "syscall", "golang.org/x/sys/unix"}
	impureCalls   = []string{"time.Now", "time.Since", "time.Until", "time.Sleep", "time.After", "time.NewTimer", "time.NewTicker"}
)

// impureReasons excepts pure files, each for a reason: "file import-or-call".
var impureReasons = map[string]string{
	"internal/api/admissionregistration/expressions.go sync": "the compiler of expressions is made once, at the first",
	"internal/api/legacy/definition.go sync":                 "the types of definitions are gathered once, at the first",
	"internal/api/all/all.go sync":                           "the table is made once, by whoever asks first",
	"internal/api/core/pod_volumes_legacy.go net":            "the parser of host:port pairs",
	"internal/api/core/endpoints.go net":                     "the writer of host:port pairs",
	"internal/proxy/compile.go golang.org/x/sys/unix":        "the numbers of protocols",
	"internal/proxy/diff.go golang.org/x/sys/unix":           "the numbers of netlink",
	"internal/scheduler/decide.go math/rand/v2":              "the source of chance is handed in",
	"internal/scheduler/preempt.go math/rand/v2":             "the source of chance is handed in",
}

// vagueNames say nothing of what is in a room.
var vagueNames = []string{"util", "utils", "common", "helper", "helpers", "manager", "base", "misc", "lib"}

// longFiles may be longer than maxLines: tables, and what is generated.
var longFiles = map[string]string{}

// source is one file, without tests unless test is set.
type source struct {
	path    string // from the module's root
	pkg     string // its directory
	test    bool
	syntax  *ast.File
	imports []string
	lines   int
}

func sources(t *testing.T) []source {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var out []source
	set := token.NewFileSet()
	for _, top := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") {
				if d != nil && d.IsDir() && d.Name() == "testdata" {
					return filepath.SkipDir
				}
				return err
			}
			text, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			f, err := parser.ParseFile(set, p, text, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, p)
			if err != nil {
				return err
			}
			s := source{path: filepath.ToSlash(rel), test: strings.HasSuffix(p, "_test.go"), syntax: f, lines: bytes.Count(text, []byte("\n"))}
			s.pkg = path.Dir(s.path)
			// a package that serves tests alone is one
			last := path.Base(s.pkg)
			s.test = s.test || strings.HasSuffix(last, "test") && last != "test"
			for _, i := range f.Imports {
				v, err := strconv.Unquote(i.Path.Value)
				if err != nil {
					return err
				}
				s.imports = append(s.imports, v)
			}
			out = append(out, s)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(out) < 100 {
		t.Fatalf("only %d files were found below %s", len(out), root)
	}
	return out
}

// room finds the layer and the room that a package belongs to.
func room(pkg string) (layer int, name string) {
	layer = -1
	for i, l := range layers {
		for _, r := range l {
			if (pkg == r || strings.HasPrefix(pkg, r+"/")) && len(r) > len(name) {
				layer, name = i, r
			}
		}
	}
	return layer, name
}

func TestImportsGoDown(t *testing.T) {
	used := map[string]bool{}
	for _, s := range sources(t) {
		if s.test || s.pkg == "internal/arch" {
			continue
		}
		from, mine := room(s.pkg)
		if from < 0 {
			t.Errorf("%s is in no layer: say in this test where %s belongs", s.path, s.pkg)
			continue
		}
		for _, i := range s.imports {
			to, ok := strings.CutPrefix(i, module)
			if !ok {
				continue
			}
			layer, theirs := room(to)
			if theirs == mine || layer > from {
				continue
			}
			if key := s.pkg + " -> " + to; excepted[key] != "" {
				used[key] = true
				continue
			}
			t.Errorf("%s imports %s: %s may not know %s", s.path, to, mine, theirs)
		}
	}
	for key := range excepted {
		if !used[key] {
			t.Errorf("the exception %s is no longer needed", key)
		}
	}
}

func TestTestPackagesServeTestsAlone(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, i := range s.imports {
			if to, ok := strings.CutPrefix(i, module); ok && strings.HasSuffix(to, "test") {
				t.Errorf("%s imports %s, which is for tests", s.path, to)
			}
			if i == "testing" {
				t.Errorf("%s imports testing", s.path)
			}
		}
	}
}

func TestOnlyTheClusterImportsAll(t *testing.T) {
	parts := map[string]map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		_, mine := room(s.pkg)
		for _, i := range s.imports {
			to, ok := strings.CutPrefix(i, module)
			if !ok {
				continue
			}
			if layer, theirs := room(to); layer == 2 && theirs != mine {
				if parts[mine] == nil {
					parts[mine] = map[string]bool{}
				}
				parts[mine][theirs] = true
			}
		}
	}
	for mine, theirs := range parts {
		if mine != "internal/cluster" && len(theirs) > 1 {
			t.Errorf("%s imports %v: only the cluster puts components together", mine, slices.Sorted(maps.Keys(theirs)))
		}
	}
	if len(parts["internal/cluster"]) < 5 {
		t.Errorf("the cluster imports %v alone: the layers in this test are out of date", slices.Sorted(maps.Keys(parts["internal/cluster"])))
	}
}

func TestTheOtherImplementationIsNotImported(t *testing.T) {
	for _, s := range sources(t) {
		for _, i := range s.imports {
			for _, f := range foreign {
				if i == f || strings.HasPrefix(i, f+"/") {
					t.Errorf("%s imports %s", s.path, i)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	said, all := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		if strings.HasSuffix(s.path, "_test.go") {
			continue
		}
		all[s.pkg] = true
		if doc := s.syntax.Doc.Text(); doc != "" {
			said[s.pkg] = true
			if s.syntax.Name.Name != "main" && !strings.HasPrefix(doc, "Package "+s.syntax.Name.Name+" ") {
				t.Errorf("%s: the package comment begins with %.40q", s.path, doc)
			}
		}
	}
	for p := range all {
		if !said[p] {
			t.Errorf("%s has no package comment", p)
		}
	}
}

func isPure(file string) bool {
	for _, p := range pure {
		if file == p || strings.HasSuffix(p, "/") && strings.HasPrefix(file, p) {
			return true
		}
	}
	return false
}

func TestPureCodeKeepsAwayFromClockInputAndOutput(t *testing.T) {
	matched, used := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		for _, p := range pure {
			if s.path == p || strings.HasSuffix(p, "/") && strings.HasPrefix(s.path, p) {
				matched[p] = true
			}
		}
		if s.test || !isPure(s.path) {
			continue
		}
		complain := func(what string) {
			used[s.path+" "+what] = true
			if impureReasons[s.path+" "+what] == "" {
				t.Errorf("%s is pure and has %s", s.path, what)
			}
		}
		for _, i := range s.imports {
			if slices.Contains(impureImports, i) {
				complain(i)
			}
		}
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				complain("a goroutine")
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && slices.Contains(impureCalls, x.Name+"."+n.Sel.Name) {
					complain(x.Name + "." + n.Sel.Name)
				}
			}
			return true
		})
	}
	for key := range impureReasons {
		if !used[key] {
			t.Errorf("the exception %s is no longer needed", key)
		}
	}
	for _, p := range pure {
		if !matched[p] {
			t.Errorf("%s is called pure here and is not there", p)
		}
	}
}

func TestNoRoomHasAVagueName(t *testing.T) {
	for _, s := range sources(t) {
		for _, part := range append(strings.Split(s.pkg, "/"), s.syntax.Name.Name) {
			if slices.Contains(vagueNames, part) {
				t.Errorf("%s is in a room called %s", s.path, part)
			}
		}
	}
}

func TestFilesFitASitting(t *testing.T) {
	for _, s := range sources(t) {
		if s.lines > maxLines && longFiles[s.path] == "" && !ast.IsGenerated(s.syntax) {
			t.Errorf("%s has %d lines; split it, or say here why it is a table", s.path, s.lines)
		}
	}
}

func TestTestsDoNotSleep(t *testing.T) {
	for _, s := range sources(t) {
		if !strings.HasSuffix(s.path, "_test.go") {
			continue
		}
		bubbles := slices.Contains(s.imports, "testing/synctest")
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || bubbles {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" && sel.Sel.Name == "Sleep" && !mayWait[s.path] {
				t.Errorf("%s sleeps in real time", s.path)
			}
			return true
		})
	}
}

// mayWait lists the tests of what has no event to wait for: real processes,
// kernels and networks.
var mayWait = map[string]bool{}
