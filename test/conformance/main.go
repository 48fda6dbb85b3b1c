package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// options are what the command line says.
type options struct {
	repo, build, monohull, kubectl string
	from                           string
	pick                           choice
	procs                          int
	timeout                        time.Duration
	accept, render, prepare, list  bool
	keep                           bool
}

func main() {
	if file := os.Getenv(registryVariable); file != "" {
		fmt.Fprintln(os.Stderr, serveRegistry(file, os.Args[1:]))
		os.Exit(1)
	}
	var o options
	flag.StringVar(&o.pick.focus, "focus", "", "words of the tests' names, or a regular expression; empty is every test")
	flag.StringVar(&o.pick.skip, "skip", "", "a regular expression of tests to leave out")
	flag.StringVar(&o.pick.state, "select", "all", "all, open (no pass yet), pending (no result yet), failed, passed")
	flag.DurationVar(&o.pick.budget, "budget", 0, "choose among passed tests, of every area, as many as fit into this time")
	flag.IntVar(&o.procs, "procs", 2, "tests at a time; [Serial] ones run alone")
	flag.DurationVar(&o.timeout, "timeout", time.Hour, "bound on the run")
	flag.BoolVar(&o.accept, "accept", false, "record a failure of what passed before")
	flag.BoolVar(&o.render, "render", false, "only write docs/CONFORMANCE.md from the results there are")
	flag.BoolVar(&o.prepare, "prepare", false, "only build programs and images")
	flag.BoolVar(&o.list, "list", false, "only print the names that are chosen")
	flag.BoolVar(&o.keep, "keep", false, "do not record results: for a try")
	flag.StringVar(&o.from, "from", "", "run nothing, but record the results in this `directory` of logs")
	flag.StringVar(&o.repo, "repo", "../..", "Monohull's checkout")
	flag.StringVar(&o.build, "build", "build", "directory for programs, images and logs")
	flag.StringVar(&o.monohull, "monohull", "", "the binary under test (default: bin/monohull of the checkout)")
	flag.StringVar(&o.kubectl, "kubectl", "", "the kubectl that tests use (default: upstream's, built here)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "conformance: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	for _, p := range []*string{&o.repo, &o.build, &o.monohull, &o.kubectl} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	if o.monohull == "" {
		o.monohull = filepath.Join(o.repo, "bin", "monohull")
	}
	tests, err := upstreamTests()
	if err != nil {
		return err
	}
	stored, err := readResults("results.json")
	if err != nil {
		return err
	}
	if o.from != "" {
		results, err := readRun(o.from, tests)
		if err != nil {
			return err
		}
		return record(o, tests, results, o.from, nil)
	}
	if o.render {
		return publish(o, tests, stored)
	}
	chosen, err := o.pick.of(tests, stored)
	if err != nil {
		return err
	}
	if o.list {
		for _, t := range chosen {
			fmt.Println(t.Name)
		}
		return nil
	}
	if len(chosen) == 0 && !o.prepare {
		return fmt.Errorf("no conformance test is chosen by -focus %q -skip %q -select %s", o.pick.focus, o.pick.skip, o.pick.state)
	}
	if os.Geteuid() != 0 {
		return errors.New("a cluster needs namespaces and containers: run as root")
	}
	tools, err := buildPrograms(ctx, o.build)
	if err != nil {
		return err
	}
	archives, err := buildImages(ctx, o.repo, o.build)
	if err != nil || o.prepare {
		return err
	}
	if o.kubectl != "" {
		tools.kubectl = o.kubectl
	}
	logs := filepath.Join(o.build, "runs", fmt.Sprintf("%s-%d", time.Now().Format("20060102-150405"), os.Getpid()))
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return err
	}
	results, runErr := measure(ctx, o, tools, archives, chosen, logs)
	if results == nil {
		return runErr
	}
	return record(o, tests, results, logs, runErr)
}

// record merges a run into the stored results and tells the news.
func record(o options, tests []test, run map[string]result, logs string, runErr error) error {
	unlock, err := lock(filepath.Join(o.build, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	stored, err := readResults("results.json")
	if err != nil {
		return err
	}
	merged, news := merge(stored, run, o.accept)
	fmt.Print(news)
	fmt.Printf("logs: %s\n", logs)
	if !o.keep {
		if err := merged.write("results.json"); err != nil {
			return err
		}
		if err := publish(o, tests, merged); err != nil {
			return err
		}
	}
	if len(news.regressions) > 0 {
		return errors.Join(runErr, fmt.Errorf("%d tests passed before and do not now", len(news.regressions)))
	}
	return runErr
}

// lock lets one run at a time record what it found.
func lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return func() { f.Close() }, nil
}

// measure runs the chosen tests on a cluster of their own.
func measure(ctx context.Context, o options, tools *programs, archives []string, chosen []test, logs string) (map[string]result, error) {
	c, err := newCluster(o.monohull, logs)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := c.end(); err != nil {
			fmt.Fprintf(os.Stderr, "conformance: %v\n", err)
		}
	}()
	if err := c.start(ctx, archives); err != nil {
		return nil, err
	}
	return runSuite(ctx, o, tools, c, chosen, logs)
}

func publish(o options, tests []test, r *results) error {
	reasons, err := readReasons("reasons.yaml")
	if err != nil {
		return err
	}
	page, err := page(tests, r, reasons)
	if err != nil {
		return err
	}
	return replace(filepath.Join(o.repo, "docs", "CONFORMANCE.md"), page)
}

// replace writes a file whole or not at all.
func replace(name string, body []byte) error {
	if err := os.WriteFile(name+".tmp", body, 0o644); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}
