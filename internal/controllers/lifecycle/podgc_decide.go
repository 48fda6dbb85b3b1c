package lifecycle

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/monohull/monohull/internal/controllers/podstate"
)

const (
	// maxTerminated is how many pods that have ended are kept.
	maxTerminated = 12500
	// quarantine is how long a node is missing before its pods are given up.
	quarantine = 40 * time.Second
)

// doomed pods are removed by force. orphaned says that it is because the node
// is gone.
type doomed struct {
	pod      *corev1.Pod
	orphaned bool
}

// doomedPods finds what is to be removed: ended pods beyond the limit, the
// longest ended first; pods that end on a node that an operator declared out
// of service; pods of nodes that have been missing for long; and pods that end
// before any node had them. missing is since when nodes are missing; names of
// nodes that are there are taken out of it, new ones put in.
func doomedPods(pods []*corev1.Pod, node func(string) *corev1.Node, missing map[string]time.Time, limit int, now time.Time) []doomed {
	var out []doomed
	var ended []*corev1.Pod
	seen := map[string]bool{}
	for _, p := range pods {
		name := p.Spec.NodeName
		switch {
		case name == "":
			if p.DeletionTimestamp != nil {
				out = append(out, doomed{pod: p})
				continue
			}
		case node(name) == nil:
			since, ok := missing[name]
			if !ok {
				since = now
				missing[name] = now
			}
			seen[name] = true
			if now.Sub(since) >= quarantine {
				out = append(out, doomed{pod: p, orphaned: true})
				continue
			}
		case p.DeletionTimestamp != nil && outOfService(node(name)):
			out = append(out, doomed{pod: p})
			continue
		}
		if podstate.Terminal(p) {
			ended = append(ended, p)
		}
	}
	for name := range missing {
		if !seen[name] {
			delete(missing, name)
		}
	}
	if over := len(ended) - limit; over > 0 {
		slices.SortStableFunc(ended, func(a, b *corev1.Pod) int {
			if c := cmp.Compare(evictedLast(a), evictedLast(b)); c != 0 {
				return c
			}
			return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
		})
		for _, p := range ended[:over] {
			out = append(out, doomed{pod: p})
		}
	}
	return out
}

func evictedLast(p *corev1.Pod) int {
	if p.Status.Reason == "Evicted" {
		return 0
	}
	return 1
}

func outOfService(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
			return false
		}
	}
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}
