package scheduler

import (
	"fmt"
	"sort"
	"strings"
)

const (
	messageNoNodes = "no nodes available to schedule pods"
	// Claims are asked for room before other pods are; without claims there is
	// none to give back.
	preemptPrefix = "no new claims to deallocate, preemption: "
	// maxEventMessage is the most an event may say.
	maxEventMessage = 1024
)

// histogram counts what was said against nodes.
type histogram map[string]int

func (g histogram) add(v *verdict) {
	for _, r := range v.reasons {
		g[r]++
	}
}

// describe words why none of the nodes will do: first before any node was
// looked at, or the count of each reason.
func describe(nodes int, first string, g histogram, after string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "0/%d nodes are available:", nodes)
	if first != "" {
		b.WriteString(" " + first + ".")
	} else if len(g) > 0 {
		var list []string
		for reason, n := range g {
			list = append(list, fmt.Sprintf("%d %s", n, reason))
		}
		sort.Strings(list)
		b.WriteString(" " + strings.Join(list, ", ") + ".")
	}
	if after != "" {
		b.WriteString(" " + after)
	}
	return b.String()
}

func truncated(s string) string {
	if len(s) <= maxEventMessage {
		return s
	}
	const more = " ..."
	return strings.ToValidUTF8(s[:maxEventMessage-len(more)], "") + more
}
