package main

import (
	"strings"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2/types"
)

func stored(rows map[string]result) *results {
	return &results{Kubernetes: kubernetesVersion, Tests: rows}
}

func TestUpstreamListsEveryTestUnderAGroup(t *testing.T) {
	tests, err := upstreamTests()
	if err != nil {
		t.Fatal(err)
	}
	if len(tests) != 446 {
		t.Errorf("upstream's list has %d tests, want the 446 of %s", len(tests), kubernetesVersion)
	}
	seen := map[string]bool{}
	for _, c := range tests {
		if c.sig() == "other" || seen[c.Name] || !strings.HasSuffix(c.Name, "]") && !strings.Contains(c.Name, "[Conformance]") {
			t.Errorf("unexpected row %q", c.Name)
		}
		seen[c.Name] = true
	}
}

func TestChoice(t *testing.T) {
	tests := []test{{Name: "[sig-a] Pods one [Conformance]", File: "a"}, {Name: "[sig-a] Pods two", File: "a"}, {Name: "[sig-b] Secrets", File: "b"}, {Name: "[sig-b] Slow", File: "c"}}
	known := stored(map[string]result{tests[0].Name: {Result: passed, Seconds: 4}, tests[1].Name: {Result: passed, Seconds: 3}, tests[2].Name: {Result: failed}, tests[3].Name: {Result: passed, Seconds: 90}})
	for name, c := range map[string]struct {
		choice
		want string
	}{
		"everything":                  {choice{}, "[sig-a] Pods one [Conformance],[sig-a] Pods two,[sig-b] Secrets,[sig-b] Slow"},
		"brackets are part of names":  {choice{focus: "[sig-b]"}, "[sig-b] Secrets,[sig-b] Slow"},
		"a regular expression":        {choice{focus: `^\[sig-(a|c)\].*(one|Secrets)`}, "[sig-a] Pods one [Conformance]"},
		"leave out":                   {choice{focus: "sig-a", skip: "two$"}, "[sig-a] Pods one [Conformance]"},
		"what failed":                 {choice{state: "failed"}, "[sig-b] Secrets"},
		"shortest of each file first": {choice{budget: 6 * time.Second}, "[sig-a] Pods two"},
		"as many as fit":              {choice{budget: 7 * time.Second}, "[sig-a] Pods one [Conformance],[sig-a] Pods two"},
	} {
		chosen, err := c.of(tests, known)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, c := range chosen {
			names = append(names, c.Name)
		}
		if got := strings.Join(names, ","); got != c.want {
			t.Errorf("%s: chosen %s, want %s", name, got, c.want)
		}
	}
	if _, err := (choice{state: "some"}).of(tests, known); err == nil {
		t.Error("an unknown state is taken")
	}
}

func TestARunChangesItsRowsOnly(t *testing.T) {
	before := stored(map[string]result{"a": {Result: passed, Seconds: 10}, "b": {Result: failed, Message: "old"}, "c": {Result: passed, Seconds: 2}})
	merged, news := merge(before, map[string]result{"a": {Result: passed, Seconds: 12}, "b": {Result: passed, Seconds: 3.4}}, false)
	if merged.Tests["a"].Seconds != 10 || merged.Tests["b"] != (result{Result: passed, Seconds: 3}) || merged.Tests["c"] != before.Tests["c"] {
		t.Errorf("merged rows are %v", merged.Tests)
	}
	if len(news.regressions) != 0 || len(news.gained) != 1 {
		t.Errorf("news are %+v", news)
	}
}

func TestAPassThatFailsIsARegressionUntilAccepted(t *testing.T) {
	before := stored(map[string]result{"a": {Result: passed, Seconds: 10}})
	run := map[string]result{"a": {Result: failed, Message: "no"}}
	merged, news := merge(before, run, false)
	if merged.Tests["a"].Result != passed || len(news.regressions) != 1 || !strings.Contains(news.String(), "PASSED BEFORE") {
		t.Errorf("not accepted: rows %v, news %s", merged.Tests, news)
	}
	if merged, _ = merge(before, run, true); merged.Tests["a"].Result != failed {
		t.Errorf("accepted: rows %v", merged.Tests)
	}
	if before.Tests["a"].Result != passed {
		t.Error("the stored rows were written to")
	}
}

func TestRowsOfAReport(t *testing.T) {
	spec := func(state types.SpecState, text, message string) types.SpecReport {
		return types.SpecReport{ContainerHierarchyTexts: []string{"[sig-x]  A"}, LeafNodeText: text, State: state, Failure: types.Failure{Message: message}}
	}
	reports := []types.Report{{SpecReports: types.SpecReports{
		spec(types.SpecStatePassed, "passes", ""), spec(types.SpecStateFailed, "fails", "pod \"a-1234\"\n  timed out after 300.021s"),
		spec(types.SpecStateSkipped, "skips", "needs two nodes"), spec(types.SpecStateSkipped, "left out", ""),
		spec(types.SpecStateInterrupted, "interrupted", "time"), spec(types.SpecStateTimedout, "cut short", "A suite timeout occurred"), spec(types.SpecStatePassed, "not chosen", ""),
	}}}
	var chosen []test
	for _, n := range []string{"passes", "fails", "skips", "left out", "interrupted", "cut short"} {
		chosen = append(chosen, test{Name: "[sig-x] A " + n})
	}
	got := rows(reports, chosen)
	want := map[string]result{
		"[sig-x] A passes": {Result: passed}, "[sig-x] A fails": {Result: failed, Message: `pod "a…" timed out after …`},
		"[sig-x] A skips": {Result: skipped, Message: "needs two nodes"},
	}
	if len(got) != len(want) {
		t.Errorf("rows are %v", got)
	}
	for name, w := range want {
		if got[name] != w {
			t.Errorf("%s is %+v, want %+v", name, got[name], w)
		}
	}
}

func TestRowsOfTheLogOfASuiteThatCrashed(t *testing.T) {
	const rule = "\n------------------------------\n"
	log := "Will run 3 of 7579 specs" + rule +
		"• [2.042 seconds]\n[sig-x] A passes [Conformance] [sig-x, Conformance]\nfile.go:49\n" + rule +
		"• [FAILED] [17.127 seconds]\n[sig-x] A [It] fails [Conformance] [sig-x, Conformance]\nfile.go:7\n  Timeline >>\n" +
		"  [FAILED] in [It] - file.go:9\n  << Timeline\n\n  [FAILED] it is so\n  In [It] at: file.go:9" + rule + "[SynchronizedAfterSuite] PASSED"
	got := rowsOfLog(log, []test{{Name: "[sig-x] A passes [Conformance]"}, {Name: "[sig-x] A fails [Conformance]"}, {Name: "[sig-x] A"}})
	if len(got) != 2 || got["[sig-x] A passes [Conformance]"] != (result{Result: passed, Seconds: 2.042}) ||
		got["[sig-x] A fails [Conformance]"] != (result{Result: failed, Seconds: 17.127, Message: "it is so"}) {
		t.Errorf("rows are %+v", got)
	}
}

func TestPage(t *testing.T) {
	reasons, err := parseReasons([]byte("- {match: two nodes, reason: the cluster has one node}\n"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []test{{Name: "[sig-a] passes [Conformance]"}, {Name: "[sig-a] wants two nodes"}, {Name: "[sig-a] fails"}, {Name: "[sig-b] a|b"}}
	body, err := page(tests, stored(map[string]result{
		"[sig-a] passes [Conformance]": {Result: passed}, "[sig-a] wants two nodes": {Result: skipped, Message: "x"}, "[sig-a] fails": {Result: failed, Message: "said <so>"},
	}), reasons)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| [sig-a](#sig-a) | 3 | 1 | 2 | 0 |", "| **all** | **4** | **1** | **2** | **1** |", "| passes | pass |  |",
		"| wants two nodes | **cannot run** | the cluster has one node |", "| fails | **fail** | said &lt;so> |", `| a\|b | not yet |  |`,
	} {
		if !strings.Contains(string(body), line+"\n") {
			t.Errorf("the page lacks the line %s:\n%s", line, body)
		}
	}
	if _, err := parseReasons([]byte("- {match: '(', reason: x}")); err == nil {
		t.Error("a bad pattern is taken")
	}
}
