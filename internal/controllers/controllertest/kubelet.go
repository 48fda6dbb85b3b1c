package controllertest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers/podstate"
)

// RunKubelet makes every pod run and be ready at once on a node, but for those
// that sick names, which stay pending; and ends pods that are told to end.
func (c *Cluster) RunKubelet(node string, sick func(*corev1.Pod) bool) {
	ctx, cancel := context.WithCancel(c.ctx)
	var wg sync.WaitGroup
	var last atomic.Int64
	pods := client.Of[*corev1.Pod](c.Client)
	wg.Go(func() {
		_ = pods.Follow(ctx, func(changes []client.Change[*corev1.Pod]) {
			for _, ch := range changes {
				p, ok := pods.Get(ch.New.Namespace, ch.New.Name)
				if !ok || ctx.Err() != nil {
					continue
				}
				switch {
				case p.DeletionTimestamp != nil:
					zero := int64(0)
					_ = pods.Delete(ctx, p.Namespace, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero})
				case p.Spec.NodeName == "":
					_ = client.Bind(ctx, c.Client, p, node)
				case !podstate.Ready(p) && (sick == nil || !sick(p)):
					n := last.Add(1)
					ip := fmt.Sprintf("10.1.%d.%d", n/250, n%250+1)
					_, _ = pods.Modify(ctx, p.Namespace, p.Name, "status", func(m *corev1.Pod) error {
						m.Status.Phase, m.Status.PodIP, m.Status.PodIPs = corev1.PodRunning, ip, []corev1.PodIP{{IP: ip}}
						m.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(c.Clock.Now())}}
						return nil
					})
				}
			}
		})
	})
	c.t.Cleanup(func() { cancel(); wg.Wait() })
}
