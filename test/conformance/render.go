package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// reason says why tests do not pass: every test whose name the pattern matches and
// that has no pass.
type reason struct {
	Match  string `json:"match"`
	Reason string `json:"reason"`

	pattern *regexp.Regexp
}

func readReasons(name string) ([]reason, error) {
	body, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseReasons(body)
}

func parseReasons(body []byte) ([]reason, error) {
	var list []reason
	if err := yaml.UnmarshalStrict(body, &list); err != nil {
		return nil, fmt.Errorf("decode the reasons: %w", err)
	}
	for i := range list {
		var err error
		if list[i].pattern, err = regexp.Compile(list[i].Match); err != nil {
			return nil, fmt.Errorf("decode the reasons: %w", err)
		}
	}
	return list, nil
}

const intro = `# Conformance

The ruler for "is it Kubernetes?" is upstream's conformance suite: %d tests in %s. This page is written by the program that runs
them, ` + "`test/conformance`" + `, and by nobody else; only the reasons are kept by hand (` + "`test/conformance/reasons.yaml`" + `).

Upstream's own test binary is built as a Go dependency and run against a cluster that is made for it: one node, in a network
namespace with no way out, with test images assembled on the machine. A row says what the last run of that test gave. **Monohull does
not claim conformance before every row passes.** Known deviations are in [DIFFERENCES.md](DIFFERENCES.md).

    make conformance                        # everything; hours
    make conformance FOCUS=sig-auth         # words of names, or a regular expression
    make conformance SELECT=open            # what has no pass yet; or failed, pending, passed
    make conformance BUDGET=5m              # what passed before, of every area, as much as fits

A test that passed before and fails now is a regression: the command fails and keeps the row until ` + "`ARGS=-accept`" + ` says that the failure is the news.

`

// page renders the document.
func page(tests []test, r *results, reasons []reason) ([]byte, error) {
	groups := map[string][]test{}
	for _, t := range tests {
		groups[t.sig()] = append(groups[t.sig()], t)
	}
	var sigs []string
	for s := range groups {
		sigs = append(sigs, s)
	}
	slices.Sort(sigs)
	var b bytes.Buffer
	fmt.Fprintf(&b, intro, len(tests), r.Kubernetes)
	b.WriteString("| group | tests | pass | fail | not run yet |\n|---|---|---|---|---|\n")
	total := map[outcome]int{}
	for _, s := range sigs {
		n := map[outcome]int{}
		for _, t := range groups[s] {
			n[status(r.Tests[t.Name])]++
			total[status(r.Tests[t.Name])]++
		}
		fmt.Fprintf(&b, "| [%s](#%s) | %d | %d | %d | %d |\n", s, s, len(groups[s]), n[passed], n[failed], n[""])
	}
	fmt.Fprintf(&b, "| **all** | **%d** | **%d** | **%d** | **%d** |\n", len(tests), total[passed], total[failed], total[""])
	for _, s := range sigs {
		fmt.Fprintf(&b, "\n## %s\n\n| test | result | why |\n|---|---|---|\n", s)
		for _, t := range groups[s] {
			res := r.Tests[t.Name]
			word := map[outcome]string{passed: "pass", failed: "**fail**", skipped: "**cannot run**", "": "not yet"}[res.Result]
			why := ""
			if res.Result != passed {
				why = because(t, res, reasons)
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", cell(title(t)), word, cell(why))
		}
	}
	return b.Bytes(), nil
}

// status counts a test that finds its needs unmet as a failure: conformance does.
func status(r result) outcome {
	if r.Result == skipped {
		return failed
	}
	return r.Result
}

// title is the test's name without what its group and every row say.
func title(t test) string {
	name := strings.TrimPrefix(t.Name, "["+t.sig()+"] ")
	for _, tag := range []string{" [Conformance]", " [NodeConformance]"} {
		name = strings.ReplaceAll(name, tag, "")
	}
	return name
}

// because is the reason kept by hand, or else what the test said.
func because(t test, res result, reasons []reason) string {
	for _, r := range reasons {
		if r.pattern.MatchString(t.Name) {
			return r.Reason
		}
	}
	return res.Message
}

var cellEscapes = strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", "[", `\[`, "]", `\]`, "*", `\*`, "_", `\_`)

func cell(s string) string {
	const limit = 240
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return cellEscapes.Replace(s)
}
