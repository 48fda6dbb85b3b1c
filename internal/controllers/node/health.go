package node

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// gracePeriod is how long a node may be silent; startupGracePeriod, one
	// that has never said anything.
	gracePeriod        = 50 * time.Second
	startupGracePeriod = 60 * time.Second
)

// observation is when a node was last heard of, in the time of this machine:
// the node's own times are only compared with each other.
type observation struct {
	heard     time.Time
	hasReady  bool
	heartbeat metav1.Time
	renewed   metav1.MicroTime
}

// observe takes the newest state of a node and its lease into account. old is
// nil for a node seen for the first time.
func observe(old *observation, n *corev1.Node, lease *coordinationv1.Lease, now time.Time) observation {
	o := observation{heard: now}
	ready := condition(n, corev1.NodeReady)
	if ready != nil {
		o.hasReady, o.heartbeat = true, ready.LastHeartbeatTime
	}
	if lease != nil && lease.Spec.RenewTime != nil {
		o.renewed = *lease.Spec.RenewTime
	}
	switch {
	case old == nil && ready == nil:
		o.heard = n.CreationTimestamp.Time
	case old == nil:
	case o.hasReady == old.hasReady && o.heartbeat.Equal(&old.heartbeat):
		o.heard = old.heard
	}
	if old != nil && old.renewed.Before(&o.renewed) || old == nil && !o.renewed.IsZero() {
		o.heard = now
	}
	return o
}

// silence tells whether a node has been silent for too long, or after what
// time it will have been.
func (o observation) silence() time.Duration {
	if o.hasReady {
		return gracePeriod
	}
	return startupGracePeriod
}

func (o observation) left(now time.Time) time.Duration { return o.heard.Add(o.silence()).Sub(now) }

// markUnknown says of a silent node that nothing is known of it. The condition
// of the network is not the kubelet's, and stays.
func markUnknown(n *corev1.Node, now time.Time) {
	for _, t := range []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		c := condition(n, t)
		if c == nil {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{
				Type: t, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.",
				LastHeartbeatTime: n.CreationTimestamp, LastTransitionTime: metav1.NewTime(now),
			})
			continue
		}
		if c.Status != corev1.ConditionUnknown {
			c.Status, c.Reason, c.Message = corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status."
			c.LastTransitionTime = metav1.NewTime(now)
		}
	}
}
