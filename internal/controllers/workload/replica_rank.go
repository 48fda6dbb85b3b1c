package workload

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/monohull/monohull/internal/controllers/podstate"
)

// victims chooses n pods to delete: those whose end costs least first. related
// are the pods of all that share the owner's controller; a pod goes earlier
// the more of them run on its node.
func victims(pods, related []*corev1.Pod, n int, now time.Time) []*corev1.Pod {
	if n >= len(pods) {
		return pods
	}
	onNode := map[string]int{}
	for _, p := range related {
		if podstate.Active(p) {
			onNode[p.Spec.NodeName]++
		}
	}
	out := slices.Clone(pods)
	slices.SortStableFunc(out, func(a, b *corev1.Pod) int { return compareVictims(a, b, onNode, now) })
	return out[:n]
}

var phaseOrder = map[corev1.PodPhase]int{corev1.PodPending: 0, corev1.PodUnknown: 1, corev1.PodRunning: 2}

// compareVictims is negative where a goes before b. The rules are upstream's,
// in its order; ages are compared by powers of two, so that among pods of
// about the same age the choice is even and not always the newest.
func compareVictims(a, b *corev1.Pod, onNode map[string]int, now time.Time) int {
	if c := cmp.Compare(boolInt(a.Spec.NodeName != ""), boolInt(b.Spec.NodeName != "")); c != 0 {
		return c
	}
	if c := cmp.Compare(phaseOrder[a.Status.Phase], phaseOrder[b.Status.Phase]); c != 0 {
		return c
	}
	ra, rb := podstate.Ready(a), podstate.Ready(b)
	if c := cmp.Compare(boolInt(ra), boolInt(rb)); c != 0 {
		return c
	}
	if c := cmp.Compare(deletionCost(a), deletionCost(b)); c != 0 {
		return c
	}
	if c := cmp.Compare(onNode[b.Spec.NodeName], onNode[a.Spec.NodeName]); c != 0 {
		return c
	}
	if ra && rb {
		if ta, tb := podstate.ReadySince(a), podstate.ReadySince(b); !ta.Equal(tb) {
			return compareAges(ta, tb, a, b, now)
		}
	}
	regularA, sidecarA := mostRestarts(a)
	regularB, sidecarB := mostRestarts(b)
	if c := cmp.Or(cmp.Compare(regularB, regularA), cmp.Compare(sidecarB, sidecarA)); c != 0 {
		return c
	}
	if ta, tb := a.CreationTimestamp.Time, b.CreationTimestamp.Time; !ta.Equal(tb) {
		return compareAges(ta, tb, a, b, now)
	}
	return 0
}

// compareAges puts the younger first; no time counts as youngest.
func compareAges(ta, tb time.Time, a, b *corev1.Pod, now time.Time) int {
	switch {
	case ta.IsZero():
		return -1
	case tb.IsZero():
		return 1
	}
	if c := cmp.Compare(ageRank(now.Sub(ta)), ageRank(now.Sub(tb))); c != 0 {
		return c
	}
	return strings.Compare(string(a.UID), string(b.UID))
}

func ageRank(d time.Duration) int {
	if d <= 0 {
		return -1
	}
	return int(math.Log2(float64(d)))
}

// mostRestarts is the highest count among containers, and among sidecars.
func mostRestarts(p *corev1.Pod) (regular, sidecar int32) {
	for i := range p.Status.ContainerStatuses {
		regular = max(regular, p.Status.ContainerStatuses[i].RestartCount)
	}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			continue
		}
		for j := range p.Status.InitContainerStatuses {
			if s := &p.Status.InitContainerStatuses[j]; s.Name == c.Name {
				sidecar = max(sidecar, s.RestartCount)
			}
		}
	}
	return regular, sidecar
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
