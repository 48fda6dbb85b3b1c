package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/onsi/ginkgo/v2/types"
)

// grace is what the suite has to clean up after its own bound on time.
const grace = 3 * time.Minute

// runSuite runs tests, as many at a time as asked, and reads upstream's report.
func runSuite(ctx context.Context, o options, p *programs, c *cluster, chosen []test, logs string) (map[string]result, error) {
	args := []string{
		"--procs=" + strconv.Itoa(o.procs), "--timeout=" + o.timeout.String(), "--no-color", "-v", "--silence-skips",
		"--json-report=report.json", "--junit-report=junit.xml", "--output-dir=" + logs, "--poll-progress-after=0",
		"--output-interceptor-mode=none", // a crash of the suite is to be seen
	}
	for _, t := range chosen {
		args = append(args, "--focus="+spaced(t.Name)+"$")
	}
	args = append(args, p.suite, "--",
		"--kubeconfig="+c.kubeconfig(), "--provider=skeleton", "--kubectl-path="+p.kubectl, "--disable-log-dump",
		"--allowed-not-ready-nodes=0", "--non-blocking-taints=node-role.kubernetes.io/control-plane", "--report-dir="+logs)
	ctx, cancel := context.WithTimeout(ctx, o.timeout+grace)
	defer cancel()
	cmd := c.command(ctx, p.ginkgo, args...)
	// the suite ends itself when asked to, and its children with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = grace
	out, err := os.Create(filepath.Join(logs, "e2e.log"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	pr, pw := io.Pipe()
	cmd.Stdout, cmd.Stderr = pw, pw
	fmt.Printf("running %d tests, %d at a time; log: %s\n", len(chosen), o.procs, out.Name())
	watched := make(chan struct{})
	go func() { defer close(watched); follow(pr, out, os.Stdout) }()
	began := time.Now()
	runErr := cmd.Run()
	pw.Close()
	<-watched
	fmt.Printf("the suite took %s\n", time.Since(began).Round(time.Second))
	results, err := readRun(logs, chosen)
	if err != nil {
		return nil, errors.Join(runErr, err)
	}
	if missing := len(chosen) - len(results); missing > 0 {
		return results, fmt.Errorf("%d of the chosen tests did not come to an end", missing)
	}
	return results, nil // a failed test is a row, not an error
}

// outOfTime begins what the suite says of a test that its own bound on time cut short.
const outOfTime = "A suite timeout occurred"

// spaced is a pattern of a name that does not mind how many spaces there are.
func spaced(name string) string {
	return strings.ReplaceAll(regexp.QuoteMeta(name), " ", ` +`)
}

var verdict = regexp.MustCompile(`^(?:• |S \[|\[)?.*\[(FAILED|PANICKED|TIMEDOUT|INTERRUPTED)\] \[[0-9.]+ seconds\]|^• \[[0-9.]+ seconds\]`)

// follow keeps the suite's log and shows how it goes on.
func follow(from io.Reader, log, show io.Writer) {
	good, bad := 0, 0
	r := bufio.NewReader(from)
	for {
		line, err := r.ReadString('\n')
		_, _ = io.WriteString(log, line)
		if m := verdict.FindStringSubmatch(line); m != nil {
			if m[1] == "" {
				good++
			} else {
				bad++
			}
			if (good+bad)%10 == 0 || m[1] != "" {
				fmt.Fprintf(show, "%s  %d passed, %d failed\n", time.Now().Format("15:04:05"), good, bad)
			}
		}
		if err != nil {
			return
		}
	}
}

// readRun takes the chosen tests' rows out of the logs of a run: the suite's report,
// and its log for what the report lacks, as it does where the suite crashed. A test
// that the end of the run cut short has no row.
func readRun(logs string, chosen []test) (map[string]result, error) {
	text, err := os.ReadFile(filepath.Join(logs, "e2e.log"))
	if err != nil {
		return nil, err
	}
	list := rowsOfLog(string(text), chosen)
	body, err := os.ReadFile(filepath.Join(logs, "report.json"))
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Println("the suite left no report; its log tells what was done")
		return list, nil
	}
	if err != nil {
		return nil, err
	}
	var reports []types.Report
	if err := json.Unmarshal(body, &reports); err != nil {
		return nil, fmt.Errorf("decode the suite's report: %w", err)
	}
	maps.Copy(list, rows(reports, chosen))
	return list, nil
}

func rows(reports []types.Report, chosen []test) map[string]result {
	wanted := map[string]bool{}
	for _, t := range chosen {
		wanted[t.Name] = true
	}
	list := map[string]result{}
	for _, report := range reports {
		for _, spec := range report.SpecReports {
			name := strings.Join(strings.Fields(spec.FullText()), " ")
			if !wanted[name] {
				continue
			}
			r := result{Seconds: spec.RunTime.Seconds(), Message: firstLine(spec.Failure.Message)}
			switch {
			case strings.HasPrefix(r.Message, outOfTime):
				continue
			case spec.State.Is(types.SpecStatePassed):
				r.Result, r.Message = passed, ""
			case spec.State.Is(types.SpecStateFailed | types.SpecStatePanicked | types.SpecStateTimedout):
				r.Result = failed
			case spec.State.Is(types.SpecStateSkipped) && r.Message != "":
				r.Result = skipped
			default:
				continue // interrupted, or left out
			}
			list[name] = r
		}
	}
	return list
}

var (
	logVerdict = regexp.MustCompile(`(?m)^• (?:\[(FAILED|PANICKED|TIMEDOUT)\] )?\[([0-9.]+) seconds\]\n(\[sig-.*)$`)
	logMessage = regexp.MustCompile(`(?m)^  \[(?:FAILED|PANICKED|TIMEDOUT)\] (.*)$`)
)

// rowsOfLog is what the suite's log says of tests that came to an end.
func rowsOfLog(text string, chosen []test) map[string]result {
	list := map[string]result{}
	for _, block := range strings.Split(text, "\n------------------------------\n") {
		m := logVerdict.FindStringSubmatch(block)
		if m == nil {
			continue
		}
		name := strings.Join(strings.Fields(strings.ReplaceAll(m[3], "[It] ", "")), " ")
		for _, t := range chosen {
			if !strings.HasPrefix(name, t.Name+" [sig-") {
				continue
			}
			r := result{Result: passed}
			r.Seconds, _ = strconv.ParseFloat(m[2], 64)
			if m[1] != "" {
				r.Result = failed
				if all := logMessage.FindAllStringSubmatch(block, -1); all != nil {
					r.Message = firstLine(all[len(all)-1][1])
				}
			}
			if !strings.HasPrefix(r.Message, outOfTime) {
				list[t.Name] = r
			}
		}
	}
	return list
}

var (
	changing = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|-[0-9]{3,5}\b|0x[0-9a-f]+|\b[0-9]+\.[0-9]+s\b|\b10\.\d+\.\d+\.\d+(:\d+)?`)
	blanks   = regexp.MustCompile(`\s+`)
)

// firstLine is a message short enough for a table and free of what differs from
// run to run.
func firstLine(message string) string {
	const limit = 300
	m := changing.ReplaceAllString(message, "…")
	m = strings.TrimSpace(blanks.ReplaceAllString(m, " "))
	if len(m) > limit {
		m = m[:limit] + "…"
	}
	return strings.ToValidUTF8(m, "")
}
