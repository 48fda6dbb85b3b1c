package node

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/monohull/monohull/internal/controllers"
)

// Controllers are the control loops of this area.
func Controllers(deps controllers.Deps) []*controllers.Controller {
	h := newHealth(deps)
	list := []*controllers.Controller{h.controller(), zones(deps, h), taintEviction(deps)}
	if len(deps.ClusterCIDRs) > 0 {
		list = append(list, ipam(deps))
	}
	return list
}

func condition(n *corev1.Node, t corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == t {
			return &n.Status.Conditions[i]
		}
	}
	return nil
}

// readiness is the status of the condition Ready, "" where there is none.
func readiness(n *corev1.Node) corev1.ConditionStatus {
	if c := condition(n, corev1.NodeReady); c != nil {
		return c.Status
	}
	return ""
}
