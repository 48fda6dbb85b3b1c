package kubelet

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/kubelet/podmachine"
	"github.com/monohull/monohull/internal/kubelet/probes"
	"github.com/monohull/monohull/internal/kubelet/server"
)

type probeKind string

const (
	startup   probeKind = "Startup"
	readiness probeKind = "Readiness"
	liveness  probeKind = "Liveness"
)

type probeKey struct {
	id   string
	kind probeKind
}

// syncProbes runs the probes that are due, and ends the others. Of a pod that
// stops only readiness is asked: whether it still serves is worth knowing.
func (w *worker) syncProbes(ctx context.Context, stopping bool) {
	wanted := map[probeKey]bool{}
	want := func(c *corev1.Container) {
		l := w.obs.Containers[c.Name]
		if len(l) == 0 || l[0].State != podmachine.Running {
			return
		}
		cur := &l[0]
		started := w.obs.Started(c, cur)
		p := w.obs.Probes[cur.ID]
		for kind, probe := range map[probeKind]*corev1.Probe{startup: c.StartupProbe, readiness: c.ReadinessProbe, liveness: c.LivenessProbe} {
			switch {
			case probe == nil,
				kind == startup && (started || stopping || p.Startup != podmachine.ResultUnknown),
				kind != startup && !started,
				kind == liveness && (stopping || p.Liveness == podmachine.ResultFailure):
				continue
			}
			key := probeKey{cur.ID, kind}
			wanted[key] = true
			if w.probes[key] == nil {
				w.probes[key] = w.runProbe(ctx, key, probe, c, cur)
			}
		}
	}
	for i := range w.pod.Spec.InitContainers {
		if c := &w.pod.Spec.InitContainers[i]; podmachine.IsSidecar(c) {
			want(c)
		}
	}
	for i := range w.pod.Spec.Containers {
		want(&w.pod.Spec.Containers[i])
	}
	for key, cancel := range w.probes {
		if !wanted[key] {
			cancel()
			delete(w.probes, key)
		}
	}
}

func (w *worker) runProbe(ctx context.Context, key probeKey, probe *corev1.Probe, c *corev1.Container, cur *podmachine.Container) context.CancelFunc {
	ctx, cancel := context.WithCancel(ctx)
	target := probes.Target{Container: c, Exec: func(ctx context.Context, command []string, timeout time.Duration) (int, string, error) {
		res, err := w.k.deps.Runtime.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: cur.ID, Cmd: command, Timeout: int64(timeout / time.Second)})
		if err != nil {
			return 0, "", plain(err)
		}
		return int(res.GetExitCode()), string(res.GetStdout()) + string(res.GetStderr()), nil
	}}
	if len(w.obs.Sandboxes) > 0 && len(w.obs.Sandboxes[0].IPs) > 0 {
		target.PodIP = w.obs.Sandboxes[0].IPs[0]
	}
	count := server.ProbeCount{Kind: string(key.kind), Container: c.Name, Pod: w.name, Namespace: w.namespace, UID: string(w.uid)}
	reports := probes.Reports{
		Came: func(o probes.Outcome) {
			one := count
			one.Result = "successful"
			if o == probes.Failure {
				one.Result = "failed"
			}
			w.k.countProbe(one)
		},
		Result: func(ok bool) {
			w.post(func() { w.probed(key, ok) })
		},
		Said: func(o probes.Outcome, output string) {
			if o == probes.Warning {
				w.event(c.Name, corev1.EventTypeWarning, "ProbeWarning", fmt.Sprintf("%s probe warning: %s", key.kind, output))
				return
			}
			w.event(c.Name, corev1.EventTypeWarning, "Unhealthy", fmt.Sprintf("%s probe failed: %s", key.kind, output))
		},
	}
	w.tasks.Go(func() {
		probes.Run(ctx, probe, target, cur.StartedAt, func(ok bool) bool {
			return key.kind == startup || key.kind == liveness && !ok
		}, reports)
	})
	return cancel
}

// probed notes a probe's result.
func (w *worker) probed(key probeKey, ok bool) {
	p := w.obs.Probes[key.id]
	r := podmachine.ResultFailure
	if ok {
		r = podmachine.ResultSuccess
	}
	switch key.kind {
	case startup:
		p.Startup = r
	case readiness:
		p.Readiness = r
	case liveness:
		p.Liveness = r
	}
	w.obs.Probes[key.id] = p
}
