package cluster

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
)

// drain waits until Services send nothing new to a pod that is being deleted:
// until its endpoint slices say that it is terminating, and the proxy, whose
// applied it is given, has rules as new. The deletion reaches the kubelet and
// the endpoints at the same moment; without this a container could be gone
// before the rules are, and a connection refused.
func drain(ctx context.Context, slices *cache.Cache, pod *corev1.Pod, applied func(context.Context, int64) error) {
	_, w := slices.SnapshotAndWatch()
	for {
		going, revision := terminating(slices.Snapshot(), pod)
		if going {
			_ = applied(ctx, revision) // late is late: the container has to stop
			return
		}
		events, changed, err := w.Poll()
		if err != nil {
			return
		}
		if len(events) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// terminating tells whether every endpoint of a pod says that it goes, and the
// revision of the newest slice that says so (0 where the pod has none).
func terminating(slices cache.Snapshot, pod *corev1.Pod) (going bool, revision int64) {
	going = true
	for _, ip := range pod.Status.PodIPs {
		slices.ByIndex(client.ByEndpointIP, ip.IP, func(it *cache.Item) bool {
			for _, e := range it.Obj.(*discoveryv1.EndpointSlice).Endpoints {
				if e.TargetRef == nil || e.TargetRef.UID != pod.UID {
					continue
				}
				if t := e.Conditions.Terminating; t == nil || !*t {
					going = false
				}
				revision = max(revision, it.Rev)
			}
			return true
		})
	}
	return going, revision
}
