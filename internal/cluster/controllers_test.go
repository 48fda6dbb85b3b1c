package cluster

import (
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/utils/clock"

	"github.com/monohull/monohull/internal/admission"
	"github.com/monohull/monohull/internal/api/all"
	"github.com/monohull/monohull/internal/auth"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
	"github.com/monohull/monohull/internal/controllers/identity"
	"github.com/monohull/monohull/internal/controllers/record"
	"github.com/monohull/monohull/internal/store"
)

var update = flag.Bool("update", false, "write the table of controllers into docs/ARCHITECTURE.md")

const (
	architecture         = "../../docs/ARCHITECTURE.md"
	tableBegin, tableEnd = "<!-- controllers -->\n", "<!-- end -->"
	// manyKinds is from how many inputs on a row says "N kinds" instead of names.
	manyKinds = 6
)

func loops() []*controllers.Controller {
	table, log := all.Table(), slog.New(slog.DiscardHandler)
	set := cache.NewSet(cache.Config{Store: store.NewMemory(), Table: table, Indexes: client.Indexes(table), Logger: log})
	c := client.New(table, set, nil, serverUser)
	return controlLoops(controllers.Deps{
		Client: func(string) *client.Client { return c }, Clock: clock.RealClock{}, Log: log, Recorder: record.New(clock.RealClock{}, log).Recorder,
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix(DefaultClusterCIDR)},
	}, loopConfig{
		tokens:       identity.Config{Tokens: &auth.TokenIssuer{}, Trust: func() identity.Trust { return identity.Trust{} }},
		reservations: admission.NewReservations(),
		admin:        c,
	})
}

// Two controllers that each believe a field theirs would undo each other.
func TestControllersDoNotShareAnExclusiveField(t *testing.T) {
	writers := map[string][]string{}
	exclusive := map[string]bool{}
	for _, c := range loops() {
		for _, o := range c.Outputs {
			f := field(o)
			writers[f] = append(writers[f], c.Name)
			exclusive[f] = exclusive[f] || o.Exclusive
		}
	}
	for f, names := range writers {
		if exclusive[f] && len(names) > 1 {
			t.Errorf("%s is declared exclusive and written by %v", f, names)
		}
	}
}

func field(o controllers.Output) string {
	name := "any object"
	if o.Kind != nil {
		name = o.Kind(all.Table()).GVK.Kind
	}
	if o.Field != "" {
		name += " " + o.Field
	}
	return name
}

func TestControllersTableIsTrue(t *testing.T) {
	var b strings.Builder
	b.WriteString("| controller | reacts to | writes |\n|---|---|---|\n")
	for _, c := range loops() {
		var in, out []string
		for _, i := range c.Inputs {
			if k := i.Kind(all.Table()).GVK.Kind; !slices.Contains(in, k) {
				in = append(in, k)
			}
		}
		if len(in) > manyKinds {
			in = []string{fmt.Sprintf("%d kinds", len(in))}
		}
		if c.Background != nil {
			in = append(in, "time")
		}
		for _, o := range c.Outputs {
			f := field(o)
			if o.Exclusive {
				f = "**" + f + "**"
			}
			out = append(out, f)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", c.Name, strings.Join(in, ", "), strings.Join(out, "; "))
	}
	doc, err := os.ReadFile(architecture)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(doc), tableBegin)
	have, tail, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s lacks the marks of the table", architecture)
	}
	if have == b.String() {
		return
	}
	if *update {
		if err := os.WriteFile(architecture, []byte(head+tableBegin+b.String()+tableEnd+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("the table in %s is not what the controllers declare; run this test with -update and read the change", architecture)
}
