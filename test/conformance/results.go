package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
)

// outcome of a test; empty is not yet known.
type outcome string

const (
	passed  outcome = "pass"
	failed  outcome = "fail"
	skipped outcome = "skip" // the test itself says that the cluster lacks what it needs
)

// result of one test.
type result struct {
	Result  outcome `json:"result"`
	Seconds float64 `json:"seconds"`
	Message string  `json:"message,omitempty"`
}

// results are what is known of all tests, as stored in results.json.
type results struct {
	Kubernetes string            `json:"kubernetes"`
	Tests      map[string]result `json:"tests"`
}

func readResults(name string) (*results, error) {
	r := &results{Kubernetes: kubernetesVersion, Tests: map[string]result{}}
	body, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, r); err != nil {
		return nil, fmt.Errorf("decode %s: %w", name, err)
	}
	return r, nil
}

func (r *results) write(name string) error {
	body, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return replace(name, append(body, '\n'))
}

// change is what a run brought.
type change struct {
	ran                           int
	count                         map[outcome]int
	gained, failures, regressions []string
	messages                      map[string]string
}

// merge takes a run's rows into the stored ones. A failure of what passed before is a
// regression, and is recorded only when it is accepted.
func merge(stored *results, run map[string]result, accept bool) (*results, change) {
	merged := &results{Kubernetes: kubernetesVersion, Tests: maps.Clone(stored.Tests)}
	news := change{ran: len(run), count: map[outcome]int{}, messages: map[string]string{}}
	for _, name := range slices.Sorted(maps.Keys(run)) {
		before, now := stored.Tests[name], run[name]
		news.count[now.Result]++
		now.Seconds = steady(before.Seconds, now.Seconds)
		switch {
		case now.Result == passed && before.Result != passed:
			news.gained = append(news.gained, name)
		case now.Result != passed && before.Result == passed:
			news.regressions = append(news.regressions, name)
			news.messages[name] = now.Message
			if !accept {
				continue
			}
		case now.Result == failed:
			news.failures = append(news.failures, name)
			news.messages[name] = now.Message
		}
		merged.Tests[name] = now
	}
	return merged, news
}

// steady keeps a measured time until another is well away from it, so that a file
// of results changes when something has.
func steady(before, now float64) float64 {
	now = math.Max(1, math.Round(now))
	if before > 0 && now < before*1.6+2 && now > before/1.6-2 {
		return before
	}
	return now
}

func (c change) String() string {
	var b strings.Builder
	for _, part := range []struct {
		title string
		names []string
	}{{"passes now", c.gained}, {"fails", c.failures}, {"PASSED BEFORE, FAILS NOW", c.regressions}} {
		for _, n := range part.names {
			fmt.Fprintf(&b, "%s: %s\n", part.title, n)
			if m := c.messages[n]; m != "" {
				fmt.Fprintf(&b, "    %s\n", m)
			}
		}
	}
	fmt.Fprintf(&b, "%d tests ran: %d passed, %d failed, %d cannot run here\n", c.ran, c.count[passed], c.count[failed], c.count[skipped])
	return b.String()
}
