package kubelet

import (
	"context"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/kubelet/criconfig"
	"github.com/monohull/monohull/internal/kubelet/podmachine"
)

func (w *worker) createSandbox(ctx context.Context, a podmachine.Action) {
	pod := w.pod
	if a.Message != "" {
		w.event("", corev1.EventTypeNormal, "SandboxChanged", a.Message)
	}
	var old []string
	for _, sb := range w.obs.Sandboxes {
		old = append(old, sb.ID)
	}
	w.grouped, w.obs.ActuatedPod = w.k.group(pod), pod.Spec.Resources.DeepCopy()
	w.begin(ctx, a, func(ctx context.Context) func() {
		reason, err := "FailedCreatePodSandBox", error(nil)
		if netErr := w.k.networkErr.Load(); netErr != nil && !pod.Spec.HostNetwork {
			reason, err = "NetworkNotReady", fmt.Errorf("network is not ready: %w", *netErr)
		} else if err = w.runSandbox(ctx, pod, uint32(a.Attempt), old); err != nil {
			err = fmt.Errorf("Failed to create pod sandbox: %w", err) //nolint:staticcheck // users know this text
		}
		return func() {
			if err == nil {
				w.sandboxFails = 0
				return
			}
			if ctx.Err() != nil {
				return
			}
			w.sandboxFails++
			w.k.metrics.startedPodsErrors.Inc()
			w.obs.SandboxRetry = w.k.cfg.Now().Add(grow(w.sandboxFails, maxSandbox))
			w.event("", corev1.EventTypeWarning, reason, err.Error())
		}
	})
}

// runSandbox runs beside the worker.
func (w *worker) runSandbox(ctx context.Context, pod *corev1.Pod, attempt uint32, old []string) error {
	for _, id := range old {
		if _, err := w.k.deps.Runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id}); err != nil && !isGone(err) {
			return fmt.Errorf("stop the sandbox before: %w", err)
		}
	}
	group := w.k.group(pod)
	if err := w.k.deps.Host.SetCgroup(group); err != nil {
		// Limits may be refused where a machine lacks a controller; the pod runs.
		w.log.Warn("kubelet: a pod's control group was not set up as asked", "error", err)
	}
	if podmachine.QOSClass(pod) == corev1.PodQOSBurstable {
		w.k.weighBurstable()
	}
	logDir := w.k.podLogDir(pod.Namespace, pod.Name, string(pod.UID))
	if err := os.MkdirAll(logDir, 0o755); err != nil {
		return fmt.Errorf("make the log directory: %w", err)
	}
	text, err := os.ReadFile(w.k.cfg.ResolvConf)
	if err != nil {
		text = nil // a host without one has no names to give
	}
	dns, warnings := criconfig.DNS(pod, criconfig.ParseResolver(string(text)), criconfig.ClusterDNS{Servers: w.k.cfg.ClusterDNS, Domain: w.k.cfg.ClusterDomain})
	for _, m := range warnings {
		w.event("", corev1.EventTypeWarning, "DNSConfigForming", m)
	}
	cfg := criconfig.SandboxConfig(pod, attempt, dns, w.k.cfg.ClusterDomain, logDir, group.Path, w.k.seccompRoot())
	_, err = w.k.deps.Runtime.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: cfg})
	return err
}

func (k *Kubelet) seccompRoot() string { return k.cfg.DataDir + "/seccomp" }
