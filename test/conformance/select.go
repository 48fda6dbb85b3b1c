package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/kubernetes/test/conformance/testdata"
	"sigs.k8s.io/yaml"
)

// test is a row of upstream's conformance.yaml.
type test struct {
	Name    string `json:"codename"`
	Title   string `json:"testname"`
	File    string `json:"file"`
	Release string `json:"release"`
}

var sigPattern = regexp.MustCompile(`^\[(sig-[a-z-]+)\] `)

// sig is the group upstream files the test under.
func (t test) sig() string {
	if m := sigPattern.FindStringSubmatch(t.Name); m != nil {
		return m[1]
	}
	return "other"
}

func upstreamTests() ([]test, error) {
	body, err := testdata.GetConformanceTestdataFS().EmbeddedFS.ReadFile("conformance.yaml")
	if err != nil {
		return nil, fmt.Errorf("read upstream's conformance.yaml: %w", err)
	}
	var tests []test
	if err := yaml.Unmarshal(body, &tests); err != nil {
		return nil, fmt.Errorf("decode upstream's conformance.yaml: %w", err)
	}
	for i := range tests {
		tests[i].Name = strings.Join(strings.Fields(tests[i].Name), " ")
	}
	slices.SortStableFunc(tests, func(a, b test) int { return strings.Compare(a.Name, b.Name) })
	return tests, nil
}

// choice is which tests to run.
type choice struct {
	focus, skip, state string
	budget             time.Duration
}

func (c choice) of(tests []test, stored *results) ([]test, error) {
	focus, err := pattern(c.focus, tests)
	if err != nil {
		return nil, err
	}
	var skip *regexp.Regexp
	if c.skip != "" {
		if skip, err = regexp.Compile(c.skip); err != nil {
			return nil, fmt.Errorf("-skip: %w", err)
		}
	}
	var keep func(outcome) bool
	switch c.state {
	case "all", "":
		keep = func(outcome) bool { return true }
	case "open":
		keep = func(o outcome) bool { return o != passed }
	case "pending":
		keep = func(o outcome) bool { return o == "" }
	case "failed":
		keep = func(o outcome) bool { return o == failed }
	case "passed":
		keep = func(o outcome) bool { return o == passed }
	default:
		return nil, fmt.Errorf("-select %s: it is all, open, pending, failed or passed", c.state)
	}
	var chosen []test
	for _, t := range tests {
		if focus.MatchString(t.Name) && (skip == nil || !skip.MatchString(t.Name)) && keep(stored.Tests[t.Name].Result) {
			chosen = append(chosen, t)
		}
	}
	if c.budget > 0 {
		chosen = fit(chosen, stored, c.budget)
	}
	return chosen, nil
}

// pattern takes plain words as they are: brackets in them are part of names far more
// often than classes of characters.
func pattern(focus string, tests []test) (*regexp.Regexp, error) {
	if slices.ContainsFunc(tests, func(t test) bool { return strings.Contains(t.Name, focus) }) {
		return regexp.Compile(regexp.QuoteMeta(focus))
	}
	re, err := regexp.Compile(focus)
	if err != nil {
		return nil, fmt.Errorf("-focus: %w", err)
	}
	return re, nil
}

// fit chooses among tests that passed before: the shortest of every file of
// upstream's, then the next shortest of each, as long as there is time.
func fit(tests []test, stored *results, budget time.Duration) []test {
	byFile := map[string][]test{}
	for _, t := range tests {
		if stored.Tests[t.Name].Result == passed {
			byFile[t.File] = append(byFile[t.File], t)
		}
	}
	seconds := func(t test) float64 { return max(1, stored.Tests[t.Name].Seconds) }
	type ranked struct {
		test
		rank int
	}
	var order []ranked
	for _, list := range byFile {
		slices.SortStableFunc(list, func(a, b test) int {
			return compareFirst(seconds(a)-seconds(b), strings.Compare(a.Name, b.Name))
		})
		for rank, t := range list {
			order = append(order, ranked{t, rank})
		}
	}
	slices.SortFunc(order, func(a, b ranked) int {
		if a.rank != b.rank {
			return a.rank - b.rank
		}
		return compareFirst(seconds(a.test)-seconds(b.test), strings.Compare(a.Name, b.Name))
	})
	var chosen []test
	left := budget.Seconds()
	for _, r := range order {
		if s := seconds(r.test); s <= left {
			left -= s
			chosen = append(chosen, r.test)
		}
	}
	slices.SortFunc(chosen, func(a, b test) int { return strings.Compare(a.Name, b.Name) })
	return chosen
}

func compareFirst(d float64, otherwise int) int {
	switch {
	case d < 0:
		return -1
	case d > 0:
		return 1
	}
	return otherwise
}
