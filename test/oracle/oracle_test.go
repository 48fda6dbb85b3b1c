package oracle

import (
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/monohull/monohull/internal/api/all"
)

var (
	count  = flag.Int("objects", 300, "objects of each kind")
	seed   = flag.Int64("seed", 0, "seed of the run; 0 takes the time")
	show   = flag.Int("show", 8, "differences of each kind that are printed whole")
	needed = flag.Bool("needed", false, "report accepted differences that did not occur")
)

// TestOracle compares objects of every kind.
func TestOracle(t *testing.T) {
	up, err := upstream()
	if err != nil {
		t.Fatal(err)
	}
	seeds, err := readSeeds("testdata")
	if err != nil {
		t.Fatal(err)
	}
	pool, err := newPool(all.Table(), seeds)
	if err != nil {
		t.Fatal(err)
	}
	if *seed == 0 {
		*seed = time.Now().UnixNano()
	}
	t.Logf("seed %d", *seed)
	writes, used := 0, map[string]int{}
	for _, k := range all.Table().Kinds() {
		name := nameOf(k.GVK.Group, k.GVK.Kind)
		t.Run(name, func(t *testing.T) {
			r := up.Resources[k.GVR()]
			if r == nil || r.Store == nil {
				t.Skipf("upstream stores no %v", k.GVR())
			}
			docs := seeds[name]
			if len(docs) == 0 {
				t.Fatalf("no seeds: write testdata/%s.yaml", strings.ToLower(name))
			}
			j := &Judge{Kind: k, Up: r, Name: name, used: used}
			run(t, j, docs, pool)
			writes += j.writes
		})
	}
	t.Logf("seed %d: %d writes compared", *seed, writes)
	if *needed {
		for _, a := range accepted {
			if used[a.Reason] == 0 && !a.Rare {
				t.Errorf("an accepted difference did not occur: %s %s %s: %s", a.Kind, a.Phase, a.Text, a.Reason)
			}
		}
	}
}

const maxValid = 60 // valid objects kept to be changed

func run(t *testing.T, j *Judge, docs []any, pool *Pool) {
	h := fnv.New64()
	fmt.Fprint(h, j.Name)
	m := &Mutator{r: rand.New(rand.NewPCG(uint64(*seed), h.Sum64())), pool: pool}
	type finding struct {
		n int
		c Case
		d Difference
	}
	found := map[string]*finding{}
	note := func(c Case, diffs []Difference) {
		for _, d := range diffs {
			s := d.Signature()
			if found[s] == nil {
				found[s] = &finding{0, c, d}
			}
			found[s].n++
		}
	}
	var valid []any
	check := func(c Case) {
		diffs, ok := j.Check(c)
		note(c, diffs)
		if ok && c.Old == nil {
			if len(valid) < maxValid {
				valid = append(valid, c.New)
			} else {
				valid[m.r.IntN(maxValid)] = c.New
			}
		}
	}
	for i, doc := range docs {
		before := len(valid)
		check(Case{New: doc})
		if len(valid) == before && len(found) == 0 {
			t.Errorf("seed %d of %s is not valid: %s", i, j.Name, j.verdict(doc))
		}
	}
	if len(valid) == 0 {
		valid = append(valid, docs...)
	}
	for range *count {
		base := docs[m.r.IntN(len(docs))]
		c := Case{}
		if m.r.IntN(5) < 2 {
			if m.r.IntN(2) == 0 {
				base = valid[m.r.IntN(len(valid))]
			}
		} else {
			base = valid[m.r.IntN(len(valid))]
			c.Old = base
		}
		c.New = clone(base)
		for range 1 + m.r.IntN(3) {
			c.New = m.Change(c.New, j.Kind.GoType)
		}
		check(c)
	}
	for _, v := range j.versions() {
		for range *count / 3 {
			doc, ok := j.showIn(v, valid[m.r.IntN(len(valid))])
			if !ok {
				continue
			}
			for range m.r.IntN(4) {
				doc = m.Change(doc, v.GoType)
			}
			note(Case{New: doc, Version: v}, j.accept(j.CheckVersion(v, doc)))
		}
	}
	if j.panics > *count/10 {
		t.Errorf("upstream panicked on %d objects: this kind is hardly compared", j.panics)
	}
	order := make([]string, 0, len(found))
	for s := range found {
		order = append(order, s)
	}
	sort.Slice(order, func(a, b int) bool {
		if found[order[a]].n != found[order[b]].n {
			return found[order[a]].n > found[order[b]].n
		}
		return order[a] < order[b]
	})
	for i, s := range order {
		f := found[s]
		if i >= *show {
			t.Errorf("%d times: %s", f.n, s)
			continue
		}
		small := j.Shrink(f.c, s)
		t.Errorf("%d times: %s %s\n  theirs: %s\n  ours:   %s\n%s", f.n, f.d.Kind, f.d.Phase,
			strings.Join(f.d.Theirs, "\n          "), strings.Join(f.d.Ours, "\n          "), printed(small))
	}
}

// verdict is what upstream says of a document.
func (j *Judge) verdict(doc any) string {
	o, ok := j.decode(doc)
	if !ok {
		return "it cannot be decoded"
	}
	up := o.DeepCopyObject()
	j.Up.Scheme.Default(up)
	return fmt.Sprint(j.Up.create(j.Up.internal(up), j.Kind.GVK, nil).errs)
}

func printed(c Case) string {
	out, _ := yaml.Marshal(c.New)
	text := indent(string(out))
	if c.Old != nil {
		old, _ := yaml.Marshal(c.Old)
		text = "  old:\n" + indent(string(old)) + "  new:\n" + text
	}
	return text
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n    ") + "\n"
}
