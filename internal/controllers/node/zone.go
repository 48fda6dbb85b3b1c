package node

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Rates at which nodes of a zone get the taint that drives their pods away,
// upstream's defaults.
const (
	evictionRate     = 0.1  // nodes per second
	slowEvictionRate = 0.01 // in a large zone of which much is down
	largeZone        = 50   // nodes
	unhealthyShare   = 0.55
)

// zoneState is how much of a zone is down.
type zoneState int

const (
	zoneNormal  zoneState = iota
	zonePartial           // so much that it is perhaps not the nodes' fault
	zoneFull
)

func zoneOf(n *corev1.Node) string {
	region, zone := n.Labels[corev1.LabelTopologyRegion], n.Labels[corev1.LabelTopologyZone]
	if region == "" && zone == "" {
		return ""
	}
	return region + ":\x00:" + zone
}

// zoneCount is how many nodes of a zone are ready, and are not.
type zoneCount struct{ ready, unready int }

func countZones(nodes []*corev1.Node) map[string]zoneCount {
	out := map[string]zoneCount{}
	for _, n := range nodes {
		c := out[zoneOf(n)]
		if readiness(n) == corev1.ConditionTrue {
			c.ready++
		} else {
			c.unready++
		}
		out[zoneOf(n)] = c
	}
	return out
}

func (c zoneCount) state() zoneState {
	switch {
	case c.ready == 0 && c.unready > 0:
		return zoneFull
	case c.unready > 2 && float64(c.unready)/float64(c.unready+c.ready) >= unhealthyShare:
		return zonePartial
	}
	return zoneNormal
}

// rate is how fast nodes of the zone may be tainted.
func (c zoneCount) rate() float64 {
	if c.state() != zonePartial {
		return evictionRate
	}
	if c.ready+c.unready > largeZone {
		return slowEvictionRate
	}
	return 0
}

// allDown: no zone has a node that is ready. Then it is more likely that we
// hear nothing, and nobody is driven away.
func allDown(zones map[string]zoneCount) bool {
	for _, c := range zones {
		if c.state() != zoneFull {
			return false
		}
	}
	return len(zones) > 0
}

// limiter lets one pass at once and then so many per second.
type limiter struct {
	tokens float64
	last   time.Time
}

// take tells whether one may pass, or after what time (0: not in sight).
func (l *limiter) take(rate float64, now time.Time) (bool, time.Duration) {
	if l.last.IsZero() {
		l.tokens = 1
	} else {
		l.tokens = min(1, l.tokens+rate*now.Sub(l.last).Seconds())
	}
	l.last = now
	switch {
	case rate == 0:
		return false, 0
	case l.tokens >= 1-1e-9:
		l.tokens = 0
		return true, 0
	}
	return false, time.Duration((1 - l.tokens) / rate * float64(time.Second))
}
